//! Random augmentation of sequences for contrastive learning (CL4SRec, Xie et al. 2022, arXiv 2010.14395; EasyRec behaviour 141): each
//! row's sequence is cropped, masked or reordered, in training as in evaluation.

use rankmill_config::Settings;
use rankmill_graph::Shape;
use rankmill_graph::ops::augment::{Augment, Augmentation, AugmentedLengths};
use rankmill_graph::ops::reshape::Reshape;

use super::positions::Sequence;
use super::scope::Scope;
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// A sequence `[B, L, D]` and its lengths → a tuple of the same, changed.
///
/// # Errors
/// If a rate is not in `[0, 1]`, or the inputs are something else.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    augmented(s, settings, inputs, |width| vec![1, width])
}

/// `SeqAugmentOps`: the same augmentation, which EasyRec has a second time as an operation of its own; its variable has one dimension.
///
/// # Errors
/// As [`component`].
pub(super) fn component_of_rows(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    augmented(s, settings, inputs, |width| vec![width])
}

/// The augmentation with a mask of the shape that `mask_shape` gives for the sequence's width.
fn augmented(
    s: &mut Scope<'_>,
    settings: &Settings,
    inputs: &Tensors,
    mask_shape: impl Fn(usize) -> Vec<usize>,
) -> Result<Tensors, LayerError> {
    let sequence = Sequence::of(s, inputs)?;
    let rate = |name: &str, default: f32| {
        let rate = settings.number(name, default)?;
        if (0.0..=1.0).contains(&rate) { Ok(rate) } else { Err(settings.error(name, format!("`{name}` lies in [0, 1]"))) }
    };
    let (mask, crop, reorder) = (rate("mask_rate", 0.6)?, rate("crop_rate", 0.2)?, rate("reorder_rate", 0.6)?);
    let name = s.block_name();
    let width = s.width(sequence.value);
    let mask_vector = s.root(&name).parameter("mask", &mask_shape(width), Initializer::GlorotUniform)?;
    let mask_vector = s.add(Reshape { shape: Shape::fixed(&[1, width]) }, &[mask_vector])?;
    let salt = s.salt("augmentation");
    let augmentation = Augmentation { axis: sequence.axis, crop, mask, reorder, salt };
    let lengths = s.flat(sequence.lengths)?;
    let value = s.add(Augment(augmentation), &[sequence.value, lengths, mask_vector])?;
    let lengths = s.add(AugmentedLengths(augmentation), &[lengths])?;
    Ok(Tensors::Tuple(vec![Tensors::One(value), Tensors::One(lengths)]))
}

//! Random augmentation of sequences for contrastive learning (CL4SRec, Xie et al. 2022, arXiv 2010.14395; EasyRec behaviour 141): each
//! row's sequence is cropped, masked or reordered, in training as in evaluation.

use rankmill_config::Settings;
use rankmill_graph::ops::augment::{Augment, Augmentation, AugmentedLengths};

use super::positions::Sequence;
use super::scope::Scope;
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// A sequence `[B, L, D]` and its lengths → a tuple of the same, changed.
///
/// # Errors
/// If a rate is not in `[0, 1]`, or the inputs are something else.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let sequence = Sequence::of(s, inputs)?;
    let rate = |name: &str, default: f32| {
        let rate = settings.number(name, default)?;
        if (0.0..=1.0).contains(&rate) { Ok(rate) } else { Err(settings.error(name, format!("`{name}` lies in [0, 1]"))) }
    };
    let (mask, crop, reorder) = (rate("mask_rate", 0.6)?, rate("crop_rate", 0.2)?, rate("reorder_rate", 0.6)?);
    let name = s.block_name();
    let width = s.width(sequence.value);
    let mask_vector = s.root(&name).parameter("mask", &[1, width], Initializer::GlorotUniform)?;
    let salt = s.salt("augmentation");
    let augmentation = Augmentation { axis: sequence.axis, crop, mask, reorder, salt };
    let lengths = s.flat(sequence.lengths)?;
    let value = s.add(Augment(augmentation), &[sequence.value, lengths, mask_vector])?;
    let lengths = s.add(AugmentedLengths(augmentation), &[lengths])?;
    Ok(Tensors::Tuple(vec![Tensors::One(value), Tensors::One(lengths)]))
}

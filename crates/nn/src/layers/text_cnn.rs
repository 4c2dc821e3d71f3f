//! Convolutions over the positions of a sequence (EasyRec behaviours 17 and 137), after "Convolutional Neural Networks for Sentence
//! Classification" (Kim 2014, arXiv 1408.5882).
//!
//! The sequence is filled up with zeros, or cut, to `pad_sequence_length` positions; at 0 it stays as long as the longest of the batch. For each filter size k with f filters,
//! `y = max over p of activation(x[p .. p + k]·kernel + bias)`, p over all places where a window fits, padding included;
//! the y are put side by side. Kernels `[k, d, f]` start with `glorot_uniform`, biases with 0.

use rankmill_config::{Settings, proto};
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::ops::windows::{MaxOfWindows, Windows};
use rankmill_graph::{Axis, GraphError, Shape, Value};

use super::activation::Activation;
use super::mlp::{Mlp, mlp};
use super::scope::Scope;
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// The settings of a TextCNN.
#[derive(Clone, Debug)]
pub struct TextCnn {
    /// Positions of each window, and how many filters read it.
    pub filters: Vec<(usize, usize)>,
    /// Positions of the sequence; 0 for as many as it has.
    pub length: usize,
    /// What is applied to each convolution.
    pub activation: Activation,
}

impl TextCnn {
    /// Reads the config message of a sequence feature's combiner.
    ///
    /// # Errors
    /// If there are no filters, not as many sizes as numbers, a window does not fit, or a name is unknown.
    pub fn from_config(config: &proto::TextCnn) -> Result<TextCnn, LayerError> {
        let settings = Settings::of_message(config, "protos.TextCNN");
        if settings.is_set("mlp") {
            return Err(settings.error("mlp", "an MLP after the convolutions is not supported yet").into());
        }
        let activation = Activation::from_name(&settings.text("activation", "relu")?);
        TextCnn::read(&settings, activation)
    }

    fn read(settings: &Settings, activation: Result<Activation, String>) -> Result<TextCnn, LayerError> {
        let (sizes, numbers) = (settings.counts("filter_sizes")?, settings.counts("num_filters")?);
        if sizes.is_empty() || sizes.len() != numbers.len() {
            let message =
                format!("there are {} filter_sizes for {} num_filters; expected as many, and one at least", sizes.len(), numbers.len());
            return Err(settings.error("num_filters", message).into());
        }
        let length = settings.count("pad_sequence_length", 0)?;
        for (at, (size, number)) in sizes.iter().zip(&numbers).enumerate() {
            if *size == 0 || (length > 0 && *size > length) {
                let message = format!("a window of {size} positions does not fit into a sequence of {length}");
                return Err(settings.element_error("filter_sizes", at, message).into());
            }
            if *number == 0 {
                return Err(settings.element_error("num_filters", at, "must be above 0").into());
            }
        }
        let activation = activation.map_err(|message| settings.error("activation", message))?;
        Ok(TextCnn { filters: sizes.into_iter().zip(numbers).collect(), length, activation })
    }
}

/// `x [B, L, d]` → `[B, sum of num_filters]`. `names` are those of the convolutions' variables in this scope: TensorFlow counts them over
/// the whole graph.
///
/// # Errors
/// If `x` does not lie along an axis, or there are fewer names than filters.
pub fn text_cnn(s: &mut Scope<'_>, settings: &TextCnn, x: Value, names: &[String]) -> Result<Value, LayerError> {
    let (x, axis) = match (settings.length, s.shape(x).axis) {
        (_, None) => return Err(LayerError::message("TextCNN needs a sequence of more than one position")),
        (0, Some(axis)) => (x, axis),
        (length, Some(_)) => s.with_length(x, length)?,
    };
    let mut parts = Vec::with_capacity(settings.filters.len());
    for ((size, filters), name) in settings.filters.iter().zip(names) {
        let convolved = convolution(&mut s.child(name), x, axis, *size, *filters)?;
        let active = s.activate(convolved, settings.activation)?;
        parts.push(s.add(MaxOfWindows { axis, size: *size }, &[active])?);
    }
    Ok(s.concat(&parts)?)
}

/// `x[p .. p + size]·kernel + bias` for each position p.
fn convolution(s: &mut Scope<'_>, x: Value, axis: Axis, size: usize, filters: usize) -> Result<Value, GraphError> {
    let width = s.width(x);
    let kernel = s.parameter("kernel", &[size, width, filters], Initializer::GlorotUniform)?;
    let bias = s.parameter("bias", &[filters], Initializer::Constant(0.0))?;
    let kernel = s.add(Reshape { shape: Shape::fixed(&[size * width, filters]) }, &[kernel])?;
    let windows = s.add(Windows { axis, size }, &[x])?;
    let product = s.add(MatMul::PLAIN, &[windows, kernel])?;
    s.plus(product, bias)
}

/// The `TextCNN` component: a sequence, or fields `[B, n, D]` → `[B, sum of num_filters]`, or as wide as the `mlp` makes it.
///
/// # Errors
/// What [`text_cnn`] and the MLP refuse.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let activation = Activation::from_keras_name(&settings.text("activation", "relu")?);
    let convolutions = TextCnn::read(settings, activation)?;
    // A sequence comes with its lengths, which nothing here asks for.
    let Some(x) = inputs.values().first().copied() else { return Err(LayerError::message("TextCNN needs a sequence")) };
    let x = s.positions(x)?.value;
    let names: Vec<String> = convolutions.filters.iter().map(|_| s.unique("conv1d")).collect();
    let joined = text_cnn(s, &convolutions, x, &names)?;
    match settings.group("mlp")? {
        Some(settings) => mlp(&mut s.child("mlp"), &Mlp::from_settings(&settings)?, joined).map(Tensors::One),
        None => Ok(Tensors::One(joined)),
    }
}

//! Convolutions over the positions of a sequence (EasyRec behaviours 17 and 137), after "Convolutional Neural Networks for Sentence
//! Classification" (arXiv 1408.5882).
//!
//! The sequence is filled up with zeros, or cut, to `pad_sequence_length` positions. For each filter size k with f filters,
//! `y = max over p of activation(x[p .. p + k]·kernel + bias)`, p over all places where a window fits, padding included;
//! the y are put side by side. Kernels `[k, d, f]` start with `glorot_uniform`, biases with 0.

use rankmill_config::proto;
use rankmill_graph::ops::axis::{FromAxis, MaxAlong};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::ops::windows::Windows;
use rankmill_graph::{Length, Shape, Value};

use super::LayerError;
use super::activation::Activation;
use super::scope::Scope;
use crate::init::Initializer;

/// The settings of a TextCNN.
#[derive(Clone, Debug)]
pub struct TextCnn {
    /// Positions of each window, and how many filters read it.
    pub filters: Vec<(usize, usize)>,
    /// Positions of the sequence.
    pub length: usize,
    /// What is applied to each convolution.
    pub activation: Activation,
}

impl TextCnn {
    /// Reads the config message.
    ///
    /// # Errors
    /// If there are no filters, not as many sizes as numbers, a window does not fit, or a name is unknown.
    pub fn from_config(config: &proto::TextCnn) -> Result<TextCnn, LayerError> {
        let (sizes, numbers) = (&config.filter_sizes, &config.num_filters);
        if sizes.is_empty() || sizes.len() != numbers.len() {
            let message =
                format!("there are {} filter_sizes for {} num_filters; expected as many, and one at least", sizes.len(), numbers.len());
            return Err(LayerError::field("num_filters", message));
        }
        let length = config.pad_sequence_length() as usize;
        if length == 0 {
            let message = "must be above 0: every sequence is filled up or cut to it";
            return Err(LayerError::field("pad_sequence_length", message));
        }
        for (at, (size, number)) in sizes.iter().zip(numbers).enumerate() {
            if *size == 0 || *size as usize > length {
                let message = format!("a window of {size} positions does not fit into a sequence of {length}");
                return Err(LayerError::field(&format!("filter_sizes[{at}]"), message));
            }
            if *number == 0 {
                return Err(LayerError::field(&format!("num_filters[{at}]"), "must be above 0"));
            }
        }
        let activation = Activation::from_name(config.activation()).map_err(|message| LayerError::field("activation", message))?;
        if config.mlp.is_some() {
            return Err(LayerError::field("mlp", "an MLP after the convolutions is not supported yet"));
        }
        let filters = sizes.iter().zip(numbers).map(|(size, number)| (*size as usize, *number as usize)).collect();
        Ok(TextCnn { filters, length, activation })
    }
}

/// `x [B, L, d]` → `[B, sum of num_filters]`. `names` are those of the convolutions' variables in this scope: TensorFlow counts them over
/// the whole graph.
///
/// # Errors
/// If `x` does not lie along an axis, or there are fewer names than filters.
pub fn text_cnn(s: &mut Scope<'_>, settings: &TextCnn, x: Value, names: &[String]) -> Result<Value, LayerError> {
    let width = s.width(x);
    let rows = s.add(FromAxis { dims: vec![settings.length * width] }, &[x])?;
    let mut parts = Vec::with_capacity(settings.filters.len());
    for ((size, number), name) in settings.filters.iter().zip(names) {
        let count = settings.length - size + 1;
        let columns = size * width;
        let axis = s.axis(Length::Fixed(count));
        let mut conv = s.child(name);
        let kernel = conv.parameter("kernel", &[*size, width, *number], Initializer::GlorotUniform)?;
        let bias = conv.parameter("bias", &[*number], Initializer::Constant(0.0))?;
        let kernel = conv.add(Reshape { shape: Shape::fixed(&[columns, *number]) }, &[kernel])?;
        let windows = conv.add(Windows { axis, count, width: columns, step: width }, &[rows])?;
        let product = conv.add(MatMul::PLAIN, &[windows, kernel])?;
        let y = conv.add(Binary::Add, &[product, bias])?;
        let y = conv.activate(y, settings.activation)?;
        parts.push(conv.add(MaxAlong, &[y])?);
    }
    Ok(s.concat(&parts)?)
}

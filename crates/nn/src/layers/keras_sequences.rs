//! Keras' layers on ids and positions: `Embedding`, `Conv1D` and the global poolings.

use rankmill_config::Settings;
use rankmill_graph::ops::axis::{FromAxis, SumAlong};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::fill::FillLike;
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::ops::table_rows::TableRows;
use rankmill_graph::ops::windows::{MaxOfWindows, Windows};
use rankmill_graph::{Shape, Value};

use super::activation::Activation;
use super::dense::initializer;
use super::positions::Positions;
use super::scope::Scope;
use super::{LayerError, Tensors, one};

/// Settings of `Embedding`.
pub(super) const EMBEDDING_SETTINGS: &[&str] = &["input_dim", "output_dim", "embeddings_initializer"];

/// Settings of `Conv1D`.
pub(super) const CONV_SETTINGS: &[&str] =
    &["filters", "kernel_size", "activation", "use_bias", "kernel_initializer", "bias_initializer", "strides", "padding", "dilation_rate"];

/// Ids `[B, n]`, whole numbers below `input_dim` → `[B, n, output_dim]`; a single id a row → `[B, output_dim]`.
///
/// # Errors
/// If a setting is missing or wrong.
pub(super) fn embedding(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let (rows, width) = (settings.required_count("input_dim")?, settings.required_count("output_dim")?);
    let start = initializer(settings, "embeddings_initializer", "uniform")?;
    let ids = one(s, inputs)?;
    let table = s.parameter("embeddings", &[rows, width], start)?;
    Ok(Tensors::One(s.add(TableRows, &[table, ids])?))
}

/// A convolution with `kernel [kernel_size, D, filters]` over the places where it fits: `[B, n, D]` → `[B, n - kernel_size + 1, filters]`.
///
/// # Errors
/// If a setting is missing or wrong, or the number of positions is not known: TextCNN takes sequences of any length.
pub(super) fn convolution(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let (filters, size) = (settings.required_count("filters")?, settings.required_count("kernel_size")?);
    let activation = Activation::from_keras_name(&settings.text("activation", "linear")?);
    let activation = activation.map_err(|message| settings.error("activation", message))?;
    for name in ["strides", "dilation_rate"] {
        if settings.count(name, 1)? != 1 {
            return Err(settings.error(name, format!("only `{name}` 1 is supported")).into());
        }
    }
    if settings.text("padding", "valid")? != "valid" {
        return Err(settings.error("padding", "only `padding` valid is supported").into());
    }
    let x = one(s, inputs)?;
    let [n, width] = s.shape(x).dims[..] else {
        let message = format!("Conv1D needs a fixed number of positions, [B, n, D], not {}; TextCNN takes sequences", s.shape(x));
        return Err(LayerError::message(message));
    };
    let Some(places) = (n + 1).checked_sub(size).filter(|places| *places > 0) else {
        return Err(settings.error("kernel_size", format!("a window of {size} does not fit into {n} positions")).into());
    };
    let kernel = s.parameter("kernel", &[size, width, filters], initializer(settings, "kernel_initializer", "glorot_uniform")?)?;
    let kernel = s.add(Reshape { shape: Shape::fixed(&[size * width, filters]) }, &[kernel])?;
    let windows = windows(s, x, size)?;
    let mut y = s.add(MatMul::PLAIN, &[windows, kernel])?;
    if settings.flag("use_bias", true)? {
        let bias = s.parameter("bias", &[filters], initializer(settings, "bias_initializer", "zeros")?)?;
        y = s.plus(y, bias)?;
    }
    let y = s.activate(y, activation)?;
    if n == 1 {
        return Ok(Tensors::One(s.reshape(y, &[1, filters])?));
    }
    let all = s.add(FromAxis { dims: vec![n * filters] }, &[y])?;
    let fitting = s.columns(all, 0, places * filters)?;
    Ok(Tensors::One(s.reshape(fitting, &[places, filters])?))
}

/// Each position of fields with those behind it, along their axis; of a single position that itself.
fn windows(s: &mut Scope<'_>, x: Value, size: usize) -> Result<Value, LayerError> {
    let Positions { value, axis, .. } = s.positions(x)?;
    match axis {
        Some(axis) => Ok(s.add(Windows { axis, size }, &[value])?),
        None => Ok(value),
    }
}

/// The mean over the positions: `[B, n, D]` → `[B, D]`. Of a sequence the positions that rows are filled up with count, too, as in Keras without
/// a mask.
///
/// # Errors
/// For a tensor without positions.
pub(super) fn average(s: &mut Scope<'_>, _: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let x = one(s, inputs)?;
    let Positions { value, axis, .. } = s.positions(x)?;
    if axis.is_none() {
        return Ok(Tensors::One(value));
    }
    let ones = s.add(FillLike { value: 1.0 }, &[value])?;
    let (sum, count) = (s.add(SumAlong, &[value])?, s.add(SumAlong, &[ones])?);
    Ok(Tensors::One(s.add(Binary::Divide, &[sum, count])?))
}

/// The largest of the positions in each column: `[B, n, D]` → `[B, D]`.
///
/// # Errors
/// For a tensor without positions.
pub(super) fn maximum(s: &mut Scope<'_>, _: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let x = one(s, inputs)?;
    let Positions { value, axis, .. } = s.positions(x)?;
    match axis {
        Some(axis) => Ok(Tensors::One(s.add(MaxOfWindows { axis, size: 1 }, &[value])?)),
        None => Ok(Tensors::One(value)),
    }
}

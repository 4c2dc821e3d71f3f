//! Keras' layers on ids and positions: `Embedding`, `Conv1D` and the global poolings.

use rankmill_config::Settings;
use rankmill_graph::ops::axis::SumAlong;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::concat::Pad;
use rankmill_graph::ops::fill::FillLike;
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::ops::table_rows::TableRows;
use rankmill_graph::ops::windows::MaxOfWindows;
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

/// Where the windows of a convolution lie over n positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Places {
    /// Positions of a window.
    size: usize,
    /// From one window's begin to the next one's.
    stride: usize,
    /// From one position of a window to the next.
    dilation: usize,
    /// Zeros before the first position.
    before: usize,
    /// Zeros behind the last position.
    behind: usize,
    /// How many windows there are.
    count: usize,
}

impl Places {
    /// `valid`: where windows fit; `same`: as many as there are positions, or that divided by the stride; `causal`: windows end at each
    /// position.
    fn read(settings: &Settings, n: usize) -> Result<Places, LayerError> {
        let size = settings.required_count("kernel_size")?;
        let [stride, dilation] = [settings.count("strides", 1)?, settings.count("dilation_rate", 1)?];
        for (name, value) in [("kernel_size", size), ("strides", stride), ("dilation_rate", dilation)] {
            if value == 0 {
                return Err(settings.error(name, format!("`{name}` is at least 1")).into());
            }
        }
        if stride > 1 && dilation > 1 {
            return Err(settings.error("dilation_rate", "of `strides` and `dilation_rate` one is 1, as in Keras").into());
        }
        // Positions from the first of a window to its last.
        let reach = dilation.saturating_mul(size - 1);
        let (before, behind) = match settings.text("padding", "valid")?.as_str() {
            "valid" => (0, 0),
            "causal" => (reach, 0),
            "same" => {
                let covered = (n.div_ceil(stride).saturating_sub(1) * stride).saturating_add(reach).saturating_add(1);
                let zeros = covered.saturating_sub(n);
                (zeros / 2, zeros - zeros / 2)
            }
            other => return Err(settings.error("padding", format!("`{other}` is none of valid, same, causal")).into()),
        };
        let most = 1 << 16;
        let Some(free) = (before.saturating_add(n).saturating_add(behind)).checked_sub(reach + 1).filter(|_| reach < most) else {
            return Err(settings.error("kernel_size", format!("a window over {} positions does not fit into {n}", reach + 1)).into());
        };
        Ok(Places { size, stride, dilation, before, behind, count: free / stride + 1 })
    }
}

/// A convolution with `kernel [kernel_size, D, filters]`: `[B, n, D]` → `[B, places, filters]`.
///
/// # Errors
/// If a setting is missing or wrong, or the number of positions is not known: TextCNN takes sequences of any length.
pub(super) fn convolution(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let filters = settings.required_count("filters")?;
    let activation = Activation::from_keras_name(&settings.text("activation", "linear")?);
    let activation = activation.map_err(|message| settings.error("activation", message))?;
    let x = one(s, inputs)?;
    let [n, width] = s.shape(x).dims[..] else {
        let message = format!("Conv1D needs a fixed number of positions, [B, n, D], not {}; TextCNN takes sequences", s.shape(x));
        return Err(LayerError::message(message));
    };
    let places = Places::read(settings, n)?;
    let size = places.size;
    let kernel = s.parameter("kernel", &[size, width, filters], initializer(settings, "kernel_initializer", "glorot_uniform")?)?;
    let kernel = s.add(Reshape { shape: Shape::fixed(&[size * width, filters]) }, &[kernel])?;
    let windows = windows(s, x, places, width)?;
    let windows = s.positions(windows)?;
    let mut y = s.add(MatMul::PLAIN, &[windows.value, kernel])?;
    if settings.flag("use_bias", true)? {
        let bias = s.parameter("bias", &[filters], initializer(settings, "bias_initializer", "zeros")?)?;
        y = s.plus(y, bias)?;
    }
    let y = s.activate(y, activation)?;
    Ok(Tensors::One(s.like_positions(y, windows)?))
}

/// The positions of each window side by side: `[B, n, D]` → `[B, places, size·D]`.
fn windows(s: &mut Scope<'_>, x: Value, places: Places, width: usize) -> Result<Value, LayerError> {
    let mut x = s.flat(x)?;
    if places.before + places.behind > 0 {
        let all = s.width(x) + (places.before + places.behind) * width;
        x = s.add(Pad { first: places.before * width, width: all }, &[x])?;
    }
    let mut parts = Vec::with_capacity(places.count);
    for place in 0..places.count {
        let first = place * places.stride;
        if places.dilation == 1 {
            parts.push(s.columns(x, first * width, places.size * width)?);
            continue;
        }
        for i in 0..places.size {
            parts.push(s.columns(x, (first + i * places.dilation) * width, width)?);
        }
    }
    let joined = s.concat(&parts)?;
    Ok(s.reshape(joined, &[places.count, places.size * width])?)
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

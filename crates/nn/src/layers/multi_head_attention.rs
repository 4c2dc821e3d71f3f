//! Keras' multi-head attention (Vaswani et al. 2017, arXiv 1706.03762; EasyRec behaviour 135): `q`, `k`, `v` are projected for each head,
//! `softmax(q·kᵀ / √key_dim [+ masks])·v`, and the heads are projected together.
//!
//! A hidden key's score is lowered by 10⁹: a query all of whose keys are hidden attends to all of them evenly.

use rankmill_config::Settings;
use rankmill_graph::ops::attention::{Attention, Masks};
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{GraphError, Shape, Value};

use super::dense::initializer;
use super::dropout::rate;
use super::positions::Positions;
use super::scope::Scope;
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// What hiding adds to a score.
const PENALTY: f32 = -1e9;

/// The settings.
#[derive(Clone, Debug)]
pub(super) struct MultiHead {
    pub(super) heads: usize,
    pub(super) key_dim: usize,
    pub(super) value_dim: usize,
    /// Width of the output, if it is not that of the queries.
    pub(super) output: Option<usize>,
    pub(super) bias: Option<Initializer>,
    pub(super) kernel: Initializer,
    pub(super) causal: bool,
    pub(super) dropout: f32,
}

impl MultiHead {
    fn read(settings: &Settings) -> Result<MultiHead, LayerError> {
        for name in ["return_attention_scores", "attention_axes"] {
            let wanted = if name == "attention_axes" { settings.is_set(name) } else { settings.flag(name, false)? };
            if wanted {
                return Err(settings.error(name, format!("`{name}` is not supported")).into());
            }
        }
        let key_dim = settings.required_count("key_dim")?;
        let bias = if settings.flag("use_bias", true)? { Some(initializer(settings, "bias_initializer", "zeros")?) } else { None };
        Ok(MultiHead {
            heads: settings.required_count("num_heads")?,
            key_dim,
            value_dim: settings.count("value_dim", key_dim)?,
            output: settings.optional_count("output_shape")?.filter(|width| *width > 0),
            bias,
            kernel: initializer(settings, "kernel_initializer", "glorot_uniform")?,
            causal: settings.flag("use_causal_mask", false)?,
            dropout: rate(settings, "dropout", Some(0.0))?,
        })
    }
}

/// `[query, value]` or `[query, value, key]`, sequences or fields → as many positions as the query has, as wide or `output_shape` wide.
///
/// # Errors
/// If a setting is wrong, or inputs are missing.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let settings = MultiHead::read(settings)?;
    let (query, value, key) = match inputs.values()[..] {
        [x] => (x, x, x),
        [query, value] => (query, value, value),
        [query, value, key] => (query, value, key),
        _ => return Err(LayerError::message("MultiHeadAttention takes a list, [query, value] or [query, value, key]")),
    };
    let query = s.positions(query)?;
    let (value, key) = (s.positions(value)?, s.positions(key)?);
    let y = multi_head(s, &settings, query, key, value, None)?;
    Ok(Tensors::One(s.like_positions(y, query)?))
}

/// The attention; `mask` hides positions as queries and as keys.
///
/// # Errors
/// If the shapes don't fit.
pub(super) fn multi_head(
    s: &mut Scope<'_>,
    settings: &MultiHead,
    query: Positions,
    key: Positions,
    value: Positions,
    mask: Option<Value>,
) -> Result<Value, GraphError> {
    let width = s.width(query.value);
    let q = projection(s, settings, query.value, settings.key_dim)?;
    let k = projection(s, settings, key.value, settings.key_dim)?;
    let v = projection(s, settings, value.value, settings.value_dim)?;
    let op = Attention {
        heads: settings.heads,
        queries: query.axis,
        keys: value.axis,
        scale: 1.0 / (settings.key_dim as f32).sqrt(),
        masks: Masks { keys: mask.is_some(), queries: mask.is_some(), causal: settings.causal },
        penalty: PENALTY,
        dropout: s.attention_dropout(settings.dropout),
    };
    let inputs: Vec<Value> = [q, k, v].into_iter().chain(mask).chain(mask).collect();
    let attended = s.add(op, &inputs)?;
    let output = settings.output.unwrap_or(width);
    let kernel = (&[settings.heads, settings.value_dim, output][..], &[settings.heads * settings.value_dim, output][..]);
    einsum(s, settings, attended, kernel, &[output])
}

/// `x·kernel [D, heads, dim] + bias [heads, dim]`, the heads side by side.
fn projection(s: &mut Scope<'_>, settings: &MultiHead, x: Value, dim: usize) -> Result<Value, GraphError> {
    let width = s.width(x);
    let kernel = (&[width, settings.heads, dim][..], &[width, settings.heads * dim][..]);
    einsum(s, settings, x, kernel, &[settings.heads, dim])
}

/// A product with a kernel that has another shape in its variable than in the product. Variables are numbered in the order in which they
/// are made: `kernel`, `bias`, `kernel_1`, `bias_1`, …
fn einsum(
    s: &mut Scope<'_>,
    settings: &MultiHead,
    x: Value,
    (shape, matrix): (&[usize], &[usize]),
    bias: &[usize],
) -> Result<Value, GraphError> {
    let name = s.numbered("kernel");
    let kernel = s.parameter(&name, shape, settings.kernel.clone())?;
    let kernel = s.add(Reshape { shape: Shape::fixed(matrix) }, &[kernel])?;
    let product = s.add(MatMul::PLAIN, &[x, kernel])?;
    let Some(start) = &settings.bias else { return Ok(product) };
    let name = s.numbered("bias");
    let offset = s.parameter(&name, bias, start.clone())?;
    let offset = s.add(Reshape { shape: Shape::fixed(&[bias.iter().product()]) }, &[offset])?;
    s.plus(product, offset)
}

//! Embeddings of numbers by soft bins (AutoDis, Guo et al. 2021, arXiv 2012.08986; EasyRec behaviour 124). For feature n with value x:
//! `h = leaky_relu(x·w_n)`, `p = softmax((M_n·h + keep_prob·h) / temperature)`, `e = p·meta_n`.

use rankmill_config::Settings;
use rankmill_graph::Value;
use rankmill_graph::ops::per_field::PerField;
use rankmill_graph::ops::softmax::Softmax;
use rankmill_graph::ops::unary::Unary;
use rankmill_kernels::gemm::Orientation;

use super::activation::LEAKY_SLOPE;
use super::scope::Scope;
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

/// Numbers `[B, n]` → `[B, n·embedding_dim]`, and a list of the embeddings with `output_tensor_list`, or them as fields with
/// `output_3d_tensor`.
///
/// # Errors
/// If a setting is missing or wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let dim = settings.required_count("embedding_dim")?;
    let bins = settings.required_count("num_bins")?;
    let keep = settings.number("keep_prob", 0.8)?;
    let Some(temperature) = settings.optional_number("temperature")?.filter(|temperature| *temperature > 0.0) else {
        return Err(settings.error("temperature", "`temperature` must be set, above 0").into());
    };
    let x = one(s, inputs)?;
    let n = s.width(x);
    let meta = s.parameter("meta_embedding", &[n, bins, dim], Initializer::GlorotUniform)?;
    let weights = s.parameter("project_w", &[1, n, bins], Initializer::GlorotUniform)?;
    let matrices = s.parameter("project_mat", &[n, bins, bins], Initializer::GlorotUniform)?;
    let x = s.reshape(x, &[n, 1])?;
    let hidden = s.add(PerField { units: bins, weights: Orientation::Plain }, &[x, weights])?;
    let hidden = s.add(Unary::LeakyRelu(LEAKY_SLOPE), &[hidden])?;
    let mixed = s.add(PerField { units: bins, weights: Orientation::Transposed }, &[hidden, matrices])?;
    let kept = s.scale(hidden, keep)?;
    let scores = s.plus(mixed, kept)?;
    let scores = s.scale(scores, 1.0 / temperature)?;
    let shares = s.add(Softmax { width: bins }, &[scores])?;
    let embeddings = s.add(PerField { units: dim, weights: Orientation::Plain }, &[shares, meta])?;
    outputs(s, settings, embeddings)
}

/// What an embedding of numbers gives: all embeddings side by side, and with the settings for it a tuple of that and a list or fields.
///
/// # Errors
/// If a setting is wrong.
pub(super) fn outputs(s: &mut Scope<'_>, settings: &Settings, fields: Value) -> Result<Tensors, LayerError> {
    let flat = s.flat(fields)?;
    if settings.flag("output_tensor_list", false)? {
        return Ok(Tensors::Tuple(vec![Tensors::One(flat), Tensors::list(s.split(fields)?)]));
    }
    if settings.flag("output_3d_tensor", false)? {
        return Ok(Tensors::Tuple(vec![Tensors::One(flat), Tensors::One(fields)]));
    }
    Ok(Tensors::One(flat))
}

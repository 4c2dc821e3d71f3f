//! Embeddings of numbers by learnt frequencies (Gorishniy, Rubachev, Babenko 2022, arXiv 2203.05556; EasyRec behaviour 123). For feature n
//! with value x: `v = 2π·c_n·x`, `e = act([sin v, cos v]·W_n + b_n)`.

use std::f32::consts::TAU;

use rankmill_config::Settings;
use rankmill_graph::ops::per_field::PerField;
use rankmill_graph::ops::unary::Unary;
use rankmill_kernels::gemm::Orientation;

use super::activation::Activation;
use super::auto_dis_embedding::outputs;
use super::scope::Scope;
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

/// Numbers `[B, n]` → `[B, n·embedding_dim]`, and a list of the embeddings with `output_tensor_list`, or them as fields with
/// `output_3d_tensor`. Without `add_linear_layer` the sines and cosines are the embedding.
///
/// # Errors
/// If a setting is missing or wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let dim = settings.required_count("embedding_dim")?;
    if dim % 2 != 0 {
        return Err(settings.error("embedding_dim", "half of the embedding are sines, half cosines: an even number is needed").into());
    }
    let Some(sigma) = settings.optional_number("sigma")? else {
        return Err(settings.error("sigma", "`sigma` must be set").into());
    };
    let activation = Activation::from_name(&settings.text("linear_activation", "relu")?);
    let activation = activation.map_err(|message| settings.error("linear_activation", message))?;
    let x = one(s, inputs)?;
    let n = s.width(x);
    let half = dim / 2;
    let coefficients = s.parameter("coefficients", &[1, n, half], Initializer::Normal { mean: 0.0, deviation: sigma })?;
    let x = s.reshape(x, &[n, 1])?;
    let v = s.add(PerField { units: half, weights: Orientation::Plain }, &[x, coefficients])?;
    let v = s.scale(v, TAU)?;
    let (sines, cosines) = (s.add(Unary::Sine, &[v])?, s.add(Unary::Cosine, &[v])?);
    let mut parts = Vec::with_capacity(2 * n);
    for i in 0..n {
        parts.push(s.field(sines, i)?);
        parts.push(s.field(cosines, i)?);
    }
    let joined = s.concat(&parts)?;
    let mut embeddings = s.reshape(joined, &[n, dim])?;
    if settings.flag("add_linear_layer", true)? {
        let weights = s.parameter("weights", &[1, n, dim, dim], Initializer::GlorotUniform)?;
        let bias = s.parameter("bias", &[1, n, dim], Initializer::Constant(0.0))?;
        let product = s.add(PerField { units: dim, weights: Orientation::Plain }, &[embeddings, weights])?;
        let shifted = s.plus(product, bias)?;
        embeddings = s.activate(shifted, activation)?;
    }
    outputs(s, settings, embeddings)
}

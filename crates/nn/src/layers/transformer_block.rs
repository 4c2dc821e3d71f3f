//! A layer of the transformer's encoder (Vaswani et al. 2017, arXiv 1706.03762; EasyRec behaviour 136): `x ← LN(x + attention(x))`, then
//! `x ← LN(x + dense(act(dense(x))))`.

use rankmill_config::Settings;
use rankmill_graph::Value;

use super::activation::Activation;
use super::dropout::rate;
use super::multi_head_attention::{MultiHead, multi_head};
use super::positions::Positions;
use super::scope::{Bias, Scope};
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// Epsilon of the layer norms.
const EPSILON: f32 = 1e-6;

/// A sequence or fields `[B, L, hidden_size]`, perhaps in a list with a mask of the positions → the same shape.
///
/// # Errors
/// If a setting is wrong, or the widths differ.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let (x, mask) = match inputs.values()[..] {
        [x] => (x, None),
        [x, mask] => (x, Some(s.mask_column(mask)?)),
        _ => return Err(LayerError::message("TransformerBlock takes a sequence, or a list of it and its mask")),
    };
    let positions = s.positions(x)?;
    let y = transformer_block(s, settings, positions, mask)?;
    Ok(Tensors::One(s.like_positions(y, positions)?))
}

/// As [`component`].
pub(super) fn transformer_block(
    s: &mut Scope<'_>,
    settings: &Settings,
    positions: Positions,
    mask: Option<Value>,
) -> Result<Value, LayerError> {
    let hidden = settings.required_count("hidden_size")?;
    let heads = settings.required_count("num_attention_heads")?;
    let intermediate = settings.required_count("intermediate_size")?;
    let activation = Activation::from_keras_name(&settings.text("hidden_act", "relu")?);
    let activation = activation.map_err(|message| settings.error("hidden_act", message))?;
    let dropout = rate(settings, "hidden_dropout_prob", Some(0.1))?;
    if hidden % heads != 0 || s.width(positions.value) != hidden {
        let message = format!("hidden_size {hidden} is the width of the input, {}, in {heads} equal heads", s.width(positions.value));
        return Err(settings.error("hidden_size", message).into());
    }
    let attention = MultiHead {
        heads,
        key_dim: hidden / heads,
        value_dim: hidden / heads,
        output: None,
        bias: Some(Initializer::Constant(0.0)),
        kernel: Initializer::GlorotUniform,
        causal: false,
        dropout: rate(settings, "attention_probs_dropout_prob", Some(0.0))?,
    };
    let x = positions.value;
    let attended = multi_head(&mut s.child("multi_head_attn"), &attention, positions, positions, positions, mask)?;
    let attended = s.dropout("attention_dropout", attended, dropout)?;
    let sum = s.plus(x, attended)?;
    let norm = s.unique("layer_normalization");
    let x = s.layer_norm(&norm, sum, EPSILON)?;
    let name = s.unique("dense");
    let wide = s.dense(&name, x, intermediate, Initializer::GlorotUniform, Bias::Zeros)?;
    let wide = s.activate(wide, activation)?;
    let name = s.unique("dense");
    let narrow = s.dense(&name, wide, hidden, Initializer::GlorotUniform, Bias::Zeros)?;
    let narrow = s.dropout("dropout", narrow, dropout)?;
    let sum = s.plus(x, narrow)?;
    let norm = s.unique("layer_normalization");
    Ok(s.layer_norm(&norm, sum, EPSILON)?)
}

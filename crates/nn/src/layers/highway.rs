//! Highway layers (Srivastava, Greff, Schmidhuber 2015, arXiv 1505.00387; EasyRec behaviour 121): `v ← g ⊙ act(v·W + b) + (1 - g) ⊙ v`
//! with `g = σ(v·W_g + b_g)`, of which `b_g` starts at `init_gate_bias`, so that layers pass their input on at first.

use rankmill_config::Settings;

use super::activation::Activation;
use super::dropout::rate;
use super::scope::{Bias, Scope};
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

/// `x [B, D]` → `[B, emb_size]`, or `[B, D]` where that is not set; a projection comes first if both differ.
///
/// # Errors
/// If a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let x = one(s, inputs)?;
    let width = match settings.count("emb_size", 0)? {
        0 => s.width(x),
        size => size,
    };
    let activation = Activation::from_name(&settings.text("activation", "relu")?);
    let activation = activation.map_err(|message| settings.error("activation", message))?;
    let dropout = rate(settings, "dropout_rate", Some(0.0))?;
    let gate_bias = Initializer::Constant(settings.number("init_gate_bias", -3.0)?);
    let mut v = match s.width(x) == width {
        true => x,
        false => s.dense("input_projection", x, width, Initializer::GlorotUniform, Bias::Zeros)?,
    };
    for i in 0..settings.count("num_layers", 1)? {
        let gate = s.child(&format!("gate_{i}")).dense_with(v, width, Initializer::GlorotUniform, Some(gate_bias.clone()))?;
        let gate = s.activate(gate, Activation::Sigmoid)?;
        let name = s.unique("dense");
        let transformed = s.dense(&name, v, width, Initializer::GlorotUniform, Bias::Zeros)?;
        let transformed = s.activate(transformed, activation)?;
        let transformed = s.dropout(&format!("dropout_{i}"), transformed, dropout)?;
        let step = s.minus(transformed, v)?;
        let step = s.multiply(gate, step)?;
        v = s.plus(v, step)?;
    }
    Ok(Tensors::One(v))
}

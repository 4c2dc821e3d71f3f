//! The cross networks of DCNv3 (Li et al. 2024, arXiv 2407.13349, equations 8 to 10), which EasyRec does not have: with
//! `h = x_l·W_l`, `[h, h ⊙ relu(LN(h))]` as wide as `x`,
//!
//! `x_{l+1} = x_l ⊙ ([h, h ⊙ relu(LN(h))] + b_l) + x_l`, whose order doubles with each layer (ECN), or with `linear`
//! `x₀` in place of the first `x_l`, whose order grows by one (LCN). The mask holds back about half of the crosses without more weights.

use rankmill_config::Settings;
use rankmill_graph::ops::unary::Unary;

use super::dense::initializer;
use super::dropout::rate;
use super::scope::Scope;
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

pub(super) const SETTINGS: &[&str] = &["num_layers", "linear", "dropout", "kernel_initializer"];

/// Epsilon of the layer norms, PyTorch's.
const EPSILON: f32 = 1e-5;

/// `x [B, D]`, D even → `[B, D]`.
///
/// # Errors
/// If D is odd, or a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let start = one(s, inputs)?;
    let width = s.width(start);
    if !width.is_multiple_of(2) {
        return Err(LayerError::message(format!("ExponentialCross needs an even number of columns, not {width}")));
    }
    let kernel = initializer(settings, "kernel_initializer", "glorot_uniform")?;
    let linear = settings.flag("linear", false)?;
    let dropout = rate(settings, "dropout", Some(0.0))?;
    let mut x = start;
    for i in 0..settings.count("num_layers", 3)? {
        let mut layer = s.child(&format!("cross_{i}"));
        let h = layer.dense_with(x, width / 2, kernel.clone(), None)?;
        let norm = layer.layer_norm("ln", h, EPSILON)?;
        let mask = layer.add(Unary::Relu, &[norm])?;
        let masked = layer.multiply(h, mask)?;
        let both = layer.concat(&[h, masked])?;
        let bias = layer.parameter("bias", &[width], Initializer::Constant(0.0))?;
        let factor = layer.plus(both, bias)?;
        let crossed = layer.multiply(if linear { start } else { x }, factor)?;
        x = layer.plus(crossed, x)?;
        x = layer.dropout("dropout", x, dropout)?;
    }
    Ok(Tensors::One(x))
}

//! The gated cross network of GDCN (Wang et al. 2023, arXiv 2311.04635, equation 3), which EasyRec does not have:
//! `c_{l+1} = c₀ ⊙ (c_l·W_l + b_l) ⊙ σ(c_l·G_l) + c_l`. The gate lets important crosses through and holds back noise of high orders.

use rankmill_config::Settings;

use super::dense::initializer;
use super::scope::{Activation, Bias, Scope};
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

pub(super) const SETTINGS: &[&str] = &["num_layers", "kernel_initializer"];

/// `x [B, D]` → `[B, D]`.
///
/// # Errors
/// If a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let start = one(s, inputs)?;
    let width = s.width(start);
    let kernel = initializer(settings, "kernel_initializer", "glorot_uniform")?;
    let mut c = start;
    for i in 0..settings.count("num_layers", 3)? {
        let mut cross = s.child(&format!("cross_{i}"));
        let crossed = cross.dense_with(c, width, kernel.clone(), Some(Initializer::Constant(0.0)))?;
        let crossed = cross.multiply(start, crossed)?;
        let gate = s.dense(&format!("gate_{i}"), c, width, kernel.clone(), Bias::None)?;
        let gate = s.activate(gate, Activation::Sigmoid)?;
        let gated = s.multiply(crossed, gate)?;
        c = s.plus(gated, c)?;
    }
    Ok(Tensors::One(c))
}

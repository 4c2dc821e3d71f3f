//! MaskNet (arXiv 2102.07619, section 3.5): mask blocks side by side (figure 4) or one after the other (figure 3), then an MLP;
//! EasyRec behaviour 31.

use rankmill_config::Settings;
use rankmill_graph::Value;

use super::mask_block::mask_block;
use super::mlp::{Mlp, mlp};
use super::scope::{LAYER_NORM_EPSILON, Scope};
use super::{LayerError, Tensors, one};

/// `x [B, D]` → `[B, last width]`: of the MLP if there is one, else of the blocks (their sum if side by side).
///
/// # Errors
/// If there is no mask block, or one is refused.
pub fn mask_net(s: &mut Scope<'_>, settings: &Settings, x: Value) -> Result<Value, LayerError> {
    let blocks = settings.groups("mask_blocks")?;
    if blocks.is_empty() {
        return Err(settings.error("mask_blocks", "MaskNet needs at least one `mask_blocks`").into());
    }
    let x = if settings.flag("input_layer_norm", true)? { s.layer_norm("input_ln", x, LAYER_NORM_EPSILON)? } else { x };
    let parallel = settings.flag("use_parallel", true)?;
    let mut outputs = Vec::with_capacity(blocks.len());
    let mut net = x;
    for (i, block) in blocks.iter().enumerate() {
        let input = if parallel { x } else { net };
        net = mask_block(&mut s.child(&format!("block_{i}")), block, input, x)?;
        outputs.push(net);
    }
    let merged = if parallel { s.concat(&outputs)? } else { net };
    match settings.group("mlp")? {
        Some(settings) => mlp(&mut s.child("mlp"), &Mlp::from_settings(&settings)?, merged),
        None => Ok(merged),
    }
}

/// The `MaskNet` component.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let x = one(s, inputs)?;
    mask_net(s, settings, x).map(Tensors::One)
}

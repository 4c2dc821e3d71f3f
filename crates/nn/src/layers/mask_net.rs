//! MaskNet (arXiv 2102.07619, section 3.5): mask blocks side by side (figure 4) or one after the other (figure 3), then an MLP;
//! EasyRec behaviour 31.

use rankmill_config::proto;
use rankmill_graph::Value;

use super::LayerError;
use super::mask_block::mask_block;
use super::mlp::{Mlp, mlp};
use super::scope::{LAYER_NORM_EPSILON, Scope};

/// `x [B, D]` → `[B, last width]`: of the MLP if there is one, else of the blocks (their sum if side by side).
///
/// # Errors
/// If there is no mask block, or one is refused.
pub fn mask_net(s: &mut Scope<'_>, config: &proto::MaskNet, x: Value) -> Result<Value, LayerError> {
    if config.mask_blocks.is_empty() {
        return Err(LayerError::message("MaskNet needs at least one `mask_blocks`"));
    }
    let x = if config.input_layer_norm() { s.layer_norm("input_ln", x, LAYER_NORM_EPSILON)? } else { x };
    let mut outputs = Vec::with_capacity(config.mask_blocks.len());
    let mut net = x;
    for (i, block) in config.mask_blocks.iter().enumerate() {
        let input = if config.use_parallel() { x } else { net };
        net = mask_block(&mut s.child(&format!("block_{i}")), block, input, x)
            .map_err(|error| error.inside(&format!("masknet.mask_blocks[{i}]")))?;
        outputs.push(net);
    }
    let merged = if config.use_parallel() { s.concat(&outputs)? } else { net };
    match &config.mlp {
        Some(settings) => {
            let settings = Mlp::from_config(settings).map_err(|error| error.inside("masknet.mlp"))?;
            mlp(&mut s.child("mlp"), &settings, merged)
        }
        None => Ok(merged),
    }
}

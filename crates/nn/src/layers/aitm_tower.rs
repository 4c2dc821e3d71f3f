//! The information transfer of AITM (Xi et al. 2021, arXiv 2105.08489, section 3.3; EasyRec behaviour 139): a tower attends to itself and
//! to the towers it depends on, `softmax(q₀·k_t / √D)`, with own projections for each.

use rankmill_config::Settings;
use rankmill_graph::ops::dots::Dots;
use rankmill_graph::ops::softmax::Softmax;

use super::mlp::{Mlp, mlp};
use super::scope::{Bias, Scope};
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// A list, the current tower first, then those it depends on → `[B, project_dim]`, or as wide as the current tower. A single tensor is
/// passed on. No gradient flows to the other towers unless `stop_gradient` is false.
///
/// # Errors
/// If a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    if matches!(inputs, Tensors::One(_)) {
        return Ok(inputs.clone());
    }
    let towers = inputs.values();
    let Some(current) = towers.first() else { return Err(LayerError::message("AITMTower needs inputs")) };
    let width = match settings.count("project_dim", 0)? {
        0 => s.width(*current),
        dim => dim,
    };
    let transfer = settings.group("transfer_mlp")?.map(|settings| Mlp::from_settings(&settings)).transpose()?;
    let stop = settings.flag("stop_gradient", true)?;
    let [mut queries, mut keys, mut values] = [const { Vec::new() }; 3];
    for (t, tower) in towers.iter().enumerate() {
        let mut x = *tower;
        if t > 0 {
            x = if stop { s.stop_gradient(x)? } else { x };
            if let Some(transfer) = &transfer {
                x = mlp(&mut s.child("transfer"), transfer, x)?;
            }
        }
        for (name, list) in [("query", &mut queries), ("key", &mut keys), ("value", &mut values)] {
            list.push(s.dense(&format!("{name}_{t}"), x, width, Initializer::GlorotUniform, Bias::Zeros)?);
        }
    }
    // The other towers' queries have variables in EasyRec, although nothing asks for them.
    let (queries, keys) = (s.stack(&queries)?, s.stack(&keys)?);
    let pairs = (0..towers.len() as u32).map(|t| (0, t)).collect();
    let scores = s.add(Dots { pairs, width }, &[queries, keys])?;
    let scores = s.scale(scores, 1.0 / (width as f32).sqrt())?;
    let shares = s.add(Softmax { width: towers.len() }, &[scores])?;
    Ok(Tensors::One(s.weighted_sum(shares, &values)?))
}

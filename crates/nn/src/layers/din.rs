//! Attention of a target to a sequence (DIN, Zhou et al. 2018, arXiv 1706.06978, section 4.3; EasyRec behaviour 132):
//! `s_j = MLP([q, k_j, q - k_j, q ⊙ k_j])`, `y = Σ_j softmax(s)_j·k_j`.
//!
//! Batch norm inside of the MLP is over all positions, those behind a row's end among them.

use rankmill_config::Settings;
use rankmill_graph::Value;
use rankmill_graph::ops::axis::{RepeatAlong, SoftmaxAlong, SumAlong, Where};
use rankmill_graph::ops::concat::Pad;

use super::mlp::{Mlp, mlp};
use super::positions::Sequence;
use super::scope::{Activation, Bias, Scope};
use super::{LayerError, Tensors};

/// The score of positions behind a row's end.
const HIDDEN: f32 = -4_294_967_295.0;

/// A sequence `[B, L, D]`, its lengths, and a target no wider than D → `[B, width of the target]`, with `need_target_feature` followed by
/// the target, `[B, D]`. A narrower target has zeros added.
///
/// # Errors
/// If there is no target, it is wider than the sequence, or a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let sequence = Sequence::of(s, inputs)?;
    let Some(target) = sequence.target else {
        return Err(LayerError::message("DIN needs a target: a plain feature in the group of the sequence"));
    };
    let (width, target_width) = (s.width(sequence.value), s.width(target));
    if target_width > width {
        return Err(LayerError::message(format!("the target has width {target_width}, the sequence {width}: it must not be wider")));
    }
    let query = if target_width == width { target } else { s.add(Pad { first: 0, width }, &[target])? };
    let scores = scores(s, &settings.required_group("attention_dnn")?, query, &sequence)?;
    let mask = s.position_mask(sequence.lengths, sequence.axis)?;
    let shares = match settings.text("attention_normalizer", "softmax")?.as_str() {
        "softmax" => {
            let scores = s.add(Where { otherwise: HIDDEN }, &[mask, scores])?;
            s.add(SoftmaxAlong { axis: sequence.axis }, &[scores])?
        }
        "sigmoid" => {
            let scores = s.scale(scores, 1.0 / (width as f32).sqrt())?;
            let shares = s.activate(scores, Activation::Sigmoid)?;
            s.add(Where { otherwise: 0.0 }, &[mask, shares])?
        }
        other => return Err(settings.error("attention_normalizer", format!("`{other}` is neither softmax nor sigmoid")).into()),
    };
    let keys = s.columns(sequence.value, 0, target_width)?;
    let weighted = s.multiply(keys, shares)?;
    let sum = s.add(SumAlong, &[weighted])?;
    match settings.flag("need_target_feature", true)? {
        true => Ok(Tensors::One(s.concat(&[sum, query])?)),
        false => Ok(Tensors::One(sum)),
    }
}

/// The scores of the positions, `[B, L, 1]`; the last layer of the MLP is dense alone, with a bias.
fn scores(s: &mut Scope<'_>, settings: &Settings, query: Value, sequence: &Sequence) -> Result<Value, LayerError> {
    let mut layers = Mlp::from_settings(settings)?;
    if layers.units() != 1 {
        return Err(settings.error("hidden_units", "the last layer of the attention has one unit, the score").into());
    }
    layers.final_batch_norm = false;
    layers.final_bias = Bias::Zeros;
    layers.final_activation = Activation::Linear;
    let key = sequence.value;
    let query = s.add(RepeatAlong { axis: sequence.axis }, &[query])?;
    let (difference, product) = (s.minus(query, key)?, s.multiply(query, key)?);
    let compared = s.concat(&[query, key, difference, product])?;
    mlp(&mut s.child("din_attention"), &layers, compared)
}

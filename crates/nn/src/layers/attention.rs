//! Keras' attention of one head without projections (Luong, Pham, Manning 2015; EasyRec behaviour 134): `softmax(scores)·value`, with
//! `scores = query·keyᵀ` (`dot`), times a learnt factor or divided by `√D`; or `w·Σ tanh(scale·(query + key))` (`concat`). Nothing masks
//! the positions behind a row's end.

use rankmill_config::Settings;
use rankmill_graph::ops::additive_attention::AdditiveAttention;
use rankmill_graph::ops::attention::{Attention, Masks};

use super::dropout::rate;
use super::scope::Scope;
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// What hiding adds to a score.
const PENALTY: f32 = -1e9;

/// `[query, value]` or `[query, value, key]`, sequences or fields → as many positions as the query has, as wide as the value.
///
/// # Errors
/// If a setting is wrong, or inputs are missing.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let (query, value, key) = match inputs.values()[..] {
        [query, value] => (query, value, value),
        [query, value, key] => (query, value, key),
        _ => return Err(LayerError::message("Attention takes a list, [query, value] or [query, value, key]")),
    };
    if settings.flag("return_attention_scores", false)? {
        return Err(settings.error("return_attention_scores", "attention scores can't be an output").into());
    }
    let (query, value, key) = (s.positions(query)?, s.positions(value)?, s.positions(key)?);
    let causal = settings.flag("use_causal_mask", false)?;
    let learnt = settings.flag("use_scale", false)?;
    let dropout = rate(settings, "dropout", Some(0.0))?;
    let (mut q, mut k) = (query.value, key.value);
    let factor = if learnt { Some(s.parameter("scale", &[1], Initializer::Constant(1.0))?) } else { None };
    let y = match settings.text("score_mode", "dot")?.as_str() {
        "dot" => {
            q = factor.map_or(Ok(q), |factor| s.multiply(q, factor))?;
            let width = s.width(q) as f32;
            let scale = if settings.flag("scale_by_dim", false)? && !learnt { 1.0 / width.sqrt() } else { 1.0 };
            let op = Attention {
                heads: 1,
                queries: query.axis,
                keys: value.axis,
                scale,
                masks: Masks { causal, ..Masks::default() },
                penalty: PENALTY,
                dropout: s.attention_dropout(dropout),
            };
            s.add(op, &[q, k, value.value])?
        }
        "concat" => {
            if dropout > 0.0 {
                return Err(settings.error("dropout", "`dropout` is not supported with score_mode concat").into());
            }
            let weight = s.parameter("concat_score_weight", &[1], Initializer::Constant(1.0))?;
            q = factor.map_or(Ok(q), |factor| s.multiply(q, factor))?;
            k = factor.map_or(Ok(k), |factor| s.multiply(k, factor))?;
            let op = AdditiveAttention { queries: query.axis, keys: value.axis, causal };
            s.add(op, &[q, k, value.value, weight])?
        }
        other => return Err(settings.error("score_mode", format!("`{other}` is neither dot nor concat")).into()),
    };
    Ok(Tensors::One(s.like_positions(y, query)?))
}

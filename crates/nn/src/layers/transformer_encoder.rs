//! The transformer's encoder over token ids (Vaswani et al. 2017, arXiv 1706.03762; EasyRec behaviour 136): `x = √d·E[id] + P[position]`, then
//! [transformer blocks](super::transformer_block).
//!
//! `P` has the sines of a position at d/2 frequencies and then the cosines, not alternating as in the paper.

use std::sync::Arc;

use rankmill_config::Settings;
use rankmill_graph::Shape;
use rankmill_graph::Value;
use rankmill_graph::ops::fill::Constant;
use rankmill_graph::ops::positions::PositionRows;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::ops::table_rows::TableRows;

use super::dropout::rate;
use super::positions::FIRST_POSITION;
use super::scope::Scope;
use super::transformer_block::transformer_block;
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// Ids are exact as floats up to here.
const MOST_TOKENS: usize = 1 << 24;

/// How the table of tokens starts: as Keras' `Embedding` does.
pub(super) const TABLE_START: Initializer = Initializer::Uniform { minimum: -0.05, maximum: 0.05 };

/// Token ids `[B, L]`, perhaps in a list with a mask of the positions → `[B, L, hidden_size]`, or with `output_all_token_embeddings: false` the
/// first position, `[B, hidden_size]`.
///
/// # Errors
/// If a setting is wrong, or the inputs are something else.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    match inputs.values()[..] {
        [ids] => encode(s, settings, ids, None),
        [ids, mask] => encode(s, settings, ids, Some(mask)),
        _ => Err(LayerError::message("TransformerEncoder takes token ids, or a list of them and their mask")),
    }
}

/// As [`component`].
pub(super) fn encode(s: &mut Scope<'_>, settings: &Settings, ids: Value, mask: Option<Value>) -> Result<Tensors, LayerError> {
    let hidden = settings.required_count("hidden_size")?;
    let tokens = settings.required_count("vocab_size")?;
    let most_positions = settings.count("max_position_embeddings", 512)?;
    let dropout = rate(settings, "hidden_dropout_prob", Some(0.1))?;
    if hidden % 2 == 1 {
        return Err(settings.error("hidden_size", "sines and cosines need an even `hidden_size`").into());
    }
    if tokens > MOST_TOKENS {
        return Err(settings.error("vocab_size", format!("at most {MOST_TOKENS} tokens are supported")).into());
    }
    let mut positions = s.tokens(ids)?;
    let mask = match mask {
        Some(mask) => Some(s.tokens(mask)?.value),
        None => None,
    };
    let mut table = s.child("pos_embedding");
    let table = table.child("embedding").parameter("embeddings", &[tokens, hidden], TABLE_START)?;
    let x = s.add(TableRows, &[table, positions.value])?;
    let x = s.scale(x, (hidden as f32).sqrt())?;
    let waves = s.add(Constant { values: waves(most_positions, hidden) }, &[])?;
    let waves = s.add(Reshape { shape: Shape::fixed(&[most_positions, hidden]) }, &[waves])?;
    let axis = positions.axis.ok_or_else(|| LayerError::message("tokens need positions"))?;
    let waves = s.add(PositionRows { axis }, &[waves])?;
    let x = s.plus(x, waves)?;
    positions.value = s.dropout("dropout", x, dropout)?;
    for i in 0..settings.count("num_hidden_layers", 1)? {
        positions.value = transformer_block(&mut s.child(&format!("layer_{i}")), settings, positions, mask)?;
    }
    if settings.flag("output_all_token_embeddings", true)? {
        return Ok(Tensors::One(s.like_positions(positions.value, positions)?));
    }
    Ok(Tensors::One(s.add(FIRST_POSITION, &[positions.value])?))
}

/// `sin(p / 10000^(2i/d))` for i < d/2 and then the cosines, for each position p.
fn waves(positions: usize, width: usize) -> Arc<[f32]> {
    let half = width / 2;
    let angle = |position: usize, i: usize| position as f64 * (1.0 / 10_000_f64.powf(i as f64 / half as f64));
    (0..positions)
        .flat_map(|position| {
            let sines = (0..half).map(move |i| angle(position, i).sin() as f32);
            sines.chain((0..half).map(move |i| angle(position, i).cos() as f32))
        })
        .collect()
}

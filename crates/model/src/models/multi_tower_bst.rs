//! `MultiTowerBST` (after Chen et al. 2019, arXiv 1905.06874; EasyRec behaviour 159): the towers of a `MultiTower`, and for each BST tower
//! one layer of a transformer over a sequence with the key behind it.
//!
//! The sequence is cut or filled up with zeros to `seq_len - 1` positions; there are no numbers of positions. Each head reads and projects
//! its own columns, `⌈D / multi_head_size⌉` of them. Scores are not divided, and no part has a penalty. Towers share all variables but
//! those of their layer norms, since EasyRec gives them the same names.

use rankmill_config::Diagnostic;
use rankmill_graph::ops::attention::{Attention, Masks};
use rankmill_graph::ops::axis::{ConcatAlong, FromAxis, PositionMask, ToAxis};
use rankmill_graph::ops::broadcast::{RepeatRow, Scaling};
use rankmill_graph::ops::fill::Fill;
use rankmill_graph::ops::layer_norm::LayerNorm;
use rankmill_graph::{Axis, GraphError, Length, Shape, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::scope::{Bias, Scope};

use super::multi_tower::{output, sequence_group, towers};
use super::section;
use crate::model::Construction;
use crate::sequences::MASKED;
use crate::target_attention::SequenceGroup;

/// Epsilon of the layer norms.
const EPSILON: f32 = 1e-6;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, MultiTower, "multi_tower");
    let mut features = towers(c, config)?;
    for (i, tower) in config.bst_towers.iter().enumerate() {
        let path = format!("model_config.multi_tower.bst_towers[{i}]");
        let group = sequence_group(c, tower.input(), &format!("{path}.input"))?;
        let (length, heads) = (tower.seq_len() as usize, tower.multi_head_size() as usize);
        if length < 2 {
            return Err(c.error(&format!("{path}.seq_len"), "`seq_len` counts the key, too, so it needs to be 2 at least"));
        }
        if heads == 0 {
            return Err(c.error(&format!("{path}.multi_head_size"), "at least one head is needed"));
        }
        // The squares of the keys count a second time, all keys together.
        c.groups.add_square(&mut c.builder, group.key, &path)?;
        let encoded = encode(&mut c.builder.scope(""), &group, length, heads);
        features.push(encoded.map_err(|error| c.error(&path, error))?);
    }
    output(c, config, &features)
}

/// All positions side by side, `[B, length·D]`.
fn encode(s: &mut Scope<'_>, group: &SequenceGroup, length: usize, heads: usize) -> Result<Value, GraphError> {
    let width = s.width(group.key);
    let history = s.axis(Length::Fixed(length - 1));
    let axis = s.axis(Length::Joined(vec![Some(history), None]));
    let flat = s.add(FromAxis { dims: vec![(length - 1) * width] }, &[group.sequence])?;
    let sequence = s.add(ToAxis { axis: history, width }, &[flat])?;
    let x = s.add(ConcatAlong { axis }, &[sequence, group.key])?;
    let shown = s.add(PositionMask { axis: history }, &[group.lengths])?;
    let one = s.add(Fill { shape: Shape::fixed(&[1]), value: 1.0 }, &[])?;
    let one = s.add(RepeatRow { scaling: Scaling::One, axis: None }, &[one])?;
    let mask = s.add(ConcatAlong { axis }, &[shown, one])?;
    let attended = attention(s, x, mask, axis, heads)?;
    let sum = s.plus(x, attended)?;
    let x = layer_norm(s, sum)?;
    let fed = dense(s, "feed_forward_net", x, width)?;
    let sum = s.plus(x, fed)?;
    let x = layer_norm(s, sum)?;
    s.add(FromAxis { dims: vec![length * width] }, &[x])
}

/// Each head on its own columns, then a dense layer on all.
fn attention(s: &mut Scope<'_>, x: Value, mask: Value, axis: Axis, heads: usize) -> Result<Value, GraphError> {
    let width = s.width(x);
    let share = width.div_ceil(heads);
    let mut outputs = Vec::with_capacity(heads);
    for first in (0..width).step_by(share) {
        let own = share.min(width - first);
        let columns = s.columns(x, first, own)?;
        let mut inputs = Vec::with_capacity(4);
        for part in ["query", "key", "value"] {
            inputs.push(dense(s, &format!("multi_head_{first}_{part}"), columns, own)?);
        }
        inputs.push(mask);
        let masks = Masks { keys: true, ..Masks::default() };
        let op = Attention { heads: 1, queries: Some(axis), keys: Some(axis), scale: 1.0, masks, penalty: MASKED, dropout: None };
        outputs.push(s.add(op, &inputs)?);
    }
    let all = s.concat(&outputs)?;
    dense(s, "multi_head_attention", all, width)
}

fn dense(s: &mut Scope<'_>, name: &str, x: Value, units: usize) -> Result<Value, GraphError> {
    s.dense(&format!("{name}/{name}_0"), x, units, Initializer::GlorotUniform, Bias::Zeros)
}

fn layer_norm(s: &mut Scope<'_>, x: Value) -> Result<Value, GraphError> {
    let name = s.unique("layer_normalization");
    let width = s.width(x);
    let mut s = s.child(&name);
    let scale = s.parameter("layer_norm_scale", &[width], Initializer::Constant(1.0))?;
    let bias = s.parameter("layer_norm_bias", &[width], Initializer::Constant(0.0))?;
    s.add(LayerNorm { epsilon: EPSILON, relu: false }, &[x, scale, bias])
}

//! `AutoInt` (Song et al. 2019; EasyRec behaviour 157): layers `x ← relu(attention(x) + x·W)` over the features, each a position.
//!
//! Scores are multiplied by the root of the head's size, where others divide (as does `rankmill_fix: "scores_are_multiplied"`); no layer
//! has a bias. What a sequence group adds to the
//! features is cut into positions of the features' width, its keys included.

use rankmill_config::Diagnostic;
use rankmill_graph::ops::attention::{Attention, Masks};
use rankmill_graph::ops::axis::{FromAxis, ToAxis};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Length, Value};

use super::section;
use crate::model::Construction;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, Autoint, "autoint");
    let (heads, size) = (config.multi_head_num() as usize, config.multi_head_size() as usize);
    if heads == 0 || size == 0 {
        return Err(c.error("model_config.autoint", "`multi_head_num` and `multi_head_size` need to be above 0"));
    }
    let group = c.group("all")?;
    let sequences =
        c.pipeline.feature_groups().iter().find(|known| known.name == "all").map_or(0, |all| all.config.sequence_features.len());
    let (features, attended) = group.features.split_at(group.features.len() - sequences);
    let stacked = c.stack(features)?;
    let width = c.builder.graph.shape(stacked).width();
    if let Some(other) = attended.iter().map(|value| c.builder.graph.shape(*value).elements()).find(|other| other % width != 0) {
        let message = format!("a sequence group gives {other} columns, which is no multiple of the features' width {width}");
        return Err(c.error("model_config.feature_groups", message));
    }
    let fields = c.builder.graph.shape(group.tensor).elements() / width;
    let layers = config.interacting_layer_num() as usize;
    let attended = attend(c, group.tensor, [fields, width], layers, [heads, size], config.l2_regularization());
    let attended = attended.map_err(|error| c.graph_error(error))?;
    Ok(vec![c.plain_dense("output", attended, c.tasks[0].classes)?])
}

fn attend(
    c: &mut Construction<'_>,
    x: Value,
    [fields, width]: [usize; 2],
    layers: usize,
    [heads, size]: [usize; 2],
    penalty: f32,
) -> Result<Value, GraphError> {
    let divides = c.pipeline.is_fixed("scores_are_multiplied");
    let mut s = c.builder.scope("");
    let axis = s.axis(Length::Fixed(fields));
    let units = heads * size;
    let mut x = s.add(ToAxis { axis, width }, &[x])?;
    for i in 0..layers {
        let mut s = c.builder.scope(&format!("multi_head_self_attention_layer_{i}"));
        let q = s.penalised_projection("query/dnn", x, units, penalty)?;
        let k = s.penalised_projection("key/dnn", x, units, penalty)?;
        let v = s.penalised_projection("value/dnn", x, units, penalty)?;
        let root = (size as f32).sqrt();
        let scale = if divides { 1.0 / root } else { root };
        let attention =
            Attention { heads, queries: Some(axis), keys: Some(axis), scale, masks: Masks::default(), penalty: 0.0, dropout: None };
        let attended = s.add(attention, &[q, k, v])?;
        let kept = s.penalised_projection("dnn", x, units, penalty)?;
        let sum = s.add(Binary::Add, &[attended, kept])?;
        x = s.add(Unary::Relu, &[sum])?;
    }
    let dims = vec![fields * if layers == 0 { width } else { units }];
    c.builder.scope("").add(FromAxis { dims }, &[x])
}

//! `DCN` (Wang et al. 2017; EasyRec behaviour 156): cross layers `x ← x₀·(x·w) + b + x` beside a DNN, then `final_dnn`.
//!
//! Both towers read the group `all`, whatever their `input`. `w` and `b` start with `glorot_uniform`.

use rankmill_config::Diagnostic;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::reduce::SumColumns;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::init::Initializer;

use super::section;
use crate::model::Construction;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, Dcn, "dcn");
    let penalty = config.l2_regularization();
    let features = c.group("all")?.tensor;
    let tower = config.deep_tower.as_ref().and_then(|tower| tower.dnn.as_ref());
    let deep = c.optional_dnn("dnn", tower, penalty, features, "model_config.dcn.deep_tower.dnn")?;
    let layers = config.cross_tower.as_ref().map_or(3, |tower| tower.cross_num());
    let crossed = cross(c, features, layers).map_err(|error| c.graph_error(error))?;
    let all = c.concat(&[deep, crossed])?;
    let all = c.optional_dnn("final_dnn", config.final_dnn.as_ref(), penalty, all, "model_config.dcn.final_dnn")?;
    Ok(vec![c.plain_dense("output", all, c.tasks[0].classes)?])
}

fn cross(c: &mut Construction<'_>, x0: Value, layers: u32) -> Result<Value, GraphError> {
    let mut s = c.builder.scope("");
    let width = s.width(x0);
    let mut x = x0;
    for i in 0..layers {
        let w = s.parameter(&format!("cross_layer_{i}_w"), &[width], Initializer::GlorotUniform)?;
        let b = s.parameter(&format!("cross_layer_{i}_b"), &[width], Initializer::GlorotUniform)?;
        let product = s.add(Binary::Multiply, &[x, w])?;
        let weight = s.add(SumColumns, &[product])?;
        let scaled = s.add(Binary::Multiply, &[x0, weight])?;
        let shifted = s.add(Binary::Add, &[scaled, b])?;
        x = s.add(Binary::Add, &[shifted, x])?;
    }
    Ok(x)
}

//! `DeepFM` (Guo et al. 2017; EasyRec behaviours 33, 155): a wide sum, the second-order term of a factorization machine and a DNN.
//!
//! With a `final_dnn` the three are put side by side, the second-order term as a vector; without one each is brought to `num_class`
//! columns and they are added.

use rankmill_config::Diagnostic;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::pairwise::PairwiseProducts;
use rankmill_graph::ops::reduce::SumColumns;
use rankmill_graph::ops::sum::Sum;
use rankmill_graph::{GraphError, Value};

use super::section;
use crate::model::Construction;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, Deepfm, "deepfm");
    let (penalty, classes) = (config.l2_regularization(), c.tasks[0].classes);
    let wide = c.wide_group(config.wide_output_dim())?;
    let deep = c.group("deep")?;
    let has_group = c.pipeline.feature_groups().iter().any(|group| group.name == "fm");
    let fields = if has_group { c.group("fm")?.features } else { deep.features };
    let fields = c.stack(&fields)?;
    let pairs = c.builder.scope("fm_feature").add(PairwiseProducts, &[fields]).map_err(|error| c.graph_error(error))?;
    let features = c.optional_dnn("deep_feature", config.dnn.as_ref(), penalty, deep.tensor, "model_config.deepfm.dnn")?;
    if let Some(last) = config.final_dnn.as_ref().filter(|last| !last.hidden_units.is_empty()) {
        let wide = c.builder.scope("wide_feature").add(SumColumns, &[wide.tensor]).map_err(|error| c.graph_error(error))?;
        let all = c.concat(&[wide, pairs, features])?;
        let all = c.dnn("final_dnn", last, penalty, all, "model_config.deepfm.final_dnn")?;
        return Ok(vec![c.dense("output", all, classes, penalty)?]);
    }
    let features = c.dense("deep_logits", features, classes, penalty)?;
    let by_class = classes > 1 && config.wide_output_dim() as usize == classes;
    let added = add(c, by_class, &wide.features, wide.tensor, pairs, features);
    Ok(vec![added.map_err(|error| c.graph_error(error))?])
}

fn add(c: &mut Construction<'_>, by_class: bool, wide: &[Value], all: Value, pairs: Value, deep: Value) -> Result<Value, GraphError> {
    let mut s = c.builder.scope("output");
    let wide = if by_class { s.add(Sum, wide)? } else { s.add(SumColumns, &[all])? };
    let pairs = s.add(SumColumns, &[pairs])?;
    let total = s.add(Binary::Add, &[wide, pairs])?;
    s.add(Binary::Add, &[total, deep])
}

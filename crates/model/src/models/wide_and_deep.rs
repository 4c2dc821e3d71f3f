//! `WideAndDeep` (Cheng et al. 2016; EasyRec behaviour 155): the wide features added up beside a DNN on the deep ones.
//!
//! With a `final_dnn` both are put side by side; without one the tables of the wide group have `num_class` columns, and both are added.

use rankmill_config::Diagnostic;
use rankmill_graph::Value;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::sum::Sum;

use super::section;
use crate::model::Construction;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, WideAndDeep, "wide_and_deep");
    let (penalty, classes) = (config.l2_regularization(), c.tasks[0].classes);
    let width = if config.final_dnn.is_some() { config.wide_output_dim() } else { classes as u32 };
    let wide = c.wide_group(width)?;
    let deep = c.group("deep")?;
    let wide = c.builder.scope("wide_feature").add(Sum, &wide.features).map_err(|error| c.graph_error(error))?;
    let deep = c.optional_dnn("deep_feature", config.dnn.as_ref(), penalty, deep.tensor, "model_config.wide_and_deep.dnn")?;
    if let Some(last) = &config.final_dnn {
        let all = c.concat(&[wide, deep])?;
        let all = c.dnn("final_dnn", last, penalty, all, "model_config.wide_and_deep.final_dnn")?;
        return Ok(vec![c.dense("output", all, classes, penalty)?]);
    }
    let deep = c.dense("deep_out", deep, classes, penalty)?;
    let total = c.builder.scope("output").add(Binary::Add, &[deep, wide]);
    Ok(vec![total.map_err(|error| c.graph_error(error))?])
}

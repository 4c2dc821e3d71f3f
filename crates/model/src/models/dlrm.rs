//! `DLRM` (Naumov et al. 2019; EasyRec behaviour 158): inner products of all pairs of the sparse features and the dense ones, which
//! `bot_dnn` brings to the width of an embedding; then `top_dnn`.

use rankmill_config::Diagnostic;
use rankmill_graph::Value;
use rankmill_graph::ops::dots::Dots;

use super::section;
use crate::model::Construction;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, Dlrm, "dlrm");
    let penalty = config.l2_regularization();
    let sparse = c.group("sparse")?;
    let numbers = c.group("dense")?.tensor;
    let dense = c.optional_dnn("bot_dnn", config.bot_dnn.as_ref(), penalty, numbers, "model_config.dlrm.bot_dnn")?;
    let fields = [&[dense], sparse.features.as_slice()].concat();
    let all = match config.arch_interaction_op() {
        "cat" => c.concat(&fields)?,
        "dot" => {
            let with_itself = config.arch_interaction_itself();
            let mut parts = vec![interactions(c, &fields, with_itself)?];
            parts.extend(&sparse.features);
            parts.extend(config.arch_with_dense_feature().then_some(dense));
            c.concat(&parts)?
        }
        other => {
            let message = format!("`arch_interaction_op` is `{other}`; expected dot or cat");
            return Err(c.error("model_config.dlrm.arch_interaction_op", message));
        }
    };
    let all = c.optional_dnn("top_dnn", config.top_dnn.as_ref(), penalty, all, "model_config.dlrm.top_dnn")?;
    Ok(vec![c.dense("output", all, 1, penalty)?])
}

/// The products of each field with the later ones, and with itself if wanted; field 0 is the dense one.
fn interactions(c: &mut Construction<'_>, fields: &[Value], with_itself: bool) -> Result<Value, Diagnostic> {
    let stacked = c.stack(fields)?;
    let width = c.builder.graph.shape(fields[0]).elements();
    let count = fields.len() as u32;
    let first = u32::from(!with_itself);
    let pairs = (0..count).flat_map(|i| (i + first..count).map(move |j| (i, j))).collect();
    let products = c.builder.scope("interaction").add(Dots { pairs, width }, &[stacked, stacked]);
    products.map_err(|error| c.graph_error(error))
}

//! Mixtures of experts for several tasks (Ma et al. 2018; EasyRec behaviours 151, 152).

use rankmill_config::{Diagnostic, proto};
use rankmill_graph::ops::axis::{SumAlong, ToAxis};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::softmax::Softmax;
use rankmill_graph::{GraphError, Length, Value};
use rankmill_nn::layers::dnn::{Dnn, Norms, dnn};

use crate::model::Construction;

/// The experts' outputs, weighted by the softmax of a dense layer `<name>/dnn` on `selector`.
pub(super) fn gate(c: &mut Construction<'_>, name: &str, selector: Value, experts: &[Value], penalty: f32) -> Result<Value, Diagnostic> {
    let logits = c.dense(&format!("{name}/dnn"), selector, experts.len(), penalty)?;
    mixture(c, name, logits, experts).map_err(|error| c.graph_error(error))
}

fn mixture(c: &mut Construction<'_>, name: &str, logits: Value, experts: &[Value]) -> Result<Value, GraphError> {
    let mut s = c.builder.scope(name);
    let weights = s.add(Softmax { width: experts.len() }, &[logits])?;
    let width = s.width(experts[0]);
    let axis = s.axis(Length::Fixed(experts.len()));
    let joined = s.concat(experts)?;
    let stacked = s.add(ToAxis { axis, width }, &[joined])?;
    let weights = s.add(ToAxis { axis, width: 1 }, &[weights])?;
    let weighted = s.add(Binary::Multiply, &[stacked, weights])?;
    s.add(SumAlong, &[weighted])
}

/// The layer of the models MMoE and DBMTL: experts `mmoe/expert_<i>` and for each task a gate `mmoe/gate_<t>`.
///
/// EasyRec builds it for inference whatever the mode: batch norms use their moving statistics, which stay as they start, and nothing is
/// dropped. With `rankmill_fix: "experts_without_batch_statistics"` they are like other layers.
pub(super) fn mixture_for_tasks(
    c: &mut Construction<'_>,
    configs: &[&proto::Dnn],
    tasks: usize,
    x: Value,
    penalty: f32,
    path: &str,
) -> Result<Vec<Value>, Diagnostic> {
    let as_others = c.pipeline.is_fixed("experts_without_batch_statistics");
    let mut experts = Vec::with_capacity(configs.len());
    for (i, config) in configs.iter().enumerate() {
        let built = Dnn::from_config(config, penalty).and_then(|settings| {
            let settings = if as_others { settings } else { Dnn { norms: Norms::Moving, dropout: Vec::new(), ..settings } };
            dnn(&mut c.builder.scope(&format!("mmoe/expert_{i}")), &settings, x)
        });
        experts.push(built.map_err(|error| c.layer_error(path, error))?);
    }
    if experts.is_empty() {
        return Err(c.error(path, "a mixture of experts needs at least one expert"));
    }
    (0..tasks).map(|t| gate(c, &format!("mmoe/gate_{t}"), x, &experts, penalty)).collect()
}

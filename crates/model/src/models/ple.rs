//! `PLE`, progressive layered extraction (Tang et al. 2020; EasyRec behaviour 152): networks of experts, some of each task, some
//! shared; a gate for each task chooses among its own and the shared ones, and the gate of the shared input among all.

use rankmill_config::Diagnostic;
use rankmill_config::proto::{Dnn, ExtractionNetwork};
use rankmill_graph::Value;

use super::experts::gate;
use super::section;
use super::towers::plain_towers;
use crate::model::Construction;
use crate::tasks;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, Ple, "ple");
    let penalty = config.l2_regularization();
    let features = c.group("all")?.tensor;
    let mut inputs = vec![features; c.tasks.len()];
    let mut shared = Some(features);
    let networks = config.extraction_networks.len();
    for (i, network) in config.extraction_networks.iter().enumerate() {
        let last = i + 1 == networks;
        let path = format!("model_config.ple.extraction_networks[{i}]");
        (inputs, shared) = extract(c, network, &inputs, shared.unwrap_or(features), last, penalty, &path)?;
    }
    plain_towers(c, &tasks::towers(c.config), &inputs, penalty)
}

/// One network: the inputs of the tasks for the next one, and its shared input unless it is the last.
fn extract(
    c: &mut Construction<'_>,
    network: &ExtractionNetwork,
    inputs: &[Value],
    shared: Value,
    last: bool,
    penalty: f32,
    path: &str,
) -> Result<(Vec<Value>, Option<Value>), Diagnostic> {
    let name = network.network_name();
    let share = network.share_expert_net.as_ref();
    let shared_experts =
        experts(c, &format!("{name}_share/dnn"), network.share_num(), share, shared, penalty, &format!("{path}.share_expert_net"))?;
    let (mut all, mut outputs) = (Vec::new(), Vec::with_capacity(inputs.len()));
    for (t, input) in inputs.iter().enumerate() {
        let task = format!("{name}_task_{t}");
        let (count, net) = (network.expert_num_per_task(), network.task_expert_net.as_ref());
        let own = experts(c, &task, count, net, *input, penalty, &format!("{path}.task_expert_net"))?;
        let choice = [own.as_slice(), &shared_experts].concat();
        if choice.is_empty() {
            return Err(c.error(path, "an extraction network needs experts"));
        }
        outputs.push(gate(c, &format!("{task}_gate"), *input, &choice, penalty)?);
        all.extend(own);
    }
    if last {
        return Ok((outputs, None));
    }
    all.extend(shared_experts);
    Ok((outputs, Some(gate(c, &format!("{name}_share_gate"), shared, &all, penalty)?)))
}

fn experts(
    c: &mut Construction<'_>,
    name: &str,
    count: u32,
    config: Option<&Dnn>,
    x: Value,
    penalty: f32,
    path: &str,
) -> Result<Vec<Value>, Diagnostic> {
    (0..count).map(|i| c.optional_dnn(&format!("{name}_expert_{i}/dnn"), config, penalty, x, path)).collect()
}

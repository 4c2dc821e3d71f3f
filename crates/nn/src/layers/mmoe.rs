//! Multi-gate mixture of experts (Ma et al. 2018; EasyRec behaviour 138): for each task `Σ_e softmax(x·G_t + b_t)_e · expert_e(x)`.

use rankmill_config::Settings;
use rankmill_graph::Value;

use super::mlp::{Mlp, mlp};
use super::scope::{Activation, Bias, Scope};
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

/// `x [B, D]` → a list of a tensor for each task. With `expert_mlp` all experts are such MLPs of `x`; without, the first `num_expert`
/// inputs are the experts and the next one is what the gates read. Without experts the input is passed on.
///
/// # Errors
/// If a setting is missing or wrong, or inputs are.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let tasks = settings.required_count("num_task")?;
    let count = settings.count("num_expert", 0)?;
    if count == 0 {
        return Ok(inputs.clone());
    }
    let (experts, gate_input) = match settings.group("expert_mlp")? {
        Some(settings) => {
            let x = one(s, inputs)?;
            let expert = Mlp::from_settings(&settings)?;
            let experts = (0..count).map(|e| mlp(&mut s.child(&format!("expert_{e}")), &expert, x)).collect::<Result<Vec<_>, _>>()?;
            (experts, x)
        }
        None => given_experts(s, settings, inputs, count)?,
    };
    let mut outputs = Vec::with_capacity(tasks);
    for task in 0..tasks {
        let gate = s.dense(&format!("gate_{task}"), gate_input, count, Initializer::GlorotUniform, Bias::Zeros)?;
        let gate = s.activate(gate, Activation::Softmax)?;
        outputs.push(s.weighted_sum(gate, &experts)?);
    }
    Ok(Tensors::list(outputs))
}

/// Experts among the inputs. EasyRec counts the gates' input as another expert; that works for a single expert only, to which it is then
/// added, as here.
fn given_experts(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors, count: usize) -> Result<(Vec<Value>, Value), LayerError> {
    let mut experts = inputs.values();
    if experts.len() != count + 1 {
        let message = format!("without expert_mlp {count} experts and the gates' input are needed as inputs, not {}", experts.len());
        return Err(settings.error("num_expert", message).into());
    }
    let Some(gate_input) = experts.pop() else { return Err(LayerError::message("MMoE needs inputs")) };
    if count == 1 {
        experts = vec![s.plus(experts[0], gate_input)?];
    }
    Ok((experts, gate_input))
}

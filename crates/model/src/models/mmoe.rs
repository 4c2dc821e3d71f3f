//! `MMoE` (Ma et al. 2018; EasyRec behaviours 151, 152): experts shared by all tasks, a gate and a tower for each.

use rankmill_config::{Diagnostic, proto};
use rankmill_graph::Value;

use super::experts::mixture_for_tasks;
use super::section;
use super::towers::plain_towers;
use crate::model::Construction;
use crate::tasks;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, Mmoe, "mmoe");
    let penalty = config.l2_regularization();
    let features = c.group("all")?.tensor;
    // The experts of the deprecated list may differ.
    let (experts, path): (Vec<&proto::Dnn>, &str) = match &config.expert_dnn {
        Some(dnn) => (vec![dnn; config.num_expert() as usize], "model_config.mmoe.expert_dnn"),
        None => (config.experts.iter().filter_map(|expert| expert.dnn.as_ref()).collect(), "model_config.mmoe.experts"),
    };
    let inputs = mixture_for_tasks(c, &experts, c.tasks.len(), features, penalty, path)?;
    plain_towers(c, &tasks::towers(c.config), &inputs, penalty)
}

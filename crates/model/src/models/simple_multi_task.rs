//! `SimpleMultiTask`: a tower for each task on the same features.

use rankmill_config::Diagnostic;
use rankmill_graph::Value;

use super::section;
use super::towers::plain_towers;
use crate::model::Construction;
use crate::tasks;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let penalty = section!(c, SimpleMultiTask, "simple_multi_task").l2_regularization();
    let features = c.group("all")?.tensor;
    let inputs = vec![features; c.tasks.len()];
    plain_towers(c, &tasks::towers(c.config), &inputs, penalty)
}

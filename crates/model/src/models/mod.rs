//! Model classes: each builds the raw outputs of its tasks, `[B, num_class]`, on feature groups. One file each.

mod multi_task_model;
mod rank_model;
mod towers;

use rankmill_config::{Diagnostic, Pipeline, proto};
use rankmill_graph::Value;

use crate::model::Construction;

/// Builds the raw output of every task.
pub(crate) type ModelClass = fn(&mut Construction<'_>) -> Result<Vec<Value>, Diagnostic>;

/// The model classes there are, by EasyRec's names.
const CLASSES: &[(&str, ModelClass)] = &[("MultiTaskModel", multi_task_model::build), ("RankModel", rank_model::build)];

/// The class that a config names.
pub(crate) fn class(pipeline: &Pipeline, config: &proto::EasyRecModel) -> Result<ModelClass, Diagnostic> {
    let name = config.model_class();
    CLASSES.iter().find(|(known, _)| *known == name).map(|(_, class)| *class).ok_or_else(|| {
        let known: Vec<&str> = CLASSES.iter().map(|(known, _)| *known).collect();
        pipeline.error("model_config.model_class", format!("model class `{name}` is not supported yet; known: {}", known.join(", ")))
    })
}

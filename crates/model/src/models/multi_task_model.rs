//! `MultiTaskModel`: task towers on a backbone (EasyRec behaviours 109 and 153).
//!
//! Each tower's `dnn` reads the backbone's output, or its own element of the list that `output_blocks` gives. `relation_dnn` reads
//! the tower's features beside those of the `relation_tower_names`; then the dense layer `<tower>/output` gives the raw output.

use rankmill_config::{Diagnostic, proto};
use rankmill_graph::Value;
use rankmill_nn::layers::Tensors;

use crate::backbone::Backbone;
use crate::model::Construction;
use crate::models::towers::{Related, related_towers};
use crate::tasks;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let Some(tower) = &c.config.backbone else {
        return Err(c.error("model_config", "a MultiTaskModel needs a `backbone`"));
    };
    if c.tasks.iter().all(|task| task.suffix.is_empty()) {
        return Err(c.error("model_config.model_params", "a MultiTaskModel needs `task_towers`"));
    }
    let mut backbone = Backbone::new(c.pipeline, tower)?;
    let output = backbone.build(&mut c.builder, &mut c.groups)?;
    c.blocks = std::mem::take(&mut backbone.blocks);
    let inputs = match &output {
        Tensors::One(shared) => vec![*shared; c.tasks.len()],
        several => several.values(),
    };
    if inputs.len() != c.tasks.len() {
        let message = format!("there are {} outputs for {} task towers", inputs.len(), c.tasks.len());
        return Err(c.error("model_config.backbone.output_blocks", message));
    }
    let penalty = match &c.config.model {
        Some(proto::easy_rec_model::Model::ModelParams(params)) => params.l2_regularization(),
        _ => 0.0,
    };
    related_towers(c, &tasks::towers(c.config), &inputs, penalty, "", Related::WithRelationDnn)
}

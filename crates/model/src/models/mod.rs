//! Model classes: each builds the raw outputs of its tasks, `[B, num_class]`, on feature groups. One file each.

mod auto_int;
mod cmbf;
mod dbmtl;
mod dcn;
mod deep_fm;
mod dlrm;
mod esmm;
mod experts;
mod fm;
mod mmoe;
mod modalities;
mod multi_task_model;
mod multi_tower;
mod multi_tower_bst;
mod multi_tower_din;
mod ple;
mod rank_model;
mod rocket_launching;
mod simple_multi_task;
mod towers;
mod uniter;
mod wide_and_deep;

use rankmill_config::{Diagnostic, Pipeline, proto};
use rankmill_graph::Value;

use crate::model::Construction;

/// Builds the raw output of every task.
pub(crate) type ModelClass = fn(&mut Construction<'_>) -> Result<Vec<Value>, Diagnostic>;

/// The model classes there are, by EasyRec's names.
const CLASSES: &[(&str, ModelClass)] = &[
    ("AutoInt", auto_int::build),
    ("CMBF", cmbf::build),
    ("DBMTL", dbmtl::build),
    ("DCN", dcn::build),
    ("DLRM", dlrm::build),
    ("DeepFM", deep_fm::build),
    ("ESMM", esmm::build),
    ("FM", fm::build),
    ("MMoE", mmoe::build),
    ("MultiTaskModel", multi_task_model::build),
    ("MultiTower", multi_tower::build),
    ("MultiTowerBST", multi_tower_bst::build),
    ("MultiTowerDIN", multi_tower_din::build),
    ("PLE", ple::build),
    ("RankModel", rank_model::build),
    ("RocketLaunching", rocket_launching::build),
    ("SimpleMultiTask", simple_multi_task::build),
    ("Uniter", uniter::build),
    ("WideAndDeep", wide_and_deep::build),
];

/// The names of all model classes, in alphabetical order.
pub fn class_names() -> impl Iterator<Item = &'static str> {
    CLASSES.iter().map(|(name, _)| *name)
}

/// The class that a config names.
pub(crate) fn class(pipeline: &Pipeline, config: &proto::EasyRecModel) -> Result<ModelClass, Diagnostic> {
    let name = config.model_class();
    CLASSES.iter().find(|(known, _)| *known == name).map(|(_, class)| *class).ok_or_else(|| {
        let known: Vec<&str> = CLASSES.iter().map(|(known, _)| *known).collect();
        pipeline.error("model_config.model_class", format!("model class `{name}` is not supported yet; known: {}", known.join(", ")))
    })
}

/// The section of `model_config` that a class reads, or the error that it is missing.
macro_rules! section {
    ($c:expr, $variant:ident, $name:literal) => {
        match &$c.config.model {
            Some(rankmill_config::proto::easy_rec_model::Model::$variant(section)) => section,
            _ => return Err($c.error("model_config", concat!("this model class needs the section `", $name, "`"))),
        }
    };
}

use section;

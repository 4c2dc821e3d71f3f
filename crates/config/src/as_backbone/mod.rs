//! A config whose model is a message of its own, as an equal one on a backbone: the way out of the older style.
//!
//! Equal means: the same predictions and losses from the same weights, which [`AsBackbone::variable`] leads from one model to the other.
//! A class whose arithmetic no component has can't be written so, and the error says which.

mod draft;
mod multi_task;
mod rank;

use prost_reflect::{DynamicMessage, ReflectMessage};

use crate::diagnostic::Diagnostic;
use crate::pipeline::Pipeline;
use crate::proto::easy_rec_model::Model;
use crate::proto::{self, EasyRecModel};
use crate::writer;
use draft::Draft;

/// The config on a backbone.
#[derive(Clone, Debug)]
pub struct AsBackbone {
    /// The config, as protobuf text.
    pub text: String,
    /// What the backbone does not do as the model did, in words; none if they are equal.
    pub differences: Vec<String>,
    renamed: Vec<Renamed>,
}

/// Variables that have another name on the backbone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Renamed {
    /// What the name starts with in the model.
    from: String,
    /// What it starts with on the backbone.
    to: String,
    /// The order of the first rows: row `i` on the backbone is row `rows[i]` of the model. Empty if all stay where they are.
    rows: Vec<usize>,
}

/// A variable of the model on the backbone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name there.
    pub name: String,
    /// Row `i` there is row `rows[i]` of the model; rows beyond, or all if this is empty, stay where they are.
    pub rows: Vec<usize>,
}

impl AsBackbone {
    /// Where a variable of the model is found on the backbone.
    #[must_use]
    pub fn variable(&self, name: &str) -> Variable {
        let best = self.renamed.iter().filter(|renamed| name.starts_with(&renamed.from)).max_by_key(|renamed| renamed.from.len());
        match best {
            Some(renamed) => Variable { name: format!("{}{}", renamed.to, &name[renamed.from.len()..]), rows: renamed.rows.clone() },
            None => Variable { name: name.to_owned(), rows: Vec::new() },
        }
    }
}

/// Writes a config on a backbone.
///
/// # Errors
/// If its model is on one already, or can't be, with the reason.
pub fn as_backbone(pipeline: &Pipeline) -> Result<AsBackbone, Diagnostic> {
    let Some(config) = &pipeline.proto.model_config else {
        return Err(pipeline.error("", "the config has no model_config"));
    };
    let refuse = |reason: &str| Err(pipeline.error("model_config.model_class", format!("`{}`: {reason}", config.model_class())));
    let draft = match &config.model {
        Some(Model::WideAndDeep(model)) => rank::wide_and_deep(config, model),
        Some(Model::Deepfm(model)) => rank::deep_fm(config, model),
        Some(Model::Dlrm(model)) => rank::dlrm(config, model),
        Some(Model::MultiTower(model)) => rank::multi_tower(config, model),
        Some(Model::SimpleMultiTask(model)) => multi_task::simple(config, model),
        Some(Model::Mmoe(model)) => multi_task::mmoe(config, model),
        Some(Model::Dbmtl(model)) => multi_task::dbmtl(config, model),
        Some(Model::Ple(model)) => multi_task::ple(config, model),
        _ => return refuse(why_not(config)),
    };
    match draft {
        Ok(draft) => Ok(written(pipeline, config, draft)),
        Err(reason) => refuse(&reason),
    }
}

/// Why there is no backbone for a class.
fn why_not(config: &EasyRecModel) -> &'static str {
    match &config.model {
        _ if config.backbone.is_some() => "the model is a backbone already",
        Some(Model::Fm(_)) => "no component adds a learnt number alone, as `fm_bias` is",
        Some(Model::Dcn(_)) => {
            "its cross layers weigh the input by one number for each row; those of the component Cross have a matrix, and their offset inside \
             of the product"
        }
        Some(Model::Autoint(_)) => {
            "its attention multiplies scores by the root of the head's size and ends without a projection; no component does"
        }
        Some(Model::Cmbf(_)) => "no component lets two sequences attend to each other as its cross-modal layers do",
        Some(Model::Uniter(_)) => "no component puts features and texts into one sequence behind a learnt first token",
        Some(Model::RocketLaunching(_)) => "a backbone has one output, but this class has two networks, one of which imitates the other",
        Some(Model::Esmm(_)) => "its loss is the product of two towers' probabilities, which task towers on a backbone don't have",
        _ => "there is no model here that could be written as a backbone",
    }
}

fn written(pipeline: &Pipeline, config: &EasyRecModel, draft: Draft) -> AsBackbone {
    let Draft { class, params, backbone, groups, differences, renamed, .. } = draft;
    let model = EasyRecModel {
        model_class: Some(class.to_owned()),
        model: Some(Model::ModelParams(params)),
        backbone: Some(backbone),
        feature_groups: config.feature_groups.iter().cloned().chain(groups).collect(),
        seq_att_groups: Vec::new(),
        ..config.clone()
    };
    let whole = proto::EasyRecConfig { model_config: Some(model), ..pipeline.proto.clone() };
    let mut message = DynamicMessage::new(pipeline.message().descriptor());
    message.transcode_from(&whole).expect("the message is one of the schema");
    let mut text = format!("# The model of {} ({}) on a backbone.\n", pipeline.file_name(), config.model_class());
    for difference in &differences {
        text.push_str(&format!("# Not the same: {difference}.\n"));
    }
    text.push_str(&writer::to_text(&message));
    AsBackbone { text, differences, renamed }
}

//! `model_config`: class, its parameters, and names of labels and towers.

use std::collections::BTreeSet;

use prost_reflect::{ReflectMessage, Value};

use super::{Check, listed};
use crate::lints::{FIXABLE, LINTS};
use crate::walk;

/// EasyRec's model classes and the section of `model_config` each one reads.
const CLASSES: [(&str, &str); 29] = [
    ("AutoInt", "autoint"),
    ("CMBF", "cmbf"),
    ("CoMetricLearningI2I", "metric_learning"),
    ("DAT", "dat"),
    ("DBMTL", "dbmtl"),
    ("DCN", "dcn"),
    ("DLRM", "dlrm"),
    ("DSSM", "dssm"),
    ("DSSM_SENet", "dssm_senet"),
    ("DeepFM", "deepfm"),
    ("DropoutNet", "dropoutnet"),
    ("DummyModel", "dummy"),
    ("ESMM", "esmm"),
    ("FM", "fm"),
    ("MIND", "mind"),
    ("MMoE", "mmoe"),
    ("MatchModel", "model_params"),
    ("MultiTaskModel", "model_params"),
    ("MultiTower", "multi_tower"),
    ("MultiTowerBST", "multi_tower"),
    ("MultiTowerDIN", "multi_tower"),
    ("MultiTowerRecall", "multi_tower_recall"),
    ("PDN", "pdn"),
    ("PLE", "ple"),
    ("RankModel", "model_params"),
    ("RocketLaunching", "rocket_launching"),
    ("SimpleMultiTask", "simple_multi_task"),
    ("Uniter", "uniter"),
    ("WideAndDeep", "wide_and_deep"),
];

pub(super) fn check(check: &mut Check<'_>) {
    fixes(check);
    let Some(model) = &check.proto().model_config else {
        check.error("", "`model_config` is missing", "it declares the feature groups and the model");
        return;
    };
    let class = model.model_class();
    let known = CLASSES.iter().find(|(name, _)| *name == class);
    match known {
        None if class.is_empty() => {
            check.error("model_config", "`model_class` is missing", "expected something like model_class: 'RankModel'")
        }
        None => {
            let names = || CLASSES.iter().map(|(name, _)| *name);
            let message = format!("`{class}` is no model class");
            check.report_unknown("model_config.model_class", message, class, names(), &listed(names()));
        }
        Some((_, section)) => sections(check, class, section),
    }
    let by_blocks = matches!(class, "RankModel" | "MultiTaskModel" | "MatchModel");
    if by_blocks && model.backbone.is_none() {
        check.error("model_config.model_class", format!("{class} needs a `backbone`"), "add `backbone { blocks { … } }`");
    }
    if model.num_class() == 0 {
        check.error("model_config.num_class", "`num_class` is 0", "expected 1 for a click probability");
    }
    labels(check);
    towers(check);
}

/// What is to be fixed must be a lint that can be.
fn fixes(check: &mut Check<'_>) {
    for (at, name) in check.proto().rankmill_fix.iter().enumerate().filter(|(_, name)| !FIXABLE.contains(&name.as_str())) {
        let path = format!("rankmill_fix[{at}]");
        if LINTS.iter().any(|rule| rule.name == *name) {
            check.error(&path, format!("there is no one thing that `{name}` could be fixed to"), listed(FIXABLE));
        } else {
            check.report_unknown(&path, format!("`{name}` is no lint"), name, FIXABLE, &listed(FIXABLE));
        }
    }
}

/// The model's section must be that of its class.
fn sections(check: &mut Check<'_>, class: &str, section: &str) {
    let Some(config) = check.pipeline.message().get_field_by_name("model_config").map(std::borrow::Cow::into_owned) else { return };
    let Some(model) = config.as_message() else { return };
    let oneof = model.descriptor().oneofs().find(|oneof| oneof.name() == "model");
    let Some(oneof) = oneof else { return };
    for field in oneof.fields().filter(|field| model.has_field(field) && field.name() != section) {
        let path = format!("model_config.{}", field.name());
        check.error(&path, format!("`{}` is not read by {class}", field.name()), format!("expected `{section}`, or another `model_class`"));
    }
}

/// Every label that a tower, a distillation or the model names must be a label field.
fn labels(check: &mut Check<'_>) {
    let Some(data) = &check.proto().data_config else { return };
    if data.label_fields.is_empty() {
        return;
    }
    let mut unknown = Vec::new();
    walk::scalars(check.pipeline.message(), &mut |path, field, value| {
        let names_label = matches!(field.name(), "label_name" | "soft_label_name" | "task_space_indicator_label");
        let Some(name) = value.as_str().filter(|_| names_label && path.starts_with("model_config")) else { return };
        if !data.label_fields.iter().any(|label| label == name) {
            unknown.push((path.to_owned(), field.name().to_owned(), name.to_owned()));
        }
    });
    let known = || data.label_fields.iter().map(String::as_str);
    for (path, field, name) in unknown {
        let computed = data.extra_label_func.iter().any(|function| function.label_name() == name);
        if !computed {
            let message = format!("`{field}` names `{name}`, which is not among `label_fields`");
            check.report_unknown(&path, message, &name, known(), &listed(known()));
        }
    }
}

/// Names of task towers are unique, and relations name towers.
fn towers(check: &mut Check<'_>) {
    let mut names: Vec<(String, String)> = Vec::new();
    let mut relations: Vec<(String, String)> = Vec::new();
    walk::scalars(check.pipeline.message(), &mut |path, field, value| {
        let Value::String(name) = value else { return };
        match field.name() {
            "tower_name" => names.push((name.clone(), path.to_owned())),
            "relation_tower_names" => relations.push((name.clone(), path.to_owned())),
            _ => {}
        }
    });
    check.report_repeated(&names, "task tower");
    let known: BTreeSet<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    for (name, path) in relations.iter().filter(|(name, _)| !known.contains(name.as_str())) {
        let message = format!("`relation_tower_names` names unknown tower `{name}`");
        check.report_unknown(path, message, name, known.iter().copied(), &listed(known.iter().copied()));
    }
}

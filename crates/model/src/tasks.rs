//! What a model learns, from its config: one task, or one for each tower of a multi-task model (EasyRec behaviours 170 to 180).

use rankmill_config::proto::{EvalMetrics, LossType};
use rankmill_config::{Diagnostic, Pipeline, proto};

use crate::model::Output;

/// What is predicted for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicts {
    /// A probability and a logit.
    Binary,
    /// A logit for each class.
    Classes(usize),
    /// A value.
    Value,
    /// A probability that the value is not zero, and the value (behaviour 176).
    ProbabilityAndValue,
}

/// A task of a built model.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What the names of its predictions and metrics end in: empty, or `_` and the tower's name.
    pub suffix: String,
    /// Place of its metrics in the config.
    pub metrics_path: String,
    /// Its metrics.
    pub metrics: Vec<EvalMetrics>,
    /// Which of the batch's labels it learns.
    pub label: usize,
    /// What it predicts.
    pub predicts: Predicts,
    /// The output that ranks rows and that thresholds apply to: a probability, or the predicted value. None for more than two classes.
    pub score: Option<usize>,
    /// The output that holds the predicted value, where there is one beside the probability.
    pub value: Option<usize>,
    /// The output that holds the logits.
    pub logits: Option<usize>,
}

impl Task {
    pub(crate) fn new(config: &TaskConfig, outputs: &[Output]) -> Task {
        let place = |name: &str| outputs.iter().position(|output| output.name == config.output_name(name));
        let predicts = config.predicts();
        let (score, logits) = match (predicts, config.main_loss()) {
            (_, LossType::JrcLoss) => ("probs", "pos_logits"),
            (Predicts::Classes(2), _) => ("probs_1", "logits"),
            (Predicts::Classes(_), _) => ("", "logits"),
            (Predicts::Value, _) => ("y", ""),
            (Predicts::Binary | Predicts::ProbabilityAndValue, _) => ("probs", "logits"),
        };
        Task {
            suffix: config.suffix.clone(),
            metrics_path: config.metrics_path.clone(),
            metrics: config.metrics.clone(),
            label: config.label,
            predicts,
            score: place(score),
            value: if predicts == Predicts::ProbabilityAndValue { place("y") } else { None },
            logits: place(logits),
        }
    }
}

/// The rows that count for a task, and what their weights are multiplied by (behaviour 180).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskSpace {
    pub(crate) rows: SpaceRows,
    pub(crate) inside: f32,
    pub(crate) outside: f32,
}

/// How the rows of a task's space are told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SpaceRows {
    /// Those whose label is above 0.
    Label(usize),
    /// Those whose feature has a value.
    Feature { name: String, value: String, path: String },
}

/// A task as configured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskConfig {
    /// Empty, or `_` and the tower's name.
    pub(crate) suffix: String,
    /// Where its losses are configured: `model_config`, or the tower.
    pub(crate) path: String,
    pub(crate) metrics_path: String,
    pub(crate) metrics: Vec<EvalMetrics>,
    pub(crate) label: usize,
    pub(crate) classes: usize,
    /// At least one.
    pub(crate) losses: Vec<proto::Loss>,
    /// Whether `losses` are set, or stand for `loss_type`.
    pub(crate) has_losses: bool,
    /// What all its losses are multiplied by.
    pub(crate) weight: f32,
    pub(crate) uses_sample_weight: bool,
    pub(crate) space: Option<TaskSpace>,
    /// Suffixes of the towers it is related to.
    pub(crate) relations: Vec<String>,
}

impl TaskConfig {
    /// The name of a prediction of this task: `probs_ctr`, `logits_ctr_1`.
    pub(crate) fn output_name(&self, name: &str) -> String {
        match name.strip_suffix("_1").map(|base| (base, "_1")).or(name.strip_suffix("_y").map(|base| (base, "_y"))) {
            Some((base, end)) => format!("{base}{}{end}", self.suffix),
            None => format!("{name}{}", self.suffix),
        }
    }

    /// Place of a loss in the config.
    pub(crate) fn loss_path(&self, index: usize) -> String {
        if self.has_losses { format!("{}.losses[{index}]", self.path) } else { format!("{}.loss_type", self.path) }
    }

    /// The loss that says what is predicted: the first one of the task's own output.
    pub(crate) fn main_loss(&self) -> LossType {
        let own = self.losses.iter().map(proto::Loss::loss_type).find(|loss| *loss != LossType::OrderCalibrateLoss);
        own.unwrap_or_default()
    }

    fn predicts(&self) -> Predicts {
        match self.main_loss() {
            LossType::L2Loss | LossType::SigmoidL2Loss => Predicts::Value,
            LossType::ZilnLoss => Predicts::ProbabilityAndValue,
            LossType::Classification if self.classes > 1 => Predicts::Classes(self.classes),
            _ => Predicts::Binary,
        }
    }
}

/// The tasks of a config.
///
/// # Errors
/// If a tower has no label or no name.
pub(crate) fn task_configs(pipeline: &Pipeline, config: &proto::EasyRecModel) -> Result<Vec<TaskConfig>, Diagnostic> {
    let towers = towers(config);
    if matches!(config.model, Some(proto::easy_rec_model::Model::RocketLaunching(_))) {
        let task = single_task(pipeline, config);
        return Ok(["_booster", "_light"].map(|suffix| TaskConfig { suffix: suffix.to_owned(), ..task.clone() }).to_vec());
    }
    if towers.is_empty() {
        return Ok(vec![single_task(pipeline, config)]);
    }
    towers.iter().enumerate().map(|(i, (path, tower))| tower_task(pipeline, i, path, tower)).collect()
}

/// The towers of a multi-task model with their places, in one form.
pub(crate) fn towers(config: &proto::EasyRecModel) -> Vec<(String, proto::BayesTaskTower)> {
    use proto::easy_rec_model::Model;
    let places = |section: &str, towers: Vec<proto::BayesTaskTower>| {
        let place = |(i, tower)| (format!("model_config.{section}.task_towers[{i}]"), tower);
        towers.into_iter().enumerate().map(place).collect()
    };
    let plain = |towers: &[proto::TaskTower]| towers.iter().map(proto::BayesTaskTower::from).collect();
    match &config.model {
        Some(Model::ModelParams(params)) if config.model_class() == "MultiTaskModel" => places("model_params", params.task_towers.clone()),
        Some(Model::Dbmtl(dbmtl)) => places("dbmtl", dbmtl.task_towers.clone()),
        Some(Model::Mmoe(mmoe)) => places("mmoe", plain(&mmoe.task_towers)),
        Some(Model::SimpleMultiTask(simple)) => places("simple_multi_task", plain(&simple.task_towers)),
        Some(Model::Ple(ple)) => places("ple", plain(&ple.task_towers)),
        Some(Model::Esmm(esmm)) => {
            let tower = |name: &str, tower: &Option<proto::TaskTower>| {
                (format!("model_config.esmm.{name}"), proto::BayesTaskTower::from(&tower.clone().unwrap_or_default()))
            };
            vec![tower("ctr_tower", &esmm.ctr_tower), tower("cvr_tower", &esmm.cvr_tower)]
        }
        _ => Vec::new(),
    }
}

fn label_fields(pipeline: &Pipeline) -> &[String] {
    pipeline.proto.data_config.as_ref().map(|data| data.label_fields.as_slice()).unwrap_or_default()
}

/// The losses that are configured, or the one that `loss_type` stands for.
fn losses_or(losses: &[proto::Loss], loss_type: LossType) -> Vec<proto::Loss> {
    if losses.is_empty() {
        return vec![proto::Loss { loss_type: Some(loss_type.into()), ..proto::Loss::default() }];
    }
    losses.to_vec()
}

/// `model_config` itself: it learns the label that `label_name` names, else the first.
fn single_task(pipeline: &Pipeline, config: &proto::EasyRecModel) -> TaskConfig {
    let metrics = pipeline.proto.eval_config.as_ref().map(|eval| eval.metrics_set.clone()).unwrap_or_default();
    TaskConfig {
        suffix: String::new(),
        path: "model_config".to_owned(),
        metrics_path: "eval_config.metrics_set".to_owned(),
        metrics,
        label: label_fields(pipeline).iter().position(|field| field == config.label_name()).unwrap_or(0),
        classes: config.num_class() as usize,
        losses: losses_or(&config.losses, config.loss_type()),
        has_losses: !config.losses.is_empty(),
        weight: 1.0,
        uses_sample_weight: true,
        space: None,
        relations: Vec::new(),
    }
}

fn tower_task(pipeline: &Pipeline, index: usize, path: &str, tower: &proto::BayesTaskTower) -> Result<TaskConfig, Diagnostic> {
    if tower.tower_name().is_empty() {
        return Err(pipeline.error(path, "a task tower needs a `tower_name`"));
    }
    let fields = label_fields(pipeline);
    let label_place = |name: &str, field: &str| {
        let place = fields.iter().position(|field| field == name);
        place.ok_or_else(|| pipeline.error(&format!("{path}.{field}"), format!("`{name}` is none of data_config.label_fields")))
    };
    let label = match &tower.label_name {
        Some(name) => label_place(name, "label_name")?,
        None if index < fields.len() => index,
        None => return Err(pipeline.error(path, format!("tower `{}` has no label: label_fields has {}", tower.tower_name(), fields.len()))),
    };
    let rows = match (&tower.task_space_indicator_label, &tower.task_space_indicator_name) {
        (Some(name), _) => Some(SpaceRows::Label(label_place(name, "task_space_indicator_label")?)),
        (None, Some(name)) => Some(SpaceRows::Feature {
            name: name.clone(),
            value: tower.task_space_indicator_value().to_owned(),
            path: format!("{path}.task_space_indicator_name"),
        }),
        (None, None) => None,
    };
    let space = rows.map(|rows| TaskSpace { rows, inside: tower.in_task_space_weight(), outside: tower.out_task_space_weight() });
    Ok(TaskConfig {
        suffix: format!("_{}", tower.tower_name()),
        path: path.to_owned(),
        metrics_path: format!("{path}.metrics_set"),
        metrics: tower.metrics_set.clone(),
        label,
        classes: tower.num_class() as usize,
        losses: losses_or(&tower.losses, tower.loss_type()),
        has_losses: !tower.losses.is_empty(),
        weight: tower.weight(),
        uses_sample_weight: tower.use_sample_weight(),
        space,
        relations: tower.relation_tower_names.iter().map(|name| format!("_{name}")).collect(),
    })
}

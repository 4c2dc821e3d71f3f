//! Metrics of the training rows, each scored before it was trained on: the AUC of every task that ranks, and with
//! `eval_config.eval_online` all metrics of the config.

use std::path::Path;

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet};
use rankmill_model::bundle::write_file;
use rankmill_model::{Predicts, Scores};
use serde_json::json;

use crate::error::TrainError;
use crate::evaluate::Metrics;
use crate::events::online_metric_tag;
use crate::metrics::{Auc, Metric, Predictions};
use crate::step::Trainer;

/// AUC of a task.
struct TaskAuc {
    name: String,
    label: usize,
    /// The output that ranks.
    score: usize,
    auc: Auc,
}

/// What the training rows seen so far come to.
pub(crate) struct OnlineMetrics {
    aucs: Vec<TaskAuc>,
    all: Option<Metrics>,
}

/// Whether a config asks for all metrics.
pub(crate) fn wants_all(pipeline: &Pipeline) -> bool {
    pipeline.proto.eval_config.as_ref().is_some_and(|eval| eval.eval_online())
}

impl OnlineMetrics {
    /// An AUC for each task that predicts a probability.
    pub(crate) fn new(pipeline: &Pipeline, features: &FeatureSet, trainer: &Trainer) -> Result<OnlineMetrics, TrainError> {
        let mut aucs = Vec::new();
        for task in trainer.tasks().iter().filter(|task| task.predicts != Predicts::Value) {
            if let Some(score) = task.score {
                aucs.push(TaskAuc { name: format!("auc{}", task.suffix), label: task.label, score, auc: Auc::new(200)? });
            }
        }
        let all = || -> Result<Metrics, Diagnostics> { Metrics::new(pipeline, features, trainer.tasks()) };
        Ok(OnlineMetrics { aucs, all: wants_all(pipeline).then(all).transpose()? })
    }

    /// Adds the rows of the trainer's last batch.
    pub(crate) fn update(&mut self, trainer: &Trainer, batch: &FeatureBatch) -> Result<(), TrainError> {
        for task in &mut self.aucs {
            let probabilities = trainer.prediction(task.score);
            let labels = &batch.labels[task.label];
            task.auc.update(&Predictions { labels, probabilities: &probabilities, values: &[], logits: &[], classes: 1, keys: &[] });
        }
        let Some(all) = &mut self.all else { return Ok(()) };
        let mut columns = vec![Vec::new(); trainer.outputs().len()];
        for output in trainer.tasks().iter().flat_map(|task| [task.score, task.value, task.logits]).flatten() {
            columns[output] = trainer.prediction(output);
        }
        Ok(all.update(&Scores { columns, losses: Vec::new() }, batch)?)
    }

    /// The AUC of the first task that ranks, NaN if none does.
    pub(crate) fn auc(&self) -> f64 {
        self.aucs.first().map_or(f64::NAN, |task| task.auc.finish())
    }

    /// The figures by the tags of EasyRec's event files.
    pub(crate) fn tagged(&self) -> Vec<(String, f64)> {
        let figures = match &self.all {
            Some(all) => all.finish(),
            None => Vec::new(),
        };
        let is_new = |name: &str| figures.iter().all(|(known, _)| known != name);
        let aucs = self.aucs.iter().filter(|task| is_new(&task.name)).map(|task| (task.name.clone(), task.auc.finish()));
        let aucs: Vec<_> = aucs.collect();
        aucs.into_iter().chain(figures).map(|(name, value)| (online_metric_tag(&name), value)).collect()
    }

    /// The figures by name, and `online_eval_result.txt-STEP` of them in the model directory, where the config asks for it.
    pub(crate) fn finish(&self, model_dir: &Path, step: u64) -> Result<Vec<(String, f64)>, TrainError> {
        let Some(all) = &self.all else { return Ok(Vec::new()) };
        let figures = all.finish();
        let object: serde_json::Map<String, serde_json::Value> = figures.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let text = serde_json::Value::Object(object).to_string();
        write_file(&model_dir.join(format!("online_eval_result.txt-{step}")), text.as_bytes())?;
        Ok(figures)
    }
}

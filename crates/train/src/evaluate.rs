//! Evaluation: one pass over rows with labels, all metrics fed together.

use std::sync::Arc;
use std::time::Instant;

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet, Reader, ReaderOptions, Rejected, Report};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::{Parameters, Scorer, Scores, label_index};

use crate::error::TrainError;
use crate::metrics::{MaxF1Input, MetricError, MetricSet, Predictions, Task};

/// The figures of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Metrics by EasyRec's names, in the order of the config, then those that are always reported.
    pub metrics: Vec<(&'static str, f64)>,
    /// Mean over batches of the batches' mean loss, without regularisation (EasyRec behaviour 37).
    pub loss: f64,
    /// Rows scored.
    pub rows: u64,
    /// Wall time.
    pub seconds: f64,
    /// Rows that were left out, by cause.
    pub report: Report,
}

impl Evaluation {
    /// The metric of that name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// Evaluates models of one config.
pub struct Evaluator {
    pipeline: Pipeline,
    features: FeatureSet,
    scorer: Scorer,
    metrics: MetricSet,
    /// Place of each of the metrics' key fields among the batch's keys.
    key_places: Vec<usize>,
    label: usize,
    rejected: Option<Rejected>,
}

impl Evaluator {
    /// Prepares the evaluation that a config describes; products are computed at `precision`.
    ///
    /// # Errors
    /// A config that can't be built, or metrics that don't fit.
    pub fn new(pipeline: &Pipeline, features: &FeatureSet, pool: Arc<Pool>, precision: Precision) -> Result<Evaluator, TrainError> {
        let scorer = Scorer::new(pipeline, features, pool, precision)?;
        let configs = pipeline.proto.eval_config.as_ref().map(|eval| eval.metrics_set.as_slice()).unwrap_or_default();
        let metrics = MetricSet::new(configs, Task::Binary, MaxF1Input::Logits)
            .map_err(|error| Diagnostics::from(pipeline.error("eval_config.metrics_set", error.to_string())))?;
        let names = features.key_names();
        let place = |field: &String| {
            names.iter().position(|name| name == field).ok_or_else(|| {
                Diagnostics::from(pipeline.error("eval_config.metrics_set", format!("there is no field `{field}` to group rows by")))
            })
        };
        let key_places = metrics.key_fields().iter().map(place).collect::<Result<_, _>>()?;
        let label = label_index(pipeline);
        Ok(Evaluator { pipeline: pipeline.clone(), features: features.clone(), scorer, metrics, key_places, label, rejected: None })
    }

    /// Writes rows to a file that are left out, or that stop an evaluation.
    #[must_use]
    pub fn with_rejected(mut self, rejected: Option<Rejected>) -> Evaluator {
        self.rejected = rejected;
        self
    }

    /// Settings of the metrics that have no effect.
    pub fn remarks(&self) -> Vec<String> {
        self.metrics.remarks().iter().map(ToString::to_string).collect()
    }

    /// The metrics, without any rows yet.
    pub fn fresh_metrics(&self) -> MetricSet {
        self.metrics.clone()
    }

    /// Adds the scores of a batch to metrics.
    ///
    /// # Errors
    /// If the batch has other rows than the scores.
    pub fn update(&self, metrics: &mut MetricSet, scores: &Scores, batch: &FeatureBatch) -> Result<(), MetricError> {
        update(metrics, &self.key_places, self.label, scores, batch)
    }

    /// Scores all rows of `inputs` with `parameters`; `progress` is told the share of the bytes read.
    ///
    /// # Errors
    /// Rows that can't be read, or variables that don't fit.
    pub fn evaluate(
        &mut self,
        parameters: &Parameters,
        inputs: &[String],
        mut progress: impl FnMut(f64),
    ) -> Result<Evaluation, TrainError> {
        let started = Instant::now();
        let mut options = ReaderOptions::sequential(&self.pipeline, inputs.to_vec())?;
        options.rejected.clone_from(&self.rejected);
        let mut reader = Reader::new(options, self.features.clone())?;
        let limit = self.pipeline.proto.eval_config.as_ref().map_or(0, |eval| u64::from(eval.num_examples()));
        let mut metrics = self.fresh_metrics();
        let mut scorer = self.scorer.with(parameters)?;
        let (mut batches, mut losses) = (0_u64, 0.0);
        while let Some(batch) = reader.next() {
            let batch = batch?.features;
            let scores = scorer.score(&batch);
            losses += mean_loss(&scores, &batch, self.label);
            batches += 1;
            update(&mut metrics, &self.key_places, self.label, &scores, &batch)?;
            progress(reader.progress());
            if limit > 0 && metrics.rows() >= limit {
                break;
            }
        }
        Ok(Evaluation {
            metrics: metrics.finish(),
            loss: losses / batches.max(1) as f64,
            rows: metrics.rows(),
            seconds: started.elapsed().as_secs_f64(),
            report: reader.report().clone(),
        })
    }
}

/// The loss of a batch as training defines it (EasyRec behaviour 36).
fn mean_loss(scores: &Scores, batch: &FeatureBatch, label: usize) -> f64 {
    let labels = &batch.labels[label];
    let losses = scores.logits.iter().zip(labels).map(|(z, y)| f64::from(z.max(0.0) - z * y + (-z.abs()).exp().ln_1p()));
    match &batch.sample_weights {
        None => losses.sum::<f64>() / labels.len().max(1) as f64,
        Some(weights) => {
            let count = weights.iter().filter(|weight| **weight != 0.0).count();
            let sum: f64 = losses.zip(weights).map(|(loss, weight)| loss * f64::from(*weight)).sum();
            if count == 0 { 0.0 } else { sum / count as f64 }
        }
    }
}

/// Adds the scores of a batch to metrics, whose key fields lie at `key_places` among the batch's keys.
fn update(metrics: &mut MetricSet, key_places: &[usize], label: usize, scores: &Scores, batch: &FeatureBatch) -> Result<(), MetricError> {
    let keys: Vec<&[u64]> = key_places.iter().map(|place| batch.keys[*place].as_slice()).collect();
    metrics.update(&Predictions {
        labels: &batch.labels[label],
        probabilities: &scores.probabilities,
        logits: &scores.logits,
        classes: 1,
        keys: &keys,
    })
}

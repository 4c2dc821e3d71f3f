//! Evaluation: one pass over rows with labels, all metrics fed together.

use std::sync::Arc;
use std::time::Instant;

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet, Reader, ReaderOptions, Rejected, Report};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::tables::TableFormat;
use rankmill_model::{Parameters, Predicts, Purpose, Scorer, Scores, Task as ModelTask};

use crate::error::TrainError;
use crate::events::{TOTAL_LOSS, loss_tag};
use crate::metrics::{MaxF1Input, MetricError, MetricSet, Predictions, Task};

/// The figures of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Metrics by EasyRec's names, task after task, each in the order of the config, then those that are always reported; then each loss
    /// by its name, if there are several.
    pub metrics: Vec<(String, f64)>,
    /// Mean over batches of the batches' loss, without regularisation (EasyRec behaviour 37).
    pub loss: f64,
    /// The same of each loss, by its name.
    pub losses: Vec<(String, f64)>,
    /// Rows scored.
    pub rows: u64,
    /// Wall time.
    pub seconds: f64,
    /// Rows that were left out, by cause.
    pub report: Report,
}

impl Evaluation {
    /// All metrics, then the loss.
    pub fn figures(&self) -> impl Iterator<Item = (&str, f64)> {
        self.metrics.iter().map(|(name, value)| (name.as_str(), *value)).chain([("loss", self.loss)])
    }

    /// All losses and their sum by the tags of EasyRec's event files, `loss/loss/NAME`.
    pub fn tagged_losses(&self) -> impl Iterator<Item = (String, f64)> {
        let losses = self.losses.iter().map(|(name, value)| (loss_tag(name), *value));
        losses.chain([(loss_tag(TOTAL_LOSS), self.loss)])
    }

    /// The metric of that name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// The metrics of one task.
#[derive(Clone, Debug)]
struct TaskMetrics {
    task: ModelTask,
    classes: usize,
    metrics: MetricSet,
    /// Place of each of the metrics' key fields among the batch's keys.
    key_places: Vec<usize>,
}

impl TaskMetrics {
    fn new(pipeline: &Pipeline, features: &FeatureSet, task: &ModelTask) -> Result<TaskMetrics, Diagnostics> {
        let at = |message: String| Diagnostics::from(pipeline.error(&task.metrics_path, message));
        let kind = match task.predicts {
            Predicts::Binary => Task::Binary,
            Predicts::Classes(classes) => Task::Classes(classes),
            Predicts::Value => Task::Regression,
            Predicts::ProbabilityAndValue => Task::ZeroInflated,
        };
        let of_probabilities = pipeline.is_fixed("max_f1_on_logits");
        let max_f1_input = if of_probabilities { MaxF1Input::Probabilities } else { MaxF1Input::Logits };
        let metrics = MetricSet::new(&task.metrics, kind, max_f1_input).map_err(|error| at(error.to_string()))?;
        let names = features.key_names();
        let place = |field: &String| {
            let place = names.iter().position(|name| name == field);
            place.ok_or_else(|| at(format!("there is no field `{field}` to group rows by")))
        };
        let key_places = metrics.key_fields().iter().map(place).collect::<Result<_, _>>()?;
        Ok(TaskMetrics { task: task.clone(), classes: kind.classes(), metrics, key_places })
    }

    fn update(&mut self, scores: &Scores, batch: &FeatureBatch) -> Result<(), MetricError> {
        let keys: Vec<&[u64]> = self.key_places.iter().map(|place| batch.keys[*place].as_slice()).collect();
        let logits = match self.task.predicts {
            // A zero-inflated task has three raw outputs, none of them the logit that a metric means.
            Predicts::Value | Predicts::ProbabilityAndValue => &[],
            Predicts::Binary | Predicts::Classes(_) => scores.column(self.task.logits),
        };
        self.metrics.update(&Predictions {
            labels: &batch.labels[self.task.label],
            probabilities: scores.column(self.task.score),
            values: scores.column(self.task.value),
            logits,
            classes: self.classes,
            keys: &keys,
        })
    }
}

/// The metrics of all tasks.
#[derive(Clone, Debug)]
pub struct Metrics(Vec<TaskMetrics>);

impl Metrics {
    /// The metrics of tasks.
    ///
    /// # Errors
    /// Metrics that don't fit their tasks.
    pub(crate) fn new(pipeline: &Pipeline, features: &FeatureSet, tasks: &[ModelTask]) -> Result<Metrics, Diagnostics> {
        tasks.iter().map(|task| TaskMetrics::new(pipeline, features, task)).collect::<Result<_, _>>().map(Metrics)
    }

    /// Adds the scores of a batch.
    ///
    /// # Errors
    /// If the batch has other rows than the scores.
    pub fn update(&mut self, scores: &Scores, batch: &FeatureBatch) -> Result<(), MetricError> {
        self.0.iter_mut().try_for_each(|task| task.update(scores, batch))
    }

    /// Every figure with its name, which ends in the suffix of its task.
    pub fn finish(&self) -> Vec<(String, f64)> {
        let named = |task: &TaskMetrics| -> Vec<(String, f64)> {
            task.metrics.finish().into_iter().map(|(name, value)| (format!("{name}{}", task.task.suffix), value)).collect()
        };
        self.0.iter().flat_map(named).collect()
    }

    fn rows(&self) -> u64 {
        self.0.first().map_or(0, |task| task.metrics.rows())
    }
}

/// Evaluates models of one config.
pub struct Evaluator {
    pipeline: Pipeline,
    features: FeatureSet,
    scorer: Scorer,
    metrics: Metrics,
    rejected: Option<Rejected>,
}

impl Evaluator {
    /// Prepares the evaluation that a config describes; products are computed at `precision`.
    ///
    /// # Errors
    /// A config that can't be built, or metrics that don't fit.
    pub fn new(pipeline: &Pipeline, features: &FeatureSet, pool: Arc<Pool>, precision: Precision) -> Result<Evaluator, TrainError> {
        let scorer = Scorer::new(pipeline, features, Purpose::Evaluation, pool, precision)?;
        let metrics = Metrics::new(pipeline, features, scorer.tasks())?;
        Ok(Evaluator { pipeline: pipeline.clone(), features: features.clone(), scorer, metrics, rejected: None })
    }

    /// Reads tables of embeddings in `format`; gives the variables that are to be evaluated then.
    ///
    /// # Errors
    /// If a variable is missing or has another shape.
    pub fn with_tables(self, format: TableFormat, parameters: &Parameters) -> Result<(Evaluator, Parameters), TrainError> {
        let (scorer, parameters) = self.scorer.with_tables(format, parameters)?;
        Ok((Evaluator { scorer, ..self }, parameters))
    }

    /// Writes rows to a file that are left out, or that stop an evaluation.
    #[must_use]
    pub fn with_rejected(mut self, rejected: Option<Rejected>) -> Evaluator {
        self.rejected = rejected;
        self
    }

    /// Settings of the metrics that have no effect.
    pub fn remarks(&self) -> Vec<String> {
        self.metrics.0.iter().flat_map(|task| task.metrics.remarks()).map(ToString::to_string).collect()
    }

    /// The names of all figures of an evaluation, and the tags of its losses.
    pub fn figure_names(&self) -> Vec<String> {
        let losses: Vec<&str> = self.scorer.loss_names().collect();
        let reported = losses.iter().filter(|_| losses.len() > 1).map(|name| (*name).to_owned());
        let tags = losses.iter().copied().chain([TOTAL_LOSS]).map(loss_tag);
        let metrics = self.metrics.finish().into_iter().map(|(name, _)| name);
        metrics.chain(reported).chain(["loss".to_owned()]).chain(tags).collect()
    }

    /// The metrics, without any rows yet.
    pub fn fresh_metrics(&self) -> Metrics {
        self.metrics.clone()
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
        let mut losses: Vec<(String, f64)> = self.scorer.loss_names().map(|name| (name.to_owned(), 0.0)).collect();
        let mut scorer = self.scorer.with(parameters)?;
        let mut batches = 0_u64;
        while let Some(batch) = reader.next() {
            let batch = batch?.features;
            let scores = scorer.score(&batch);
            losses.iter_mut().zip(&scores.losses).for_each(|((_, total), loss)| *total += f64::from(*loss));
            batches += 1;
            metrics.update(&scores, &batch)?;
            progress(reader.progress());
            if limit > 0 && metrics.rows() >= limit {
                break;
            }
        }
        losses.iter_mut().for_each(|(_, total)| *total /= batches.max(1) as f64);
        let loss = losses.iter().map(|(_, loss)| loss).sum();
        let mut figures = metrics.finish();
        figures.extend(losses.iter().filter(|_| losses.len() > 1).cloned());
        Ok(Evaluation {
            metrics: figures,
            loss,
            losses,
            rows: metrics.rows(),
            seconds: started.elapsed().as_secs_f64(),
            report: reader.report().clone(),
        })
    }
}

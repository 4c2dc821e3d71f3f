//! The metrics of a config: the table from `eval_config.metrics_set` to metrics, and those reported always (EasyRec behaviour 51).
//!
//! Results carry EasyRec's names (`auc`, `gauc`, `max_f1`, ...); in multi-task models the caller appends the tower's name as EasyRec does.
//! Of a metric set twice the last setting counts, as in EasyRec.

use std::fmt;

use rankmill_config::proto::EvalMetrics;
use rankmill_config::proto::eval_metrics::Metric as Configured;

use super::{
    Accuracy, Auc, AucExact, Calibration, GroupedAuc, LogLoss, MaxF1, MaxF1Input, MeanAbsoluteError, MeanSquaredError, Metric, MetricError,
    NormalizedEntropy, Precision, Predictions, Recall, Reduction, RootMeanSquaredError, TopK, TopKScore,
};

/// What a model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A probability and one logit a row.
    Binary,
    /// One logit a class; with two classes also the second one's probability.
    Classes(usize),
    /// A value a row.
    Regression,
    /// A probability that a value is not 0, and the value.
    ZeroInflated,
}

impl Task {
    /// Logits a row.
    pub fn classes(self) -> usize {
        match self {
            Self::Classes(classes) => classes.max(1),
            Self::Binary | Self::Regression | Self::ZeroInflated => 1,
        }
    }

    fn has_probability(self) -> bool {
        matches!(self, Self::Binary | Self::Classes(..=2) | Self::ZeroInflated)
    }

    fn has_value(self) -> bool {
        self.has_probability() || self == Self::Regression
    }
}

impl fmt::Display for Task {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary => write!(out, "a binary task"),
            Self::Classes(classes) => write!(out, "a task of {classes} classes"),
            Self::Regression => write!(out, "a regression task"),
            Self::ZeroInflated => write!(out, "a zero-inflated task"),
        }
    }
}

/// A setting of `metrics_set` that has no effect, to be shown to the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// An entry of `metrics_set` names no metric.
    #[error("metrics_set entry {entry} names no metric; it is ignored")]
    Empty {
        /// Number of the entry, from 1.
        entry: usize,
    },
    /// EasyRec ignores the metric everywhere, and here it has no meaning.
    #[error("metric {metric} cannot be computed for {task}; it is ignored, as EasyRec does")]
    Ignored {
        /// The metric's name.
        metric: &'static str,
        /// What is predicted.
        task: Task,
    },
    /// The metric is set more than once.
    #[error("metric {metric} is set more than once; the last one counts")]
    Repeated {
        /// The metric's name.
        metric: &'static str,
    },
}

/// The metrics of one evaluation, fed together. For several threads clone the empty set, feed each clone and merge them.
#[derive(Clone, Debug)]
pub struct MetricSet {
    settings: Settings,
    metrics: Vec<(&'static str, AnyMetric)>,
    remarks: Vec<Remark>,
    rows: u64,
    not_finite: u64,
}

/// What a set was made from.
#[derive(Clone, Debug, PartialEq)]
struct Settings {
    metrics_set: Vec<EvalMetrics>,
    task: Task,
    max_f1_input: MaxF1Input,
    key_fields: Vec<String>,
}

impl MetricSet {
    /// The metrics of `metrics_set`, and after them those always reported for the task.
    ///
    /// # Errors
    /// [`MetricError`] for settings out of range, and for metrics that have no meaning for the task.
    pub fn new(metrics_set: &[EvalMetrics], task: Task, max_f1_input: MaxF1Input) -> Result<Self, MetricError> {
        let mut settings = Settings { metrics_set: metrics_set.to_vec(), task, max_f1_input, key_fields: Vec::new() };
        let mut metrics = Vec::new();
        let mut remarks = Vec::new();
        for (index, entry) in metrics_set.iter().enumerate() {
            let Some(configured) = &entry.metric else {
                remarks.push(Remark::Empty { entry: index + 1 });
                continue;
            };
            let name = name_of(configured);
            if metrics_set[index + 1..].iter().filter_map(|later| later.metric.as_ref()).any(|later| name_of(later) == name) {
                remarks.push(Remark::Repeated { metric: name });
                continue;
            }
            match settings.metric_for(configured)? {
                Some(metric) => metrics.push((name, metric)),
                None => remarks.push(Remark::Ignored { metric: name, task }),
            }
        }
        metrics.extend(always_reported(task));
        Ok(Self { settings, metrics, remarks, rows: 0, not_finite: 0 })
    }

    /// Names of the features whose values are the columns of [`Predictions::keys`], in this order.
    pub fn key_fields(&self) -> &[String] {
        &self.settings.key_fields
    }

    /// Settings without effect.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// Rows seen.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows seen whose probability or value (of more than two classes: any logit) was infinite or not a number.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// Adds rows to every metric.
    ///
    /// # Errors
    /// [`MetricError::ColumnLength`] if a column that is read does not fit the labels; no metric has changed then.
    pub fn update(&mut self, predictions: &Predictions<'_>) -> Result<(), MetricError> {
        let rows = predictions.labels.len();
        let Settings { task, key_fields, .. } = &self.settings;
        let reads_logits = self.metrics.iter().any(|(_, metric)| metric.reads_logits(*task));
        check_length("classes", task.classes(), predictions.classes)?;
        if task.has_value() {
            check_length("probabilities", rows, predictions.probabilities.len())?;
        }
        if *task == Task::ZeroInflated {
            check_length("values", rows, predictions.values.len())?;
        }
        if reads_logits || !predictions.logits.is_empty() {
            check_length("logits", rows * task.classes(), predictions.logits.len())?;
        }
        check_length("key columns", key_fields.len(), predictions.keys.len())?;
        predictions.keys.iter().try_for_each(|keys| check_length("keys", rows, keys.len()))?;

        let finite = |scores: &[f32]| scores.iter().all(|score| score.is_finite());
        let not_finite = if task.has_value() {
            predictions.probabilities.chunks(1).filter(|score| !finite(score)).count()
        } else {
            predictions.labelled_logits().filter(|(_, logits)| !finite(logits)).count()
        };
        self.not_finite += not_finite as u64;
        self.rows += rows as u64;
        self.metrics.iter_mut().for_each(|(_, metric)| metric.update(predictions));
        Ok(())
    }

    /// Adds the rows of another set. The result has the bits of one pass over all rows.
    ///
    /// # Errors
    /// [`MetricError::DifferentSets`] if the sets were not made from the same settings.
    pub fn merge(&mut self, other: Self) -> Result<(), MetricError> {
        if self.settings != other.settings {
            let names = |set: &Self| set.metrics.iter().map(|(name, _)| (*name).to_owned()).collect();
            return Err(MetricError::DifferentSets { left: names(self), right: names(&other) });
        }
        self.rows += other.rows;
        self.not_finite += other.not_finite;
        for ((_, metric), (_, more)) in self.metrics.iter_mut().zip(other.metrics) {
            metric.merge(more);
        }
        Ok(())
    }

    /// Every figure with its name: those of the config in its order, then those always reported.
    pub fn finish(&self) -> Vec<(&'static str, f64)> {
        self.metrics.iter().map(|(name, metric)| (*name, metric.finish())).collect()
    }
}

/// EasyRec's name of a metric's result, which is also its name in the config.
fn name_of(configured: &Configured) -> &'static str {
    match configured {
        Configured::Auc(_) => "auc",
        Configured::Gauc(_) => "gauc",
        Configured::SessionAuc(_) => "session_auc",
        Configured::MaxF1(_) => "max_f1",
        Configured::Accuracy(_) => "accuracy",
        Configured::RecallAtTopk(_) => "recall_at_topk",
        Configured::PrecisionAtTopk(_) => "precision_at_topk",
        Configured::Precision(_) => "precision",
        Configured::Recall(_) => "recall",
        Configured::MeanAbsoluteError(_) => "mean_absolute_error",
        Configured::MeanSquaredError(_) => "mean_squared_error",
        Configured::RootMeanSquaredError(_) => "root_mean_squared_error",
    }
}

/// Reported for every task of the kind, whatever the config says.
fn always_reported(task: Task) -> Vec<(&'static str, AnyMetric)> {
    if task == Task::ZeroInflated {
        return vec![("auc_exact", AucExact::default().into()), ("calibration", Calibration::default().into())];
    }
    if task.has_probability() {
        return vec![
            ("auc_exact", AucExact::default().into()),
            ("log_loss", LogLoss::default().into()),
            ("normalized_entropy", NormalizedEntropy::default().into()),
            ("calibration", Calibration::default().into()),
        ];
    }
    if task.has_value() {
        return vec![("calibration", Calibration::default().into())];
    }
    Vec::new()
}

impl Settings {
    /// The registry: the metric for an entry of `metrics_set`; none where EasyRec ignores the entry and the task gives it no meaning.
    fn metric_for(&mut self, configured: &Configured) -> Result<Option<AnyMetric>, MetricError> {
        let (task, metric) = (self.task, name_of(configured));
        let needs = |fits: bool| if fits { Ok(()) } else { Err(MetricError::WrongTask { metric, task }) };
        Ok(Some(match configured {
            Configured::Auc(auc) => {
                needs(task.has_probability())?;
                Auc::new(auc.num_thresholds())?.into()
            }
            Configured::Gauc(gauc) => {
                needs(task.has_probability())?;
                self.grouped_auc(metric, "uid_field", gauc.uid_field(), gauc.reduction())?.into()
            }
            Configured::SessionAuc(session) => {
                needs(task.has_probability())?;
                self.grouped_auc(metric, "session_id_field", session.session_id_field(), session.reduction())?.into()
            }
            Configured::MaxF1(_) => {
                needs(task.has_probability() && task != Task::ZeroInflated)?;
                MaxF1::new(self.max_f1_input).into()
            }
            Configured::Accuracy(_) => {
                needs(!matches!(task, Task::Regression | Task::ZeroInflated))?;
                Accuracy::default().into()
            }
            Configured::RecallAtTopk(recall) => {
                needs(task.classes() > 1)?;
                top_k(metric, recall.topk(), TopKScore::Recall)?.into()
            }
            Configured::PrecisionAtTopk(precision) if task.classes() > 1 => {
                top_k(metric, precision.topk(), TopKScore::AveragePrecision)?.into()
            }
            Configured::Precision(_) if task.has_probability() => Precision::default().into(),
            Configured::Recall(_) if task.has_probability() => Recall::default().into(),
            Configured::PrecisionAtTopk(_) | Configured::Precision(_) | Configured::Recall(_) => return Ok(None),
            Configured::MeanAbsoluteError(_) => {
                needs(task.has_value())?;
                MeanAbsoluteError::default().into()
            }
            Configured::MeanSquaredError(_) => {
                needs(task.has_value())?;
                MeanSquaredError::default().into()
            }
            Configured::RootMeanSquaredError(_) => {
                needs(task.has_value())?;
                RootMeanSquaredError::default().into()
            }
        }))
    }

    fn grouped_auc(
        &mut self,
        metric: &'static str,
        field: &'static str,
        feature: &str,
        reduction: &str,
    ) -> Result<GroupedAuc, MetricError> {
        let Some(reduction) = Reduction::from_name(reduction) else {
            return Err(MetricError::UnknownReduction { metric, reduction: reduction.to_owned() });
        };
        if feature.is_empty() {
            return Err(MetricError::NoKeyField { metric, field });
        }
        let known = self.key_fields.iter().position(|known| known == feature);
        let column = known.unwrap_or_else(|| {
            self.key_fields.push(feature.to_owned());
            self.key_fields.len() - 1
        });
        Ok(GroupedAuc::new(column, reduction))
    }
}

fn top_k(metric: &'static str, k: u32, score: TopKScore) -> Result<TopK, MetricError> {
    if k == 0 {
        return Err(MetricError::ZeroTopK { metric });
    }
    Ok(TopK::new(k, score))
}

fn check_length(column: &'static str, expected: usize, found: usize) -> Result<(), MetricError> {
    if expected == found {
        return Ok(());
    }
    Err(MetricError::ColumnLength { column, expected, found })
}

/// One variant for each metric type, so that sets can be cloned and merged.
macro_rules! any_metric {
    ($($metric:ident),+ $(,)?) => {
        #[derive(Clone, Debug)]
        enum AnyMetric {
            $($metric($metric),)+
        }

        $(impl From<$metric> for AnyMetric {
            fn from(metric: $metric) -> Self {
                Self::$metric(metric)
            }
        })+

        impl Metric for AnyMetric {
            fn update(&mut self, predictions: &Predictions<'_>) {
                match self {
                    $(Self::$metric(metric) => metric.update(predictions),)+
                }
            }

            fn merge(&mut self, other: Self) {
                match (self, other) {
                    $((Self::$metric(metric), Self::$metric(other)) => metric.merge(other),)+
                    _ => unreachable!("sets made from equal settings hold the same metrics in the same order"),
                }
            }

            fn finish(&self) -> f64 {
                match self {
                    $(Self::$metric(metric) => metric.finish(),)+
                }
            }
        }
    };
}

any_metric!(
    Accuracy,
    Auc,
    AucExact,
    Calibration,
    GroupedAuc,
    LogLoss,
    MaxF1,
    MeanAbsoluteError,
    MeanSquaredError,
    NormalizedEntropy,
    Precision,
    Recall,
    RootMeanSquaredError,
    TopK,
);

impl AnyMetric {
    fn reads_logits(&self, task: Task) -> bool {
        match self {
            Self::MaxF1(max_f1) => max_f1.input() == MaxF1Input::Logits,
            Self::Accuracy(_) => task.classes() > 1,
            Self::TopK(_) => true,
            _ => false,
        }
    }
}

//! Evaluation metrics: one file each, all with `update`, `merge` and `finish`.
//!
//! A metric may be fed in any cut and merged in any order: counts are integers and sums are exact, so the result has the same bits
//! whatever the number of threads. [`MetricSet`] chooses the metrics of a config (EasyRec behaviours 48 to 51) and those reported always.
//!
//! What odd input gives:
//! - A score that is not a number ranks lowest, tied with −∞, and exceeds no threshold; +∞ ranks highest.
//!   Means (errors, log loss, calibration) of such rows are what IEEE arithmetic gives, usually NaN.
//!   [`MetricSet::not_finite`] counts the rows, so that a caller can say so.
//! - EasyRec's own metrics give EasyRec's values on empty or single-class input (0.0 for most).
//!   The others (`auc_exact`, `log_loss`, `normalized_entropy`, `calibration`) give NaN, which means "not defined".
//! - A label is positive when its integer part is not zero, as EasyRec casts labels to int64.
//!
//! ```
//! use rankmill_train::metrics::{Metric, Predictions, AucExact};
//!
//! let mut auc = AucExact::default();
//! let labels = [1.0, 0.0, 1.0, 0.0];
//! auc.update(&Predictions { labels: &labels, probabilities: &[0.9, 0.2, 0.6, 0.7], values: &[], logits: &[], classes: 1, keys: &[] });
//! assert_eq!(auc.finish(), 0.75);
//! ```

mod accuracy;
mod auc;
mod auc_exact;
mod calibration;
mod exact_sum;
mod grouped_auc;
mod log_loss;
mod max_f1;
mod mean_absolute_error;
mod mean_squared_error;
mod normalized_entropy;
mod precision;
mod recall;
mod registry;
mod root_mean_squared_error;
mod thresholds;
mod top_k;

pub use accuracy::Accuracy;
pub use auc::Auc;
pub use auc_exact::AucExact;
pub use calibration::Calibration;
pub(crate) use grouped_auc::{GroupAuc, group_aucs};
pub use grouped_auc::{GroupedAuc, Reduction};
pub use log_loss::LogLoss;
pub use max_f1::{MaxF1, MaxF1Input};
pub use mean_absolute_error::MeanAbsoluteError;
pub use mean_squared_error::MeanSquaredError;
pub use normalized_entropy::NormalizedEntropy;
pub use precision::Precision;
pub use recall::Recall;
pub use registry::{MetricSet, Remark, Task};
pub use root_mean_squared_error::RootMeanSquaredError;
pub use top_k::{TopK, TopKScore};

/// The scores of some rows beside their labels.
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    /// One label a row.
    pub labels: &'a [f32],
    /// One value a row: the probability of the positive class, or the predicted value of a regression. Empty for more than two classes.
    pub probabilities: &'a [f32],
    /// The predicted value of each row, where a model predicts one beside the probability; otherwise empty.
    pub values: &'a [f32],
    /// `classes` values a row, row after row. May be empty where no metric reads logits.
    pub logits: &'a [f32],
    /// Logits a row: 1, or the `num_class` of the model.
    pub classes: usize,
    /// One column for each of [`MetricSet::key_fields`], each with one key (a user's or session's id, or a hash of it) a row.
    pub keys: &'a [&'a [u64]],
}

impl<'a> Predictions<'a> {
    /// Each row's label beside its logits.
    fn labelled_logits(&self) -> impl Iterator<Item = (f32, &'a [f32])> + use<'a> {
        self.labels.iter().copied().zip(self.logits.chunks_exact(self.classes.max(1)))
    }

    /// Each row's label beside its predicted value: the probability where nothing else is predicted.
    fn labelled_values(&self) -> impl Iterator<Item = (f32, f32)> + use<'a> {
        let values = if self.values.is_empty() { self.probabilities } else { self.values };
        self.labels.iter().copied().zip(values.iter().copied())
    }

    /// Each row's label beside its probability.
    fn labelled_probabilities(&self) -> impl Iterator<Item = (f32, f32)> + use<'a> {
        self.labels.iter().copied().zip(self.probabilities.iter().copied())
    }
}

/// A figure that is computed over rows given bit by bit.
pub trait Metric {
    /// Adds rows. The columns are of equal length ([`MetricSet::update`] checks it); surplus entries of a longer column are not read.
    fn update(&mut self, predictions: &Predictions<'_>);

    /// Adds the rows that `other`, made with the same settings, has seen. The result equals one pass over all rows, bit for bit.
    fn merge(&mut self, other: Self)
    where
        Self: Sized;

    /// The figure over the rows seen so far.
    fn finish(&self) -> f64;
}

/// What is wrong with a metric's settings or with the rows given to it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricError {
    /// The metric has no meaning for this kind of prediction; EasyRec stops there too.
    #[error("metric {metric} cannot be computed for {task}")]
    WrongTask {
        /// The metric's name.
        metric: &'static str,
        /// What is predicted.
        task: Task,
    },
    /// The number of thresholds is out of range.
    #[error("metric {metric}: num_thresholds is {num_thresholds}; expected 2 to {}", thresholds::MOST)]
    ThresholdCount {
        /// The metric's name.
        metric: &'static str,
        /// What the config says.
        num_thresholds: u32,
    },
    /// `topk` is zero.
    #[error("metric {metric}: topk is 0; expected at least 1")]
    ZeroTopK {
        /// The metric's name.
        metric: &'static str,
    },
    /// The field that names the groups is not set.
    #[error("metric {metric}: {field} is not set; it names the feature whose values group the rows")]
    NoKeyField {
        /// The metric's name.
        metric: &'static str,
        /// The missing field.
        field: &'static str,
    },
    /// The reduction is not one of the known ones.
    #[error("metric {metric}: unknown reduction `{reduction}`; expected mean, mean_by_sample_num or mean_by_positive_num")]
    UnknownReduction {
        /// The metric's name.
        metric: &'static str,
        /// What the config says.
        reduction: String,
    },
    /// A column of [`Predictions`] does not have the length that the labels ask for.
    #[error("{column}: {found} values where {expected} were expected")]
    ColumnLength {
        /// The column.
        column: &'static str,
        /// The length that fits the labels.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// Two sets to merge hold different metrics.
    #[error("metric sets with different metrics cannot be merged: {left:?} and {right:?}")]
    DifferentSets {
        /// Metrics of the set merged into.
        left: Vec<String>,
        /// Metrics of the set given.
        right: Vec<String>,
    },
}

/// Whether EasyRec's cast of labels to int64 leaves something other than zero.
pub(crate) fn is_positive(label: f32) -> bool {
    label as i64 != 0
}

/// `numerator / denominator`, and 0 where TensorFlow's metrics guard against an empty denominator.
fn ratio_or_zero(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 { 0.0 } else { numerator / denominator }
}

/// The scores in the order of ranking: NaN lowest, both zeros equal.
pub(crate) fn rankable(score: f32) -> f32 {
    if score.is_nan() { f32::NEG_INFINITY } else { score + 0.0 }
}

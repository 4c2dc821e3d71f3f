//! EasyRec's `auc`: TensorFlow's streaming AUC over fixed thresholds (EasyRec behaviour 48).
//!
//! With tp and fp the rows above a threshold: tpr = (tp + 1e-6) / (P + 1e-6), fpr = fp / (N + 1e-6), and the area is the
//! trapezoid rule over the thresholds. It is not the exact AUC: for low click rates it is off by 1e-2 and more.
//! Thresholds and scores are compared in float32 as there; the sums here are f64, which is within 1e-7 of TensorFlow's float32.
//! TensorFlow stops at a probability outside [0, 1]; here it counts as the nearer end, and NaN as 0, so that the curve is closed.
//! All rows positive or no row at all: 0. All rows negative: 1. These follow from the formula.

use super::thresholds::{Above, ThresholdCounts};
use super::{Metric, MetricError, Predictions, is_positive, rankable};

const EPSILON: f64 = 1e-6;

/// Thresholded AUC, as EasyRec reports it.
#[derive(Clone, Debug)]
pub struct Auc {
    counts: ThresholdCounts,
}

impl Auc {
    /// EasyRec's default for `num_thresholds` is 200.
    ///
    /// # Errors
    /// [`MetricError::ThresholdCount`] for fewer than 2 thresholds or very many.
    pub fn new(num_thresholds: u32) -> Result<Self, MetricError> {
        Ok(Self { counts: ThresholdCounts::new("auc", num_thresholds)? })
    }
}

impl Metric for Auc {
    fn update(&mut self, predictions: &Predictions<'_>) {
        for (label, probability) in predictions.labelled_probabilities() {
            self.counts.add(rankable(probability).clamp(0.0, 1.0), is_positive(label));
        }
    }

    fn merge(&mut self, other: Self) {
        self.counts.merge(other.counts);
    }

    fn finish(&self) -> f64 {
        let total = self.counts.total();
        let rates = |above: Above| {
            let true_positive = (above.positives as f64 + EPSILON) / (total.positives as f64 + EPSILON);
            (above.negatives as f64 / (total.negatives as f64 + EPSILON), true_positive)
        };
        let mut points = self.counts.above().map(rates);
        let Some(mut previous) = points.next() else { return 0.0 };
        let mut area = 0.0;
        for point in points {
            area += (point.0 - previous.0) * (point.1 + previous.1) / 2.0;
            previous = point;
        }
        area
    }
}

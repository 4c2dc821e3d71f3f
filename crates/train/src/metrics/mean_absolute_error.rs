//! `mean_absolute_error`: mean of |prediction − label|, over probabilities when the task is classification (EasyRec behaviour 51).
//! 0 without rows, as TensorFlow.

use super::exact_sum::ExactMean;
use super::{Metric, Predictions};

/// Mean absolute error.
#[derive(Clone, Debug, Default)]
pub struct MeanAbsoluteError {
    mean: ExactMean,
}

impl Metric for MeanAbsoluteError {
    fn update(&mut self, predictions: &Predictions<'_>) {
        for (label, prediction) in predictions.labelled_values() {
            self.mean.add((f64::from(prediction) - f64::from(label)).abs());
        }
    }

    fn merge(&mut self, other: Self) {
        self.mean.merge(other.mean);
    }

    fn finish(&self) -> f64 {
        self.mean.value_or_zero()
    }
}

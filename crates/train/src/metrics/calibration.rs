//! `calibration`: mean prediction / mean label; 1 is right on average, above 1 too high. NaN without rows or if the labels' mean is 0.

use super::exact_sum::ExactMean;
use super::{Metric, Predictions};

/// Ratio of the predicted to the actual mean.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    prediction: ExactMean,
    label: ExactMean,
}

impl Metric for Calibration {
    fn update(&mut self, predictions: &Predictions<'_>) {
        for (label, prediction) in predictions.labelled_values() {
            self.prediction.add(f64::from(prediction));
            self.label.add(f64::from(label));
        }
    }

    fn merge(&mut self, other: Self) {
        self.prediction.merge(other.prediction);
        self.label.merge(other.label);
    }

    fn finish(&self) -> f64 {
        let label = self.label.value();
        if label == 0.0 { f64::NAN } else { self.prediction.value() / label }
    }
}

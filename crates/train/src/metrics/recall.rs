//! `recall`: the share of positive rows that have a probability above 0.5; 0 if there is no positive row, as TensorFlow.
//!
//! EasyRec's ranking models read the setting and ignore it (EasyRec behaviour 51).

use super::{Metric, Predictions, is_positive, ratio_or_zero};

/// Recall at 0.5.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recall {
    predicted: u64,
    positive: u64,
}

impl Metric for Recall {
    fn update(&mut self, predictions: &Predictions<'_>) {
        for (label, probability) in predictions.labelled_probabilities() {
            if is_positive(label) {
                self.predicted += u64::from(probability > 0.5);
                self.positive += 1;
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.predicted += other.predicted;
        self.positive += other.positive;
    }

    fn finish(&self) -> f64 {
        ratio_or_zero(self.predicted as f64, self.positive as f64)
    }
}

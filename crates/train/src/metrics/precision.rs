//! `precision`: the share of positive rows among those with a probability above 0.5; 0 if there is none, as TensorFlow.
//!
//! EasyRec's ranking models read the setting and ignore it (EasyRec behaviour 51).

use super::{Metric, Predictions, is_positive, ratio_or_zero};

/// Precision at 0.5.
#[derive(Clone, Copy, Debug, Default)]
pub struct Precision {
    positive: u64,
    predicted: u64,
}

impl Metric for Precision {
    fn update(&mut self, predictions: &Predictions<'_>) {
        for (label, probability) in predictions.labelled_probabilities() {
            if probability > 0.5 {
                self.positive += u64::from(is_positive(label));
                self.predicted += 1;
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.positive += other.positive;
        self.predicted += other.predicted;
    }

    fn finish(&self) -> f64 {
        ratio_or_zero(self.positive as f64, self.predicted as f64)
    }
}

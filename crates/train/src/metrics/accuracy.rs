//! `accuracy`: the share of rows whose predicted class is the label.
//!
//! With several logits a row the class is the largest logit's, the first of equal ones, NaN lowest (EasyRec's `y`).
//! With one, where EasyRec stops (EasyRec behaviour 51), it is whether the probability exceeds 0.5. 0 without rows, as TensorFlow.

use super::{Metric, Predictions, is_positive, rankable, ratio_or_zero};

/// Share of rightly classified rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accuracy {
    right: u64,
    rows: u64,
}

impl Metric for Accuracy {
    fn update(&mut self, predictions: &Predictions<'_>) {
        if predictions.classes > 1 {
            for (label, logits) in predictions.labelled_logits() {
                self.right += u64::from(largest(logits) as i64 == label as i64);
                self.rows += 1;
            }
            return;
        }
        for (label, probability) in predictions.labelled_probabilities() {
            self.right += u64::from((probability > 0.5) == is_positive(label));
            self.rows += 1;
        }
    }

    fn merge(&mut self, other: Self) {
        self.right += other.right;
        self.rows += other.rows;
    }

    fn finish(&self) -> f64 {
        ratio_or_zero(self.right as f64, self.rows as f64)
    }
}

/// The index of the first largest value.
fn largest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, &logit) in logits.iter().enumerate() {
        if rankable(logit) > rankable(logits[best]) {
            best = index;
        }
    }
    best
}

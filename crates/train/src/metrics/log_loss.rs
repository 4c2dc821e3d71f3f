//! `log_loss`: mean of −(label·ln p + (1−label)·ln(1−p)) with p clipped to [1e-7, 1−1e-7]. NaN without rows.

use super::exact_sum::ExactMean;
use super::{Metric, Predictions};

const CLIP: f64 = 1e-7;

/// Binary cross-entropy, in nats.
#[derive(Clone, Debug, Default)]
pub struct LogLoss {
    mean: ExactMean,
}

impl Metric for LogLoss {
    fn update(&mut self, predictions: &Predictions<'_>) {
        for (label, probability) in predictions.labelled_probabilities() {
            self.mean.add(cross_entropy(f64::from(label), f64::from(probability)));
        }
    }

    fn merge(&mut self, other: Self) {
        self.mean.merge(other.mean);
    }

    fn finish(&self) -> f64 {
        self.mean.value()
    }
}

/// −(label·ln p + (1−label)·ln(1−p)), p clipped; NaN stays NaN.
pub(crate) fn cross_entropy(label: f64, probability: f64) -> f64 {
    let probability = probability.clamp(CLIP, 1.0 - CLIP);
    if label == 1.0 {
        return -probability.ln();
    }
    if label == 0.0 {
        return -(-probability).ln_1p();
    }
    -(label * probability.ln() + (1.0 - label) * (-probability).ln_1p())
}

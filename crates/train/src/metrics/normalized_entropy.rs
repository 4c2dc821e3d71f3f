//! `normalized_entropy`: the log loss divided by that of always predicting the base rate, −(r·ln r + (1−r)·ln(1−r)).
//!
//! Below 1 the model knows more than the average (He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook").
//! NaN without rows or when all labels are the same, since the base rate then has no entropy.

use super::exact_sum::ExactMean;
use super::{LogLoss, Metric, Predictions};

/// Log loss relative to the entropy of the base rate.
#[derive(Clone, Debug, Default)]
pub struct NormalizedEntropy {
    log_loss: LogLoss,
    label: ExactMean,
}

impl Metric for NormalizedEntropy {
    fn update(&mut self, predictions: &Predictions<'_>) {
        self.log_loss.update(predictions);
        predictions.labelled_probabilities().for_each(|(label, _)| self.label.add(f64::from(label)));
    }

    fn merge(&mut self, other: Self) {
        self.log_loss.merge(other.log_loss);
        self.label.merge(other.label);
    }

    fn finish(&self) -> f64 {
        let rate = self.label.value();
        if rate > 0.0 && rate < 1.0 {
            return self.log_loss.finish() / -(rate * rate.ln() + (1.0 - rate) * (-rate).ln_1p());
        }
        f64::NAN
    }
}

//! Exact ROC AUC: the share of (positive, negative) pairs ranked rightly, a tied pair counting half. The same as scikit-learn's.
//!
//! Scores are kept: 4 bytes a row, and as many again while [`AucExact::finish`] sorts them.
//! NaN scores rank lowest, tied with −∞. NaN where there is no positive or no negative row.

use super::{Metric, Predictions, is_positive, rankable};

/// Exact ROC AUC with ties.
#[derive(Clone, Debug, Default)]
pub struct AucExact {
    positives: Vec<f32>,
    negatives: Vec<f32>,
}

impl Metric for AucExact {
    fn update(&mut self, predictions: &Predictions<'_>) {
        for (label, probability) in predictions.labelled_probabilities() {
            let scores = if is_positive(label) { &mut self.positives } else { &mut self.negatives };
            scores.push(rankable(probability));
        }
    }

    fn merge(&mut self, other: Self) {
        self.positives.extend(other.positives);
        self.negatives.extend(other.negatives);
    }

    fn finish(&self) -> f64 {
        if self.positives.is_empty() || self.negatives.is_empty() {
            return f64::NAN;
        }
        let (mut positives, mut negatives) = (self.positives.clone(), self.negatives.clone());
        positives.sort_unstable_by(f32::total_cmp);
        negatives.sort_unstable_by(f32::total_cmp);
        let (mut below, mut up_to) = (0, 0);
        let mut half_wins = 0u128;
        for positive in positives {
            while negatives.get(below).is_some_and(|&negative| negative < positive) {
                below += 1;
            }
            while negatives.get(up_to).is_some_and(|&negative| negative <= positive) {
                up_to += 1;
            }
            half_wins += (below + up_to) as u128;
        }
        half_wins as f64 / (2.0 * self.positives.len() as f64 * self.negatives.len() as f64)
    }
}

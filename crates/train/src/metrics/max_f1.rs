//! EasyRec's `max_f1`: the largest F1 over 200 thresholds in [0, 1] (EasyRec behaviour 50).
//!
//! F1 = 2·precision·recall / (precision + recall + 1e-12), with precision = tp / (tp + fp) and recall = tp / P, each 0 over nothing.
//! EasyRec compares the thresholds with **logits**, so only the probabilities 0.5 to 0.73 are tried, and every logit above 1 alike:
//! on data with few clicks the result is near 0. [`MaxF1Input::Probabilities`] is the evident intention.

use super::thresholds::{Above, ThresholdCounts};
use super::{Metric, Predictions, is_positive, ratio_or_zero};

const THRESHOLDS: u32 = 200;

/// What the thresholds are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxF1Input {
    /// The logits, as EasyRec does.
    #[default]
    Logits,
    /// The probabilities.
    Probabilities,
}

/// The largest F1 over thresholds.
#[derive(Clone, Debug)]
pub struct MaxF1 {
    input: MaxF1Input,
    counts: ThresholdCounts,
}

impl MaxF1 {
    /// With EasyRec's 200 thresholds.
    pub fn new(input: MaxF1Input) -> Self {
        Self { input, counts: ThresholdCounts::new("max_f1", THRESHOLDS).expect("200 thresholds are within the range") }
    }

    /// What the thresholds are compared with.
    pub fn input(&self) -> MaxF1Input {
        self.input
    }
}

impl Metric for MaxF1 {
    fn update(&mut self, predictions: &Predictions<'_>) {
        match self.input {
            // Of two classes the second is the positive one; a single logit is both first and last.
            MaxF1Input::Logits => predictions.labelled_logits().for_each(|(label, logits)| {
                let positive_logit = logits.last().copied().unwrap_or(f32::NAN);
                self.counts.add(positive_logit, is_positive(label));
            }),
            MaxF1Input::Probabilities => {
                predictions.labelled_probabilities().for_each(|(label, score)| self.counts.add(score, is_positive(label)));
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.counts.merge(other.counts);
    }

    fn finish(&self) -> f64 {
        let positives = self.counts.total().positives as f64;
        let f1 = |above: Above| {
            let precision = ratio_or_zero(above.positives as f64, (above.positives + above.negatives) as f64);
            let recall = ratio_or_zero(above.positives as f64, positives);
            2.0 * precision * recall / (precision + recall + 1e-12)
        };
        self.counts.above().map(f1).fold(0.0, f64::max)
    }
}

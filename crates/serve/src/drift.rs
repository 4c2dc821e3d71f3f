//! How far the scores of a shadow version are from those that were answered for the same rows.
//!
//! Besides the distances of single rows there are two figures of the whole: the mean of `shadow - answered`, and the population stability
//! index `Σ (q - p)·ln(q / p)` of the two distributions over 20 bins of equal width, `p` and `q` being the shares of a bin among the answered
//! and the shadow's scores. By the usual rule of thumb an index below 0.1 is no change and one above 0.25 is a large one.

use std::sync::{Mutex, PoisonError};

const BINS: usize = 20;
/// What every bin has from the start, so that an empty one is no infinity.
const PRIOR: f64 = 0.5;

/// The two distributions so far.
#[derive(Debug, Default)]
pub(crate) struct Drift(Mutex<Counts>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    answered: [u64; BINS],
    shadow: [u64; BINS],
    rows: u64,
    difference: f64,
}

/// The figures of the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DriftFigures {
    /// Mean of `shadow - answered`.
    pub(crate) mean_difference: f64,
    /// The population stability index.
    pub(crate) stability_index: f64,
}

impl Drift {
    /// Adds scores of the same rows.
    pub(crate) fn add(&self, answered: &[f32], shadow: &[f32]) -> DriftFigures {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (a, b) in answered.iter().zip(shadow) {
            counts.answered[bin(*a)] += 1;
            counts.shadow[bin(*b)] += 1;
            counts.rows += 1;
            counts.difference += f64::from(*b) - f64::from(*a);
        }
        counts.figures()
    }
}

/// The bin of a probability; what is none goes to the nearest.
fn bin(probability: f32) -> usize {
    ((probability * BINS as f32) as usize).min(BINS - 1)
}

impl Counts {
    fn figures(&self) -> DriftFigures {
        let total = self.rows as f64 + PRIOR * BINS as f64;
        let share = |count: u64| (count as f64 + PRIOR) / total;
        let terms = self.answered.iter().zip(&self.shadow).map(|(p, q)| {
            let (p, q) = (share(*p), share(*q));
            (q - p) * (q / p).ln()
        });
        DriftFigures { mean_difference: self.difference / (self.rows as f64).max(1.0), stability_index: terms.sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_do_not_drift_and_others_do() {
        let low: Vec<f32> = (0..1000).map(|i| i as f32 / 2000.0).collect();
        let same = Drift::default().add(&low, &low);
        assert_eq!(same, DriftFigures { mean_difference: 0.0, stability_index: 0.0 });
        let high: Vec<f32> = low.iter().map(|score| score + 0.5).collect();
        let far = Drift::default().add(&low, &high);
        assert!((far.mean_difference - 0.5).abs() < 1e-6 && far.stability_index > 5.0, "{far:?}");
    }

    #[test]
    fn the_index_is_that_of_its_formula() {
        let drift = Drift::default();
        drift.add(&[0.01; 30], &[0.01; 30]);
        let figures = drift.add(&[0.99; 10], &[0.01; 10]);
        let (p, q) = ([30.5_f64, 10.5], [40.5, 0.5]);
        let index: f64 = p.iter().zip(q).map(|(p, q): (&f64, f64)| (q - p) / 50.0 * (q / p).ln()).sum();
        assert!((figures.stability_index - index).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_probability_is_counted_at_the_ends() {
        assert_eq!([-3.0, 0.0, 1.0, 7.0, f32::NAN, f32::INFINITY].map(bin), [0, 0, BINS - 1, BINS - 1, 0, BINS - 1]);
    }
}

//! AUC of two models over the same rows, with the variances and the covariance of DeLong, DeLong, Clarke-Pearson (1988).
//!
//! With `ψ(x, y)` 1, ½ or 0 as a positive row's score x is above, equal to or below a negative row's score y, every positive row has the
//! component `mean_j ψ(x_i, y_j)` and every negative row `mean_i ψ(x_i, y_j)`; the AUC is the mean of either. The (co)variance of AUCs is
//! that of the positive rows' components divided by their number, plus the same of the negative rows. Ranks give all components in
//! O(n log n) (Sun and Xu 2014).

use crate::metrics::{is_positive, rankable};

/// AUCs of models, and their covariances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Aucs {
    pub(super) values: [f64; 2],
    /// Variance of the first, of the second, covariance.
    pub(super) variances: [f64; 3],
}

/// The AUCs of two models' scores; NaN without rows of both kinds, variances NaN without two rows of each.
pub(super) fn aucs(labels: &[f32], scores: [&[f32]; 2]) -> Aucs {
    let [first, second] = scores.map(|scores| components(labels, scores));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let covariance = |x: &[f64], y: &[f64]| {
        let (mean_x, mean_y) = (mean(x), mean(y));
        let products = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y));
        products.sum::<f64>() / (x.len() as f64 - 1.0) / x.len() as f64
    };
    let both = |x: &Components, y: &Components| covariance(&x.positive, &y.positive) + covariance(&x.negative, &y.negative);
    Aucs {
        values: [mean(&first.positive), mean(&second.positive)],
        variances: [both(&first, &first), both(&second, &second), both(&first, &second)],
    }
}

/// The share of rows of the other kind that each row is on the right side of.
struct Components {
    positive: Vec<f64>,
    negative: Vec<f64>,
}

fn components(labels: &[f32], scores: &[f32]) -> Components {
    let mut order: Vec<u32> = (0..labels.len() as u32).collect();
    let score = |row: &u32| rankable(scores[*row as usize]);
    let positive = |row: &u32| is_positive(labels[*row as usize]);
    order.sort_unstable_by(|a, b| score(a).total_cmp(&score(b)));
    let positives = order.iter().filter(|row| positive(row)).count();
    let negatives = order.len() - positives;
    let mut shares = vec![0.0; labels.len()];
    let (mut positives_below, mut negatives_below) = (0, 0);
    for tied in order.chunk_by(|a, b| score(a) == score(b)) {
        let tied_positives = tied.iter().filter(|row| positive(row)).count();
        let tied_negatives = tied.len() - tied_positives;
        let wins = (negatives_below as f64 + 0.5 * tied_negatives as f64) / negatives as f64;
        let losses = (positives_below as f64 + 0.5 * tied_positives as f64) / positives as f64;
        for row in tied {
            shares[*row as usize] = if positive(row) { wins } else { 1.0 - losses };
        }
        positives_below += tied_positives;
        negatives_below += tied_negatives;
    }
    // In the order of the rows, so that the components of two models stand beside each other.
    let of =
        |wanted: bool| shares.iter().zip(labels).filter(|(_, label)| is_positive(**label) == wanted).map(|(share, _)| *share).collect();
    Components { positive: of(true), negative: of(false) }
}

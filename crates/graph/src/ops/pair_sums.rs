//! Sums over ranges of pairs of the rules whose loss is a function of `m - d`, a sum of a part of the upper and of the lower row.

use std::ops::Range;

use rankmill_kernels::pairs::{LARGEST_SUM, count_above, relu_sum, sigmoid_sum, softplus_sum, weight_above, weighted_sigmoid_sum};

use super::pair_ranges::{PairRanges, Row};
use super::pairs::{Margin, PairRule};

/// What pairs lose.
enum Shape {
    /// `ln(1 + e^x)`; the parts are kept as powers of e.
    Softplus,
    /// `max(x, 0)`.
    Relu,
}

/// The parts of all rows, in the order of their [`PairRanges`].
pub(super) struct PairSums {
    shape: Shape,
    margin: Margin,
    /// As upper rows of pairs, as lower ones, and the weights of the upper ones.
    upper: Vec<f64>,
    lower: Vec<f64>,
    weights: Vec<f64>,
}

impl PairSums {
    /// The sums of a rule, with a weight for each row and its place; none if the rule has no such form, or numbers are too large for it.
    pub(super) fn new(rule: PairRule, ranges: &PairRanges, weight: impl Fn(&Row, usize) -> f64) -> Option<PairSums> {
        let (shape, margin) = match rule {
            PairRule::Logistic(margin) => (Shape::Softplus, margin),
            PairRule::Hinge(margin) => (Shape::Relu, margin),
            PairRule::Focal { .. } => return None,
        };
        let mut sums = PairSums { shape, margin, upper: Vec::new(), lower: Vec::new(), weights: Vec::new() };
        for (row, place) in ranges.rows() {
            sums.upper.push(margin.upper(row));
            sums.lower.push(margin.lower(row));
            sums.weights.push(weight(row, place));
        }
        if let Shape::Softplus = sums.shape {
            let fits = sums.upper.iter().chain(&sums.lower).all(|part| part.abs() <= LARGEST_SUM / 2.0);
            if !fits {
                return None;
            }
            sums.upper.iter_mut().chain(&mut sums.lower).for_each(|part| *part = part.exp());
        }
        Some(sums)
    }

    /// The loss of the pairs of an upper row with lower ones.
    pub(super) fn loss(&self, row: &Row, lower: Range<usize>) -> f64 {
        match self.shape {
            Shape::Softplus => softplus_sum(self.margin.upper(row).exp(), &self.lower[lower]),
            Shape::Relu => relu_sum(self.margin.upper(row), &self.lower[lower]),
        }
    }

    /// The slope in `m - d` of [`PairSums::loss`].
    pub(super) fn slope_below(&self, row: &Row, lower: Range<usize>) -> f64 {
        match self.shape {
            Shape::Softplus => sigmoid_sum(self.margin.upper(row).exp(), &self.lower[lower]),
            Shape::Relu => count_above(self.margin.upper(row), &self.lower[lower]),
        }
    }

    /// The slope of the weighted pairs of a lower row with upper ones.
    pub(super) fn slope_above(&self, row: &Row, upper: Range<usize>) -> f64 {
        let weights = &self.weights[upper.clone()];
        match self.shape {
            Shape::Softplus => weighted_sigmoid_sum(self.margin.lower(row).exp(), &self.upper[upper], weights),
            Shape::Relu => weight_above(self.margin.lower(row), &self.upper[upper], weights),
        }
    }
}

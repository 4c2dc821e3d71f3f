//! Losses over pairs of rows (EasyRec behaviour 172).
//!
//! A pair `(i, j)` counts if `y_i > y_j` and both rows are of one session; its weight is that of row `i`. With `d = z_i - z_j` and a
//! margin `m`, which may be `y_i - y_j`:
//!
//! | rule | loss of a pair |
//! |---|---|
//! | logistic | `ln(1 + exp(m - d))` |
//! | hinge | `max(m - d, 0)` |
//! | focal | `ln(1 + exp(-d))` times the [`FocalFactor`] of `d` with label 1, of pairs with `d` below a bound |
//!
//! [`PairLosses`] sums over `j` in the row of `i`; nothing of size B × B is stored. The rows that count are a range of `PairRanges`, and
//! `m - d` is a sum of a part of each row, so sums over all pairs are those of `rankmill_kernels::pairs`.
//! With online hard example mining (Shrivastava, Gupta, Girshick 2016) only the pairs of the largest weighted losses count. Among pairs
//! that tie at the threshold TensorFlow takes the first ones; here each counts by the same share, so the loss is the same.

use std::ops::Range;

use rankmill_kernels::elementwise::{sigmoid, softplus};
use rankmill_kernels::substrate::{Blocks, Cut};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::ops::focal::FocalFactor;
use crate::ops::pair_ranges::{PairRanges, Row};
use crate::ops::pair_sums::PairSums;
use crate::shape::Shape;

/// What a pair loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairRule {
    /// `ln(1 + exp(m - d))`.
    Logistic(Margin),
    /// `max(m - d, 0)`.
    Hinge(Margin),
    /// Focal loss.
    Focal {
        /// How easy pairs are played down.
        factor: FocalFactor,
        /// Pairs with a difference from this bound on are left out.
        below: f32,
    },
}

/// By how much the first row of a pair is to be above the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// By this.
    Fixed(f32),
    /// By the difference of their labels.
    OfLabels,
}

impl Margin {
    fn of(self, label_difference: f32) -> f32 {
        match self {
            Margin::Fixed(margin) => margin,
            Margin::OfLabels => label_difference,
        }
    }

    /// The part of `m - d` that a row has as the upper one of a pair.
    pub(super) fn upper(self, row: &Row) -> f64 {
        let margin = match self {
            Margin::Fixed(margin) => margin,
            Margin::OfLabels => row.label,
        };
        f64::from(margin) - f64::from(row.score)
    }

    /// The part that it has as the lower one.
    pub(super) fn lower(self, row: &Row) -> f64 {
        let margin = match self {
            Margin::Fixed(_) => 0.0,
            Margin::OfLabels => row.label,
        };
        f64::from(row.score) - f64::from(margin)
    }
}

/// A pair before its weight.
struct Pair {
    loss: f32,
    /// Slope of the loss in `d`.
    slope: f32,
    /// A factor that is part of the weight: pairs without weight do not count.
    factor: f32,
}

impl PairRule {
    /// The pair of a difference of scores and one of labels, if it counts.
    fn pair(&self, d: f32, label_difference: f32) -> Option<Pair> {
        match self {
            PairRule::Logistic(margin) => {
                let x = margin.of(label_difference) - d;
                Some(Pair { loss: softplus(x), slope: -sigmoid(x), factor: 1.0 })
            }
            PairRule::Hinge(margin) => {
                let x = margin.of(label_difference) - d;
                Some(Pair { loss: x.max(0.0), slope: if x > 0.0 { -1.0 } else { 0.0 }, factor: 1.0 })
            }
            PairRule::Focal { factor, below } if d < *below => {
                let (value, entropy) = (factor.value(d, 1.0), softplus(-d));
                Some(Pair { loss: value * entropy, slope: factor.slope(d, 1.0) * entropy - value * sigmoid(-d), factor: value })
            }
            PairRule::Focal { .. } => None,
        }
    }
}

/// Score, label, session and weight of rows, a column each.
#[derive(Clone, Copy)]
struct Rows<'a>([MatRef<'a>; 4]);

impl<'a> Rows<'a> {
    fn new(inputs: &[MatRef<'a>]) -> Rows<'a> {
        Rows([inputs[0], inputs[1], inputs[2], inputs[3]])
    }

    fn row(&self, i: usize) -> Row {
        let [score, label, session, weight] = self.0.map(|column| column.row(i)[0]);
        Row { score, label, session, weight }
    }

    fn ranges(&self) -> PairRanges {
        PairRanges::new((0..self.0[0].rows()).map(|i| self.row(i)))
    }
}

impl Row {
    /// The pair with a row below this one, if it counts.
    fn pair(&self, below: &Row, rule: &PairRule) -> Option<Pair> {
        rule.pair(self.score - below.score, self.label - below.label)
    }
}

/// Which pairs, or rows, count.
#[derive(Clone, Copy)]
pub(super) enum Selection {
    /// All with a weight.
    All,
    /// Those of a weighted loss above the threshold, and a share of those at it.
    Hard { threshold: f32, share: f32 },
}

impl Selection {
    pub(super) fn new(input: Option<&MatRef<'_>>) -> Selection {
        match input {
            Some(input) => Selection::Hard { threshold: input.row(0)[0], share: input.row(0)[1] },
            None => Selection::All,
        }
    }

    /// How much a pair counts.
    pub(super) fn share(&self, weighted_loss: f32, weight: f32) -> f32 {
        match *self {
            Selection::All => f32::from(u8::from(weight != 0.0)),
            Selection::Hard { .. } if weighted_loss <= 0.0 => 0.0,
            Selection::Hard { threshold, .. } if weighted_loss > threshold => 1.0,
            Selection::Hard { threshold, share } if weighted_loss == threshold => share,
            Selection::Hard { .. } => 0.0,
        }
    }
}

/// Weighted loss and number of the pairs that each row is above in: inputs scores, labels, sessions, weights `[B, 1]`, the same four
/// once more, perhaps a [`HardPairs`] → `[B, 2]`.
#[derive(Clone, Copy, Debug)]
pub struct PairLosses(pub PairRule);

impl PairLosses {
    /// Weighted loss and number of the pairs of a row with rows below it, pair by pair.
    fn one_by_one<'a>(&self, row: &Row, below: impl Iterator<Item = (&'a Row, usize)>, selection: &Selection) -> (f64, f64) {
        let (mut total, mut count) = (0.0, 0.0);
        for pair in below.filter_map(|(other, _)| row.pair(other, &self.0)) {
            let weighted = row.weight * pair.loss;
            let share = selection.share(weighted, row.weight * pair.factor);
            total += f64::from(share * weighted);
            count += f64::from(share);
        }
        (total, count)
    }
}

/// Columns of a row, and of all rows.
const COLUMNS: usize = 4;

fn eight_columns(inputs: &[&Shape]) -> Result<(), String> {
    let column = Shape::batch(&[1]);
    if inputs.len() >= 2 * COLUMNS && inputs[..2 * COLUMNS].iter().all(|shape| **shape == column) {
        return Ok(());
    }
    Err("scores, labels, sessions and weights of rows are needed, twice".to_owned())
}

fn is_of_all_rows(input: usize) -> bool {
    (COLUMNS..2 * COLUMNS).contains(&input)
}

impl Op for PairLosses {
    fn name(&self) -> &'static str {
        "losses of pairs"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        eight_columns(inputs).map(|()| Shape::batch(&[2]))
    }

    fn reads_all_rows(&self, input: usize) -> bool {
        is_of_all_rows(input)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let (own, ranges) = (Rows::new(inputs), Rows::new(&inputs[COLUMNS..]).ranges());
        let sums = inputs.get(2 * COLUMNS).is_none().then(|| PairSums::new(self.0, &ranges, |_, _| 0.0)).flatten();
        let selection = Selection::new(inputs.get(2 * COLUMNS));
        for i in 0..output.rows() {
            let row = own.row(i);
            let below = ranges.below(&row);
            let (total, count) = match &sums {
                _ if row.weight == 0.0 => (0.0, 0.0),
                Some(sums) => (f64::from(row.weight) * sums.loss(&row, below.clone()), below.len() as f64),
                None => self.one_by_one(&row, ranges.part(below), &selection),
            };
            output.row(i).copy_from_slice(&[total as f32, count as f32]);
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let mut read = inputs[..2 * COLUMNS].to_vec();
        read.extend([upstream, upstream]);
        read.extend(&inputs[2 * COLUMNS..]);
        let mut gradients = vec![None; inputs.len()];
        gradients[0] = Some(backward.add(PairLossesGradient(self.0), &read)?);
        Ok(gradients)
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// The gradient of [`PairLosses`] with respect to the scores: its first eight inputs, the upstream gradient `[B, 2]` of the row and of
/// all rows, perhaps a [`HardPairs`] → `[B, 1]`. A row takes part in pairs as the upper and as the lower one.
#[derive(Clone, Copy, Debug)]
pub struct PairLossesGradient(pub PairRule);

impl Op for PairLossesGradient {
    fn name(&self) -> &'static str {
        "losses of pairs gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        eight_columns(inputs).map(|()| Shape::batch(&[1]))
    }

    fn reads_all_rows(&self, input: usize) -> bool {
        is_of_all_rows(input) || input == 2 * COLUMNS + 1
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let (own, ranges) = (Rows::new(inputs), Rows::new(&inputs[COLUMNS..]).ranges());
        let (own_upstream, upstream) = (inputs[2 * COLUMNS], inputs[2 * COLUMNS + 1]);
        let hard = inputs.get(2 * COLUMNS + 2);
        let weight_of = |row: &Row, place: usize| f64::from(upstream.row(place)[0]) * f64::from(row.weight);
        let sums = hard.is_none().then(|| PairSums::new(self.0, &ranges, weight_of)).flatten();
        let selection = Selection::new(hard);
        let slope = |pair: Pair, weight: f32| f64::from(weight * selection.share(weight * pair.loss, weight * pair.factor) * pair.slope);
        for i in 0..output.rows() {
            let row = own.row(i);
            let (below, above) = (ranges.below(&row), ranges.above(&row));
            let own_upstream = f64::from(own_upstream.row(i)[0]);
            let total = if let Some(sums) = &sums {
                sums.slope_above(&row, above) - own_upstream * f64::from(row.weight) * sums.slope_below(&row, below)
            } else {
                let as_upper = ranges.part(below).filter_map(|(other, _)| row.pair(other, &self.0));
                let as_lower = ranges.part(above).filter_map(|(other, place)| Some((other.pair(&row, &self.0)?, other.weight, place)));
                as_upper.map(|pair| own_upstream * slope(pair, row.weight)).sum::<f64>()
                    - as_lower.map(|(pair, weight, place)| f64::from(upstream.row(place)[0]) * slope(pair, weight)).sum::<f64>()
            };
            output.row(i)[0] = total as f32;
        }
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// The threshold of the hardest pairs, of which `ratio` are to count, and the share by which those at the threshold count: inputs
/// scores, labels, sessions, weights `[B, 1]` → `[2]`.
#[derive(Clone, Copy, Debug)]
pub struct HardPairs {
    /// What a pair loses.
    pub rule: PairRule,
    /// Share of the pairs, between 0 and 1.
    pub ratio: f32,
}

impl Op for HardPairs {
    fn name(&self) -> &'static str {
        "hard pairs"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs.len() == COLUMNS && inputs.iter().all(|shape| shape.batch) {
            Ok(Shape::fixed(&[2]))
        } else {
            Err("four columns are needed".to_owned())
        }
    }

    fn execution(&self) -> Execution {
        Execution::Blocks
    }

    fn blocks(&self, _: &Shape) -> Blocks {
        Blocks { cut: Cut::Rows, unit: 1, count: 1 }
    }

    fn block(&self, inputs: &[MatRef<'_>], _: Range<usize>, mut output: MatMut<'_>) {
        let ranges = Rows::new(inputs).ranges();
        let mut losses = Vec::new();
        for (row, _) in ranges.rows() {
            let pairs = ranges.part(ranges.below(row)).filter_map(|(other, _)| row.pair(other, &self.rule));
            losses.extend(pairs.map(|pair| row.weight * pair.loss));
        }
        output.row(0).copy_from_slice(&hardest(losses, self.ratio));
    }

    fn gradient(&self, _: &mut Backward<'_>, inputs: &[Value], _: Value, _: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None; inputs.len()])
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// The least of the `ratio` largest losses, and the share of those equal to it that belongs to them.
pub(super) fn hardest(mut losses: Vec<f32>, ratio: f32) -> [f32; 2] {
    let wanted = ((losses.len() as f32 * ratio).round_ties_even() as usize).min(losses.len());
    if wanted == 0 {
        return [f32::INFINITY, 0.0];
    }
    let (_, threshold, _) = losses.select_nth_unstable_by(wanted - 1, |a, b| b.total_cmp(a));
    let threshold = *threshold;
    let above = losses.iter().filter(|loss| **loss > threshold).count();
    let equal = losses.iter().filter(|loss| **loss == threshold).count();
    [threshold, (wanted - above) as f32 / equal as f32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hardest_are_found_with_ties_and_odd_counts() {
        assert_eq!(hardest(vec![], 0.5), [f32::INFINITY, 0.0]);
        assert_eq!(hardest(vec![3.0, 1.0, 2.0, 4.0], 0.5), [3.0, 1.0]);
        assert_eq!(hardest(vec![1.0, 1.0, 1.0, 4.0], 0.5), [1.0, 1.0 / 3.0]);
        // Half-way counts are rounded to even numbers, as `tf.math.rint` does.
        assert_eq!(hardest(vec![5.0, 4.0, 3.0, 2.0, 1.0], 0.5), [4.0, 1.0]);
    }
}

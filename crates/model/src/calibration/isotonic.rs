//! Isotonic regression (Zadrozny and Elkan 2002): the rising function with the least squared error, found by joining neighbours that fall
//! ("pool adjacent violators", Ayer et al. 1955), with straight lines between its points and level beyond them. Equal probabilities are
//! one point, as in scikit-learn.

use super::{Curve, Sample};

/// Neighbouring probabilities with one value.
struct Block {
    first: f32,
    last: f32,
    sum: f64,
    weight: f64,
}

impl Block {
    fn value(&self) -> f64 {
        self.sum / self.weight
    }
}

/// Fits the curve to samples of which at least one counts.
pub(super) fn fit(samples: &[Sample]) -> Curve {
    let mut sorted: Vec<&Sample> = samples.iter().filter(|sample| sample.weight > 0.0).collect();
    sorted.sort_by(|a, b| a.probability.total_cmp(&b.probability));
    let mut blocks: Vec<Block> = Vec::new();
    for equal in sorted.chunk_by(|a, b| a.probability == b.probability) {
        let sum = equal.iter().map(|sample| f64::from(sample.weight) * f64::from(sample.label)).sum();
        let weight = equal.iter().map(|sample| f64::from(sample.weight)).sum();
        let (first, last) = (equal[0].probability, equal[0].probability);
        let mut block = Block { first, last, sum, weight };
        while let Some(before) = blocks.pop_if(|before| before.value() >= block.value()) {
            block = Block { first: before.first, last, sum: before.sum + block.sum, weight: before.weight + block.weight };
        }
        blocks.push(block);
    }
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for block in &blocks {
        let ends = if block.first == block.last { &[block.first][..] } else { &[block.first, block.last] };
        for end in ends {
            x.push(*end);
            y.push(block.value() as f32);
        }
    }
    Curve::Isotonic { x, y }
}

/// The curve through the points at `at`.
pub(super) fn interpolate(x: &[f32], y: &[f32], at: f32) -> f32 {
    let next = x.partition_point(|point| *point < at);
    if next == x.len() {
        return y[next - 1];
    }
    if next == 0 || x[next] == at || at.is_nan() {
        return y[next];
    }
    let (low, high) = (f64::from(x[next - 1]), f64::from(x[next]));
    let (from, to) = (f64::from(y[next - 1]), f64::from(y[next]));
    (from + (to - from) * (f64::from(at) - low) / (high - low)) as f32
}

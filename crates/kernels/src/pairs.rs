//! Sums over the pairs of one row with many, for losses of pairs whose argument is a sum `x = a + b_j` of a part of each row.
//!
//! With `e^a` and `e^b_j` at hand, `σ(x)` takes a product and a quotient, and `Σ ln(1 + e^x)` one logarithm for eight pairs: that of the
//! product of their `1 + e^x`. Sums are formed in eight lanes and added up in a fixed order, so their bits depend on the slices alone.

use crate::dispatch::multiversion;

const LANES: usize = 8;
/// Factors of one product before its logarithm is taken.
const FACTORS: usize = 8;

/// The largest `|a| + |b_j|` for which products of `FACTORS` factors `1 + e^(a + b_j)` stay finite.
pub const LARGEST_SUM: f64 = 80.0;

/// The sum of all lanes, in order.
#[inline(always)]
fn total(lanes: [f64; LANES]) -> f64 {
    lanes.iter().sum()
}

multiversion! {
    /// `Σ ln(1 + ea·eb_j)`; `ln ea` and `ln eb_j` add up to at most [`LARGEST_SUM`].
    pub fn softplus_sum(ea: f64, eb: &[f64]) -> f64 {
        let mut sum = 0.0;
        for block in eb.chunks(LANES * FACTORS) {
            let mut products = [1.0; LANES];
            let mut lines = block.chunks_exact(LANES);
            for line in &mut lines {
                for (product, eb) in products.iter_mut().zip(line) {
                    *product *= 1.0 + ea * eb;
                }
            }
            for (product, eb) in products.iter_mut().zip(lines.remainder()) {
                *product *= 1.0 + ea * eb;
            }
            sum += total(products.map(f64::ln));
        }
        sum
    }
}

multiversion! {
    /// `Σ t_j / (1 + t_j)` with `t_j = ea·eb_j`.
    pub fn sigmoid_sum(ea: f64, eb: &[f64]) -> f64 {
        let mut sums = [0.0; LANES];
        let mut lines = eb.chunks_exact(LANES);
        for line in &mut lines {
            for (sum, eb) in sums.iter_mut().zip(line) {
                let t = ea * eb;
                *sum += t / (1.0 + t);
            }
        }
        for (sum, eb) in sums.iter_mut().zip(lines.remainder()) {
            let t = ea * eb;
            *sum += t / (1.0 + t);
        }
        total(sums)
    }
}

multiversion! {
    /// `Σ w_j·t_j / (1 + t_j)` with `t_j = eb·ea_j`.
    pub fn weighted_sigmoid_sum(eb: f64, ea: &[f64], weights: &[f64]) -> f64 {
        let mut sums = [0.0; LANES];
        for (line, weights) in ea.chunks(LANES).zip(weights.chunks(LANES)) {
            for ((sum, ea), weight) in sums.iter_mut().zip(line).zip(weights) {
                let t = eb * ea;
                *sum += weight * (t / (1.0 + t));
            }
        }
        total(sums)
    }
}

multiversion! {
    /// `Σ max(a + b_j, 0)`.
    pub fn relu_sum(a: f64, b: &[f64]) -> f64 {
        let mut sums = [0.0; LANES];
        for line in b.chunks(LANES) {
            for (sum, b) in sums.iter_mut().zip(line) {
                *sum += (a + b).max(0.0);
            }
        }
        total(sums)
    }
}

multiversion! {
    /// `Σ w_j` over the `a_j` with `a_j + b > 0`.
    pub fn weight_above(b: f64, a: &[f64], weights: &[f64]) -> f64 {
        let mut sums = [0.0; LANES];
        for (line, weights) in a.chunks(LANES).zip(weights.chunks(LANES)) {
            for ((sum, a), weight) in sums.iter_mut().zip(line).zip(weights) {
                *sum += if a + b > 0.0 { *weight } else { 0.0 };
            }
        }
        total(sums)
    }
}

multiversion! {
    /// How many `b_j` there are with `a + b_j > 0`.
    pub fn count_above(a: f64, b: &[f64]) -> f64 {
        let mut sums = [0.0; LANES];
        for line in b.chunks(LANES) {
            for (sum, b) in sums.iter_mut().zip(line) {
                *sum += if a + b > 0.0 { 1.0 } else { 0.0 };
            }
        }
        total(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: f64) -> Vec<f64> {
        (0..count).map(|i| 3.0 * (i as f64 * 0.7 + seed).sin()).collect()
    }

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found} not {expected}");
    }

    #[test]
    fn sums_are_those_of_plain_loops_for_all_tails() {
        for count in (0..140).chain([1000]) {
            let (b, weights) = (numbers(count, 0.3), numbers(count, 0.9));
            let eb: Vec<f64> = b.iter().map(|b| b.exp()).collect();
            for a in [-2.5, 0.0, 1.5_f64] {
                let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                let sum = |f: &dyn Fn(usize) -> f64| (0..count).map(f).sum::<f64>();
                close(softplus_sum(a.exp(), &eb), sum(&|j| (a + b[j]).exp().ln_1p()));
                close(sigmoid_sum(a.exp(), &eb), sum(&|j| sigmoid(a + b[j])));
                close(weighted_sigmoid_sum(a.exp(), &eb, &weights), sum(&|j| weights[j] * sigmoid(a + b[j])));
                close(relu_sum(a, &b), sum(&|j| (a + b[j]).max(0.0)));
                close(weight_above(a, &b, &weights), sum(&|j| if a + b[j] > 0.0 { weights[j] } else { 0.0 }));
                close(count_above(a, &b), sum(&|j| f64::from(u8::from(a + b[j] > 0.0))));
            }
        }
    }

    #[test]
    fn the_largest_sums_stay_finite() {
        let eb = [40.0_f64.exp(); 100];
        close(softplus_sum(40.0_f64.exp(), &eb), 100.0 * LARGEST_SUM);
        close(softplus_sum((-40.0_f64).exp(), &[(-40.0_f64).exp(); 100]), 0.0);
        close(sigmoid_sum(40.0_f64.exp(), &eb), 100.0);
    }
}

//! Sums over slices. The order is fixed: 16 running sums, added pairwise at the end, whatever the processor.

use crate::dispatch::multiversion;

const LANES: usize = 16;

#[inline(always)]
fn fold(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[inline(always)]
pub(crate) fn sum_by(x: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            sums[lane] += term(block[lane]);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        sums[lane] += term(*value);
    }
    fold(sums)
}

#[inline(always)]
pub(crate) fn sum_by_pairs(x: &[f32], y: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (x_blocks, x_rest) = x.as_chunks::<LANES>();
    let (y_blocks, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for lane in 0..LANES {
            sums[lane] += term(x[lane], y[lane]);
        }
    }
    for (lane, (x, y)) in x_rest.iter().zip(y_rest).enumerate() {
        sums[lane] += term(*x, *y);
    }
    fold(sums)
}

multiversion! {
    /// Sum of the elements.
    pub fn sum(x: &[f32]) -> f32 {
        sum_by(x, |value| value)
    }
}

multiversion! {
    /// Sum of the squares.
    pub fn sum_of_squares(x: &[f32]) -> f32 {
        sum_by(x, |value| value * value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_equal_a_plain_loop_for_all_tails() {
        for length in 0..130 {
            let x: Vec<f32> = (0..length).map(|i| (i as f32 * 0.37).sin()).collect();
            let plain: f64 = x.iter().map(|v| f64::from(*v)).sum();
            let squares: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
            // 130 terms below 1: rounding below 130 * 2^-24.
            assert!((f64::from(sum(&x)) - plain).abs() < 1e-5);
            assert!((f64::from(sum_of_squares(&x)) - squares).abs() < 1e-5);
        }
    }
}

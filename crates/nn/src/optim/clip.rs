//! Clipping by the global norm (`gradient_clipping_by_norm`), EasyRec behaviour 44.
//!
//! ```text
//! norm = sqrt(Σ over all gradients of Σ g²)        every gradient *= clip_norm·min(1/norm, 1/clip_norm)
//! ```
//! The gradients include those of the regularisation terms. A table's norm is that of the gradient values as they are passed:
//! rows that two features share count once per feature in EasyRec, so such gradients are passed before they are merged.

use super::Gradient;

/// Elements whose squares are summed in one go. Fixed, so that the rounding does not depend on who sums what.
pub const NORM_BLOCK: usize = 4096;

const LANES: usize = 8;

/// The Euclidean norm of all gradients together.
pub fn global_norm(gradients: &[Gradient<'_>]) -> f32 {
    let total: f64 = gradients
        .iter()
        .map(|gradient| match gradient {
            Gradient::Dense(values) | Gradient::Rows { values, .. } => sum_of_squares(values),
        })
        .fold(0.0, |sum, squares| sum + squares);
    total.sqrt() as f32
}

/// Sum of squares: blocks of [`NORM_BLOCK`] elements, summed each in double precision, added in order.
///
/// A caller that cuts a gradient at multiples of [`NORM_BLOCK`] and adds the blocks' sums in order gets the same bits.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    values.chunks(NORM_BLOCK).map(block_sum_of_squares).fold(0.0, |sum, block| sum + block)
}

/// The factor that brings gradients of norm `norm` to at most `clip_norm`; not a number when the norm is not finite, as in
/// TensorFlow, so that a broken gradient does not pass for a clipped one.
pub fn clip_factor(norm: f32, clip_norm: f32) -> f32 {
    if !norm.is_finite() {
        return f32::NAN;
    }
    clip_norm * (1.0 / norm).min(1.0 / clip_norm)
}

fn block_sum_of_squares(block: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let groups = block.chunks_exact(LANES);
    let rest: f64 = groups.remainder().iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    for group in groups {
        for (lane, &value) in lanes.iter_mut().zip(group) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

//! Decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101) of `adamw_optimizer` and `momentumw_optimizer`,
//! EasyRec behaviour 41.
//!
//! ```text
//! w -= λ·w        before the step, λ = weight_decay, not multiplied by the learning rate
//! ```
//! All variables decay, biases and normalisation too; of a table only the batch's rows. EasyRec leaves it to chance whether
//! the forward pass of the same step sees decayed weights; here the decay always follows the gradients.

use super::Gradient;
use super::rows::for_each_row;

/// Shrinks the weights that the gradient touches.
pub(super) fn apply(decay: f32, weights: &mut [f32], gradient: &Gradient<'_>, width: usize) {
    match gradient {
        Gradient::Dense(_) => shrink(decay, weights),
        Gradient::Rows { rows, values } => {
            for_each_row(weights, [], rows, values, width, |weights, [], _| shrink(decay, weights));
        }
    }
}

fn shrink(decay: f32, weights: &mut [f32]) {
    for weight in weights {
        *weight -= decay * *weight;
    }
}

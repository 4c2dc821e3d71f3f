//! Lazy Adam (EasyRec's `AdamOptimizerS`), EasyRec behaviour 39.
//!
//! [`super::adam`] with its sparse formula confined to the batch's rows: other rows keep their moments and weights. The bias
//! correction counts all steps, not the row's own. Dense gradients are treated as by Adam.

use super::Gradient;
use super::adam::Adam;
use super::rows::for_each_row;

pub(super) fn update(adam: &Adam, rate: f32, weights: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: Gradient<'_>, width: usize) {
    match gradient {
        Gradient::Dense(gradient) => adam.dense(rate, weights, m, v, gradient),
        Gradient::Rows { rows, values } => {
            for_each_row(weights, [m, v], rows, values, width, |weights, [m, v], g| adam.row(rate, weights, m, v, g));
        }
    }
}

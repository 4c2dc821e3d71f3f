//! Adagrad (Duchi, Hazan, Singer, JMLR 12, 2011) as TensorFlow's `AdagradOptimizer`, EasyRec behaviour 40.
//!
//! ```text
//! n += g²        w -= g·lr·(1/sqrt(n))        n starts at initial_accumulator_value (0.1); no epsilon
//! ```
//! On a table only the batch's rows.

use super::rows::for_each_row;
use super::{Gradient, Slot};

/// Adagrad: it has no settings but its accumulator's initial value, which the slot holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad;

pub(super) fn slots(initial: f32) -> Vec<Slot> {
    vec![Slot { suffix: "Adagrad", initial }]
}

impl Adagrad {
    pub(super) fn update(&self, rate: f32, weights: &mut [f32], accumulator: &mut [f32], gradient: Gradient<'_>, width: usize) {
        match gradient {
            Gradient::Dense(gradient) => elements(rate, weights, accumulator, gradient),
            Gradient::Rows { rows, values } => {
                for_each_row(weights, [accumulator], rows, values, width, |weights, [accumulator], g| {
                    elements(rate, weights, accumulator, g);
                });
            }
        }
    }
}

fn elements(rate: f32, weights: &mut [f32], accumulator: &mut [f32], gradient: &[f32]) {
    for ((weight, accumulated), &g) in weights.iter_mut().zip(accumulator).zip(gradient) {
        *accumulated += g * g;
        *weight -= g * rate * (1.0 / accumulated.sqrt());
    }
}

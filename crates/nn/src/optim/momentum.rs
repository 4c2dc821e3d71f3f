//! Momentum, and plain gradient descent as momentum 0; EasyRec behaviour 40.
//!
//! ```text
//! a = a·μ + g        w -= a·lr
//! ```
//! On a table only the batch's rows: the momentum of other rows stays and does not move them.

use super::rows::for_each_row;
use super::{Gradient, Slot};

/// Settings of momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Momentum {
    /// Share of the accumulated gradient that is kept.
    pub momentum: f32,
}

pub(super) fn slots(suffix: &'static str) -> Vec<Slot> {
    vec![Slot { suffix, initial: 0.0 }]
}

impl Momentum {
    pub(super) fn update(&self, rate: f32, weights: &mut [f32], accumulator: &mut [f32], gradient: Gradient<'_>, width: usize) {
        match gradient {
            Gradient::Dense(gradient) => self.elements(rate, weights, accumulator, gradient),
            Gradient::Rows { rows, values } => {
                for_each_row(weights, [accumulator], rows, values, width, |weights, [accumulator], g| {
                    self.elements(rate, weights, accumulator, g);
                });
            }
        }
    }

    fn elements(&self, rate: f32, weights: &mut [f32], accumulator: &mut [f32], gradient: &[f32]) {
        for ((weight, accumulated), &g) in weights.iter_mut().zip(accumulator).zip(gradient) {
            *accumulated = *accumulated * self.momentum + g;
            *weight -= *accumulated * rate;
        }
    }
}

//! RMSProp (Tieleman and Hinton, lecture 6.5, 2012) with momentum as TensorFlow's `RMSPropOptimizer`, EasyRec behaviour 40.
//!
//! ```text
//! dense:  s += (g² - s)·(1 - ρ)              a = a·μ + (g·lr)/sqrt(s + ε)          w -= a
//! table:  s = s·ρ + g²·(1 - ρ)               a = a·μ + (1/sqrt(s + ε))·lr·g        w -= a       the batch's rows only
//! ```
//! s starts at 1. EasyRec's default ε is 1.0, not the usual 1e-10, and lies under the root.

use super::rows::for_each_row;
use super::{Gradient, Slot};

/// Settings of RMSProp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Decay ρ of the mean square per step.
    pub decay: f32,
    /// Share μ of the last move that is repeated.
    pub momentum: f32,
    /// Added to the mean square.
    pub epsilon: f32,
}

pub(super) fn slots() -> Vec<Slot> {
    vec![Slot { suffix: "RMSProp", initial: 1.0 }, Slot { suffix: "RMSProp_1", initial: 0.0 }]
}

impl RmsProp {
    pub(super) fn update(
        &self,
        rate: f32,
        weights: &mut [f32],
        square: &mut [f32],
        momentum: &mut [f32],
        gradient: Gradient<'_>,
        width: usize,
    ) {
        match gradient {
            Gradient::Dense(gradient) => self.dense(rate, weights, square, momentum, gradient),
            Gradient::Rows { rows, values } => {
                for_each_row(weights, [square, momentum], rows, values, width, |weights, [square, momentum], g| {
                    self.row(rate, weights, square, momentum, g);
                });
            }
        }
    }

    fn dense(&self, rate: f32, weights: &mut [f32], square: &mut [f32], momentum: &mut [f32], gradient: &[f32]) {
        let gain = 1.0 - self.decay;
        for (((weight, s), a), &g) in weights.iter_mut().zip(square).zip(momentum).zip(gradient) {
            *s += (g * g - *s) * gain;
            *a = *a * self.momentum + (g * rate) / (*s + self.epsilon).sqrt();
            *weight -= *a;
        }
    }

    fn row(&self, rate: f32, weights: &mut [f32], square: &mut [f32], momentum: &mut [f32], gradient: &[f32]) {
        let gain = 1.0 - self.decay;
        for (((weight, s), a), &g) in weights.iter_mut().zip(square).zip(momentum).zip(gradient) {
            *s = *s * self.decay + g * g * gain;
            *a = *a * self.momentum + (1.0 / (*s + self.epsilon).sqrt()) * rate * g;
            *weight -= *a;
        }
    }
}

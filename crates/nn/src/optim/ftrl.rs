//! FTRL-Proximal (McMahan et al., "Ad click prediction: a view from the trenches", KDD 2013) as TensorFlow's
//! `FtrlOptimizer`, EasyRec behaviour 40.
//!
//! ```text
//! n' = n + g²                                 n starts at initial_accumulator_value (0.1), z at 0
//! z += g + 2·λ_shrink·w - (n'^-p - n^-p)/lr·w             p = learning_rate_power, -0.5: n^-p = sqrt(n)
//! w  = (clamp(z, -λ₁, λ₁) - z) / (n'^-p/lr + 2·λ₂)        exactly 0 while |z| ≤ λ₁
//! n  = n'
//! ```
//! The weight is rebuilt from n and z each time. On a table only the batch's rows.

use super::rows::for_each_row;
use super::{Gradient, Slot};

/// Settings of FTRL.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ftrl {
    /// Exponent of the accumulator, at most 0.
    pub power: f32,
    /// Strength of the L1 penalty.
    pub l1: f32,
    /// Strength of the L2 penalty.
    pub l2: f32,
    /// Strength of the L2 penalty that shrinks by the current weight.
    pub l2_shrinkage: f32,
}

pub(super) fn slots(initial: f32) -> Vec<Slot> {
    vec![Slot { suffix: "Ftrl", initial }, Slot { suffix: "Ftrl_1", initial: 0.0 }]
}

impl Ftrl {
    pub(super) fn update(
        &self,
        rate: f32,
        weights: &mut [f32],
        accumulator: &mut [f32],
        linear: &mut [f32],
        gradient: Gradient<'_>,
        width: usize,
    ) {
        match gradient {
            Gradient::Dense(gradient) => self.elements(rate, weights, accumulator, linear, gradient),
            Gradient::Rows { rows, values } => {
                for_each_row(weights, [accumulator, linear], rows, values, width, |weights, [accumulator, linear], g| {
                    self.elements(rate, weights, accumulator, linear, g);
                });
            }
        }
    }

    fn elements(&self, rate: f32, weights: &mut [f32], accumulator: &mut [f32], linear: &mut [f32], gradient: &[f32]) {
        if self.power == -0.5 {
            self.elements_with(f32::sqrt, rate, weights, accumulator, linear, gradient);
        } else {
            self.elements_with(|n| n.powf(-self.power), rate, weights, accumulator, linear, gradient);
        }
    }

    #[inline(always)]
    fn elements_with(
        &self,
        root: impl Fn(f32) -> f32,
        rate: f32,
        weights: &mut [f32],
        accumulator: &mut [f32],
        linear: &mut [f32],
        gradient: &[f32],
    ) {
        let shrinkage = 2.0 * self.l2_shrinkage;
        let ridge = 2.0 * self.l2;
        for (((weight, n), z), &g) in weights.iter_mut().zip(accumulator).zip(linear).zip(gradient) {
            let grown = *n + g * g;
            let grown_root = root(grown);
            *z += g + shrinkage * *weight - (grown_root - root(*n)) / rate * *weight;
            *weight = (z.min(self.l1).max(-self.l1) - *z) / (grown_root / rate + ridge);
            *n = grown;
        }
    }
}

//! Adam (Kingma and Ba, arXiv 1412.6980, the form before section 2.1), EasyRec behaviour 38.
//!
//! ```text
//! α = lr·sqrt(1 - β₂ᵗ)/(1 - β₁ᵗ)            ε = 1e-8, outside the root ("epsilon hat")
//! dense:  m += (g - m)·(1 - β₁)             v += (g² - v)·(1 - β₂)             w -= (m·α)/(sqrt(v) + ε)
//! table:  m = m·β₁ + g·(1 - β₁)             v = v·β₂ + g²·(1 - β₂)             w -= (α·m)/(sqrt(v) + ε)
//! ```
//! The two lines are equal but for rounding. On a table **every** row decays its moments and moves, with g = 0 where the
//! batch had no such row: TensorFlow's sparse Adam is not lazy. ([`super::lazy_adam`] is.)
//!
//! Moments below the smallest normal float are set to zero, as TensorFlow's threads do by flushing denormals: a moment that
//! only decays would otherwise make every later step slow. A first moment that small moves its weight by less than 2e-30 times
//! the rate, and a second one vanishes beside ε.
//!
//! A row without gradients moves by ever less: its first moment shrinks by β₁ a step, the root of its second one by sqrt(β₂).

use rankmill_kernels::adam as kernel;

use super::{Gradient, Slot};

/// Largest ratio of β₁ to sqrt(β₂) at which movement counts as fading: far enough from 1 that rounding can't hide it.
const MOST_FADING: f64 = 0.999;

/// Settings of Adam.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Decay of the first moment per step.
    pub beta1: f32,
    /// Decay of the second moment per step.
    pub beta2: f32,
}

/// First and second moment, both starting at zero.
pub(super) fn slots(first: &'static str, second: &'static str) -> Vec<Slot> {
    vec![Slot { suffix: first, initial: 0.0 }, Slot { suffix: second, initial: 0.0 }]
}

/// The rate with the bias of both moments corrected, from β₁ᵗ and β₂ᵗ.
pub(super) fn corrected_rate(learning_rate: f32, beta1_power: f32, beta2_power: f32) -> f32 {
    learning_rate * (1.0 - beta2_power).sqrt() / (1.0 - beta1_power)
}

impl Adam {
    pub(super) fn update(&self, rate: f32, weights: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: Gradient<'_>, width: usize) {
        let (rows, values) = match gradient {
            Gradient::Dense(gradient) => return self.dense(rate, weights, m, v, gradient),
            Gradient::Rows { rows, values } => (rows, values),
        };
        let (mut weights, mut m, mut v) = (weights, m, v);
        let mut next_row = 0;
        for (&row, gradient) in rows.iter().zip(values.chunks_exact(width)) {
            let gap = (row as usize - next_row) * width;
            kernel::idle_step(take(&mut weights, gap), take(&mut m, gap), take(&mut v, gap), rate, [self.beta1, self.beta2]);
            self.row(rate, take(&mut weights, width), take(&mut m, width), take(&mut v, width), gradient);
            next_row = row as usize + 1;
        }
        kernel::idle_step(weights, m, v, rate, [self.beta1, self.beta2]);
    }

    pub(super) fn dense(&self, rate: f32, weights: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32]) {
        kernel::dense(weights, m, v, gradient, rate, [self.beta1, self.beta2]);
    }

    /// A row of the batch.
    pub(super) fn row(&self, rate: f32, weights: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32]) {
        kernel::row(weights, m, v, gradient, rate, [self.beta1, self.beta2]);
    }

    /// Rows without a gradient, through a step for each rate.
    pub(super) fn idle(&self, rates: &[f32], weights: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        kernel::idle(weights, m, v, rates, [self.beta1, self.beta2]);
    }

    /// Whether rows without a gradient move by ever less.
    pub(super) fn fades(&self) -> bool {
        f64::from(self.beta1) / f64::from(self.beta2).sqrt() <= MOST_FADING
    }
}

/// Splits the first `count` elements off.
fn take<'a>(slice: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
    let (head, tail) = std::mem::take(slice).split_at_mut(count);
    *slice = tail;
    head
}

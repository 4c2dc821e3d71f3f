//! Elementwise kernels over slices of equal length.

mod exponential;

pub use exponential::{
    exp, exp_all, exp_of_difference, sigmoid, sigmoid_all, sigmoid_gradient, swish_all, swish_gradient, swish_slope, tanh, tanh_all,
    tanh_gradient,
};

use crate::dispatch::multiversion;

multiversion! {
    /// `out = a + b`.
    pub fn add(out: &mut [f32], a: &[f32], b: &[f32]) {
        for ((o, x), y) in out.iter_mut().zip(a).zip(b) {
            *o = x + y;
        }
    }
}

multiversion! {
    /// `out = a - b`.
    pub fn subtract(out: &mut [f32], a: &[f32], b: &[f32]) {
        for ((o, x), y) in out.iter_mut().zip(a).zip(b) {
            *o = x - y;
        }
    }
}

multiversion! {
    /// `out = a * b`.
    pub fn multiply(out: &mut [f32], a: &[f32], b: &[f32]) {
        for ((o, x), y) in out.iter_mut().zip(a).zip(b) {
            *o = x * y;
        }
    }
}

multiversion! {
    /// `out += a`.
    pub fn add_assign(out: &mut [f32], a: &[f32]) {
        for (o, x) in out.iter_mut().zip(a) {
            *o += x;
        }
    }
}

multiversion! {
    /// `out += factor * a`.
    pub fn add_scaled(out: &mut [f32], factor: f32, a: &[f32]) {
        for (o, x) in out.iter_mut().zip(a) {
            *o += factor * x;
        }
    }
}

multiversion! {
    /// `out = factor * a`.
    pub fn scale(out: &mut [f32], factor: f32, a: &[f32]) {
        for (o, x) in out.iter_mut().zip(a) {
            *o = factor * x;
        }
    }
}

multiversion! {
    /// `out = max(a, 0)`.
    pub fn relu(out: &mut [f32], a: &[f32]) {
        for (o, x) in out.iter_mut().zip(a) {
            *o = x.max(0.0);
        }
    }
}

/// `ln(1 + exp(x))`, stable at both ends.
pub fn softplus(x: f32) -> f32 {
    x.max(0.0) + exp(-x.abs()).ln_1p()
}

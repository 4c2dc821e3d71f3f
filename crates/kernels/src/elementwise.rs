//! Elementwise kernels over slices of equal length.

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
    /// `out += a * b`.
    pub fn add_product(out: &mut [f32], a: &[f32], b: &[f32]) {
        for ((o, x), y) in out.iter_mut().zip(a).zip(b) {
            *o += x * y;
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

multiversion! {
    /// `x = x + bias`.
    pub fn add_bias(x: &mut [f32], bias: &[f32]) {
        for (o, b) in x.iter_mut().zip(bias) {
            *o += b;
        }
    }
}

multiversion! {
    /// `x = max(x + bias, 0)`.
    pub fn add_bias_relu(x: &mut [f32], bias: &[f32]) {
        for (o, b) in x.iter_mut().zip(bias) {
            *o = (*o + b).max(0.0);
        }
    }
}

multiversion! {
    /// `x = max(x, 0)`.
    pub fn relu_in_place(x: &mut [f32]) {
        for o in x.iter_mut() {
            *o = o.max(0.0);
        }
    }
}

multiversion! {
    /// `out = dy` where the output `y` of a ReLU is positive, else 0.
    pub fn relu_gradient(out: &mut [f32], y: &[f32], dy: &[f32]) {
        for ((o, y), d) in out.iter_mut().zip(y).zip(dy) {
            *o = if *y > 0.0 { *d } else { 0.0 };
        }
    }
}

multiversion! {
    /// `out = (x - mean) * scale`, the normalisation of one row by numbers.
    pub fn centre_and_scale(out: &mut [f32], x: &[f32], mean: f32, scale: f32) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = (x - mean) * scale;
        }
    }
}

multiversion! {
    /// `out = x * scale + shift`, elementwise.
    pub fn scale_and_shift(out: &mut [f32], x: &[f32], scale: &[f32], shift: &[f32]) {
        for (((o, x), s), t) in out.iter_mut().zip(x).zip(scale).zip(shift) {
            *o = x * s + t;
        }
    }
}

multiversion! {
    /// `out = (x - centre) * scale + shift`, elementwise.
    pub fn centre_scale_shift(out: &mut [f32], x: &[f32], centre: &[f32], scale: &[f32], shift: &[f32]) {
        for ((((o, x), c), s), t) in out.iter_mut().zip(x).zip(centre).zip(scale).zip(shift) {
            *o = (x - c) * s + t;
        }
    }
}

/// The logistic function, stable at both ends.
pub fn sigmoid(x: f32) -> f32 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

//! Values and slopes of the elementwise functions.
//!
//! Where a function has two common forms, the name says which one it is; TensorFlow's is meant everywhere.

use std::f32::consts::{FRAC_2_SQRT_PI, SQRT_2};

use rankmill_kernels::elementwise::{exp, sigmoid, softplus, swish_slope, tanh};

use super::Unary;

/// Keras' epsilon.
pub(super) const LEAST_PROBABILITY: f32 = 1e-7;
pub(super) const SELU_SCALE: f32 = 1.050_701;
pub(super) const SELU_ALPHA: f32 = 1.673_263_2;
pub(super) const GELU_CUBIC: f32 = 0.044_715;

/// `√(2/π)`.
pub(super) const GELU_SCALE: f32 = FRAC_2_SQRT_PI / SQRT_2;

impl Unary {
    /// `f(x)`.
    pub fn value(self, x: f32) -> f32 {
        match self {
            Unary::Copy => x,
            Unary::Scale(factor) => factor * x,
            Unary::Square => x * x,
            Unary::Relu => x.max(0.0),
            Unary::Sigmoid => sigmoid(x),
            Unary::Tanh => tanh(x),
            Unary::LeakyRelu(slope) => x.max(slope * x),
            Unary::Relu6 => x.clamp(0.0, 6.0),
            Unary::Elu if x > 0.0 => x,
            Unary::Elu => x.exp_m1(),
            Unary::Selu if x > 0.0 => SELU_SCALE * x,
            Unary::Selu => SELU_SCALE * SELU_ALPHA * x.exp_m1(),
            Unary::GeluTanh => 0.5 * x * (1.0 + tanh(GELU_SCALE * (x + GELU_CUBIC * x * x * x))),
            Unary::GeluErf => 0.5 * x * (1.0 + libm::erff(x / SQRT_2)),
            Unary::Swish => x * sigmoid(x),
            Unary::Mish => x * tanh(softplus(x)),
            Unary::Softplus => softplus(x),
            Unary::Softsign => x / (1.0 + x.abs()),
            Unary::HardSigmoid => (0.2 * x + 0.5).clamp(0.0, 1.0),
            Unary::Exponential => exp(x),
            Unary::Sine => x.sin(),
            Unary::Cosine => x.cos(),
            Unary::Log(added) => (x + added).ln(),
            Unary::LogarithmOfNext => x.ln_1p(),
            Unary::LogOdds => {
                let p = x.clamp(LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY);
                (p / (1.0 - p)).ln()
            }
            Unary::Root => x.sqrt(),
            Unary::Absolute => x.abs(),
            Unary::Power(exponent) => x.powf(exponent),
            Unary::Clip { least, most } => x.min(most).max(least),
            Unary::InverseRoot { least } => 1.0 / x.max(least).sqrt(),
        }
    }

    /// `f'(x)`; 0 at the corners, as in TensorFlow. Where [`Unary::slope_reads_output`], `f(x)` is given instead of `x`.
    pub fn slope(self, x: f32) -> f32 {
        match self {
            // Of the output.
            Unary::Relu => f32::from(u8::from(x > 0.0)),
            Unary::Sigmoid => x * (1.0 - x),
            Unary::Tanh => 1.0 - x * x,
            Unary::Copy => 1.0,
            Unary::Scale(factor) => factor,
            Unary::Square => 2.0 * x,
            Unary::LeakyRelu(_) if x > 0.0 => 1.0,
            Unary::LeakyRelu(slope) => slope,
            Unary::Relu6 => f32::from(u8::from(x > 0.0 && x < 6.0)),
            Unary::Elu if x > 0.0 => 1.0,
            Unary::Elu => exp(x),
            Unary::Selu if x > 0.0 => SELU_SCALE,
            Unary::Selu => SELU_SCALE * SELU_ALPHA * exp(x),
            Unary::GeluTanh => {
                let t = tanh(GELU_SCALE * (x + GELU_CUBIC * x * x * x));
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * x * x)
            }
            // The density of the normal distribution is 1/√(2π)·exp(-x²/2).
            Unary::GeluErf => 0.5 * (1.0 + libm::erff(x / SQRT_2)) + x * (0.5 * GELU_SCALE) * exp(-0.5 * x * x),
            Unary::Swish => swish_slope(x),
            Unary::Mish => {
                let t = tanh(softplus(x));
                t + x * (1.0 - t * t) * sigmoid(x)
            }
            Unary::Softplus => sigmoid(x),
            Unary::Softsign => 1.0 / ((1.0 + x.abs()) * (1.0 + x.abs())),
            Unary::HardSigmoid => {
                if x > -2.5 && x < 2.5 {
                    0.2
                } else {
                    0.0
                }
            }
            Unary::Exponential => exp(x),
            Unary::Sine => x.cos(),
            Unary::Cosine => -x.sin(),
            Unary::Log(added) => 1.0 / (x + added),
            Unary::LogarithmOfNext => 1.0 / (1.0 + x),
            Unary::LogOdds => {
                let clipped = !(LEAST_PROBABILITY..=1.0 - LEAST_PROBABILITY).contains(&x);
                if clipped { 0.0 } else { 1.0 / (x * (1.0 - x)) }
            }
            Unary::Root => 0.5 / x.sqrt(),
            Unary::Absolute if x == 0.0 => 0.0,
            Unary::Absolute => x.signum(),
            Unary::Power(exponent) => exponent * x.powf(exponent - 1.0),
            // TensorFlow's gradient flows at the bounds, too.
            Unary::Clip { least, most } => f32::from(u8::from(x >= least && x <= most)),
            Unary::InverseRoot { least } if x < least => 0.0,
            Unary::InverseRoot { .. } => -0.5 / (x * x.sqrt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At -1.5 and 0.75, from the formulas in double precision.
    #[test]
    fn values_follow_the_formulas() {
        let cases = [
            (Unary::LeakyRelu(0.2), -0.3, 0.75),
            (Unary::Relu6, 0.0, 0.75),
            (Unary::Elu, -0.776_869_84, 0.75),
            (Unary::Selu, -1.365_814_8, 0.788_025_7),
            (Unary::GeluTanh, -0.100_428_42, 0.579_960_6),
            (Unary::GeluErf, -0.100_210_8, 0.580_029_5),
            (Unary::Swish, -0.273_638_3, 0.509_384_04),
            (Unary::Mish, -0.298_099_74, 0.610_018_3),
            (Unary::Softplus, 0.201_413_28, 1.136_871),
            (Unary::Softsign, -0.6, 0.428_571_43),
            (Unary::HardSigmoid, 0.2, 0.65),
        ];
        for (function, at_minus, at_plus) in cases {
            for (x, expected) in [(-1.5, at_minus), (0.75, at_plus)] {
                let found = function.value(x);
                // Single precision, a few operations long.
                assert!((found - expected).abs() <= 1e-6, "{function:?}({x}) = {found}, not {expected}");
            }
        }
        assert_eq!(Unary::Relu6.value(9.0), 6.0);
        assert_eq!(Unary::InverseRoot { least: 0.25 }.value(0.0), 2.0);
    }

    #[test]
    fn large_arguments_stay_finite() {
        for function in [Unary::Elu, Unary::Selu, Unary::GeluTanh, Unary::GeluErf, Unary::Swish, Unary::Mish, Unary::Softplus] {
            for x in [-200.0, 200.0] {
                assert!(function.value(x).is_finite() && function.slope(x).is_finite(), "{function:?}({x})");
            }
        }
    }
}

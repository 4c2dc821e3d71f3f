//! Activation functions and other elementwise functions whose slope follows from the argument.
//!
//! Where a function has two common forms, the name says which one it is; TensorFlow's is meant everywhere.

use std::f32::consts::{FRAC_2_SQRT_PI, SQRT_2};

use rankmill_kernels::elementwise::{sigmoid, softplus};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// `y = f(x)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `x` if positive, else `slope · x`.
    LeakyRelu(f32),
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` if positive, else `exp(x) - 1` (Clevert, Unterthiner, Hochreiter 2016).
    Elu,
    /// `λ·x` if positive, else `λ·α·(exp(x) - 1)` (Klambauer et al. 2017).
    Selu,
    /// `x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))` (Hendrycks, Gimpel 2016, the approximation).
    GeluTanh,
    /// `x/2 · (1 + erf(x/√2))` (Hendrycks, Gimpel 2016).
    GeluErf,
    /// `x · σ(x)` (Ramachandran, Zoph, Le 2017), also called SiLU.
    Swish,
    /// `x · tanh(ln(1 + exp(x)))` (Misra 2019).
    Mish,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x/5 + 1/2` between 0 and 1, Keras' `hard_sigmoid`.
    HardSigmoid,
    /// `exp(x)`.
    Exponential,
    /// `sin(x)`.
    Sine,
    /// `cos(x)`.
    Cosine,
    /// `ln(x)`.
    Logarithm,
    /// `ln(1 + x)`.
    LogarithmOfNext,
    /// `sqrt(x)`.
    Root,
    /// `|x|`.
    Absolute,
    /// `x` to this power.
    Power(f32),
    /// The nearest number between the two.
    Clip {
        /// The smallest result.
        least: f32,
        /// The largest result.
        most: f32,
    },
    /// `1 / sqrt(max(x, least))`.
    InverseRoot {
        /// The least argument that is told apart.
        least: f32,
    },
}

const SELU_SCALE: f32 = 1.050_701;
const SELU_ALPHA: f32 = 1.673_263_2;
const GELU_CUBIC: f32 = 0.044_715;

/// `√(2/π)`.
const GELU_SCALE: f32 = FRAC_2_SQRT_PI / SQRT_2;

impl Function {
    /// `f(x)`.
    pub fn value(self, x: f32) -> f32 {
        match self {
            Function::LeakyRelu(slope) => x.max(slope * x),
            Function::Relu6 => x.clamp(0.0, 6.0),
            Function::Elu if x > 0.0 => x,
            Function::Elu => x.exp_m1(),
            Function::Selu if x > 0.0 => SELU_SCALE * x,
            Function::Selu => SELU_SCALE * SELU_ALPHA * x.exp_m1(),
            Function::GeluTanh => 0.5 * x * (1.0 + (GELU_SCALE * (x + GELU_CUBIC * x * x * x)).tanh()),
            Function::GeluErf => 0.5 * x * (1.0 + libm::erff(x / SQRT_2)),
            Function::Swish => x * sigmoid(x),
            Function::Mish => x * softplus(x).tanh(),
            Function::Softplus => softplus(x),
            Function::Softsign => x / (1.0 + x.abs()),
            Function::HardSigmoid => (0.2 * x + 0.5).clamp(0.0, 1.0),
            Function::Exponential => x.exp(),
            Function::Sine => x.sin(),
            Function::Cosine => x.cos(),
            Function::Logarithm => x.ln(),
            Function::LogarithmOfNext => x.ln_1p(),
            Function::Root => x.sqrt(),
            Function::Absolute => x.abs(),
            Function::Power(exponent) => x.powf(exponent),
            Function::Clip { least, most } => x.min(most).max(least),
            Function::InverseRoot { least } => 1.0 / x.max(least).sqrt(),
        }
    }

    /// `f'(x)`; 0 at the corners, as in TensorFlow.
    pub fn slope(self, x: f32) -> f32 {
        match self {
            Function::LeakyRelu(_) if x > 0.0 => 1.0,
            Function::LeakyRelu(slope) => slope,
            Function::Relu6 => f32::from(u8::from(x > 0.0 && x < 6.0)),
            Function::Elu if x > 0.0 => 1.0,
            Function::Elu => x.exp(),
            Function::Selu if x > 0.0 => SELU_SCALE,
            Function::Selu => SELU_SCALE * SELU_ALPHA * x.exp(),
            Function::GeluTanh => {
                let t = (GELU_SCALE * (x + GELU_CUBIC * x * x * x)).tanh();
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * x * x)
            }
            // The density of the normal distribution is 1/√(2π)·exp(-x²/2).
            Function::GeluErf => 0.5 * (1.0 + libm::erff(x / SQRT_2)) + x * (0.5 * GELU_SCALE) * (-0.5 * x * x).exp(),
            Function::Swish => {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }
            Function::Mish => {
                let t = softplus(x).tanh();
                t + x * (1.0 - t * t) * sigmoid(x)
            }
            Function::Softplus => sigmoid(x),
            Function::Softsign => 1.0 / ((1.0 + x.abs()) * (1.0 + x.abs())),
            Function::HardSigmoid => {
                if x > -2.5 && x < 2.5 {
                    0.2
                } else {
                    0.0
                }
            }
            Function::Exponential => x.exp(),
            Function::Sine => x.cos(),
            Function::Cosine => -x.sin(),
            Function::Logarithm => 1.0 / x,
            Function::LogarithmOfNext => 1.0 / (1.0 + x),
            Function::Root => 0.5 / x.sqrt(),
            Function::Absolute if x == 0.0 => 0.0,
            Function::Absolute => x.signum(),
            Function::Power(exponent) => exponent * x.powf(exponent - 1.0),
            // TensorFlow's gradient flows at the bounds, too.
            Function::Clip { least, most } => f32::from(u8::from(x >= least && x <= most)),
            Function::InverseRoot { least } if x < least => 0.0,
            Function::InverseRoot { .. } => -0.5 / (x * x.sqrt()),
        }
    }
}

/// `x/2 · (1 + t)`.
fn half_of_next(emit: &mut Emitter<'_>, x: Tensor, t: Tensor) -> Tensor {
    let [half, one] = [0.5, 1.0].map(|number| emit.scalar(number));
    let next = emit.node("Add", &[t, one]);
    let halved = emit.node("Mul", &[x, half]);
    emit.node("Mul", &[halved, next])
}

/// Operations that an elementwise function with an exponential counts as.
const FLOPS: f64 = 8.0;

impl Op for Function {
    fn name(&self) -> &'static str {
        match self {
            Function::LeakyRelu(_) => "leaky relu",
            Function::Relu6 => "relu6",
            Function::Elu => "elu",
            Function::Selu => "selu",
            Function::GeluTanh => "gelu (tanh)",
            Function::GeluErf => "gelu",
            Function::Swish => "swish",
            Function::Mish => "mish",
            Function::Softplus => "softplus",
            Function::Softsign => "softsign",
            Function::HardSigmoid => "hard sigmoid",
            Function::Exponential => "exponential",
            Function::Sine => "sine",
            Function::Cosine => "cosine",
            Function::Logarithm => "logarithm",
            Function::LogarithmOfNext => "logarithm of 1 + x",
            Function::Root => "square root",
            Function::Absolute => "absolute value",
            Function::Power(_) => "power",
            Function::Clip { .. } => "clip",
            Function::InverseRoot { .. } => "inverse root",
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            output.row(i).iter_mut().zip(inputs[0].row(i)).for_each(|(y, x)| *y = self.value(*x));
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(FunctionGradient(*self), &[inputs[0], upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let x = inputs[0];
        let mut number = |value: f32| emit.scalar(value);
        Ok(match *self {
            Function::LeakyRelu(slope) => {
                let slope = number(slope);
                let scaled = emit.node("Mul", &[x, slope]);
                emit.node("Max", &[x, scaled])
            }
            Function::Relu6 => {
                let bounds = [number(0.0), number(6.0)];
                emit.node("Clip", &[x, bounds[0], bounds[1]])
            }
            Function::Elu => emit.node("Elu", &[x]),
            Function::Selu => {
                let settings = [("alpha", Attribute::Float(SELU_ALPHA)), ("gamma", Attribute::Float(SELU_SCALE))];
                emit.node_with("Selu", &[x], &settings)
            }
            Function::GeluTanh => {
                let [cubic, scale] = [number(GELU_CUBIC), number(GELU_SCALE)];
                let square = emit.node("Mul", &[x, x]);
                let cube = emit.node("Mul", &[square, x]);
                let bent = emit.node("Mul", &[cube, cubic]);
                let sum = emit.node("Add", &[x, bent]);
                let scaled = emit.node("Mul", &[sum, scale]);
                let t = emit.node("Tanh", &[scaled]);
                half_of_next(emit, x, t)
            }
            Function::GeluErf => {
                let root = number(SQRT_2);
                let scaled = emit.node("Div", &[x, root]);
                let t = emit.node("Erf", &[scaled]);
                half_of_next(emit, x, t)
            }
            Function::Swish => {
                let s = emit.node("Sigmoid", &[x]);
                emit.node("Mul", &[x, s])
            }
            Function::Mish => {
                let s = emit.node("Softplus", &[x]);
                let t = emit.node("Tanh", &[s]);
                emit.node("Mul", &[x, t])
            }
            Function::Softplus => emit.node("Softplus", &[x]),
            Function::Softsign => emit.node("Softsign", &[x]),
            Function::HardSigmoid => {
                emit.node_with("HardSigmoid", &[x], &[("alpha", Attribute::Float(0.2)), ("beta", Attribute::Float(0.5))])
            }
            Function::Exponential => emit.node("Exp", &[x]),
            Function::Sine => emit.node("Sin", &[x]),
            Function::Cosine => emit.node("Cos", &[x]),
            Function::Logarithm => emit.node("Log", &[x]),
            Function::LogarithmOfNext => {
                let one = number(1.0);
                let next = emit.node("Add", &[x, one]);
                emit.node("Log", &[next])
            }
            Function::Root => emit.node("Sqrt", &[x]),
            Function::Absolute => emit.node("Abs", &[x]),
            Function::Power(exponent) => {
                let exponent = number(exponent);
                emit.node("Pow", &[x, exponent])
            }
            Function::Clip { least, most } => {
                let bounds = [number(least), number(most)];
                emit.node("Clip", &[x, bounds[0], bounds[1]])
            }
            Function::InverseRoot { least } => {
                let least = number(least);
                let positive = emit.node("Max", &[x, least]);
                let root = emit.node("Sqrt", &[positive]);
                emit.node("Reciprocal", &[root])
            }
        })
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: if output.batch { FLOPS * output.elements() as f64 } else { 0.0 } }
    }
}

/// The gradient of a [`Function`], from its argument and the upstream gradient.
#[derive(Clone, Copy, Debug)]
pub struct FunctionGradient(pub Function);

impl Op for FunctionGradient {
    fn name(&self) -> &'static str {
        "function gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].matches(inputs[1]) { Ok(inputs[0].clone()) } else { Err("the shapes differ".to_owned()) }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (x, dy) = (inputs[0].row(i), inputs[1].row(i));
            output.row(i).iter_mut().zip(x).zip(dy).for_each(|((dx, x), dy)| *dx = dy * self.0.slope(*x));
        }
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: if output.batch { FLOPS * output.elements() as f64 } else { 0.0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At -1.5 and 0.75, from the formulas in double precision.
    #[test]
    fn values_follow_the_formulas() {
        let cases = [
            (Function::LeakyRelu(0.2), -0.3, 0.75),
            (Function::Relu6, 0.0, 0.75),
            (Function::Elu, -0.776_869_84, 0.75),
            (Function::Selu, -1.365_814_8, 0.788_025_7),
            (Function::GeluTanh, -0.100_428_42, 0.579_960_6),
            (Function::GeluErf, -0.100_210_8, 0.580_029_5),
            (Function::Swish, -0.273_638_3, 0.509_384_04),
            (Function::Mish, -0.298_099_74, 0.610_018_3),
            (Function::Softplus, 0.201_413_28, 1.136_871),
            (Function::Softsign, -0.6, 0.428_571_43),
            (Function::HardSigmoid, 0.2, 0.65),
        ];
        for (function, at_minus, at_plus) in cases {
            for (x, expected) in [(-1.5, at_minus), (0.75, at_plus)] {
                let found = function.value(x);
                // Single precision, a few operations long.
                assert!((found - expected).abs() <= 1e-6, "{function:?}({x}) = {found}, not {expected}");
            }
        }
        assert_eq!(Function::Relu6.value(9.0), 6.0);
        assert_eq!(Function::InverseRoot { least: 0.25 }.value(0.0), 2.0);
    }

    #[test]
    fn large_arguments_stay_finite() {
        for function in
            [Function::Elu, Function::Selu, Function::GeluTanh, Function::GeluErf, Function::Swish, Function::Mish, Function::Softplus]
        {
            for x in [-200.0, 200.0] {
                assert!(function.value(x).is_finite() && function.slope(x).is_finite(), "{function:?}({x})");
            }
        }
    }
}

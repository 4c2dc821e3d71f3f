//! Elementwise functions of one tensor, activations among them: the one table of them.

mod onnx;
mod values;

use rankmill_kernels::view::{MatMut, MatRef, as_one_row};
use rankmill_kernels::{elementwise, rows};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// `y = f(x)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// A copy.
    Copy,
    /// `factor · x`.
    Scale(f32),
    /// `x²`.
    Square,
    /// `sqrt(x)`.
    Root,
    /// `x` to this power.
    Power(f32),
    /// `1 / sqrt(max(x, least))`.
    InverseRoot {
        /// The least argument that is told apart.
        least: f32,
    },
    /// `|x|`.
    Absolute,
    /// The nearest number between the two.
    Clip {
        /// The smallest result.
        least: f32,
        /// The largest result.
        most: f32,
    },
    /// `exp(x)`.
    Exponential,
    /// `ln(x + ε)`.
    Log(f32),
    /// `ln(1 + x)`, exact for small `x`.
    LogarithmOfNext,
    /// `ln(p / (1 - p))`, `p` clipped to [1e-7, 1 - 1e-7].
    LogOdds,
    /// `sin(x)`.
    Sine,
    /// `cos(x)`.
    Cosine,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `max(x, 0)`.
    Relu,
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
}

/// Operations that an elementwise function with an exponential counts as.
const FLOPS: f64 = 8.0;

impl Unary {
    /// Whether the slope is computed from `f(x)` instead of `x`: what training keeps in any case, and cheaper.
    pub fn slope_reads_output(self) -> bool {
        matches!(self, Unary::Relu | Unary::Sigmoid | Unary::Tanh)
    }

    /// The function of a row.
    fn fill(self, y: &mut [f32], x: &[f32]) {
        match self {
            Unary::Copy => y.copy_from_slice(x),
            Unary::Scale(factor) => elementwise::scale(y, factor, x),
            Unary::Square => elementwise::multiply(y, x, x),
            Unary::Relu => elementwise::relu(y, x),
            Unary::Sigmoid => elementwise::sigmoid_all(y, x),
            Unary::Tanh => elementwise::tanh_all(y, x),
            Unary::Swish => elementwise::swish_all(y, x),
            Unary::Exponential => elementwise::exp_all(y, x),
            _ => y.iter_mut().zip(x).for_each(|(y, x)| *y = self.value(*x)),
        }
    }

    /// The gradient of a row, from what [`Unary::slope`] reads.
    fn fill_gradient(self, dx: &mut [f32], v: &[f32], dy: &[f32]) {
        match self {
            Unary::Sigmoid => elementwise::sigmoid_gradient(dx, v, dy),
            Unary::Tanh => elementwise::tanh_gradient(dx, v, dy),
            Unary::Swish => elementwise::swish_gradient(dx, v, dy),
            _ => dx.iter_mut().zip(v).zip(dy).for_each(|((dx, v), dy)| *dx = dy * self.slope(*v)),
        }
    }

    /// Operations for each element.
    fn flops(self) -> f64 {
        match self {
            Unary::Copy | Unary::Scale(_) | Unary::Square | Unary::Absolute | Unary::Clip { .. } => 1.0,
            Unary::Relu | Unary::LeakyRelu(_) | Unary::Relu6 => 1.0,
            _ => FLOPS,
        }
    }
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        match self {
            Unary::Copy => "copy",
            Unary::Scale(_) => "scale",
            Unary::Square => "square",
            Unary::Root => "square root",
            Unary::Power(_) => "power",
            Unary::InverseRoot { .. } => "inverse root",
            Unary::Absolute => "absolute value",
            Unary::Clip { .. } => "clip",
            Unary::Exponential => "exponential",
            Unary::Log(_) => "logarithm",
            Unary::LogarithmOfNext => "logarithm of 1 + x",
            Unary::LogOdds => "log odds",
            Unary::Sine => "sine",
            Unary::Cosine => "cosine",
            Unary::Sigmoid => "sigmoid",
            Unary::Tanh => "tanh",
            Unary::Relu => "relu",
            Unary::LeakyRelu(_) => "leaky relu",
            Unary::Relu6 => "relu6",
            Unary::Elu => "elu",
            Unary::Selu => "selu",
            Unary::GeluTanh => "gelu (tanh)",
            Unary::GeluErf => "gelu",
            Unary::Swish => "swish",
            Unary::Mish => "mish",
            Unary::Softplus => "softplus",
            Unary::Softsign => "softsign",
            Unary::HardSigmoid => "hard sigmoid",
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        let (inputs, mut output) = as_one_row(inputs, output);
        for i in 0..output.rows() {
            self.fill(output.row(i), inputs[0].row(i));
        }
    }

    fn gradient(
        &self,
        backward: &mut Backward<'_>,
        inputs: &[Value],
        output: Value,
        upstream: Value,
    ) -> Result<InputGradients, GraphError> {
        let dx = match self {
            Unary::Copy => upstream,
            Unary::Scale(factor) => backward.add(Unary::Scale(*factor), &[upstream])?,
            _ => {
                let read = if self.slope_reads_output() { output } else { inputs[0] };
                backward.add(UnaryGradient(*self), &[read, upstream])?
            }
        };
        Ok(vec![Some(dx)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(onnx::nodes(*self, emit, inputs[0]))
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: if output.batch { self.flops() * output.elements() as f64 } else { 0.0 } }
    }
}

/// The gradient of a [`Unary`], from its argument, or its output where [`Unary::slope_reads_output`], and the upstream gradient.
#[derive(Clone, Copy, Debug)]
pub struct UnaryGradient(pub Unary);

impl Op for UnaryGradient {
    fn name(&self) -> &'static str {
        "unary gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].matches(inputs[1]) { Ok(inputs[0].clone()) } else { Err("the shapes differ".to_owned()) }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        if self.0 == Unary::Relu {
            return rows::relu_gradient(output, inputs[0], inputs[1]);
        }
        let (inputs, mut output) = as_one_row(inputs, output);
        for i in 0..output.rows() {
            self.0.fill_gradient(output.row(i), inputs[0].row(i), inputs[1].row(i));
        }
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: if output.batch { self.0.flops() * output.elements() as f64 } else { 0.0 } }
    }
}

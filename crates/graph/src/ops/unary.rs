//! Elementwise functions of one tensor.

use rankmill_kernels::view::{MatMut, MatRef};
use rankmill_kernels::{elementwise, rows};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, InputGradients, Op};
use crate::shape::Shape;

/// Keras' epsilon.
const LEAST_PROBABILITY: f32 = 1e-7;

/// `y = f(x)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `factor · x`.
    Scale(f32),
    /// `x²`.
    Square,
    /// `ln(x + ε)`.
    Log(f32),
    /// `ln(p / (1 - p))`, `p` clipped to [1e-7, 1 - 1e-7].
    LogOdds,
    /// A copy.
    Copy,
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        match self {
            Unary::Relu => "relu",
            Unary::Sigmoid => "sigmoid",
            Unary::Tanh => "tanh",
            Unary::Scale(_) => "scale",
            Unary::Square => "square",
            Unary::Log(_) => "log",
            Unary::LogOdds => "log odds",
            Unary::Copy => "copy",
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (x, y) = (inputs[0].row(i), output.row(i));
            match self {
                Unary::Relu => elementwise::relu(y, x),
                Unary::Scale(factor) => elementwise::scale(y, *factor, x),
                Unary::Square => elementwise::multiply(y, x, x),
                Unary::Copy => y.copy_from_slice(x),
                Unary::Sigmoid => elementwise::sigmoid_all(y, x),
                Unary::Tanh => elementwise::tanh_all(y, x),
                Unary::Log(epsilon) => y.iter_mut().zip(x).for_each(|(y, x)| *y = (x + epsilon).ln()),
                Unary::LogOdds => y.iter_mut().zip(x).for_each(|(y, x)| {
                    let p = x.clamp(LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY);
                    *y = (p / (1.0 - p)).ln();
                }),
            }
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
            Unary::Scale(factor) => backward.add(Unary::Scale(*factor), &[upstream])?,
            Unary::Copy => upstream,
            Unary::Square | Unary::Log(_) | Unary::LogOdds => backward.add(UnaryGradient(*self), &[inputs[0], upstream])?,
            Unary::Relu | Unary::Sigmoid | Unary::Tanh => backward.add(UnaryGradient(*self), &[output, upstream])?,
        };
        Ok(vec![Some(dx)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let x = inputs[0];
        Ok(match self {
            Unary::Relu => emit.node("Relu", &[x]),
            Unary::Sigmoid => emit.node("Sigmoid", &[x]),
            Unary::Tanh => emit.node("Tanh", &[x]),
            Unary::Square => emit.node("Mul", &[x, x]),
            Unary::Scale(factor) => {
                let factor = emit.scalar(*factor);
                emit.node("Mul", &[x, factor])
            }
            Unary::Log(epsilon) => {
                let epsilon = emit.scalar(*epsilon);
                let sum = emit.node("Add", &[x, epsilon]);
                emit.node("Log", &[sum])
            }
            Unary::LogOdds => {
                let [least, most, one] = [LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY, 1.0].map(|number| emit.scalar(number));
                let p = emit.node("Clip", &[x, least, most]);
                let complement = emit.node("Sub", &[one, p]);
                let odds = emit.node("Div", &[p, complement]);
                emit.node("Log", &[odds])
            }
            Unary::Copy => x,
        })
    }
}

/// The gradient of a [`Unary`], from its output (from its input for the square and the logarithms) and the upstream gradient.
#[derive(Clone, Copy, Debug)]
pub struct UnaryGradient(pub Unary);

impl Op for UnaryGradient {
    fn name(&self) -> &'static str {
        "unary gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].matches(inputs[1]) { Ok(inputs[0].clone()) } else { Err("the shapes differ".to_owned()) }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        if self.0 == Unary::Relu {
            return rows::relu_gradient(output, inputs[0], inputs[1]);
        }
        for i in 0..output.rows() {
            let (v, dy, dx) = (inputs[0].row(i), inputs[1].row(i), output.row(i));
            let by = |dx: &mut [f32], slope: &dyn Fn(f32) -> f32| {
                dx.iter_mut().zip(v).zip(dy).for_each(|((dx, v), dy)| *dx = dy * slope(*v));
            };
            match self.0 {
                Unary::Relu => unreachable!("done above"),
                Unary::Sigmoid => by(dx, &|y| y * (1.0 - y)),
                Unary::Tanh => by(dx, &|y| 1.0 - y * y),
                Unary::Square => by(dx, &|x| 2.0 * x),
                Unary::Log(epsilon) => by(dx, &|x| 1.0 / (x + epsilon)),
                Unary::LogOdds => by(dx, &|p| {
                    let clipped = !(LEAST_PROBABILITY..=1.0 - LEAST_PROBABILITY).contains(&p);
                    if clipped { 0.0 } else { 1.0 / (p * (1.0 - p)) }
                }),
                Unary::Scale(factor) => elementwise::scale(dx, factor, dy),
                Unary::Copy => dx.copy_from_slice(dy),
            }
        }
    }
}

//! The lognormal part of the zero-inflated lognormal loss (Wang, Liu, Miao 2019; EasyRec behaviour 176).
//!
//! With `σ = softplus(s)` clipped to `[√1e-7, max_sigma]`: for labels above 0
//! `ℓ = ln y + ln σ + ½ ln 2π + (ln y - μ)² / (2σ²)`, for the others 0.
//! Gradients: `dμ = -(ln y - μ) / σ²`, `dσ = 1/σ - (ln y - μ)² / σ³`, `ds = dσ · sigmoid(s)`, and 0 where the clipping acts.

use rankmill_kernels::elementwise::{sigmoid, softplus};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// `½ ln 2π`.
const HALF_LOG_TWO_PI: f32 = 0.918_938_5;
/// The square of the least `σ`: Keras' epsilon.
const EPSILON: f32 = 1e-7;

/// The scale of a lognormal from a raw output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogNormalScale {
    /// The largest `σ`.
    pub max_sigma: f32,
}

impl LogNormalScale {
    fn sigma(self, raw: f32) -> f32 {
        softplus(raw).max(EPSILON.sqrt()).min(self.max_sigma)
    }

    fn slope(self, raw: f32) -> f32 {
        let sigma = softplus(raw);
        if sigma < EPSILON.sqrt() || sigma > self.max_sigma { 0.0 } else { sigmoid(raw) }
    }
}

/// Outputs of a row, `[z, μ, s]` as `[B, 3]`, and labels `[B, 1]` → the loss `ℓ` of each row, `[B, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct LogNormalLoss(pub LogNormalScale);

fn three(inputs: &[&Shape]) -> Result<(), String> {
    let fits = inputs[0].batch && inputs[0].dims == [3] && inputs.get(1).is_none_or(|label| label.dims == [1]);
    if fits { Ok(()) } else { Err("three outputs and one label a row are needed".to_owned()) }
}

impl Op for LogNormalLoss {
    fn name(&self) -> &'static str {
        "lognormal loss"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        three(inputs).map(|()| Shape::batch(&[1]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (x, y) = (inputs[0].row(i), inputs[1].row(i)[0]);
            output.row(i)[0] = if y > 0.0 {
                let sigma = self.0.sigma(x[2]);
                let deviation = (y.ln() - x[1]) / sigma;
                y.ln() + sigma.ln() + HALF_LOG_TWO_PI + 0.5 * deviation * deviation
            } else {
                0.0
            };
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(LogNormalGradient(self.0), &[inputs[0], inputs[1], upstream])?), None])
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 10.0 }
    }
}

/// The gradient of [`LogNormalLoss`] with respect to `[z, μ, s]`, from them, the labels and the upstream gradient.
#[derive(Clone, Copy, Debug)]
pub struct LogNormalGradient(pub LogNormalScale);

impl Op for LogNormalGradient {
    fn name(&self) -> &'static str {
        "lognormal loss gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        three(inputs).map(|()| Shape::batch(&[3]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (x, y, d) = (inputs[0].row(i), inputs[1].row(i)[0], inputs[2].row(i)[0]);
            let dx = output.row(i);
            dx.fill(0.0);
            if y > 0.0 {
                let sigma = self.0.sigma(x[2]);
                let deviation = (y.ln() - x[1]) / sigma;
                dx[1] = -d * deviation / sigma;
                dx[2] = d * (1.0 - deviation * deviation) / sigma * self.0.slope(x[2]);
            }
        }
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 12.0 }
    }
}

/// The expected value of a zero-inflated lognormal from `[z, μ, s]`: `exp(clip(ln sigmoid(z) + μ + σ²/2, -100, max_log))`, or that
/// logarithm itself: `[B, 3]` → `[B, 1]`. A prediction; it has no gradient.
#[derive(Clone, Copy, Debug)]
pub struct ZeroInflatedMean {
    /// The scale.
    pub scale: LogNormalScale,
    /// The largest logarithm.
    pub max_log: f32,
    /// Whether the logarithm is wanted.
    pub logarithm: bool,
}

impl Op for ZeroInflatedMean {
    fn name(&self) -> &'static str {
        "zero-inflated mean"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        three(inputs).map(|()| Shape::batch(&[1]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let x = inputs[0].row(i);
            let sigma = self.scale.sigma(x[2]);
            let logarithm = (x[1] + 0.5 * sigma * sigma - softplus(-x[0])).max(-100.0).min(self.max_log);
            output.row(i)[0] = if self.logarithm { logarithm } else { logarithm.exp() };
        }
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let [z, mu, s] = [0, 1, 2].map(|column| emit.slice(inputs[0], -1, column, column + 1));
        let [least, most, half] = [EPSILON.sqrt(), self.scale.max_sigma, 0.5].map(|number| emit.scalar(number));
        let positive = emit.node("Softplus", &[s]);
        let sigma = emit.node("Clip", &[positive, least, most]);
        let variance = emit.node("Mul", &[sigma, sigma]);
        let half_variance = emit.node("Mul", &[variance, half]);
        let negative = emit.node("Neg", &[z]);
        let loss = emit.node("Softplus", &[negative]);
        let mean = emit.node("Add", &[mu, half_variance]);
        let sum = emit.node("Sub", &[mean, loss]);
        let [least, most] = [-100.0, self.max_log].map(|number| emit.scalar(number));
        let logarithm = emit.node("Clip", &[sum, least, most]);
        Ok(if self.logarithm { logarithm } else { emit.node("Exp", &[logarithm]) })
    }
}

//! Losses of a probability against another one, row by row, where no logit is at hand (EasyRec behaviours 154 and 181).

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, InputGradients, Op};
use crate::shape::Shape;

/// TensorFlow's and Keras' epsilon.
const EPSILON: f32 = 1e-7;

/// `p [B, 1]`, `y [B, 1]` → `[B, 1]`; with `ε` = 1e-7:
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbabilityLoss {
    /// `tf.losses.log_loss`: `-y ln(p + ε) - (1 - y) ln(1 - p + ε)`.
    LogLoss,
    /// Keras' `binary_crossentropy`: the same, `p` clipped to `[ε, 1 - ε]` before.
    ClippedLogLoss,
    /// The Kullback-Leibler divergence of `[1 - p, p]` from `[1 - y, y]`: `Σ y ln(y / p)`, all four clipped to `[ε, 1]`.
    Divergence,
}

impl ProbabilityLoss {
    fn value(self, p: f32, y: f32) -> f32 {
        match self {
            ProbabilityLoss::LogLoss => -y * (p + EPSILON).ln() - (1.0 - y) * (1.0 - p + EPSILON).ln(),
            ProbabilityLoss::ClippedLogLoss => ProbabilityLoss::LogLoss.value(p.clamp(EPSILON, 1.0 - EPSILON), y),
            ProbabilityLoss::Divergence => {
                let part = |p: f32, y: f32| {
                    let (p, y) = (p.clamp(EPSILON, 1.0), y.clamp(EPSILON, 1.0));
                    y * (y / p).ln()
                };
                part(p, y) + part(1.0 - p, 1.0 - y)
            }
        }
    }

    fn slope(self, p: f32, y: f32) -> f32 {
        match self {
            ProbabilityLoss::LogLoss => -y / (p + EPSILON) + (1.0 - y) / (1.0 - p + EPSILON),
            ProbabilityLoss::ClippedLogLoss if !(EPSILON..=1.0 - EPSILON).contains(&p) => 0.0,
            ProbabilityLoss::ClippedLogLoss => ProbabilityLoss::LogLoss.slope(p, y),
            ProbabilityLoss::Divergence => {
                let part = |p: f32, y: f32| if (EPSILON..=1.0).contains(&p) { -y.clamp(EPSILON, 1.0) / p } else { 0.0 };
                part(p, y) - part(1.0 - p, 1.0 - y)
            }
        }
    }
}

fn same(inputs: &[&Shape]) -> Result<Shape, String> {
    if inputs[0].batch && inputs[0] == inputs[1] { Ok(inputs[0].clone()) } else { Err("the probabilities need one shape".to_owned()) }
}

impl Op for ProbabilityLoss {
    fn name(&self) -> &'static str {
        match self {
            ProbabilityLoss::LogLoss | ProbabilityLoss::ClippedLogLoss => "log loss",
            ProbabilityLoss::Divergence => "divergence",
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        same(inputs)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (p, y) = (inputs[0].row(i), inputs[1].row(i));
            output.row(i).iter_mut().zip(p).zip(y).for_each(|((loss, p), y)| *loss = self.value(*p, *y));
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(ProbabilityLossGradient(*self), &[inputs[0], inputs[1], upstream])?), None])
    }
}

/// `dp` of a [`ProbabilityLoss`] from `p`, `y` and the upstream gradient.
#[derive(Clone, Copy, Debug)]
pub struct ProbabilityLossGradient(pub ProbabilityLoss);

impl Op for ProbabilityLossGradient {
    fn name(&self) -> &'static str {
        "probability loss gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        same(inputs)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (p, y, d) = (inputs[0].row(i), inputs[1].row(i), inputs[2].row(i));
            for (j, dp) in output.row(i).iter_mut().enumerate() {
                *dp = d[j] * self.0.slope(p[j], y[j]);
            }
        }
    }
}

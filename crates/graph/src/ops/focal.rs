//! The factor by which a focal loss plays down easy rows (Lin et al. 2017): `(1 - p_t)^γ · α_t`, with `p = σ(z)` clipped to
//! [1e-7, 1 - 1e-7], `p_t = y p + (1 - y)(1 - p)` and `α_t = y α + (1 - y)(1 - α)`, or 1 without an `α` (EasyRec behaviour 173).
//!
//! With respect to `z`: `-γ (1 - p_t)^(γ-1) · (2y - 1) · p (1 - p) · α_t`, and 0 where the clipping acts.

use rankmill_kernels::elementwise::sigmoid;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, InputGradients, Op};
use crate::shape::Shape;

/// Keras' epsilon.
const EPSILON: f32 = 1e-7;

/// `z [B, 1]`, `y [B, 1]` → `[B, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FocalFactor {
    /// `γ`.
    pub gamma: f32,
    /// `α`, if classes are to be weighted.
    pub alpha: Option<f32>,
}

impl FocalFactor {
    fn class_factor(&self, y: f32) -> f32 {
        self.alpha.map_or(1.0, |alpha| y * alpha + (1.0 - y) * (1.0 - alpha))
    }

    /// The factor of a row.
    pub(crate) fn value(&self, z: f32, y: f32) -> f32 {
        let p = sigmoid(z).clamp(EPSILON, 1.0 - EPSILON);
        let p_t = y * p + (1.0 - y) * (1.0 - p);
        (1.0 - p_t).powf(self.gamma) * self.class_factor(y)
    }

    /// Its slope in `z`.
    pub(crate) fn slope(&self, z: f32, y: f32) -> f32 {
        let p = sigmoid(z);
        if !(EPSILON..=1.0 - EPSILON).contains(&p) {
            return 0.0;
        }
        let p_t = y * p + (1.0 - y) * (1.0 - p);
        -self.gamma * (1.0 - p_t).powf(self.gamma - 1.0) * (2.0 * y - 1.0) * p * (1.0 - p) * self.class_factor(y)
    }
}

fn columns(inputs: &[&Shape]) -> Result<Shape, String> {
    if inputs[0].batch && inputs[0] == inputs[1] { Ok(inputs[0].clone()) } else { Err("logits and labels need one shape".to_owned()) }
}

impl Op for FocalFactor {
    fn name(&self) -> &'static str {
        "focal factor"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        columns(inputs)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (z, y) = (inputs[0].row(i), inputs[1].row(i));
            output.row(i).iter_mut().zip(z).zip(y).for_each(|((factor, z), y)| *factor = self.value(*z, *y));
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(FocalFactorGradient(*self), &[inputs[0], inputs[1], upstream])?), None])
    }
}

/// `dz` of [`FocalFactor`] from `z`, `y` and the upstream gradient.
#[derive(Clone, Copy, Debug)]
pub struct FocalFactorGradient(pub FocalFactor);

impl Op for FocalFactorGradient {
    fn name(&self) -> &'static str {
        "focal factor gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        columns(inputs)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (z, y, d) = (inputs[0].row(i), inputs[1].row(i), inputs[2].row(i));
            for (j, dz) in output.row(i).iter_mut().enumerate() {
                *dz = d[j] * self.0.slope(z[j], y[j]);
            }
        }
    }
}

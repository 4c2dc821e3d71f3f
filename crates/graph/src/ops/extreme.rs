//! The larger or smaller of two tensors, element by element. Where both are equal, the first one has the gradient, as in TensorFlow.

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, InputGradients, Op};
use crate::shape::Shape;

/// `y = max(a, b)` or `min(a, b)` of equal shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extreme {
    /// The larger one.
    Maximum,
    /// The smaller one.
    Minimum,
}

impl Extreme {
    fn takes_first(self, a: f32, b: f32) -> bool {
        if self == Extreme::Maximum { a >= b } else { a <= b }
    }
}

impl Op for Extreme {
    fn name(&self) -> &'static str {
        if *self == Extreme::Maximum { "maximum" } else { "minimum" }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0] == inputs[1] { Ok(inputs[0].clone()) } else { Err("the shapes differ".to_owned()) }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (a, b) = (inputs[0].row(i), inputs[1].row(i));
            output.row(i).iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = if self.takes_first(*a, *b) { *a } else { *b });
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let mut gradients = Vec::with_capacity(2);
        for (i, first) in [true, false].into_iter().enumerate() {
            let wanted = backward.wants(inputs[i]);
            let op = ExtremeGradient { extreme: *self, first };
            gradients.push(if wanted { Some(backward.add(op, &[inputs[0], inputs[1], upstream])?) } else { None });
        }
        Ok(gradients)
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(emit.node(if *self == Extreme::Maximum { "Max" } else { "Min" }, inputs))
    }
}

/// The gradient with respect to one side of an [`Extreme`], from both sides and the upstream gradient.
#[derive(Clone, Copy, Debug)]
pub struct ExtremeGradient {
    /// What was computed.
    pub extreme: Extreme,
    /// Whether the gradient of the first side is meant.
    pub first: bool,
}

impl Op for ExtremeGradient {
    fn name(&self) -> &'static str {
        "extreme gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[2].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (a, b, dy) = (inputs[0].row(i), inputs[1].row(i), inputs[2].row(i));
            for (j, dx) in output.row(i).iter_mut().enumerate() {
                *dx = if self.extreme.takes_first(a[j], b[j]) == self.first { dy[j] } else { 0.0 };
            }
        }
    }
}

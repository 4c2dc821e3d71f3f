//! One of two constants for each element, by a condition on it. It has no gradient: labels and indicators are constants.

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, InputGradients, Op};
use crate::shape::Shape;

/// A condition on an element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// It has this value.
    Equals(f32),
    /// It is above this value.
    Above(f32),
}

/// `y = condition(x) ? yes : no`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choose {
    /// The condition.
    pub condition: Condition,
    /// The value where it holds.
    pub yes: f32,
    /// The value where it does not.
    pub no: f32,
}

impl Choose {
    /// 1 where the condition holds, else 0.
    pub fn indicator(condition: Condition) -> Choose {
        Choose { condition, yes: 1.0, no: 0.0 }
    }
}

impl Op for Choose {
    fn name(&self) -> &'static str {
        "choose"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let holds = |x: f32| match self.condition {
            Condition::Equals(value) => x == value,
            Condition::Above(value) => x > value,
        };
        for i in 0..output.rows() {
            for (y, x) in output.row(i).iter_mut().zip(inputs[0].row(i)) {
                *y = if holds(*x) { self.yes } else { self.no };
            }
        }
    }

    fn gradient(&self, _: &mut Backward<'_>, _: &[Value], _: Value, _: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let (operator, value) = match self.condition {
            Condition::Equals(value) => ("Equal", value),
            Condition::Above(value) => ("Greater", value),
        };
        let [value, yes, no] = [value, self.yes, self.no].map(|number| emit.scalar(number));
        let holds = emit.node(operator, &[inputs[0], value]);
        Ok(emit.node("Where", &[holds, yes, no]))
    }
}

//! Comparisons and what is made of them: 1 where they hold, 0 where not. No gradient flows through them.

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{BOOL, Emitter, FLOAT, NoForm, Tensor};
use crate::op::{Context, InputGradients, Op};
use crate::shape::Shape;

/// Two tensors of one shape, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `a = b`.
    Equal,
    /// `a ≠ b`.
    NotEqual,
    /// `a < b`.
    Less,
    /// `a ≤ b`.
    LessOrEqual,
    /// `a ≠ 0` and `b ≠ 0`.
    And,
    /// `a ≠ 0` or `b ≠ 0`.
    Or,
}

impl Compare {
    fn holds(self, a: f32, b: f32) -> bool {
        match self {
            Compare::Equal => a == b,
            Compare::NotEqual => a != b,
            Compare::Less => a < b,
            Compare::LessOrEqual => a <= b,
            Compare::And => a != 0.0 && b != 0.0,
            Compare::Or => a != 0.0 || b != 0.0,
        }
    }
}

impl Op for Compare {
    fn name(&self) -> &'static str {
        match self {
            Compare::Equal => "equal",
            Compare::NotEqual => "not equal",
            Compare::Less => "less",
            Compare::LessOrEqual => "less or equal",
            Compare::And => "and",
            Compare::Or => "or",
        }
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0] == inputs[1] { Ok(inputs[0].clone()) } else { Err("the shapes differ".to_owned()) }
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (a, b) = (inputs[0].row(i), inputs[1].row(i));
            output.row(i).iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f32::from(u8::from(self.holds(*a, *b))));
        }
    }
    fn gradient(&self, _: &mut Backward<'_>, _: &[Value], _: Value, _: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None, None])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let [mut a, mut b] = [inputs[0], inputs[1]];
        if matches!(self, Compare::And | Compare::Or) {
            [a, b] = [a, b].map(|x| emit.node_with("Cast", &[x], &[("to", BOOL)]));
        }
        let holds = match self {
            Compare::Equal => emit.node("Equal", &[a, b]),
            Compare::NotEqual => {
                let is_equal = emit.node("Equal", &[a, b]);
                emit.node("Not", &[is_equal])
            }
            Compare::Less => emit.node("Less", &[a, b]),
            Compare::LessOrEqual => emit.node("LessOrEqual", &[a, b]),
            Compare::And => emit.node("And", &[a, b]),
            Compare::Or => emit.node("Or", &[a, b]),
        };
        Ok(emit.node_with("Cast", &[holds], &[("to", FLOAT)]))
    }
}

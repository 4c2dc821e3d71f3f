//! Elementwise functions of two tensors, with broadcasting of rows, columns and scalars.

use rankmill_kernels::elementwise;
use rankmill_kernels::view::{MatMut, MatRef, as_one_row};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, InputGradients, Op};
use crate::ops::concat::Elements;
use crate::ops::reduce::{OverRows, SumColumns};
use crate::ops::unary::Unary;
use crate::shape::Shape;

/// `y = f(a, b)`. The shapes are equal, or one operand is a row `[N]` (or `[1, ..]` of as many elements) without batch rows, a column
/// `[B, 1]` or a scalar `[]` that is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a · b`.
    Multiply,
    /// `a / b`.
    Divide,
    /// `a / b`, and 0 where `b` is 0.
    DivideOrZero,
}

/// How an operand is repeated to fill the output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    No,
    Row,
    Column,
    Scalar,
}

fn repeat(operand: &Shape, output: &Shape) -> Option<Repeat> {
    match operand {
        same if same == output => Some(Repeat::No),
        scalar if !scalar.batch && scalar.elements() == 1 => Some(Repeat::Scalar),
        row if !row.batch && output.batch && row.as_matrix() == (1, output.elements()) => Some(Repeat::Row),
        column if column.batch && output.batch && column.axis == output.axis && column.dims == [1] => Some(Repeat::Column),
        _ => None,
    }
}

impl Binary {
    fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Binary::Add => a + b,
            Binary::Subtract => a - b,
            Binary::Multiply => a * b,
            Binary::DivideOrZero if b == 0.0 => 0.0,
            Binary::Divide | Binary::DivideOrZero => a / b,
        }
    }
}

/// Row `i` of an operand, or its one row.
fn row<'a>(operand: &MatRef<'a>, i: usize) -> &'a [f32] {
    operand.row(if operand.rows() == 1 { 0 } else { i })
}

impl Op for Binary {
    fn name(&self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Subtract => "subtract",
            Binary::Multiply => "multiply",
            Binary::Divide | Binary::DivideOrZero => "divide",
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        for candidate in [inputs[0], inputs[1]] {
            if inputs.iter().all(|operand| repeat(operand, candidate).is_some()) {
                return Ok(candidate.clone());
            }
        }
        Err("the shapes are neither equal nor can one be repeated to fill the other".to_owned())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        let (inputs, mut output) = as_one_row(inputs, output);
        for i in 0..output.rows() {
            let (a, b) = (row(&inputs[0], i), row(&inputs[1], i));
            let y = output.row(i);
            if a.len() == y.len() && b.len() == y.len() {
                match self {
                    Binary::Add => elementwise::add(y, a, b),
                    Binary::Subtract => elementwise::subtract(y, a, b),
                    Binary::Multiply => elementwise::multiply(y, a, b),
                    Binary::Divide | Binary::DivideOrZero => y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = self.apply(*a, *b)),
                }
            } else if *self == Binary::Multiply {
                let (all, factor) = if a.len() == y.len() { (a, b[0]) } else { (b, a[0]) };
                y.iter_mut().zip(all).for_each(|(y, x)| *y = factor * x);
            } else if a.len() == y.len() {
                y.iter_mut().zip(a).for_each(|(y, a)| *y = self.apply(*a, b[0]));
            } else {
                y.iter_mut().zip(b).for_each(|(y, b)| *y = self.apply(a[0], *b));
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
        let (a, b) = (inputs[0], inputs[1]);
        let mut gradients = Vec::with_capacity(2);
        for (i, (operand, other)) in [(a, b), (b, a)].into_iter().enumerate() {
            if !backward.wants(operand) {
                gradients.push(None);
                continue;
            }
            let full = match self {
                Binary::Add => upstream,
                Binary::Subtract if i == 0 => upstream,
                Binary::Subtract => backward.add(Unary::Scale(-1.0), &[upstream])?,
                Binary::Multiply => backward.add(Binary::Multiply, &[upstream, other])?,
                Binary::Divide if i == 0 => backward.add(Binary::Divide, &[upstream, b])?,
                Binary::Divide => {
                    let slope = backward.add(Binary::Divide, &[output, b])?;
                    let negative = backward.add(Unary::Scale(-1.0), &[slope])?;
                    backward.add(Binary::Multiply, &[upstream, negative])?
                }
                Binary::DivideOrZero if i == 0 => backward.add(Binary::DivideOrZero, &[upstream, b])?,
                Binary::DivideOrZero => {
                    let product = backward.add(Binary::Multiply, &[upstream, output])?;
                    let quotient = backward.add(Binary::DivideOrZero, &[product, b])?;
                    backward.add(Unary::Scale(-1.0), &[quotient])?
                }
            };
            let kind = repeat(backward.shape(operand), backward.shape(output));
            let batch = backward.shape(output).batch;
            let gradient = match kind {
                Some(Repeat::Row) => {
                    let sum = backward.add(OverRows::Sum, &[full])?;
                    let shape = backward.shape(operand).clone();
                    if *backward.shape(sum) == shape { sum } else { backward.add(Elements { first: 0, shape }, &[sum])? }
                }
                Some(Repeat::Column) => backward.add(SumColumns, &[full])?,
                Some(Repeat::Scalar) if batch => {
                    let columns = backward.add(SumColumns, &[full])?;
                    backward.add(OverRows::Sum, &[columns])?
                }
                Some(Repeat::Scalar) if backward.shape(output).elements() > 1 => {
                    return Err(GraphError::NoGradient { op: self.name() });
                }
                _ => full,
            };
            gradients.push(Some(gradient));
        }
        Ok(gradients)
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let [a, b] = [0, 1].map(|i| emit.repeatable(inputs[i], shapes[i], output));
        Ok(match self {
            Binary::Add => emit.node("Add", &[a, b]),
            Binary::Subtract => emit.node("Sub", &[a, b]),
            Binary::Multiply => emit.node("Mul", &[a, b]),
            Binary::Divide => emit.node("Div", &[a, b]),
            Binary::DivideOrZero => {
                let [zero, one] = [0.0, 1.0].map(|number| emit.scalar(number));
                let is_zero = emit.node("Equal", &[b, zero]);
                let divisor = emit.node("Where", &[is_zero, one, b]);
                let quotient = emit.node("Div", &[a, divisor]);
                emit.node("Where", &[is_zero, zero, quotient])
            }
        })
    }
}

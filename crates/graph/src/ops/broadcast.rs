//! Repetition of a row over the batch and of a column over columns: the gradients of the sums.

use rankmill_kernels::elementwise;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor, leading};
use crate::op::{Context, InputGradients, Op};
use crate::ops::reduce::{OverRows, SumColumns};
use crate::shape::{Axis, Shape};

/// A factor on a repeated row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// 1.
    One,
    /// One divided by the number of rows.
    InverseRows,
}

/// `[N]` → `[B, N]`, or `[B, L, N]` along an axis; a scalar becomes `[B, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct RepeatRow {
    /// A factor on all rows.
    pub scaling: Scaling,
    /// The axis along which rows are repeated.
    pub axis: Option<Axis>,
}

impl Op for RepeatRow {
    fn name(&self) -> &'static str {
        "repeat row"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].batch {
            return Err("the input has batch rows already".to_owned());
        }
        let rows = Shape { batch: true, axis: self.axis, dims: Vec::new() };
        Ok(rows.with_dims(if inputs[0].dims.is_empty() { &[1] } else { &inputs[0].dims }))
    }
    fn depends_on_place(&self) -> bool {
        self.scaling == Scaling::InverseRows
    }
    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let factor = match self.scaling {
            Scaling::One => 1.0,
            Scaling::InverseRows => 1.0 / context.rows(self.axis) as f32,
        };
        for i in 0..output.rows() {
            elementwise::scale(output.row(i), factor, inputs[0].row(0));
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(match self.scaling {
            Scaling::One => backward.add(OverRows::Sum, &[upstream])?,
            Scaling::InverseRows => backward.add(OverRows::Mean, &[upstream])?,
        })])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        if self.scaling != Scaling::One {
            return Err(NoForm);
        }
        emit.expand(inputs[0], output)
    }
}

/// `[B, 1]` → `[B, N]`.
#[derive(Clone, Copy, Debug)]
pub struct RepeatColumn(pub usize);

impl Op for RepeatColumn {
    fn name(&self) -> &'static str {
        "repeat column"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].batch && inputs[0].dims == [1] { Ok(inputs[0].with_dims(&[self.0])) } else { Err("a column is repeated".to_owned()) }
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            output.row(i).fill(inputs[0].row(i)[0]);
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(SumColumns, &[upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let sizes: Vec<i64> = vec![1; leading(output)].into_iter().chain([self.0 as i64]).collect();
        let sizes = emit.ints(&sizes);
        Ok(emit.node("Expand", &[inputs[0], sizes]))
    }
}

//! Sums over rows and over columns.

use rankmill_kernels::elementwise;
use rankmill_kernels::reduce::{sum, sum_of_squares};
use rankmill_kernels::substrate::RowCounts;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, Execution, InputGradients, Op, add_partials};
use crate::ops::binary::Binary;
use crate::ops::broadcast::{RepeatColumn, RepeatRow, Scaling};
use crate::ops::reshape::Reshape;
use crate::shape::Shape;

fn without_batch(inputs: &[&Shape]) -> Result<Shape, String> {
    let one_axis = inputs.iter().all(|shape| !shape.batch || shape.axis == inputs[0].axis);
    if inputs[0].batch && one_axis { Ok(Shape::fixed(&inputs[0].dims)) } else { Err("a sum over rows needs batch rows".to_owned()) }
}

/// Sum or mean over the batch: `[B, N]` → `[N]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverRows {
    /// The sum.
    Sum,
    /// The sum divided by B.
    Mean,
}

impl Op for OverRows {
    fn name(&self) -> &'static str {
        match self {
            OverRows::Sum => "sum of rows",
            OverRows::Mean => "mean of rows",
        }
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        without_batch(inputs)
    }
    fn execution(&self) -> Execution {
        Execution::Reduce
    }
    fn partial_width(&self, inputs: &[&Shape]) -> usize {
        inputs[0].elements()
    }
    fn partial(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: &mut [f32]) {
        output.fill(0.0);
        for i in 0..inputs[0].rows() {
            elementwise::add_assign(output, inputs[0].row(i));
        }
    }
    fn combine(&self, rows: RowCounts, partials: MatRef<'_>, mut output: MatMut<'_>) {
        add_partials(partials, output.reborrow());
        if *self == OverRows::Mean {
            output.row(0).iter_mut().for_each(|value| *value /= rows.all as f32);
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let scaling = match self {
            OverRows::Sum => Scaling::One,
            OverRows::Mean => Scaling::InverseRows,
        };
        let axis = backward.shape(inputs[0]).axis;
        Ok(vec![Some(backward.add(RepeatRow { scaling, axis }, &[upstream])?)])
    }
}

/// Number of rows of a column `[B, 1]` that are not 0, as a scalar.
#[derive(Clone, Copy, Debug)]
pub struct CountNonZero;

impl Op for CountNonZero {
    fn name(&self) -> &'static str {
        "count of non-zero rows"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        without_batch(inputs)
    }
    fn execution(&self) -> Execution {
        Execution::Reduce
    }
    fn partial_width(&self, inputs: &[&Shape]) -> usize {
        inputs[0].elements()
    }
    fn partial(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: &mut [f32]) {
        output.fill(0.0);
        for i in 0..inputs[0].rows() {
            for (count, value) in output.iter_mut().zip(inputs[0].row(i)) {
                *count += f32::from(u8::from(*value != 0.0));
            }
        }
    }
    fn gradient(&self, _: &mut Backward<'_>, _: &[Value], _: Value, _: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None])
    }
}

/// Sum over the columns of each row: `[B, N]` → `[B, 1]`, along an axis too.
#[derive(Clone, Copy, Debug)]
pub struct SumColumns;

impl Op for SumColumns {
    fn name(&self) -> &'static str {
        "sum of columns"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].batch { Ok(inputs[0].with_dims(&[1])) } else { Err("a sum of columns needs batch rows".to_owned()) }
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            output.row(i)[0] = sum(inputs[0].row(i));
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let shape = backward.shape(inputs[0]).clone();
        let repeated = backward.add(RepeatColumn(shape.elements()), &[upstream])?;
        Ok(vec![Some(if shape.dims.len() == 1 { repeated } else { backward.add(Reshape { shape }, &[repeated])? })])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let x = emit.flat(inputs[0], shapes[0]);
        let last = emit.ints(&[-1]);
        Ok(emit.node("ReduceSum", &[x, last]))
    }
}

/// Half the sum of all squares, TensorFlow's `l2_loss`: `[B, N]` → a scalar.
#[derive(Clone, Copy, Debug)]
pub struct HalfSquareSum;

impl Op for HalfSquareSum {
    fn name(&self) -> &'static str {
        "half sum of squares"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        without_batch(inputs).map(|_| Shape::fixed(&[]))
    }
    fn execution(&self) -> Execution {
        Execution::Reduce
    }
    fn partial_width(&self, _: &[&Shape]) -> usize {
        1
    }
    fn partial(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: &mut [f32]) {
        output[0] = (0..inputs[0].rows()).map(|i| sum_of_squares(inputs[0].row(i))).sum::<f32>() / 2.0;
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(Binary::Multiply, &[inputs[0], upstream])?)])
    }
}

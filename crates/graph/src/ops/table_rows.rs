//! Rows of a small table by numbers that the graph computes or reads: tokens, buckets, distances.
//!
//! The table is a dense parameter like any other: its gradient has all rows. Tables of features have [`super::lookup::Lookup`], which reads
//! id columns and whose gradient has the rows of the batch alone.

use std::ops::Range;

use rankmill_kernels::elementwise::add_assign;
use rankmill_kernels::substrate::{Blocks, Cut};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, FLOAT, INT64, NoForm, Tensor};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::shape::Shape;

/// Elements of a table's gradient in a block.
const BLOCK_ELEMENTS: usize = 16_384;

/// The row of a table that a number means; `None` outside of the table.
fn row_of(number: f32, rows: usize) -> Option<usize> {
    // Also false for NaN.
    (number >= 0.0 && number < rows as f32).then_some(number as usize)
}

/// `table [V, D]` and whole numbers `[B, n]` (perhaps along an axis) → `[B, n, D]`; for `n` = 1 `[B, D]`. Numbers outside of the table give
/// zeros.
#[derive(Clone, Copy, Debug)]
pub struct TableRows;

impl Op for TableRows {
    fn name(&self) -> &'static str {
        "rows of a table"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        match (inputs[0].batch, inputs[0].dims.as_slice(), inputs[1].batch) {
            (false, [_, width], true) => match inputs[1].elements() {
                1 => Ok(inputs[1].with_dims(&[*width])),
                numbers => Ok(inputs[1].with_dims(&[numbers, *width])),
            },
            _ => Err(format!("a table and numbers for each row are needed, not {} and {}", inputs[0], inputs[1])),
        }
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let table = inputs[0];
        for i in 0..output.rows() {
            let rows = output.row(i).chunks_exact_mut(table.cols());
            for (row, number) in rows.zip(inputs[1].row(i)) {
                match row_of(*number, table.rows()) {
                    Some(at) => row.copy_from_slice(table.row(at)),
                    None => row.fill(0.0),
                }
            }
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let [rows, width] = backward.shape(inputs[0]).dims[..] else { unreachable!("inferred before") };
        Ok(vec![Some(backward.add(TableSums { rows, width }, &[inputs[1], upstream])?), None])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let rows = shapes[0].dims[0];
        let numbers = emit.flat(inputs[1], shapes[1]);
        let (first, last) = (emit.scalar(0.0), emit.scalar(rows as f32 - 1.0));
        let inside = emit.node("Clip", &[numbers, first, last]);
        let ids = emit.node_with("Cast", &[inside], &[("to", INT64)]);
        let taken = emit.node("Gather", &[inputs[0], ids]);
        let end = emit.scalar(rows as f32);
        let above = emit.node("GreaterOrEqual", &[numbers, first]);
        let below = emit.node("Less", &[numbers, end]);
        let known = emit.node("And", &[above, below]);
        let known = emit.node_with("Cast", &[known], &[("to", FLOAT)]);
        let known = emit.unsqueeze(known, -1);
        let kept = emit.node("Mul", &[taken, known]);
        let numbers = shapes[1].elements();
        Ok(emit.reshape(kept, &output.with_dims(&[numbers, shapes[0].dims[1]]), &output.dims))
    }
    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// The sum of rows by the numbers they have: numbers `[B, n]` and `[B, n, D]` → `[V, D]`.
#[derive(Clone, Copy, Debug)]
pub struct TableSums {
    /// V.
    pub rows: usize,
    /// D.
    pub width: usize,
}

impl Op for TableSums {
    fn name(&self) -> &'static str {
        "sums by table row"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let fits = inputs[0].batch && inputs[0].axis == inputs[1].axis && inputs[0].elements() * self.width == inputs[1].elements();
        if fits { Ok(Shape::fixed(&[self.rows, self.width])) } else { Err(format!("{} has no row for each of {}", inputs[1], inputs[0])) }
    }
    fn execution(&self) -> Execution {
        Execution::Blocks
    }
    fn blocks(&self, _: &Shape) -> Blocks {
        let unit = (BLOCK_ELEMENTS / self.width.max(1)).max(1);
        Blocks { cut: Cut::Rows, unit, count: self.rows.div_ceil(unit).max(1) }
    }
    fn block(&self, inputs: &[MatRef<'_>], range: Range<usize>, mut output: MatMut<'_>) {
        output.fill(0.0);
        for i in 0..inputs[0].rows() {
            for (number, row) in inputs[0].row(i).iter().zip(inputs[1].row(i).chunks_exact(self.width)) {
                if let Some(at) = row_of(*number, self.rows).filter(|at| range.contains(at)) {
                    add_assign(output.row(at - range.start), row);
                }
            }
        }
    }
    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: inputs[1].elements() as f64 }
    }
}

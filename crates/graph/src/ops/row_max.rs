//! The largest column of each row and its number, for predictions; they have no gradient.

use rankmill_kernels::view::{MatMut, MatRef};

use crate::onnx::{Attribute, Emitter, FLOAT, NoForm, Tensor};
use crate::op::{Context, Op};
use crate::shape::Shape;

fn column(inputs: &[&Shape]) -> Result<Shape, String> {
    if inputs[0].batch && inputs[0].elements() > 0 { Ok(Shape::batch(&[1])) } else { Err("rows with columns are needed".to_owned()) }
}

/// The largest value: `[B, N]` → `[B, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct RowMax;

impl Op for RowMax {
    fn name(&self) -> &'static str {
        "largest column"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        column(inputs)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            output.row(i)[0] = inputs[0].row(i).iter().copied().fold(f32::NEG_INFINITY, f32::max);
        }
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let x = emit.flat(inputs[0], shapes[0]);
        Ok(emit.node_with("ReduceMax", &[x], &[("axes", Attribute::Ints(vec![-1]))]))
    }
}

/// The number of the largest column, the first one of several: `[B, N]` → `[B, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct RowArgMax;

impl Op for RowArgMax {
    fn name(&self) -> &'static str {
        "number of the largest column"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        column(inputs)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let x = inputs[0].row(i);
            let best = (1..x.len()).fold(0, |best, j| if x[j] > x[best] { j } else { best });
            output.row(i)[0] = best as f32;
        }
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let x = emit.flat(inputs[0], shapes[0]);
        let number = emit.node_with("ArgMax", &[x], &[("axis", Attribute::Int(-1))]);
        Ok(emit.node_with("Cast", &[number], &[("to", FLOAT)]))
    }
}

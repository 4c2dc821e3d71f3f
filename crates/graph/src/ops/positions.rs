//! Rows of a table for the positions along an axis, and single positions.

use rankmill_kernels::elementwise::add_assign;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor};
use crate::op::{Context, Execution, InputGradients, Op};
use crate::shape::{Axis, Shape};

/// Row `j` of a table for position `j`: `[rows, N]` → `[B, L, N]`. Positions behind the table's end get zeros.
#[derive(Clone, Copy, Debug)]
pub struct PositionRows {
    /// The axis.
    pub axis: Axis,
}

impl Op for PositionRows {
    fn name(&self) -> &'static str {
        "rows of positions"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        match (inputs[0].batch, inputs[0].dims.as_slice()) {
            (false, [_, width]) => Ok(Shape::along(self.axis, &[*width])),
            _ => Err("a table is a matrix".to_owned()),
        }
    }
    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.axis));
        for i in 0..output.rows() {
            let position = (first_row + i) % length;
            if position < inputs[0].rows() {
                output.row(i).copy_from_slice(inputs[0].row(position));
            } else {
                output.row(i).fill(0.0);
            }
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        if !backward.wants(inputs[0]) {
            return Ok(vec![None]);
        }
        let rows = backward.shape(inputs[0]).dims[0];
        Ok(vec![Some(backward.add(PositionSums { axis: self.axis, rows }, &[upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let length = emit.length(self.axis)?;
        let rows = emit.resize(inputs[0], 2, 0, length);
        emit.expand(rows, output)
    }
}

/// The sum over the batch for each of the first positions: `[B, L, N]` → `[rows, N]`.
#[derive(Clone, Copy, Debug)]
pub struct PositionSums {
    /// The axis.
    pub axis: Axis,
    /// How many positions.
    pub rows: usize,
}

impl Op for PositionSums {
    fn name(&self) -> &'static str {
        "sums of positions"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].axis != Some(self.axis) {
            return Err("the tensor does not lie along the axis".to_owned());
        }
        Ok(Shape::fixed(&[self.rows, inputs[0].elements()]))
    }
    fn execution(&self) -> Execution {
        Execution::Reduce
    }
    fn partial_width(&self, inputs: &[&Shape]) -> usize {
        self.rows * inputs[0].elements()
    }
    fn partial(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, output: &mut [f32]) {
        output.fill(0.0);
        let length = context.length(Some(self.axis));
        let width = inputs[0].cols();
        for i in 0..inputs[0].rows() {
            let position = (first_row + i) % length;
            if position < self.rows {
                add_assign(&mut output[position * width..(position + 1) * width], inputs[0].row(i));
            }
        }
    }
}

/// The last position, that of the longest row of the batch: `[B, L, N]` → `[B, N]`.
#[derive(Clone, Copy, Debug)]
pub struct LastPosition;

impl Op for LastPosition {
    fn name(&self) -> &'static str {
        "last position"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].axis.is_none() {
            return Err("positions need an axis".to_owned());
        }
        Ok(Shape::batch(&inputs[0].dims))
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = inputs[0].rows() / output.rows().max(1);
        for i in 0..output.rows() {
            output.row(i).copy_from_slice(inputs[0].row((i + 1) * length - 1));
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let axis = backward.shape(inputs[0]).axis.expect("inferred before");
        Ok(vec![Some(backward.add(LastPositionGradient { axis }, &[upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let last = emit.int(-1);
        Ok(emit.node_with("Gather", &[inputs[0], last], &[("axis", Attribute::Int(1))]))
    }
}

/// The gradient of [`LastPosition`].
#[derive(Clone, Copy, Debug)]
pub struct LastPositionGradient {
    /// The axis.
    pub axis: Axis,
}

impl Op for LastPositionGradient {
    fn name(&self) -> &'static str {
        "last position gradient"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(Shape::along(self.axis, &inputs[0].dims))
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = output.rows() / inputs[0].rows().max(1);
        output.fill(0.0);
        for i in 0..inputs[0].rows() {
            output.row((i + 1) * length - 1).copy_from_slice(inputs[0].row(i));
        }
    }
}

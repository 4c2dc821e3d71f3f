//! Between the rows of a batch and their rows along an axis.

use rankmill_kernels::elementwise::{add_assign, exp};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, BOOL, Emitter, FLOAT, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::{Axis, Shape};

/// The rows of `view` that belong to row `i` of a batch, of which `view` has `rows` rows.
fn rows_of<'a>(view: &MatRef<'a>, i: usize, rows: usize) -> MatRef<'a> {
    let length = view.rows() / rows;
    view.rows_range(i * length, length)
}

fn expect_along(shape: &Shape) -> Result<(), String> {
    if shape.axis.is_some() { Ok(()) } else { Err("a tensor along an axis is needed".to_owned()) }
}

fn expect_rows(shape: &Shape) -> Result<(), String> {
    if shape.batch && shape.axis.is_none() { Ok(()) } else { Err("a tensor with a row for each row of the batch is needed".to_owned()) }
}

/// Each row repeated: `[B, N]` → `[B, L, N]`.
#[derive(Clone, Copy, Debug)]
pub struct RepeatAlong {
    /// The axis.
    pub axis: Axis,
}

impl Op for RepeatAlong {
    fn name(&self) -> &'static str {
        "repeat along axis"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        expect_rows(inputs[0])?;
        Ok(Shape::along(self.axis, &inputs[0].dims))
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = output.rows() / inputs[0].rows().max(1);
        for i in 0..output.rows() {
            output.row(i).copy_from_slice(inputs[0].row(i / length));
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(SumAlong, &[upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let x = emit.unsqueeze(inputs[0], 1);
        emit.expand(x, output)
    }
}

/// The sum along the axis: `[B, L, N]` → `[B, N]`.
#[derive(Clone, Copy, Debug)]
pub struct SumAlong;

impl Op for SumAlong {
    fn name(&self) -> &'static str {
        "sum along axis"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        expect_along(inputs[0])?;
        Ok(Shape::batch(&inputs[0].dims))
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let rows = output.rows();
        for i in 0..rows {
            let (x, y) = (rows_of(&inputs[0], i, rows), output.row(i));
            y.fill(0.0);
            (0..x.rows()).for_each(|j| add_assign(y, x.row(j)));
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let axis = backward.shape(inputs[0]).axis.expect("inferred before");
        Ok(vec![Some(backward.add(RepeatAlong { axis }, &[upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(emit.sum(inputs[0], 1))
    }
    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: inputs[0].elements() as f64 }
    }
}

/// 1 at the positions that a row has, 0 behind them: how many it has `[B, 1]` → `[B, L, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct PositionMask {
    /// The axis.
    pub axis: Axis,
}

impl Op for PositionMask {
    fn name(&self) -> &'static str {
        "position mask"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        expect_rows(inputs[0])?;
        if inputs[0].dims == [1] { Ok(Shape::along(self.axis, &[1])) } else { Err("lengths are a column".to_owned()) }
    }
    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.axis));
        for i in 0..output.rows() {
            let held = inputs[0].row(i / length)[0];
            output.row(i)[0] = if ((i % length) as f32) < held { 1.0 } else { 0.0 };
        }
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let length = emit.length(self.axis)?;
        let [first, step] = [0, 1].map(|number| emit.int(number));
        let end = emit.squeeze(length, 0);
        let positions = emit.node("Range", &[first, end, step]);
        let positions = emit.node_with("Cast", &[positions], &[("to", FLOAT)]);
        let is_held = emit.node("Less", &[positions, inputs[0]]);
        let mask = emit.node_with("Cast", &[is_held], &[("to", FLOAT)]);
        Ok(emit.unsqueeze(mask, -1))
    }
}

/// Softmax along the axis, for each column: `[B, L, N]` → `[B, L, N]`.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxAlong {
    /// The axis.
    pub axis: Axis,
}

impl Op for SoftmaxAlong {
    fn name(&self) -> &'static str {
        "softmax along axis"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].axis != Some(self.axis) {
            return Err("the tensor does not lie along the axis of the softmax".to_owned());
        }
        Ok(inputs[0].clone())
    }
    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.axis));
        for i in 0..output.rows() / length {
            let (x, mut y) = (inputs[0].rows_range(i * length, length), output.rows_range(i * length, length));
            for col in 0..x.cols() {
                let largest = (0..length).map(|j| x.row(j)[col]).fold(f32::NEG_INFINITY, f32::max);
                // Many equal small terms, as those of padding, would all be rounded the same way on a sum near 1 in single precision.
                let mut total = 0.0_f64;
                for j in 0..length {
                    let e = exp(x.row(j)[col] - largest);
                    total += f64::from(e);
                    y.row(j)[col] = e;
                }
                let total = total as f32;
                (0..length).for_each(|j| y.row(j)[col] /= total);
            }
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], output: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(SoftmaxAlongGradient { axis: self.axis }, &[output, upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(emit.node_with("Softmax", inputs, &[("axis", Attribute::Int(1))]))
    }
    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 4.0 * output.elements() as f64 }
    }
}

/// `y ⊙ (dy - Σ y ⊙ dy)`, the sum along the axis, from `y` and `dy`.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxAlongGradient {
    /// The axis.
    pub axis: Axis,
}

impl Op for SoftmaxAlongGradient {
    fn name(&self) -> &'static str {
        "softmax along axis gradient"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }
    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.axis));
        for i in 0..output.rows() / length {
            let [y, dy] = [inputs[0], inputs[1]].map(|view| view.rows_range(i * length, length));
            let mut dx = output.rows_range(i * length, length);
            for col in 0..y.cols() {
                let common: f32 = (0..length).map(|j| y.row(j)[col] * dy.row(j)[col]).sum();
                (0..length).for_each(|j| dx.row(j)[col] = y.row(j)[col] * (dy.row(j)[col] - common));
            }
        }
    }
    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 4.0 * output.elements() as f64 }
    }
}

/// Rows cut into positions: `[B, n·N]` → `[B, L, N]`, position `j` from column `j·N` on; zeros where the axis is longer.
#[derive(Clone, Copy, Debug)]
pub struct ToAxis {
    /// The axis.
    pub axis: Axis,
    /// N.
    pub width: usize,
}

impl Op for ToAxis {
    fn name(&self) -> &'static str {
        "columns to axis"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        expect_rows(inputs[0])?;
        if self.width == 0 || !inputs[0].elements().is_multiple_of(self.width) {
            return Err(format!("rows are not whole numbers of positions of width {}", self.width));
        }
        Ok(Shape::along(self.axis, &[self.width]))
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let rows = inputs[0].rows();
        let length = output.rows() / rows.max(1);
        for i in 0..rows {
            let mut positions = inputs[0].row(i).chunks_exact(self.width);
            for j in 0..length {
                let y = output.row(i * length + j);
                match positions.next() {
                    Some(x) => y.copy_from_slice(x),
                    None => y.fill(0.0),
                }
            }
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let dims = backward.shape(inputs[0]).dims.clone();
        Ok(vec![Some(backward.add(FromAxis { dims }, &[upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let cut = emit.reshape(inputs[0], shapes[0], &[shapes[0].elements() / self.width, self.width]);
        let length = emit.length(self.axis)?;
        Ok(emit.resize(cut, 3, 1, length))
    }
}

/// Positions side by side: `[B, L, N]` → `[B, dims...]`, of `n·N` elements for some n; positions from n on are cut off, missing ones zeros.
#[derive(Clone, Debug)]
pub struct FromAxis {
    /// The dimensions of the result.
    pub dims: Vec<usize>,
}

impl Op for FromAxis {
    fn name(&self) -> &'static str {
        "axis to columns"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let output = Shape::batch(&self.dims);
        let width = inputs[0].elements();
        if inputs[0].axis.is_none() || width == 0 || !output.elements().is_multiple_of(width) {
            return Err(format!("{output} is not made of positions of width {width}"));
        }
        Ok(output)
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let rows = output.rows();
        for i in 0..rows {
            let x = rows_of(&inputs[0], i, rows);
            let mut positions = output.row(i).chunks_exact_mut(x.cols());
            for (j, y) in positions.by_ref().enumerate() {
                if j < x.rows() { y.copy_from_slice(x.row(j)) } else { y.fill(0.0) }
            }
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let shape = backward.shape(inputs[0]);
        let (axis, width) = (shape.axis.expect("inferred before"), shape.elements());
        Ok(vec![Some(backward.add(ToAxis { axis, width }, &[upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let width = shapes[0].elements();
        let x = emit.flat(inputs[0], shapes[0]);
        let positions = emit.ints(&[(output.elements() / width) as i64]);
        let x = emit.resize(x, 3, 1, positions);
        // Positions and columns, [B, n, N], become the dimensions of the output.
        let sizes: Vec<i64> = [0].into_iter().chain(output.dims.iter().map(|size| *size as i64)).collect();
        let sizes = emit.ints(&sizes);
        Ok(emit.node("Reshape", &[x, sizes]))
    }
}

/// Positions one after the other: tensors along axes, or without (one position each) → `[B, L, N]`, along an axis of
/// [`Length::Joined`](crate::Length::Joined).
#[derive(Clone, Copy, Debug)]
pub struct ConcatAlong {
    /// The axis of the result.
    pub axis: Axis,
}

impl Op for ConcatAlong {
    fn name(&self) -> &'static str {
        "concat along axis"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        match inputs {
            [first, rest @ ..] if first.batch && rest.iter().all(|shape| shape.batch && shape.dims == first.dims) => {
                Ok(Shape::along(self.axis, &first.dims))
            }
            _ => Err("tensors of one width are put one after the other".to_owned()),
        }
    }
    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let rows = output.rows() / context.length(Some(self.axis));
        let mut at = 0;
        for i in 0..rows {
            for input in inputs {
                let x = rows_of(input, i, rows);
                for j in 0..x.rows() {
                    output.row(at).copy_from_slice(x.row(j));
                    at += 1;
                }
            }
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let axes: Vec<Option<Axis>> = inputs.iter().map(|input| backward.shape(*input).axis).collect();
        let mut gradients = Vec::with_capacity(inputs.len());
        for (i, input) in inputs.iter().enumerate() {
            let part = PartAlong { before: axes[..i].to_vec(), axis: axes[i] };
            gradients.push(if backward.wants(*input) { Some(backward.add(part, &[upstream])?) } else { None });
        }
        Ok(gradients)
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let parts: Vec<Tensor> =
            inputs.iter().zip(shapes).map(|(input, shape)| if shape.axis.is_some() { *input } else { emit.unsqueeze(*input, 1) }).collect();
        Ok(emit.node_with("Concat", &parts, &[("axis", Attribute::Int(1))]))
    }
}

/// Some of the positions: `[B, L, N]` → `[B, M, N]`, or `[B, N]`.
#[derive(Clone, Debug)]
pub struct PartAlong {
    /// What stands before it: as many positions as these axes are long, or one for none.
    pub before: Vec<Option<Axis>>,
    /// The axis of the result.
    pub axis: Option<Axis>,
}

impl Op for PartAlong {
    fn name(&self) -> &'static str {
        "part of axis"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].axis.is_none() {
            return Err("a part of the positions needs an axis".to_owned());
        }
        Ok(Shape { axis: self.axis, ..inputs[0].clone() })
    }
    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = context.length(self.axis);
        let rows = output.rows() / length;
        let first: usize = self.before.iter().map(|axis| context.length(*axis)).sum();
        for i in 0..rows {
            let x = rows_of(&inputs[0], i, rows).rows_range(first, length);
            (0..length).for_each(|j| output.row(i * length + j).copy_from_slice(x.row(j)));
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let axis = backward.shape(inputs[0]).axis.expect("inferred before");
        Ok(vec![Some(backward.add(PartAlongGradient { part: self.clone(), axis }, &[upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let first = emit.lengths(&self.before)?;
        let length = emit.lengths(&[self.axis])?;
        let end = emit.node("Add", &[first, length]);
        let part = emit.slice_between(inputs[0], 1, first, end);
        Ok(if self.axis.is_some() { part } else { emit.squeeze(part, 1) })
    }
}

/// Zeros around the gradient of a [`PartAlong`].
#[derive(Clone, Debug)]
pub struct PartAlongGradient {
    /// The part.
    pub part: PartAlong,
    /// The axis of the whole.
    pub axis: Axis,
}

impl Op for PartAlongGradient {
    fn name(&self) -> &'static str {
        "part of axis gradient"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(Shape::along(self.axis, &inputs[0].dims))
    }
    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.axis));
        let rows = output.rows() / length;
        let first: usize = self.part.before.iter().map(|axis| context.length(*axis)).sum();
        output.fill(0.0);
        for i in 0..rows {
            let dy = rows_of(&inputs[0], i, rows);
            (0..dy.rows()).for_each(|j| output.row(i * length + first + j).copy_from_slice(dy.row(j)));
        }
    }
}

/// `x` where the mask is not 0, else a constant: inputs `mask [.., 1]` or of the shape of `x`, `x [.., N]` → `[.., N]`.
#[derive(Clone, Copy, Debug)]
pub struct Where {
    /// The constant.
    pub otherwise: f32,
}

impl Op for Where {
    fn name(&self) -> &'static str {
        "where"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let column = inputs[1].with_dims(&[1]);
        if !inputs[1].batch || (*inputs[0] != column && inputs[0] != inputs[1]) {
            return Err("the mask is a column or has the shape of what it hides".to_owned());
        }
        Ok(inputs[1].clone())
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (mask, x) = (inputs[0].row(i), inputs[1].row(i));
            for (j, y) in output.row(i).iter_mut().enumerate() {
                *y = if mask[j % mask.len()] != 0.0 { x[j] } else { self.otherwise };
            }
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None, Some(backward.add(Where { otherwise: 0.0 }, &[inputs[0], upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let mask = emit.repeatable(inputs[0], shapes[0], output);
        let is_shown = emit.node_with("Cast", &[mask], &[("to", BOOL)]);
        let otherwise = emit.scalar(self.otherwise);
        Ok(emit.node("Where", &[is_shown, inputs[1], otherwise]))
    }
}

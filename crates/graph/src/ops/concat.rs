//! Columns side by side, and parts of them; none of them copies unless it has to.

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor, leading};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::ops::reshape::Reshape;
use crate::shape::Shape;

/// `[B, N₀], [B, N₁], …` → `[B, N₀ + N₁ + …]`.
#[derive(Clone, Copy, Debug)]
pub struct Concat;

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs.is_empty() || inputs.iter().any(|shape| !shape.batch || shape.dims.len() != 1) {
            return Err("matrices with batch rows are put side by side".to_owned());
        }
        if inputs.iter().any(|shape| shape.axis != inputs[0].axis) {
            return Err("tensors along different axes can't be put side by side".to_owned());
        }
        Ok(inputs[0].with_dims(&[inputs.iter().map(|shape| shape.width()).sum()]))
    }
    fn execution(&self) -> Execution {
        Execution::Concat
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let mut first = 0;
        let mut gradients = Vec::with_capacity(inputs.len());
        for input in inputs {
            let width = backward.shape(*input).width();
            let wanted = backward.wants(*input);
            gradients.push(if wanted { Some(backward.add(Columns { first, width }, &[upstream])?) } else { None });
            first += width;
        }
        Ok(gradients)
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(emit.node_with("Concat", inputs, &[("axis", Attribute::Int(-1))]))
    }
    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// Columns `first .. first + width`: `[B, N]` → `[B, width]`.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// The first column.
    pub first: usize,
    /// How many.
    pub width: usize,
}

impl Op for Columns {
    fn name(&self) -> &'static str {
        "columns"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let input = inputs[0];
        if !input.batch || self.first + self.width > input.elements() {
            return Err(format!("columns {} to {} are asked for", self.first, self.first + self.width));
        }
        Ok(input.with_dims(&[self.width]))
    }
    fn execution(&self) -> Execution {
        Execution::Columns(self.first)
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let shape = backward.shape(inputs[0]).clone();
        let padded = backward.add(Pad { first: self.first, width: shape.elements() }, &[upstream])?;
        Ok(vec![Some(if shape.dims.len() == 1 { padded } else { backward.add(Reshape { shape }, &[padded])? })])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let x = emit.flat(inputs[0], shapes[0]);
        Ok(emit.slice(x, -1, self.first as i64, (self.first + self.width) as i64))
    }
    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// Columns of zeros around the input: `[B, n]` → `[B, width]`, the input from column `first` on.
#[derive(Clone, Copy, Debug)]
pub struct Pad {
    /// Where the input starts.
    pub first: usize,
    /// Width of the output.
    pub width: usize,
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if !inputs[0].batch || self.first + inputs[0].elements() > self.width {
            return Err(format!("it does not fit into {} columns from column {} on", self.width, self.first));
        }
        Ok(inputs[0].with_dims(&[self.width]))
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let end = self.first + inputs[0].cols();
        for i in 0..output.rows() {
            let y = output.row(i);
            y[..self.first].fill(0.0);
            y[self.first..end].copy_from_slice(inputs[0].row(i));
            y[end..].fill(0.0);
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let width = backward.shape(inputs[0]).elements();
        Ok(vec![Some(backward.add(Columns { first: self.first, width }, &[upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let x = emit.flat(inputs[0], shapes[0]);
        let rows = vec![0; leading(shapes[0])];
        let behind = self.width - self.first - shapes[0].elements();
        let pads = emit.ints(&[rows.as_slice(), &[self.first as i64], &rows, &[behind as i64]].concat());
        Ok(emit.node("Pad", &[x, pads]))
    }
}

/// Elements of a tensor without batch rows, from `first` on, as another shape.
#[derive(Clone, Debug)]
pub struct Elements {
    /// The first element.
    pub first: usize,
    /// The shape they are given.
    pub shape: Shape,
}

impl Op for Elements {
    fn name(&self) -> &'static str {
        "elements"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].batch || self.shape.batch || self.first + self.shape.elements() > inputs[0].elements() {
            return Err(format!("{} elements from {} on are asked for", self.shape.elements(), self.first));
        }
        Ok(self.shape.clone())
    }
    fn execution(&self) -> Execution {
        Execution::Elements(self.first)
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let x = emit.flat(inputs[0], shapes[0]);
        let part = emit.slice(x, 0, self.first as i64, (self.first + output.elements()) as i64);
        Ok(emit.reshape(part, &Shape::fixed(&[output.elements()]), &output.dims))
    }
    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

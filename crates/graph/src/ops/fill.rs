//! Constant tensors.

use std::sync::Arc;

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// Every element is `value`; the shape has no batch rows.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Shape of the tensor.
    pub shape: Shape,
    /// The value.
    pub value: f32,
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }
    fn infer(&self, _: &[&Shape]) -> Result<Shape, String> {
        Ok(self.shape.clone())
    }
    fn forward(&self, _: &Context<'_>, _: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        output.fill(self.value);
    }
    fn onnx(&self, emit: &mut Emitter<'_>, _: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        if self.shape.batch {
            return Err(NoForm);
        }
        Ok(emit.floats(&self.shape.dims, vec![self.value; self.shape.elements()]))
    }
}

/// These numbers, `[N]`.
#[derive(Clone, Debug)]
pub struct Constant {
    /// The numbers.
    pub values: Arc<[f32]>,
}

impl Op for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }
    fn infer(&self, _: &[&Shape]) -> Result<Shape, String> {
        Ok(Shape::fixed(&[self.values.len()]))
    }
    fn forward(&self, _: &Context<'_>, _: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        output.row(0).copy_from_slice(&self.values);
    }
    fn onnx(&self, emit: &mut Emitter<'_>, _: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(emit.floats(&[self.values.len()], self.values.to_vec()))
    }
}

/// The shape of the input, every element `value`; no gradient flows into the input.
#[derive(Clone, Copy, Debug)]
pub struct FillLike {
    /// The value.
    pub value: f32,
}

impl Op for FillLike {
    fn name(&self) -> &'static str {
        "fill like"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }
    fn forward(&self, _: &Context<'_>, _: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        (0..output.rows()).for_each(|i| output.row(i).fill(self.value));
    }
    fn gradient(&self, _: &mut Backward<'_>, _: &[Value], _: Value, _: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let sizes = emit.node("Shape", inputs);
        let value = emit.scalar(self.value);
        Ok(emit.node("Expand", &[value, sizes]))
    }
    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

//! Inputs of the graph: parameters and dense rows.

use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Cost, Execution, Op};
use crate::shape::{Axis, Shape};

/// A parameter declared with [`crate::Graph::declare`].
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its number.
    pub index: usize,
    /// Its shape.
    pub shape: Shape,
}

impl Op for Parameter {
    fn name(&self) -> &'static str {
        "parameter"
    }
    fn infer(&self, _: &[&Shape]) -> Result<Shape, String> {
        Ok(self.shape.clone())
    }
    fn execution(&self) -> Execution {
        Execution::Parameter(self.index)
    }
    fn onnx(&self, emit: &mut Emitter<'_>, _: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(emit.parameter(self.index))
    }
    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// Dense rows given with each batch, `[B, width]`, or `[B, L, width]` along an axis.
#[derive(Clone, Copy, Debug)]
pub struct DenseInput {
    /// Which of the feed's dense matrices.
    pub slot: usize,
    /// Its columns.
    pub width: usize,
    /// The axis along which they lie.
    pub axis: Option<Axis>,
}

impl Op for DenseInput {
    fn name(&self) -> &'static str {
        "dense input"
    }
    fn infer(&self, _: &[&Shape]) -> Result<Shape, String> {
        Ok(Shape { batch: true, axis: self.axis, dims: vec![self.width] })
    }
    fn execution(&self) -> Execution {
        Execution::DenseInput(self.slot)
    }
    fn onnx(&self, emit: &mut Emitter<'_>, _: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        emit.dense(self)
    }
    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

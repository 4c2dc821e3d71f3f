//! Other views of the same numbers: another shape, or the same without a gradient.

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::shape::Shape;

/// The elements of each row in another shape, without work; a tensor without batch rows is copied, so that it may be a parameter.
#[derive(Clone, Debug)]
pub struct Reshape {
    /// The shape of the output.
    pub shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let rows = (inputs[0].batch, inputs[0].axis);
        if rows != (self.shape.batch, self.shape.axis) || inputs[0].elements() != self.shape.elements() {
            return Err(format!("it has no view of shape {}", self.shape));
        }
        Ok(self.shape.clone())
    }

    fn execution(&self) -> Execution {
        if self.shape.batch { Execution::Columns(0) } else { Execution::Map }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let elements = inputs[0].as_slice().expect("tensors without batch rows are contiguous");
        output.as_mut_slice().expect("tensors without batch rows are contiguous").copy_from_slice(elements);
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let shape = backward.shape(inputs[0]).clone();
        Ok(vec![Some(backward.add(Reshape { shape }, &[upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        Ok(emit.reshape(inputs[0], shapes[0], &output.dims))
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// The input, through which no gradient flows.
#[derive(Clone, Copy, Debug)]
pub struct StopGradient;

impl Op for StopGradient {
    fn name(&self) -> &'static str {
        "stop gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].batch { Ok(inputs[0].clone()) } else { Err("gradients are stopped in tensors with batch rows".to_owned()) }
    }

    fn execution(&self) -> Execution {
        Execution::Columns(0)
    }

    fn gradient(&self, _: &mut Backward<'_>, _: &[Value], _: Value, _: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None])
    }

    fn onnx(&self, _: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(inputs[0])
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

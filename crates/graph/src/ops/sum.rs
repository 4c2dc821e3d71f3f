//! The sum of several tensors of one shape; what the gradients of a value with several uses are added up by.

use rankmill_kernels::elementwise;
use rankmill_kernels::view::{MatMut, MatRef, as_one_row};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// `y = x₀ + x₁ + …`.
#[derive(Clone, Copy, Debug)]
pub struct Sum;

impl Op for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        match inputs {
            [] => Err("nothing to add".to_owned()),
            [first, rest @ ..] if rest.iter().all(|shape| shape.matches(first)) => Ok((*first).clone()),
            _ => Err("the shapes differ".to_owned()),
        }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        let (inputs, mut output) = as_one_row(inputs, output);
        for i in 0..output.rows() {
            let y = output.row(i);
            match inputs.as_slice() {
                [only] => y.copy_from_slice(only.row(i)),
                [first, second, rest @ ..] => {
                    elementwise::add(y, first.row(i), second.row(i));
                    for x in rest {
                        elementwise::add_assign(y, x.row(i));
                    }
                }
                [] => {}
            }
        }
    }

    fn gradient(&self, _: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(upstream); inputs.len()])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(if let [only] = inputs { *only } else { emit.node("Sum", inputs) })
    }

    fn cost(&self, inputs: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: if output.batch { (inputs.len() - 1) as f64 * output.elements() as f64 } else { 0.0 } }
    }
}

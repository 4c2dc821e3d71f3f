//! Half the sum of squares of a tensor without batch rows: the penalty that `tf.layers` puts on a kernel (EasyRec behaviour 26).

use rankmill_kernels::reduce::sum_of_squares;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, InputGradients, Op};
use crate::ops::binary::Binary;
use crate::shape::Shape;

/// `[K, N]` → a scalar.
#[derive(Clone, Copy, Debug)]
pub struct KernelPenalty;

impl Op for KernelPenalty {
    fn name(&self) -> &'static str {
        "kernel penalty"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].batch { Err("a kernel has no batch rows".to_owned()) } else { Ok(Shape::fixed(&[])) }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let total: f32 = (0..inputs[0].rows()).map(|i| sum_of_squares(inputs[0].row(i))).sum();
        output.fill(total / 2.0);
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(Binary::Multiply, &[inputs[0], upstream])?)])
    }
}

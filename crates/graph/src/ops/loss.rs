//! Losses of each row.

use rankmill_kernels::elementwise::sigmoid;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, InputGradients, Op};
use crate::shape::Shape;

/// Cross entropy of a logit `z` and a label `y`, `max(z, 0) - z·y + ln(1 + exp(-|z|))`: inputs `z [B, 1]`, `y [B, 1]` → `[B, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct SigmoidCrossEntropy;

fn same_columns(inputs: &[&Shape]) -> Result<Shape, String> {
    if inputs[0].batch && inputs[0] == inputs[1] { Ok(inputs[0].clone()) } else { Err("logits and labels need one shape".to_owned()) }
}

impl Op for SigmoidCrossEntropy {
    fn name(&self) -> &'static str {
        "sigmoid cross entropy"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        same_columns(inputs)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            for ((loss, z), y) in output.row(i).iter_mut().zip(inputs[0].row(i)).zip(inputs[1].row(i)) {
                *loss = z.max(0.0) - z * y + (-z.abs()).exp().ln_1p();
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(SigmoidCrossEntropyGradient, &[inputs[0], inputs[1], upstream])?), None])
    }
}

/// `(σ(z) - y)·d` from `z`, `y`, `d`.
#[derive(Clone, Copy, Debug)]
pub struct SigmoidCrossEntropyGradient;

impl Op for SigmoidCrossEntropyGradient {
    fn name(&self) -> &'static str {
        "sigmoid cross entropy gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        same_columns(inputs)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (z, y, d) = (inputs[0].row(i), inputs[1].row(i), inputs[2].row(i));
            for (j, dz) in output.row(i).iter_mut().enumerate() {
                *dz = (sigmoid(z[j]) - y[j]) * d[j];
            }
        }
    }
}

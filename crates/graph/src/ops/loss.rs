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

/// Cross entropy of a softmax over logits and the number of the right class, `ln Σ exp(z) - z[y]`: inputs `z [B, N]`, `y [B, 1]` →
/// `[B, 1]`. A row whose label is no class has the loss NaN, as TensorFlow gives it.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxCrossEntropy;

/// The class that a label names.
fn class(label: f32, classes: usize) -> Option<usize> {
    (label >= 0.0 && (label as usize) < classes).then_some(label as usize)
}

fn classes_and_labels(inputs: &[&Shape]) -> Result<(), String> {
    let fits = inputs[0].batch && inputs[0].dims.len() == 1 && inputs[1].batch && inputs[1].dims == [1];
    if fits { Ok(()) } else { Err("logits of classes and one label a row are needed".to_owned()) }
}

impl Op for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        "softmax cross entropy"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        classes_and_labels(inputs).map(|()| Shape::batch(&[1]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let z = inputs[0].row(i);
            let largest = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = z.iter().map(|z| (z - largest).exp()).sum();
            output.row(i)[0] = class(inputs[1].row(i)[0], z.len()).map_or(f32::NAN, |right| total.ln() - (z[right] - largest));
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(SoftmaxCrossEntropyGradient, &[inputs[0], inputs[1], upstream])?), None])
    }
}

/// `(softmax(z) - one-hot(y))·d` from `z`, `y`, `d`.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxCrossEntropyGradient;

impl Op for SoftmaxCrossEntropyGradient {
    fn name(&self) -> &'static str {
        "softmax cross entropy gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        classes_and_labels(inputs).map(|()| inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (z, d) = (inputs[0].row(i), inputs[2].row(i)[0]);
            let dz = output.row(i);
            let largest = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            dz.iter_mut().zip(z).for_each(|(dz, z)| *dz = (z - largest).exp());
            let total: f32 = dz.iter().sum();
            dz.iter_mut().for_each(|dz| *dz *= d / total);
            if let Some(right) = class(inputs[1].row(i)[0], z.len()) {
                dz[right] -= d;
            }
        }
    }
}

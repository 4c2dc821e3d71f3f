//! Softmax over the last dimension: `yᵢ = exp(xᵢ - max x) / Σ exp(xⱼ - max x)`; `dx = y ⊙ (dy - Σ dy ⊙ y)`.

use rankmill_kernels::elementwise::exp_of_difference;
use rankmill_kernels::reduce::sum;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// `[B, .., N]` → `[B, .., N]`, each run of `width` = N columns by itself.
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    /// N.
    pub width: usize,
}

/// Softmax in place; the largest element is taken out first, so nothing overflows.
pub(crate) fn softmax(y: &mut [f32]) {
    let largest = y.iter().fold(f32::NEG_INFINITY, |a, y| a.max(*y));
    exp_of_difference(y, largest);
    let total = sum(y);
    y.iter_mut().for_each(|y| *y /= total);
}

fn checked(width: usize, shape: &Shape) -> Result<Shape, String> {
    if width == 0 || shape.width() != width {
        return Err(format!("a softmax over {width} elements meets a last dimension of {}", shape.width()));
    }
    Ok(shape.clone())
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        checked(self.width, inputs[0])
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let runs = output.row(i).chunks_exact_mut(self.width).zip(inputs[0].row(i).chunks_exact(self.width));
            runs.for_each(|(y, x)| {
                y.copy_from_slice(x);
                softmax(y);
            });
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], output: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(SoftmaxGradient { width: self.width }, &[output, upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(emit.node_with("Softmax", inputs, &[("axis", Attribute::Int(-1))]))
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: if output.batch { 10.0 * output.elements() as f64 } else { 0.0 } }
    }
}

/// `dx` of [`Softmax`] from its output and `dy`.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxGradient {
    /// N.
    pub width: usize,
}

impl Op for SoftmaxGradient {
    fn name(&self) -> &'static str {
        "softmax gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0] != inputs[1] {
            return Err("the shapes differ".to_owned());
        }
        checked(self.width, inputs[0])
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (y, dy) = (inputs[0].row(i).chunks_exact(self.width), inputs[1].row(i).chunks_exact(self.width));
            for ((dx, y), dy) in output.row(i).chunks_exact_mut(self.width).zip(y).zip(dy) {
                dx.iter_mut().zip(y).zip(dy).for_each(|((dx, y), dy)| *dx = dy * y);
                let inner = sum(dx);
                dx.iter_mut().zip(y).zip(dy).for_each(|((dx, y), dy)| *dx = y * (dy - inner));
            }
        }
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: if output.batch { 4.0 * output.elements() as f64 } else { 0.0 } }
    }
}

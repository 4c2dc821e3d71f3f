//! Layer normalisation (Ba, Kiros, Hinton 2016): `y = γ ⊙ (x - μ) / sqrt(σ² + ε) + β`, `μ`, `σ²` over the columns of each row.
//!
//! Backward, with `x̂ = (x - μ)·r`, `r = 1 / sqrt(σ² + ε)`, `g = dy ⊙ γ`: `dx = r·(g - mean(g) - x̂·mean(g ⊙ x̂))`,
//! `dγ = Σ dy ⊙ x̂`, `dβ = Σ dy`. The row statistics are computed again rather than kept.

use rankmill_kernels::elementwise;
use rankmill_kernels::reduce::{layer_norm_sums, moments};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::ops::concat::Elements;
use crate::shape::Shape;

/// Inputs `x [B, N]`, `γ [N]`, `β [N]` → `[B, N]`.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether a ReLU follows.
    pub relu: bool,
}

fn statistics(x: &[f32], epsilon: f32) -> (f32, f32) {
    let (mean, variance) = moments(x);
    (mean, 1.0 / (variance + epsilon).sqrt())
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let row = Shape::fixed(&[inputs[0].elements()]);
        if !inputs[0].batch || *inputs[1] != row || *inputs[2] != row {
            return Err("scale and offset need one element for each column".to_owned());
        }
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let (gamma, beta) = (inputs[1].row(0), inputs[2].row(0));
        let mut normalised = vec![0.0; gamma.len()];
        for i in 0..output.rows() {
            let x = inputs[0].row(i);
            let (mean, scale) = statistics(x, self.epsilon);
            elementwise::centre_and_scale(&mut normalised, x, mean, scale);
            let y = output.row(i);
            elementwise::scale_and_shift(y, &normalised, gamma, beta);
            if self.relu {
                elementwise::relu_in_place(y);
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        debug_assert!(!self.relu, "fusion comes after differentiation");
        let (x, gamma) = (inputs[0], inputs[1]);
        let width = backward.shape(gamma).elements();
        let dx =
            if backward.wants(x) { Some(backward.add(LayerNormGradient { epsilon: self.epsilon }, &[x, gamma, upstream])?) } else { None };
        let sums = backward.add(LayerNormParameterGradient { epsilon: self.epsilon }, &[x, upstream])?;
        let part = |backward: &mut Backward<'_>, first| backward.add(Elements { first, shape: Shape::fixed(&[width]) }, &[sums]);
        let d_gamma = part(backward, 0)?;
        let d_beta = part(backward, width)?;
        Ok(vec![dx, Some(d_gamma), Some(d_beta)])
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 8.0 * output.elements() as f64 }
    }
}

/// `dx` of [`LayerNorm`] from `x`, `γ`, `dy`.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormGradient {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Op for LayerNormGradient {
    fn name(&self) -> &'static str {
        "layer norm gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let gamma = inputs[1].row(0);
        let width = gamma.len() as f32;
        let mut weighted = vec![0.0; gamma.len()];
        for i in 0..output.rows() {
            let x = inputs[0].row(i);
            let (mean, scale) = statistics(x, self.epsilon);
            elementwise::multiply(&mut weighted, inputs[2].row(i), gamma);
            let (sum, product) = layer_norm_sums(x, &weighted, mean, scale);
            finish(output.row(i), x, &weighted, mean, scale, sum / width, product / width);
        }
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 14.0 * output.elements() as f64 }
    }
}

fn finish(dx: &mut [f32], x: &[f32], weighted: &[f32], mean: f32, scale: f32, average: f32, projection: f32) {
    elementwise::centre_and_scale(dx, x, mean, scale);
    for (dx, g) in dx.iter_mut().zip(weighted) {
        *dx = scale * (g - average - *dx * projection);
    }
}

/// `[dγ, dβ]`, `[2N]`, of [`LayerNorm`] from `x`, `dy`.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormParameterGradient {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Op for LayerNormParameterGradient {
    fn name(&self) -> &'static str {
        "layer norm parameter gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(Shape::fixed(&[2 * inputs[0].elements()]))
    }

    fn execution(&self) -> Execution {
        Execution::Reduce
    }

    fn partial_width(&self, inputs: &[&Shape]) -> usize {
        2 * inputs[0].elements()
    }

    fn partial(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: &mut [f32]) {
        output.fill(0.0);
        let (d_gamma, d_beta) = output.split_at_mut(output.len() / 2);
        let mut normalised = vec![0.0; d_gamma.len()];
        for i in 0..inputs[0].rows() {
            let (x, dy) = (inputs[0].row(i), inputs[1].row(i));
            let (mean, scale) = statistics(x, self.epsilon);
            elementwise::centre_and_scale(&mut normalised, x, mean, scale);
            elementwise::add_product(d_gamma, &normalised, dy);
            elementwise::add_assign(d_beta, dy);
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 9.0 * inputs[0].elements() as f64 }
    }
}

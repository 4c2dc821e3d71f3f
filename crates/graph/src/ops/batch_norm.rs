//! Batch normalisation (Ioffe, Szegedy 2015): `y = γ ⊙ (x - μ) / sqrt(σ² + ε) + β`, `μ`, `σ²` over the rows of the batch (biased
//! variance), or moving statistics in inference (EasyRec behaviour 29).
//!
//! Backward, with `x̂ = (x - μ)·r`, `r = 1 / sqrt(σ² + ε)`: `dβ = Σ dy`, `dγ = Σ dy ⊙ x̂`, `dx = γ·r·(dy - dβ/B - x̂·dγ/B)`.

use rankmill_kernels::elementwise;
use rankmill_kernels::substrate::ROW_BLOCK;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::ops::concat::Elements;
use crate::shape::Shape;

/// Mean and biased variance of each column over the batch: `x [B, N]` → `[μ, σ²]`, `[2N]`.
///
/// Blocks of rows give their mean and their sum of squared deviations; two of them combine by Chan's formula (Chan, Golub,
/// LeVeque 1983), which does not lose digits when the mean is large.
#[derive(Clone, Copy, Debug)]
pub struct BatchMoments;

impl Op for BatchMoments {
    fn name(&self) -> &'static str {
        "batch moments"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if !inputs[0].batch {
            return Err("batch statistics need batch rows".to_owned());
        }
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
        let rows = inputs[0].rows();
        let (mean, deviations) = output.split_at_mut(output.len() / 2);
        for i in 0..rows {
            elementwise::add_assign(mean, inputs[0].row(i));
        }
        mean.iter_mut().for_each(|value| *value /= rows as f32);
        let mut centred = vec![0.0; mean.len()];
        for i in 0..rows {
            elementwise::subtract(&mut centred, inputs[0].row(i), mean);
            elementwise::add_product(deviations, &centred, &centred);
        }
    }

    fn combine(&self, rows: usize, partials: MatRef<'_>, mut output: MatMut<'_>) {
        let output = output.row(0);
        let width = output.len() / 2;
        output.copy_from_slice(partials.row(0));
        let mut count = rows.min(ROW_BLOCK) as f32;
        let (mean, deviations) = output.split_at_mut(width);
        for block in 1..partials.rows() {
            let added = (rows - block * ROW_BLOCK).min(ROW_BLOCK) as f32;
            let total = count + added;
            let (block_mean, block_deviations) = partials.row(block).split_at(width);
            for j in 0..width {
                let delta = block_mean[j] - mean[j];
                mean[j] += delta * (added / total);
                deviations[j] += block_deviations[j] + delta * delta * (count * added / total);
            }
            count = total;
        }
        deviations.iter_mut().for_each(|value| *value /= rows as f32);
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 4.0 * inputs[0].elements() as f64 }
    }
}

/// Normalisation by given statistics. Inputs `x [B, N]`, `[μ, σ²] [2N]`, `γ [N]`, `β [N]` → `[B, N]`. The gradient is that of
/// training: the statistics must be the [`BatchMoments`] of `x`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch norm"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let width = inputs[0].elements();
        if !inputs[0].batch || inputs[1].elements() != 2 * width || inputs[2].elements() != width || inputs[3].elements() != width {
            return Err("statistics, scale and offset need one element for each column".to_owned());
        }
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        let (mean, variance) = inputs[1].row(0).split_at(inputs[0].cols());
        normalise(inputs[0], mean, variance, inputs[2].row(0), inputs[3].row(0), self.epsilon, self.relu, output);
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        debug_assert!(!self.relu, "fusion comes after differentiation");
        let (x, moments, gamma) = (inputs[0], inputs[1], inputs[2]);
        let width = backward.shape(gamma).elements();
        let sums = backward.add(BatchNormSums { epsilon: self.epsilon }, &[x, moments, upstream])?;
        let dx = if backward.wants(x) {
            Some(backward.add(BatchNormGradient { epsilon: self.epsilon }, &[x, moments, gamma, sums, upstream])?)
        } else {
            None
        };
        let part = |backward: &mut Backward<'_>, first| backward.add(Elements { first, shape: Shape::fixed(&[width]) }, &[sums]);
        let d_gamma = part(backward, 0)?;
        let d_beta = part(backward, width)?;
        Ok(vec![dx, None, Some(d_gamma), Some(d_beta)])
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * output.elements() as f64 }
    }
}

#[expect(clippy::too_many_arguments, reason = "the formula has this many symbols")]
fn normalise(x: MatRef<'_>, mean: &[f32], variance: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32, relu: bool, mut output: MatMut<'_>) {
    // TensorFlow's order of operations: what follows is sensitive to the last bits of large means.
    let scale: Vec<f32> = inverse_deviations(variance, epsilon).iter().zip(gamma).map(|(r, g)| r * g).collect();
    let shift: Vec<f32> = beta.iter().zip(mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
    for i in 0..output.rows() {
        elementwise::scale_and_shift(output.row(i), x.row(i), &scale, &shift);
        if relu {
            elementwise::relu_in_place(output.row(i));
        }
    }
}

/// Normalisation by moving statistics. Inputs `x [B, N]`, `γ`, `β`, moving mean, moving variance, `[N]` each → `[B, N]`.
#[derive(Clone, Copy, Debug)]
pub struct MovingNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl Op for MovingNorm {
    fn name(&self) -> &'static str {
        "batch norm (moving statistics)"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if !inputs[0].batch || inputs[1..].iter().any(|shape| shape.elements() != inputs[0].elements()) {
            return Err("statistics, scale and offset need one element for each column".to_owned());
        }
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|i| inputs[i].row(0));
        normalise(inputs[0], mean, variance, gamma, beta, self.epsilon, self.relu, output);
    }
}

/// `[dγ, dβ]`, `[2N]`, from `x`, `[μ, σ²]`, `dy`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormSums {
    /// Added to the variance.
    pub epsilon: f32,
}

/// `1 / sqrt(σ² + ε)` of each column.
fn inverse_deviations(variance: &[f32], epsilon: f32) -> Vec<f32> {
    variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect()
}

impl Op for BatchNormSums {
    fn name(&self) -> &'static str {
        "batch norm parameter gradient"
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
        let (mean, variance) = inputs[1].row(0).split_at(d_gamma.len());
        let mut centred = vec![0.0; d_gamma.len()];
        for i in 0..inputs[0].rows() {
            let dy = inputs[2].row(i);
            elementwise::subtract(&mut centred, inputs[0].row(i), mean);
            elementwise::add_product(d_gamma, &centred, dy);
            elementwise::add_assign(d_beta, dy);
        }
        for (sum, scale) in d_gamma.iter_mut().zip(inverse_deviations(variance, self.epsilon)) {
            *sum *= scale;
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 4.0 * inputs[0].elements() as f64 }
    }
}

/// `dx` from `x`, `[μ, σ²]`, `γ`, `[dγ, dβ]`, `dy`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGradient {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Op for BatchNormGradient {
    fn name(&self) -> &'static str {
        "batch norm gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let width = inputs[0].cols();
        let rows = context.rows as f32;
        let (mean, variance) = inputs[1].row(0).split_at(width);
        let (d_gamma, d_beta) = inputs[3].row(0).split_at(width);
        let inverse = inverse_deviations(variance, self.epsilon);
        // dx = a·dy + b·(x - μ) + c, with one a, b, c for each column.
        let a: Vec<f32> = inverse.iter().zip(inputs[2].row(0)).map(|(r, g)| r * g).collect();
        let b: Vec<f32> = (0..width).map(|j| -a[j] * inverse[j] * d_gamma[j] / rows).collect();
        let c: Vec<f32> = (0..width).map(|j| -a[j] * d_beta[j] / rows).collect();
        for i in 0..output.rows() {
            let dx = output.row(i);
            elementwise::centre_scale_shift(dx, inputs[0].row(i), mean, &b, &c);
            elementwise::add_product(dx, inputs[4].row(i), &a);
        }
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 4.0 * output.elements() as f64 }
    }
}

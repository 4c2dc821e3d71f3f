//! Batch normalisation (Ioffe, Szegedy 2015): `y = γ ⊙ (x - μ) / sqrt(σ² + ε) + β`, `μ`, `σ²` over the rows of the batch (biased
//! variance), or moving statistics in inference (EasyRec behaviour 29).
//!
//! Backward, with `x̂ = (x - μ)·r`, `r = 1 / sqrt(σ² + ε)`: `dβ = Σ dy`, `dγ = Σ dy ⊙ x̂`, `dx = γ·r·(dy - dβ/B - x̂·dγ/B)`.

use rankmill_kernels::rows;
use rankmill_kernels::substrate::RowCounts;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::ops::binary::Binary;
use crate::ops::concat::Elements;
use crate::shape::{Axis, Shape};

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
        let (mean, deviations) = output.split_at_mut(output.len() / 2);
        rows::column_moments(mean, deviations, inputs[0]);
    }

    fn combine(&self, rows: RowCounts, partials: MatRef<'_>, mut output: MatMut<'_>) {
        let output = output.row(0);
        let width = output.len() / 2;
        output.copy_from_slice(partials.row(0));
        let mut count = rows.all.min(rows.block) as f32;
        let (mean, deviations) = output.split_at_mut(width);
        for block in 1..partials.rows() {
            let added = (rows.all - block * rows.block).min(rows.block) as f32;
            let total = count + added;
            let (block_mean, block_deviations) = partials.row(block).split_at(width);
            for j in 0..width {
                let delta = block_mean[j] - mean[j];
                mean[j] += delta * (added / total);
                deviations[j] += block_deviations[j] + delta * delta * (count * added / total);
            }
            count = total;
        }
        deviations.iter_mut().for_each(|value| *value /= rows.all as f32);
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 4.0 * inputs[0].elements() as f64 }
    }
}

/// Normalisation by given statistics: inputs `x [B, N]`, `[μ, σ²] [2N]`, `γ [N]`, `β [N]` → `[B, N]`. Before a graph runs it becomes
/// [`NormCoefficients`] and [`ColumnAffine`]. The gradient is that of training: the statistics must be the [`BatchMoments`] of `x`.
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

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        debug_assert!(!self.relu, "fusion comes after differentiation");
        let (x, moments, gamma) = (inputs[0], inputs[1], inputs[2]);
        let width = backward.shape(gamma).elements();
        let inverse = backward.add(InverseDeviations { epsilon: self.epsilon, width }, &[moments])?;
        let sums = backward.add(BatchNormSums, &[x, upstream, moments, inverse])?;
        let dx = if backward.wants(x) {
            let axis = backward.shape(x).axis;
            let coefficients = backward.add(GradientCoefficients { axis }, &[inverse, gamma, sums])?;
            Some(backward.add(BatchNormGradient, &[x, upstream, moments, coefficients])?)
        } else {
            None
        };
        let [d_gamma, d_beta] = parameter_gradients(backward, sums, width)?;
        Ok(vec![dx, None, Some(d_gamma), Some(d_beta)])
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * output.elements() as f64 }
    }
}

/// `dγ` and `dβ` out of the sums that hold both.
fn parameter_gradients(backward: &mut Backward<'_>, sums: Value, width: usize) -> Result<[Value; 2], GraphError> {
    let mut part = |first| backward.add(Elements { first, shape: Shape::fixed(&[width]) }, &[sums]);
    Ok([part(0)?, part(width)?])
}

/// Normalisation by moving statistics: inputs `x [B, N]`, `γ`, `β`, moving mean, moving variance, `[N]` each → `[B, N]`. Before a graph
/// runs it becomes [`NormCoefficients`] and [`ColumnAffine`]. The statistics are constants to the gradient: `dx = dy ⊙ γ·r`.
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

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        debug_assert!(!self.relu, "fusion comes after differentiation");
        let [x, gamma, _, mean, variance] = inputs[..] else { return Err(GraphError::NoGradient { op: self.name() }) };
        let width = backward.shape(gamma).elements();
        let inverse = backward.add(InverseDeviations { epsilon: self.epsilon, width }, &[variance])?;
        let sums = backward.add(BatchNormSums, &[x, upstream, mean, inverse])?;
        let dx = if backward.wants(x) {
            let scale = backward.add(Binary::Multiply, &[inverse, gamma])?;
            Some(backward.add(Binary::Multiply, &[upstream, scale])?)
        } else {
            None
        };
        let [d_gamma, d_beta] = parameter_gradients(backward, sums, width)?;
        Ok(vec![dx, Some(d_gamma), Some(d_beta), None, None])
    }

    /// In the order of operations of [`NormCoefficients`]; what depends on parameters alone is computed when the model is loaded.
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|i| emit.repeatable(inputs[i], shapes[i], output));
        let epsilon = emit.scalar(self.epsilon);
        let variance = emit.node("Add", &[variance, epsilon]);
        let deviation = emit.node("Sqrt", &[variance]);
        let inverse = emit.node("Reciprocal", &[deviation]);
        let scale = emit.node("Mul", &[inverse, gamma]);
        let moved = emit.node("Mul", &[mean, scale]);
        let shift = emit.node("Sub", &[beta, moved]);
        let scaled = emit.node("Mul", &[inputs[0], scale]);
        let y = emit.node("Add", &[scaled, shift]);
        Ok(emit.relu_if(self.relu, y))
    }
}

/// Where [`NormCoefficients`] finds the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statistics {
    /// Inputs `[μ, σ²] [2N]`, `γ`, `β`.
    Moments,
    /// Inputs `γ`, `β`, `μ`, `σ²`.
    Moving,
}

/// What a normalisation does to each column: `[γ·r, β - μ·γ·r]`, `[2N]`, from statistics, `γ` and `β`.
#[derive(Clone, Copy, Debug)]
pub struct NormCoefficients {
    epsilon: f32,
    width: usize,
    statistics: Statistics,
}

impl NormCoefficients {
    /// From `[μ, σ²] [2N]`, `γ`, `β`, for N columns.
    pub fn of_moments(epsilon: f32, width: usize) -> NormCoefficients {
        NormCoefficients { epsilon, width, statistics: Statistics::Moments }
    }

    /// From `γ`, `β`, `μ`, `σ²`, for N columns.
    pub fn of_moving(epsilon: f32, width: usize) -> NormCoefficients {
        NormCoefficients { epsilon, width, statistics: Statistics::Moving }
    }
}

impl Op for NormCoefficients {
    fn name(&self) -> &'static str {
        "batch norm coefficients"
    }

    fn infer(&self, _: &[&Shape]) -> Result<Shape, String> {
        Ok(Shape::fixed(&[2 * self.width]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let row = |i: usize| inputs[i].row(0);
        let (gamma, beta, mean, variance) = match self.statistics {
            Statistics::Moments => (row(1), row(2), &row(0)[..self.width], &row(0)[self.width..]),
            Statistics::Moving => (row(0), row(1), row(2), row(3)),
        };
        let (scale, shift) = output.row(0).split_at_mut(self.width);
        // TensorFlow's order of operations: what follows is sensitive to the last bits of large means.
        for j in 0..self.width {
            scale[j] = inverse_deviation(variance[j], self.epsilon) * gamma[j];
            shift[j] = beta[j] - mean[j] * scale[j];
        }
    }
}

/// `x ⊙ scale + shift`, or its positive part: `x [B, N]`, `[scale, shift] [2N]` → `[B, N]`.
#[derive(Clone, Copy, Debug)]
pub struct ColumnAffine {
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl Op for ColumnAffine {
    fn name(&self) -> &'static str {
        "scale and shift"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if !inputs[0].batch || inputs[1].elements() != 2 * inputs[0].elements() {
            return Err("scale and shift need one element for each column".to_owned());
        }
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        let (scale, shift) = inputs[1].row(0).split_at(output.cols());
        rows::affine(output, inputs[0], scale, shift, self.relu);
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * output.elements() as f64 }
    }
}

/// `r = 1 / sqrt(σ² + ε)` of each column: `[μ, σ²] [2N]`, or `σ²` alone → `[N]`.
#[derive(Clone, Copy, Debug)]
pub struct InverseDeviations {
    /// Added to the variance.
    pub epsilon: f32,
    /// N.
    pub width: usize,
}

fn inverse_deviation(variance: f32, epsilon: f32) -> f32 {
    1.0 / (variance + epsilon).sqrt()
}

impl Op for InverseDeviations {
    fn name(&self) -> &'static str {
        "inverse deviations"
    }

    fn infer(&self, _: &[&Shape]) -> Result<Shape, String> {
        Ok(Shape::fixed(&[self.width]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let statistics = inputs[0].row(0);
        let variance = &statistics[statistics.len() - self.width..];
        output.row(0).iter_mut().zip(variance).for_each(|(r, v)| *r = inverse_deviation(*v, self.epsilon));
    }
}

/// `[dγ, dβ]`, `[2N]`, from `x`, `dy`, `[μ, σ²]` or `μ` alone, `r`, and the output after a ReLU if one follows (`dy` is then the gradient of that).
#[derive(Clone, Copy, Debug)]
pub struct BatchNormSums;

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
        let mean = &inputs[2].row(0)[..d_gamma.len()];
        rows::batch_norm_sums(d_gamma, d_beta, inputs[0], mean, inputs[1], inputs.get(4).copied());
        d_gamma.iter_mut().zip(inputs[3].row(0)).for_each(|(sum, r)| *sum *= r);
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 4.0 * inputs[0].elements() as f64 }
    }
}

/// `[a, b, c]`, `[3N]`, of `dx = a·dy + b·(x - μ) + c`, from `r`, `γ`, `[dγ, dβ]`.
#[derive(Clone, Copy, Debug)]
pub struct GradientCoefficients {
    /// The axis along which the rows lie.
    pub axis: Option<Axis>,
}

impl Op for GradientCoefficients {
    fn name(&self) -> &'static str {
        "batch norm gradient coefficients"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(Shape::fixed(&[3 * inputs[0].elements()]))
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let rows = context.rows(self.axis) as f32;
        let (inverse, gamma) = (inputs[0].row(0), inputs[1].row(0));
        let (d_gamma, d_beta) = inputs[2].row(0).split_at(gamma.len());
        let (a, rest) = output.row(0).split_at_mut(gamma.len());
        let (b, c) = rest.split_at_mut(gamma.len());
        for j in 0..gamma.len() {
            a[j] = inverse[j] * gamma[j];
            b[j] = -a[j] * inverse[j] * d_gamma[j] / rows;
            c[j] = -a[j] * d_beta[j] / rows;
        }
    }
}

/// `dx` from `x`, `dy`, `[μ, σ²]`, `[a, b, c]`, and the output after a ReLU if one follows.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGradient;

impl Op for BatchNormGradient {
    fn name(&self) -> &'static str {
        "batch norm gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        let width = output.cols();
        let (mean, coefficients) = (&inputs[2].row(0)[..width], inputs[3].row(0));
        let part = |i: usize| &coefficients[i * width..(i + 1) * width];
        rows::batch_norm_gradient(output, inputs[0], inputs[1], inputs.get(4).copied(), mean, [part(0), part(1), part(2)]);
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 4.0 * output.elements() as f64 }
    }
}

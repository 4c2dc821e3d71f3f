//! Layer normalisation (Ba, Kiros, Hinton 2016): `y = γ ⊙ (x - μ) / sqrt(σ² + ε) + β`, `μ`, `σ²` over the columns of each row.
//!
//! Backward, with `x̂ = (x - μ)·r`, `r = 1 / sqrt(σ² + ε)`, `g = dy ⊙ γ`: `dx = r·(g - mean(g) - x̂·mean(g ⊙ x̂))`,
//! `dγ = Σ dy ⊙ x̂`, `dβ = Σ dy`. The row statistics are computed again rather than kept.

use rankmill_kernels::rows;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor};
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

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        rows::layer_norm(output, inputs[0], inputs[1].row(0), inputs[2].row(0), self.epsilon, self.relu);
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        debug_assert!(!self.relu, "fusion comes after differentiation");
        let (x, gamma) = (inputs[0], inputs[1]);
        let width = backward.shape(gamma).elements();
        let dx =
            if backward.wants(x) { Some(backward.add(LayerNormGradient { epsilon: self.epsilon }, &[x, upstream, gamma])?) } else { None };
        let sums = backward.add(LayerNormParameterGradient { epsilon: self.epsilon }, &[x, upstream])?;
        let part = |backward: &mut Backward<'_>, first| backward.add(Elements { first, shape: Shape::fixed(&[width]) }, &[sums]);
        let d_gamma = part(backward, 0)?;
        let d_beta = part(backward, width)?;
        Ok(vec![dx, Some(d_gamma), Some(d_beta)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let x = emit.flat(inputs[0], shapes[0]);
        let settings = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.epsilon))];
        let y = emit.node_with("LayerNormalization", &[x, inputs[1], inputs[2]], &settings);
        let y = emit.relu_if(self.relu, y);
        Ok(emit.reshape(y, &shapes[0].with_dims(&[output.elements()]), &output.dims))
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 8.0 * output.elements() as f64 }
    }
}

/// `dx` of [`LayerNorm`] from `x`, `dy`, `γ`, and the output after a ReLU if one follows (`dy` is then the gradient of that).
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

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        rows::layer_norm_gradient(output, inputs[0], inputs[2].row(0), inputs[1], inputs.get(3).copied(), self.epsilon);
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 14.0 * output.elements() as f64 }
    }
}

/// `[dγ, dβ]`, `[2N]`, of [`LayerNorm`] from `x`, `dy`, and the output after a ReLU if one follows.
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
        rows::layer_norm_parameter_sums(d_gamma, d_beta, inputs[0], inputs[1], inputs.get(2).copied(), self.epsilon);
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 9.0 * inputs[0].elements() as f64 }
    }
}

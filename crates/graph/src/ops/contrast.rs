//! Contrast of each row with the other rows of the batch, the normaliser of in-batch softmax losses (InfoNCE, van den Oord, Li, Vinyals
//! 2018; SimCLR, Chen et al. 2020): `zᵢ = ln(Σⱼ exp(xᵢ·yⱼ) [+ Σ_{j≠i} exp(xᵢ·xⱼ)])`.
//!
//! With `p_ij = exp(xᵢ·yⱼ - zᵢ)`, `q_ij = exp(xᵢ·xⱼ - zᵢ)`, `q_ii = 0`: `dxᵣ = gᵣ·(Σⱼ p_rj·yⱼ + Σⱼ q_rj·xⱼ) + Σᵢ gᵢ·q_ir·xᵢ` and
//! `dyᵣ = Σᵢ gᵢ·p_ir·xᵢ`. The `[B, B]` products are computed again rather than kept; each row sums over the batch in its order.

use rankmill_kernels::elementwise::add_scaled;
use rankmill_kernels::gemm::dot;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// `x [B, D]`, all rows of `y [B, D]`, all rows of `x` → `[B, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contrast {
    /// Whether a row is contrasted with the other rows of `x`, too.
    pub with_own: bool,
}

/// Inputs that are read whole by [`Contrast`] and [`ContrastGradient`]: all but the first.
fn is_whole(input: usize) -> bool {
    input > 0
}

impl Op for Contrast {
    fn name(&self) -> &'static str {
        "contrast"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let plain = inputs[0].batch && inputs[0].axis.is_none() && inputs[0].dims.len() == 1;
        if !plain || inputs.iter().any(|shape| *shape != inputs[0]) {
            return Err("rows of one width are contrasted".to_owned());
        }
        Ok(Shape::batch(&[1]))
    }

    fn reads_all_rows(&self, input: usize) -> bool {
        is_whole(input)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let (y, own) = (&inputs[1], &inputs[2]);
        for i in 0..output.rows() {
            let x = inputs[0].row(i);
            let (mut largest, mut total) = (f32::NEG_INFINITY, 0.0_f32);
            let mut take = |score: f32| {
                if score > largest {
                    total *= (largest - score).exp();
                    largest = score;
                }
                total += (score - largest).exp();
            };
            (0..y.rows()).for_each(|j| take(dot(x, y.row(j))));
            if self.with_own {
                (0..own.rows()).filter(|j| *j != first_row + i).for_each(|j| take(dot(x, own.row(j))));
            }
            output.row(i)[0] = largest + total.ln();
        }
    }

    fn gradient(
        &self,
        backward: &mut Backward<'_>,
        inputs: &[Value],
        output: Value,
        upstream: Value,
    ) -> Result<InputGradients, GraphError> {
        let (x, y) = (inputs[0], inputs[1]);
        let mut gradient = |of: Side, own: Value, other: Value| {
            backward.add(ContrastGradient { contrast: *self, of }, &[own, other, own, output, upstream]).map(Some)
        };
        Ok(vec![gradient(Side::Rows, x, y)?, gradient(Side::Others, y, x)?, None])
    }

    /// Of one row for each row: how many there are is not known here.
    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * inputs[0].width() as f64 }
    }
}

/// What a gradient is with respect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `x`, in both of its places.
    Rows,
    /// `y`.
    Others,
}

/// A gradient of [`Contrast`]: the rows of the side asked for, all rows of the other side, all rows of its own, `z` and `g` of all rows.
#[derive(Clone, Copy, Debug)]
pub struct ContrastGradient {
    /// The contrast.
    pub contrast: Contrast,
    /// With respect to what.
    pub of: Side,
}

impl Op for ContrastGradient {
    fn name(&self) -> &'static str {
        "contrast gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn reads_all_rows(&self, input: usize) -> bool {
        is_whole(input)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let [_, other, own, z, g] = inputs else { unreachable!("a contrast has five inputs to its gradient") };
        for i in 0..output.rows() {
            let row = first_row + i;
            let (x, dx) = (inputs[0].row(i), output.row(i));
            dx.fill(0.0);
            for j in 0..other.rows() {
                let score = dot(x, other.row(j));
                let factor = match self.of {
                    Side::Rows => g.row(row)[0] * (score - z.row(row)[0]).exp(),
                    Side::Others => g.row(j)[0] * (score - z.row(j)[0]).exp(),
                };
                add_scaled(dx, factor, other.row(j));
            }
            if self.contrast.with_own && self.of == Side::Rows {
                for j in (0..own.rows()).filter(|j| *j != row) {
                    let score = dot(x, own.row(j));
                    let as_row = g.row(row)[0] * (score - z.row(row)[0]).exp();
                    let as_column = g.row(j)[0] * (score - z.row(j)[0]).exp();
                    add_scaled(dx, as_row + as_column, own.row(j));
                }
            }
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 4.0 * inputs[0].width() as f64 }
    }
}

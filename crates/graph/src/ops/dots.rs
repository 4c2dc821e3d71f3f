//! Inner products of chosen pairs of fields: what dot-product interactions (Naumov et al. 2019) and bilinear ones are made of.

use std::sync::Arc;

use rankmill_kernels::view::{MatMut, MatRef};
use rankmill_kernels::{elementwise, gemm};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// `yₚ = aᵢ·bⱼ` for each pair `p = (i, j)`: `a [B, n, D]`, `b [B, m, D]` → `[B, pairs]`.
#[derive(Clone, Debug)]
pub struct Dots {
    /// For each output column the fields of `a` and of `b`.
    pub pairs: Arc<[(u32, u32)]>,
    /// D.
    pub width: usize,
}

/// Field `i` of a row.
fn field(row: &[f32], i: u32, width: usize) -> &[f32] {
    &row[i as usize * width..(i as usize + 1) * width]
}

impl Op for Dots {
    fn name(&self) -> &'static str {
        "dot products"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let fields = |shape: &Shape| match (shape.batch, shape.dims.as_slice()) {
            (true, [fields, width]) if *width == self.width => Some(*fields),
            _ => None,
        };
        let (Some(n), Some(m)) = (fields(inputs[0]), fields(inputs[1])) else {
            return Err(format!("dot products need fields of width {}", self.width));
        };
        if inputs[0].axis != inputs[1].axis || self.pairs.is_empty() || self.pairs.iter().any(|(i, j)| *i as usize >= n || *j as usize >= m)
        {
            return Err(format!("there are no such pairs of {n} and {m} fields"));
        }
        Ok(inputs[0].with_dims(&[self.pairs.len()]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for r in 0..output.rows() {
            let (a, b) = (inputs[0].row(r), inputs[1].row(r));
            for (y, (i, j)) in output.row(r).iter_mut().zip(&*self.pairs) {
                *y = gemm::dot(field(a, *i, self.width), field(b, *j, self.width));
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let mut gradients = Vec::with_capacity(2);
        for side in [0, 1] {
            if !backward.wants(inputs[side]) {
                gradients.push(None);
                continue;
            }
            let shape = backward.shape(inputs[side]).clone();
            let op = DotsGradient { pairs: self.pairs.clone(), shape, side };
            gradients.push(Some(backward.add(op, &[inputs[1 - side], upstream])?));
        }
        Ok(gradients)
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let sides: [Vec<i64>; 2] =
            [self.pairs.iter().map(|(i, _)| i64::from(*i)).collect(), self.pairs.iter().map(|(_, j)| i64::from(*j)).collect()];
        let mut factors = Vec::with_capacity(2);
        for (input, side) in inputs.iter().zip(&sides) {
            let side = emit.ints(side);
            factors.push(emit.node_with("Gather", &[*input, side], &[("axis", Attribute::Int(-2))]));
        }
        let products = emit.node("Mul", &factors);
        Ok(emit.sum(products, -1))
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * (self.width * output.elements()) as f64 }
    }
}

/// The gradient of [`Dots`] with respect to one side, from the other side and `dy`.
#[derive(Clone, Debug)]
pub struct DotsGradient {
    /// For each column of `dy` the fields of both sides.
    pub pairs: Arc<[(u32, u32)]>,
    /// The shape of the side that is asked for.
    pub shape: Shape,
    /// 0 for `a`, 1 for `b`.
    pub side: usize,
}

impl Op for DotsGradient {
    fn name(&self) -> &'static str {
        "gradient of dot products"
    }

    fn infer(&self, _: &[&Shape]) -> Result<Shape, String> {
        Ok(self.shape.clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let width = self.shape.width();
        for r in 0..output.rows() {
            let (other, dy, dx) = (inputs[0].row(r), inputs[1].row(r), output.row(r));
            dx.fill(0.0);
            for (dy, (i, j)) in dy.iter().zip(&*self.pairs) {
                let (own, from) = if self.side == 0 { (*i, *j) } else { (*j, *i) };
                let own = own as usize * width;
                elementwise::add_scaled(&mut dx[own..own + width], *dy, field(other, from, width));
            }
        }
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * (self.shape.width() * self.pairs.len()) as f64 }
    }
}

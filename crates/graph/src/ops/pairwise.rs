//! The second-order term of factorization machines (Rendle 2010), all pairs of fields in linear time:
//! `Σ_{i<j} eᵢ ⊙ eⱼ = ½·((Σ eᵢ)² - Σ eᵢ²)`; `deᵢ = dy ⊙ (Σ eⱼ - eᵢ)`.

use rankmill_kernels::elementwise;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// `[B, n, D]` → `[B, D]`.
#[derive(Clone, Copy, Debug)]
pub struct PairwiseProducts;

impl Op for PairwiseProducts {
    fn name(&self) -> &'static str {
        "products of pairs"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        match (inputs[0].batch, inputs[0].dims.as_slice()) {
            (true, [_, width]) => Ok(inputs[0].with_dims(&[*width])),
            _ => Err("fields of one width are multiplied".to_owned()),
        }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let width = output.cols();
        for r in 0..output.rows() {
            let (x, y) = (inputs[0].row(r), output.row(r));
            for (j, y) in y.iter_mut().enumerate() {
                let column = x.iter().skip(j).step_by(width);
                let (total, squares) = column.fold((0.0, 0.0), |(total, squares), e| (total + e, squares + e * e));
                *y = 0.5 * (total * total - squares);
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(PairwiseProductsGradient, &[inputs[0], upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let total = emit.sum(inputs[0], -2);
        let squared = emit.node("Mul", &[total, total]);
        let squares = emit.node("Mul", &[inputs[0], inputs[0]]);
        let squares = emit.sum(squares, -2);
        let twice = emit.node("Sub", &[squared, squares]);
        let half = emit.scalar(0.5);
        Ok(emit.node("Mul", &[twice, half]))
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 3.0 * inputs[0].elements() as f64 }
    }
}

/// `dx` of [`PairwiseProducts`] from `x` and `dy`.
#[derive(Clone, Copy, Debug)]
pub struct PairwiseProductsGradient;

impl Op for PairwiseProductsGradient {
    fn name(&self) -> &'static str {
        "gradient of products of pairs"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let width = inputs[1].cols();
        for r in 0..output.rows() {
            let (x, dy, dx) = (inputs[0].row(r), inputs[1].row(r), output.row(r));
            // The first field of the output holds the sum of all fields until the others have read it.
            let (total, rest) = dx.split_at_mut(width);
            total.fill(0.0);
            x.chunks_exact(width).for_each(|e| elementwise::add_assign(total, e));
            for (dx, e) in rest.chunks_exact_mut(width).zip(x.chunks_exact(width).skip(1)) {
                for j in 0..width {
                    dx[j] = dy[j] * (total[j] - e[j]);
                }
            }
            for j in 0..width {
                total[j] = dy[j] * (total[j] - x[j]);
            }
        }
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 3.0 * output.elements() as f64 }
    }
}

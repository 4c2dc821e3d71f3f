//! A product with a weight matrix of its own for each field: `y_f = x_f·W_f`, or `y_f = x_f·W_fᵀ`.
//!
//! Fields are few and their matrices small (embeddings of numbers), so the weights are read where they lie.

use std::ops::Range;

use rankmill_kernels::fields;
use rankmill_kernels::gemm::{self, Orientation};
use rankmill_kernels::substrate::{Blocks, Cut};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::ops::concat::Elements;
use crate::shape::Shape;

/// `x [B, n, K]` and weights of n·K·N elements, field by field `[K, N]` (or `[N, K]` used transposed) → `[B, n, N]`.
#[derive(Clone, Copy, Debug)]
pub struct PerField {
    /// N.
    pub units: usize,
    /// Whether the weights are used transposed.
    pub weights: Orientation,
}

fn fields_of(shape: &Shape) -> Result<(usize, usize), String> {
    match (shape.batch, shape.dims.as_slice()) {
        (true, [n, k]) => Ok((*n, *k)),
        _ => Err("fields of one width are multiplied by their weights".to_owned()),
    }
}

impl Op for PerField {
    fn name(&self) -> &'static str {
        "product of each field"
    }

    fn is_product(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let (n, k) = fields_of(inputs[0])?;
        if inputs[1].batch || inputs[1].elements() != n * k * self.units {
            return Err(format!("{n} fields of width {k} meet {} weights for {} units", inputs[1].elements(), self.units));
        }
        Ok(inputs[0].with_dims(&[n, self.units]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let weights = inputs[1].as_slice().expect("tensors without batch rows are contiguous");
        if self.weights == Orientation::Plain {
            return fields::products(output, inputs[0], weights, self.units);
        }
        let k = inputs[0].cols() * self.units / output.cols();
        for r in 0..output.rows() {
            let fields = inputs[0].row(r).chunks_exact(k).zip(weights.chunks_exact(k * self.units));
            for (y, (x, w)) in output.row(r).chunks_exact_mut(self.units).zip(fields) {
                y.iter_mut().zip(w.chunks_exact(k)).for_each(|(y, w)| *y = gemm::dot(x, w));
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let (x, w) = (inputs[0], inputs[1]);
        let other = if self.weights == Orientation::Plain { Orientation::Transposed } else { Orientation::Plain };
        let units = backward.shape(x).width();
        let dx = if backward.wants(x) { Some(backward.add(PerField { units, weights: other }, &[upstream, w])?) } else { None };
        if !backward.wants(w) {
            return Ok(vec![dx, None]);
        }
        let factors = if self.weights == Orientation::Plain { [x, upstream] } else { [upstream, x] };
        let fields = backward.shape(x).dims[0];
        let dw = backward.add(PerFieldWeightGradient { fields }, &factors)?;
        let shape = backward.shape(w).clone();
        Ok(vec![dx, Some(backward.add(Elements { first: 0, shape }, &[dw])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let (n, k) = fields_of(shapes[0]).map_err(|_| NoForm)?;
        let dims = if self.weights == Orientation::Plain { [n, k, self.units] } else { [n, self.units, k] };
        let mut weights = emit.reshape(inputs[1], shapes[1], &dims);
        if self.weights == Orientation::Transposed {
            weights = emit.node_with("Transpose", &[weights], &[("perm", Attribute::Ints(vec![0, 2, 1]))]);
        }
        let rows = emit.unsqueeze(inputs[0], -2);
        let products = emit.node("MatMul", &[rows, weights]);
        Ok(emit.squeeze(products, -2))
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * (inputs[0].elements() * self.units) as f64 }
    }
}

/// `Σ a_fᵀ·b_f` over the batch: `a [B, n, K]`, `b [B, n, N]` → `[n, K·N]`.
#[derive(Clone, Copy, Debug)]
pub struct PerFieldWeightGradient {
    /// n.
    pub fields: usize,
}

impl Op for PerFieldWeightGradient {
    fn name(&self) -> &'static str {
        "weight gradient of each field"
    }

    fn is_product(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let ((n, k), (m, units)) = (fields_of(inputs[0])?, fields_of(inputs[1])?);
        if n != m || n != self.fields || inputs[0].axis != inputs[1].axis {
            return Err(format!("{} fields are expected", self.fields));
        }
        Ok(Shape::fixed(&[n, k * units]))
    }

    fn execution(&self) -> Execution {
        Execution::Blocks
    }

    fn blocks(&self, output: &Shape) -> Blocks {
        Blocks { cut: Cut::Rows, unit: 1, count: output.dims[0].max(1) }
    }

    fn block(&self, inputs: &[MatRef<'_>], range: Range<usize>, mut output: MatMut<'_>) {
        output.fill(0.0);
        let [k, units] = [inputs[0].cols() / self.fields, inputs[1].cols() / self.fields];
        for (i, field) in range.enumerate() {
            fields::outer_sums(output.row(i), inputs[0], field * k, inputs[1], field * units, units);
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * (inputs[0].elements() * inputs[1].width()) as f64 }
    }
}

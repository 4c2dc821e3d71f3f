//! A layer of the compressed interaction network (xDeepFM, Lian et al. 2018, equation 6): maps of weighted products of fields,
//! dimension by dimension: `z_{h,d} = Σ_{i,j} K_{h,i,j}·x_{i,d}·x⁰_{j,d} + b_h`.
//!
//! The products of all pairs are never stored: they would be n·m·D numbers for each row.

use std::ops::Range;

use rankmill_kernels::substrate::{Blocks, Cut};
use rankmill_kernels::view::{MatMut, MatRef};
use rankmill_kernels::{elementwise, fields, gemm};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::ops::concat::Elements;
use crate::ops::reduce::OverRows;
use crate::ops::segments::{ReduceRuns, Reduction};
use crate::shape::Shape;

/// `x [B, m, D]`, `x⁰ [B, n, D]`, `K [H, m, n]`, `b [H]` → `[B, H, D]`.
#[derive(Clone, Copy, Debug)]
pub struct Interaction {
    /// D.
    pub width: usize,
}

impl Op for Interaction {
    fn name(&self) -> &'static str {
        "interaction"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let fields = |shape: &Shape| match (shape.batch, shape.dims.as_slice()) {
            (true, [fields, width]) if *width == self.width => Some(*fields),
            _ => None,
        };
        let (Some(m), Some(n)) = (fields(inputs[0]), fields(inputs[1])) else {
            return Err(format!("fields of width {} interact", self.width));
        };
        match inputs[2].dims.as_slice() {
            [h, i, j] if (*i, *j) == (m, n) && inputs[3].dims == [*h] && inputs[0].axis == inputs[1].axis => {
                Ok(inputs[0].with_dims(&[*h, self.width]))
            }
            _ => Err(format!("{m} and {n} fields need a kernel [H, {m}, {n}] and a bias [H]")),
        }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        fields::interaction(output, inputs[0], inputs[1], inputs[2], inputs[3].row(0), &mut vec![0.0; self.width]);
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let [x, start, kernel, bias] = inputs[..] else { return Err(GraphError::NoGradient { op: self.name() }) };
        let width = self.width;
        let dx = match backward.wants(x) {
            true => Some(backward.add(InteractionGradient { width }, &[start, kernel, upstream])?),
            false => None,
        };
        let d_start = match backward.wants(start) {
            true => Some(backward.add(InteractionStartGradient { width }, &[x, kernel, upstream])?),
            false => None,
        };
        let d_kernel = match backward.wants(kernel) {
            true => {
                let flat = backward.add(InteractionKernelGradient { width }, &[x, start, upstream])?;
                let shape = backward.shape(kernel).clone();
                Some(backward.add(Elements { first: 0, shape }, &[flat])?)
            }
            false => None,
        };
        let d_bias = match backward.wants(bias) {
            true => {
                let maps = backward.add(ReduceRuns { width, reduction: Reduction::Sum }, &[upstream])?;
                Some(backward.add(OverRows::Sum, &[maps])?)
            }
            false => None,
        };
        Ok(vec![dx, d_start, d_kernel, d_bias])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let [maps, m, n] = shapes[2].dims[..] else { return Err(NoForm) };
        let x = emit.unsqueeze(inputs[0], -2);
        let start = emit.unsqueeze(inputs[1], -3);
        let products = emit.node("Mul", &[x, start]);
        let products = emit.reshape(products, &output.with_dims(&[m, n, self.width]), &[m * n, self.width]);
        let kernel = emit.reshape(inputs[2], shapes[2], &[maps, m * n]);
        let sums = emit.node("MatMul", &[kernel, products]);
        let bias = emit.unsqueeze(inputs[3], -1);
        Ok(emit.node("Add", &[sums, bias]))
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        interaction_cost(inputs[2], self.width)
    }
}

fn interaction_cost(kernel: &Shape, width: usize) -> Cost {
    Cost { flops_per_row: 2.0 * (kernel.elements() * width) as f64 }
}

/// `dx` of [`Interaction`] from `x⁰`, `K`, `dz`.
#[derive(Clone, Copy, Debug)]
pub struct InteractionGradient {
    /// D.
    pub width: usize,
}

impl Op for InteractionGradient {
    fn name(&self) -> &'static str {
        "interaction gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].with_dims(&[inputs[1].dims[1], self.width]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        fields::interaction_gradient(output, inputs[0], inputs[1], inputs[2], &mut vec![0.0; self.width]);
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        interaction_cost(inputs[1], self.width)
    }
}

/// `dx⁰` of [`Interaction`] from `x`, `K`, `dz`.
#[derive(Clone, Copy, Debug)]
pub struct InteractionStartGradient {
    /// D.
    pub width: usize,
}

impl Op for InteractionStartGradient {
    fn name(&self) -> &'static str {
        "interaction start gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].with_dims(&[inputs[1].dims[2], self.width]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        fields::interaction_start_gradient(output, inputs[0], inputs[1], inputs[2], &mut vec![0.0; self.width]);
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        interaction_cost(inputs[1], self.width)
    }
}

/// `dK`, as `[H, m·n]`, of [`Interaction`] from `x`, `x⁰`, `dz`.
#[derive(Clone, Copy, Debug)]
pub struct InteractionKernelGradient {
    /// D.
    pub width: usize,
}

impl Op for InteractionKernelGradient {
    fn name(&self) -> &'static str {
        "interaction kernel gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(Shape::fixed(&[inputs[2].dims[0], inputs[0].dims[0] * inputs[1].dims[0]]))
    }

    fn execution(&self) -> Execution {
        Execution::Blocks
    }

    fn blocks(&self, output: &Shape) -> Blocks {
        Blocks { cut: Cut::Rows, unit: 1, count: output.dims[0].max(1) }
    }

    fn block(&self, inputs: &[MatRef<'_>], range: Range<usize>, mut output: MatMut<'_>) {
        output.fill(0.0);
        let n = inputs[1].cols() / self.width;
        let mut product = vec![0.0; self.width];
        for (row, h) in range.enumerate() {
            let dk = output.row(row);
            for r in 0..inputs[0].rows() {
                let (x, start) = (inputs[0].row(r), inputs[1].row(r));
                let dz = &inputs[2].row(r)[h * self.width..(h + 1) * self.width];
                for (x, dk) in x.chunks_exact(self.width).zip(dk.chunks_exact_mut(n)) {
                    elementwise::multiply(&mut product, dz, x);
                    dk.iter_mut().zip(start.chunks_exact(self.width)).for_each(|(dk, start)| *dk += gemm::dot(&product, start));
                }
            }
        }
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        interaction_cost(output, self.width)
    }
}

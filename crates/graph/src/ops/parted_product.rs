//! A product with a weight matrix in two parts: the first columns of its left operand, which are the same in all rows, once; the others
//! for each row, starting from those sums. Both together have the bits of the whole product.
//!
//! [`crate::share`] puts them where a [`super::matmul::MatMul`] was; lowering packs the weights whole, as for any other product.

use rankmill_kernels::gemm::{self, Packed, PackedShape};
use rankmill_kernels::view::{MatMut, MatRef};

use super::matmul::{Epilogue, kernel_epilogue};
use crate::op::{Context, Cost, Op};
use crate::shape::Shape;

/// Which columns of the left operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The first ones: inputs `x [B, P]`, `w [K, N]`.
    Start,
    /// The others, and what follows the product: inputs `x [B, K - P]`, `w`, the sums of the start `[B, N]`, equal in all rows, and a bias
    /// if the epilogue has one.
    Rest(Epilogue),
}

/// A part of a product, before its weights are packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartedProduct(pub(crate) Part);

/// A part of a product with packed weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedPart {
    pub(crate) part: Part,
    pub(crate) packed: PackedShape,
}

fn infer(x: &Shape, n: usize) -> Result<Shape, String> {
    if !x.batch || x.dims.len() != 1 {
        return Err("a matrix with batch rows is multiplied by a weight matrix".to_owned());
    }
    Ok(x.with_dims(&[n]))
}

impl Op for PartedProduct {
    fn name(&self) -> &'static str {
        "part of a product"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        infer(inputs[0], inputs[1].width())
    }

    fn cost(&self, inputs: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * inputs[0].width() as f64 * output.width() as f64 }
    }
}

impl Op for PackedPart {
    fn name(&self) -> &'static str {
        "part of a product"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        infer(inputs[0], self.packed.n)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        let weights = Packed::new(inputs[1], self.packed);
        match self.part {
            Part::Start => gemm::product_start(output, inputs[0], weights),
            Part::Rest(_) if output.rows() == 0 => {}
            Part::Rest(epilogue) => {
                let epilogue = kernel_epilogue(epilogue, inputs.get(3).copied());
                gemm::product_rest(output, inputs[0], weights, inputs[2].row(0), epilogue);
            }
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * inputs[0].width() as f64 * self.packed.n as f64 }
    }
}

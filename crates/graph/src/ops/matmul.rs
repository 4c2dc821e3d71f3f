//! Products with a weight matrix: `y = x·W`, `y = x·Wᵀ`, each optionally on top of a given value or followed by bias and ReLU, and
//! the gradient of the weights, `dW = xᵀ·dy`.

use std::ops::Range;

use rankmill_kernels::elementwise;
use rankmill_kernels::gemm::{Orientation, Output, gemm};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::shape::Shape;

/// What follows the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// The ReLU.
    Relu,
    /// A bias, the third input `[N]`.
    Bias,
    /// A bias, then the ReLU.
    BiasRelu,
    /// The product is added to the third input `[B, N]`, which it overwrites.
    Accumulate,
}

/// `x [B, K] · w [K, N]`, or `x [B, K] · w [N, K]ᵀ`.
#[derive(Clone, Copy, Debug)]
pub struct MatMul {
    /// Whether the weights are used transposed.
    pub weights: Orientation,
    /// What follows.
    pub epilogue: Epilogue,
}

impl MatMul {
    /// `x · w`.
    pub const PLAIN: MatMul = MatMul { weights: Orientation::Plain, epilogue: Epilogue::None };
    /// `x · wᵀ`.
    pub const TRANSPOSED: MatMul = MatMul { weights: Orientation::Transposed, epilogue: Epilogue::None };
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let (x, w) = (inputs[0], inputs[1]);
        let [rows, cols] = w.dims[..] else { return Err("the weights are a matrix".to_owned()) };
        if w.batch || !x.batch || x.dims.len() != 1 {
            return Err("a matrix with batch rows is multiplied by a weight matrix".to_owned());
        }
        let (k, n) = if self.weights == Orientation::Plain { (rows, cols) } else { (cols, rows) };
        if x.width() != k {
            return Err(format!("rows of width {} meet weights for width {k}", x.width()));
        }
        Ok(Shape::batch(&[n]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let mode = if self.epilogue == Epilogue::Accumulate { Output::Accumulate } else { Output::Overwrite };
        gemm(output.reborrow(), mode, inputs[0], Orientation::Plain, inputs[1], self.weights);
        for i in 0..output.rows() {
            match self.epilogue {
                Epilogue::None | Epilogue::Accumulate => break,
                Epilogue::Relu => elementwise::relu_in_place(output.row(i)),
                Epilogue::Bias => elementwise::add_bias(output.row(i), inputs[2].row(0)),
                Epilogue::BiasRelu => elementwise::add_bias_relu(output.row(i), inputs[2].row(0)),
            }
        }
    }

    fn in_place(&self) -> Option<usize> {
        (self.epilogue == Epilogue::Accumulate).then_some(2)
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        debug_assert!(self.epilogue == Epilogue::None, "fusion comes after differentiation");
        let (x, w) = (inputs[0], inputs[1]);
        let other = if self.weights == Orientation::Plain { MatMul::TRANSPOSED } else { MatMul::PLAIN };
        let dx = if backward.wants(x) { Some(backward.add(other, &[upstream, w])?) } else { None };
        let dw = match (backward.wants(w), self.weights) {
            (false, _) => None,
            (true, Orientation::Plain) => Some(backward.add(WeightGradient, &[x, upstream])?),
            (true, Orientation::Transposed) => Some(backward.add(WeightGradient, &[upstream, x])?),
        };
        Ok(vec![dx, dw])
    }

    fn cost(&self, inputs: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * inputs[0].width() as f64 * output.width() as f64 }
    }
}

/// `xᵀ · dy`: `x [B, K]`, `dy [B, N]` → `[K, N]`.
#[derive(Clone, Copy, Debug)]
pub struct WeightGradient;

/// Output elements of a block: small enough that a few threads share a layer evenly, large enough that packing does not show.
const BLOCK_ELEMENTS: usize = 1 << 16;

impl Op for WeightGradient {
    fn name(&self) -> &'static str {
        "weight gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs.iter().any(|shape| !shape.batch || shape.dims.len() != 1) {
            return Err("two matrices with batch rows are multiplied".to_owned());
        }
        Ok(Shape::fixed(&[inputs[0].width(), inputs[1].width()]))
    }

    fn execution(&self) -> Execution {
        Execution::Blocks
    }

    fn blocks(&self, output: &Shape) -> usize {
        (output.elements() / BLOCK_ELEMENTS).clamp(1, 8).min(output.dims[0])
    }

    fn block(&self, inputs: &[MatRef<'_>], range: Range<usize>, output: MatMut<'_>) {
        let x = inputs[0].cols_range(range.start, range.len());
        gemm(output, Output::Overwrite, x, Orientation::Transposed, inputs[1], Orientation::Plain);
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * inputs[0].width() as f64 * inputs[1].width() as f64 }
    }
}

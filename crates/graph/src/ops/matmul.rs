//! Products with a weight matrix: `y = x·W`, `y = x·Wᵀ`, each optionally on top of a given value or followed by bias and ReLU, and
//! the gradient of the weights, `dW = xᵀ·dy`.
//!
//! [`MatMul`] is what graphs are built from. Before a graph runs, its weights are packed ([`Pack`]) once for all products that use them
//! the same way, and the product becomes a [`PackedProduct`], or a [`ColumnProduct`] when there is a single output column.

use std::ops::Range;

use rankmill_kernels::gemm::{self, Orientation, PANEL, Packed, PackedShape, Precision};
use rankmill_kernels::substrate::{Blocks, Cut};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
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
    /// Zero where the third input `[B, N]`, the output of a ReLU, is not positive.
    Gate,
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

impl Epilogue {
    /// The same for the kernels, for some columns of the product; `inputs` are those of all of it.
    fn of<'a>(self, inputs: &[MatRef<'a>], columns: Range<usize>) -> gemm::Epilogue<'a> {
        kernel_epilogue(self, inputs.get(2).map(|third| third.cols_range(columns.start, columns.len())))
    }

    fn in_place(self) -> Option<usize> {
        (self == Epilogue::Accumulate).then_some(2)
    }
}

/// An epilogue as the kernels take it, with the input that it reads besides the factors.
pub(crate) fn kernel_epilogue(epilogue: Epilogue, input: Option<MatRef<'_>>) -> gemm::Epilogue<'_> {
    let bias = match epilogue {
        Epilogue::Bias | Epilogue::BiasRelu => input.map(|bias| bias.row(0)),
        Epilogue::None | Epilogue::Relu | Epilogue::Accumulate | Epilogue::Gate => None,
    };
    let gate = input.filter(|_| epilogue == Epilogue::Gate);
    let relu = matches!(epilogue, Epilogue::Relu | Epilogue::BiasRelu);
    gemm::Epilogue { accumulate: epilogue == Epilogue::Accumulate, bias, relu, gate }
}

impl MatMul {
    /// Rows and columns of the weights as they are used, `(K, N)`.
    pub(crate) fn extent(&self, weights: &Shape) -> Option<(usize, usize)> {
        match (weights.batch, weights.dims.as_slice(), self.weights) {
            (false, &[k, n], Orientation::Plain) | (false, &[n, k], Orientation::Transposed) => Some((k, n)),
            _ => None,
        }
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn is_product(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let Some((k, n)) = self.extent(inputs[1]) else { return Err("the weights are a matrix".to_owned()) };
        product_shape(inputs[0], k, n)
    }

    fn in_place(&self) -> Option<usize> {
        self.epilogue.in_place()
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        debug_assert!(self.epilogue == Epilogue::None, "fusion comes after differentiation");
        let (x, w) = (inputs[0], inputs[1]);
        let other = if self.weights == Orientation::Plain { MatMul::TRANSPOSED } else { MatMul::PLAIN };
        let dx = if backward.wants(x) { Some(backward.add(other, &[upstream, w])?) } else { None };
        let gradient = WeightGradient { precision: Precision::F32, way: Way::Blocks };
        let dw = match (backward.wants(w), self.weights) {
            (false, _) => None,
            (true, Orientation::Plain) => Some(backward.add(gradient, &[x, upstream])?),
            (true, Orientation::Transposed) => Some(backward.add(gradient, &[upstream, x])?),
        };
        Ok(vec![dx, dw])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        if self.epilogue != Epilogue::None {
            return Err(NoForm);
        }
        let weights = match self.weights {
            Orientation::Plain => inputs[1],
            Orientation::Transposed => emit.node("Transpose", &[inputs[1]]),
        };
        Ok(emit.node("MatMul", &[inputs[0], weights]))
    }

    fn cost(&self, inputs: &[&Shape], output: &Shape) -> Cost {
        product_cost(inputs[0].width(), output.width())
    }
}

fn product_shape(x: &Shape, k: usize, n: usize) -> Result<Shape, String> {
    if !x.batch || x.dims.len() != 1 {
        return Err("a matrix with batch rows is multiplied by a weight matrix".to_owned());
    }
    if x.width() != k {
        return Err(format!("rows of width {} meet weights for width {k}", x.width()));
    }
    Ok(x.with_dims(&[n]))
}

fn product_cost(k: usize, n: usize) -> Cost {
    Cost { flops_per_row: 2.0 * k as f64 * n as f64 }
}

/// Weights `[K, N]`, or `[N, K]` used transposed → their panels, `[panels, elements]`.
#[derive(Clone, Copy, Debug)]
pub struct Pack {
    /// Whether the weights are used transposed.
    pub weights: Orientation,
    /// What they become.
    pub packed: PackedShape,
}

impl Op for Pack {
    fn name(&self) -> &'static str {
        "pack weights"
    }

    fn is_product(&self) -> bool {
        true
    }

    fn infer(&self, _: &[&Shape]) -> Result<Shape, String> {
        Ok(Shape::fixed(&[self.packed.panels(), self.packed.panel_elements()]))
    }

    fn execution(&self) -> Execution {
        Execution::Blocks
    }

    fn blocks(&self, output: &Shape) -> Blocks {
        Blocks { cut: Cut::Rows, unit: 1, count: (output.elements() / BLOCK_ELEMENTS).clamp(1, output.dims[0].max(1)) }
    }

    fn block(&self, inputs: &[MatRef<'_>], range: Range<usize>, output: MatMut<'_>) {
        gemm::pack(output, range.start, self.packed, inputs[0], self.weights);
    }
}

/// Multiply-adds for a row from which on a product with few rows is worth a barrier of all threads.
const WORTH_CUTTING: usize = 1 << 16;

/// `x [B, K]` times packed weights → `[B, N]`; a third input as the epilogue asks for.
#[derive(Clone, Copy, Debug)]
pub struct PackedProduct {
    /// The weights.
    pub packed: PackedShape,
    /// What follows.
    pub epilogue: Epilogue,
}

impl Op for PackedProduct {
    fn name(&self) -> &'static str {
        "product"
    }

    fn is_product(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        product_shape(inputs[0], self.packed.k, self.packed.n)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        self.forward_columns(inputs, 0..self.packed.n, output);
    }

    fn column_unit(&self) -> Option<usize> {
        (self.packed.k * self.packed.n >= WORTH_CUTTING).then_some(PANEL)
    }

    fn forward_columns(&self, inputs: &[MatRef<'_>], columns: Range<usize>, output: MatMut<'_>) {
        let weights = Packed::new(inputs[1], self.packed).columns(columns.clone());
        gemm::product(output, inputs[0], weights, self.epilogue.of(inputs, columns));
    }

    fn in_place(&self) -> Option<usize> {
        self.epilogue.in_place()
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        product_cost(self.packed.k, self.packed.n)
    }
}

/// `x [B, K]` times weights of K elements → `[B, 1]`; a third input as the epilogue asks for.
#[derive(Clone, Copy, Debug)]
pub struct ColumnProduct {
    /// What follows.
    pub epilogue: Epilogue,
}

impl Op for ColumnProduct {
    fn name(&self) -> &'static str {
        "product with a column"
    }

    fn is_product(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        product_shape(inputs[0], inputs[1].elements(), 1)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        let weights = inputs[1].as_slice().expect("tensors without batch rows are contiguous");
        gemm::product_with_column(output, inputs[0], weights, self.epilogue.of(inputs, 0..1));
    }

    fn in_place(&self) -> Option<usize> {
        self.epilogue.in_place()
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        product_cost(inputs[0].width(), 1)
    }
}

/// `xᵀ · dy`: `x [B, K]`, `dy [B, N]` → `[K, N]`.
#[derive(Clone, Copy, Debug)]
pub struct WeightGradient {
    /// How the factors are represented.
    pub precision: Precision,
    /// How it is computed.
    pub way: Way,
}

/// How a weight gradient is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In blocks of the output, each from all rows.
    Blocks,
    /// In blocks of rows while these are in cache, each a summand of the whole output.
    Rows,
}

/// Largest output of which many summands cost little.
const SMALL_OUTPUT: usize = 1 << 14;

impl Way {
    /// The better one for an output of `elements`, by whether the factors lie along an axis: they have many rows then.
    pub(crate) fn best(elements: usize, along_axis: bool) -> Way {
        if along_axis && elements <= SMALL_OUTPUT { Way::Rows } else { Way::Blocks }
    }
}

/// Output elements of a block of panels: small enough that a few threads share a layer evenly.
const BLOCK_ELEMENTS: usize = 1 << 14;

/// A block of columns of a weight gradient reads all of `x`, one of rows packs all of `dy`. What is at most so wide stays in a
/// second-level cache meanwhile, and may be gone through often.
const NARROW: usize = 4 * PANEL;
/// Columns of a block for which a wider `x` is gone through.
const WIDE_BLOCK: usize = 4 * PANEL;
/// Columns of a block for which a narrow `x` is gone through, and rows for which `dy` is packed.
const NARROW_BLOCK: usize = 2 * PANEL;

/// How a weight gradient `[k, n]` is cut: often enough that no thread waits long for another.
fn cut(k: usize, n: usize) -> Blocks {
    let blocks = |cut, extent: usize, each: usize| Blocks { cut, unit: PANEL, count: extent.div_ceil(each) };
    match (k, n) {
        (..=NARROW_BLOCK, ..=NARROW) => blocks(Cut::Rows, k, PANEL),
        (_, ..=NARROW) => blocks(Cut::Rows, k, NARROW_BLOCK),
        (..=NARROW, _) => blocks(Cut::Columns, n, NARROW_BLOCK),
        _ => blocks(Cut::Columns, n, WIDE_BLOCK),
    }
}

impl Op for WeightGradient {
    fn name(&self) -> &'static str {
        "weight gradient"
    }

    fn is_product(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs.iter().any(|shape| !shape.batch || shape.dims.len() != 1 || shape.axis != inputs[0].axis) {
            return Err("two matrices with batch rows are multiplied".to_owned());
        }
        Ok(Shape::fixed(&[inputs[0].width(), inputs[1].width()]))
    }

    fn execution(&self) -> Execution {
        match self.way {
            Way::Blocks => Execution::Blocks,
            Way::Rows => Execution::Reduce,
        }
    }

    fn partial_width(&self, inputs: &[&Shape]) -> usize {
        inputs[0].width() * inputs[1].width()
    }

    fn partial(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: &mut [f32]) {
        let output = MatMut::new(output, inputs[0].cols(), inputs[1].cols());
        gemm::weight_gradient(output, inputs[0], inputs[1], self.precision);
    }

    fn blocks(&self, output: &Shape) -> Blocks {
        cut(output.dims[0], output.dims[1])
    }

    fn block(&self, inputs: &[MatRef<'_>], range: Range<usize>, output: MatMut<'_>) {
        let [mut x, mut dy] = [inputs[0], inputs[1]];
        let cut_one = if cut(x.cols(), dy.cols()).cut == Cut::Rows { &mut x } else { &mut dy };
        *cut_one = cut_one.cols_range(range.start, range.len());
        gemm::weight_gradient(output, x, dy, self.precision);
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        product_cost(inputs[0].width(), inputs[1].width())
    }
}

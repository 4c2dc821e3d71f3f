//! What an operation of the graph has to say about itself.

use std::any::Any;
use std::fmt::Debug;
use std::ops::Range;

use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::substrate::{Blocks, Extent, RowCounts};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::shape::{Axis, Shape};

/// What a run gives to the operations besides their inputs.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Rows of the whole batch, and the lengths of the axes.
    pub extent: Extent<'a>,
    /// The id columns, by slot.
    pub ids: &'a [&'a IdColumn],
    /// Seed of this step's random numbers.
    pub seed: u64,
}

impl Context<'_> {
    /// Rows of a tensor for each row of the batch.
    pub fn length(&self, axis: Option<Axis>) -> usize {
        self.extent.length(axis.map(|axis| axis.0))
    }

    /// All rows of a tensor along `axis`.
    pub fn rows(&self, axis: Option<Axis>) -> usize {
        self.extent.rows * self.length(axis)
    }
}

/// How an operation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// A parameter, by number.
    Parameter(usize),
    /// Dense rows given with the batch, by slot.
    DenseInput(usize),
    /// Row by row if the output has batch rows, else once: [`Op::forward`].
    Map,
    /// A sum over rows: [`Op::partial`] and [`Op::combine`].
    Reduce,
    /// Cut into blocks of the output, each computed from all batch rows: [`Op::block`].
    Blocks,
    /// Columns of the input from the given one on, without work.
    Columns(usize),
    /// Elements of an input without batch rows from the given one on, without work.
    Elements(usize),
    /// The inputs side by side: they are computed in place.
    Concat,
}

/// Work of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations for each row of the output, or of the input where rows are summed.
    pub flops_per_row: f64,
}

/// The gradients of an operation with respect to its inputs; `None` where an input has none.
pub type InputGradients = Vec<Option<Value>>;

/// An operation: shape rule, forward, gradient, ONNX form and cost side by side. One file each under `ops/`.
pub trait Op: Any + Debug + Send + Sync {
    /// Name for messages and pictures.
    fn name(&self) -> &'static str;

    /// The shape of the output.
    ///
    /// # Errors
    /// What does not fit, in words.
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String>;

    /// How it runs.
    fn execution(&self) -> Execution {
        Execution::Map
    }

    /// Computes output rows `first_row ..` from the same rows of the inputs, or the whole output if it has no batch rows. Where input and
    /// output lie along different axes, the rows are those of the same rows of the batch.
    fn forward(&self, _context: &Context<'_>, _inputs: &[MatRef<'_>], _first_row: usize, _output: MatMut<'_>) {
        unreachable!("{} does not run row by row", self.name())
    }

    /// For an operation that runs row by row: whether a few rows of it are worth cutting by columns, between several threads, and the number
    /// of columns of which each part then has a multiple.
    fn column_unit(&self) -> Option<usize> {
        None
    }

    /// For an operation with a [`Op::column_unit`]: computes columns `columns` of all rows.
    fn forward_columns(&self, _inputs: &[MatRef<'_>], _columns: Range<usize>, _output: MatMut<'_>) {
        unreachable!("{} is not cut by columns", self.name())
    }

    /// For an operation that runs row by row: whether it reads all rows of input `input`, whichever rows it computes.
    fn reads_all_rows(&self, _input: usize) -> bool {
        false
    }

    /// Whether the result of a row depends on its place in the batch, on the number of rows, or on the step's random numbers.
    fn depends_on_place(&self) -> bool {
        false
    }

    /// For a reduction: elements of one block's partial sum.
    fn partial_width(&self, _inputs: &[&Shape]) -> usize {
        unreachable!("{} is no reduction", self.name())
    }

    /// For a reduction: the partial sum of a block of rows.
    fn partial(&self, _context: &Context<'_>, _inputs: &[MatRef<'_>], _first_row: usize, _output: &mut [f32]) {
        unreachable!("{} is no reduction", self.name())
    }

    /// For a reduction: combines the partial sums, a row for each block of rows, in order. The default adds them.
    fn combine(&self, _rows: RowCounts, partials: MatRef<'_>, output: MatMut<'_>) {
        add_partials(partials, output);
    }

    /// For a block operation: how the output is cut.
    fn blocks(&self, _output: &Shape) -> Blocks {
        unreachable!("{} is no block operation", self.name())
    }

    /// For a block operation: computes rows or columns `range` of the output.
    fn block(&self, _inputs: &[MatRef<'_>], _range: Range<usize>, _output: MatMut<'_>) {
        unreachable!("{} is no block operation", self.name())
    }

    /// The input that the output may overwrite: the operation then finds its value in the output. Such an input is not passed.
    fn in_place(&self) -> Option<usize> {
        None
    }

    /// Whether it is a product of matrices, or a part of one: what a model's speed is held against.
    fn is_product(&self) -> bool {
        false
    }

    /// The gradients of the loss with respect to the inputs, as more graph, given the one with respect to the output.
    ///
    /// # Errors
    /// If the operation has no gradient.
    fn gradient(
        &self,
        _backward: &mut Backward<'_>,
        _inputs: &[Value],
        _output: Value,
        _upstream: Value,
    ) -> Result<InputGradients, GraphError> {
        Err(GraphError::NoGradient { op: self.name() })
    }

    /// Writes it as nodes of ONNX, on tensors of the given shapes, and gives the one that has its output's.
    ///
    /// # Errors
    /// If it has no such form: operations of training graphs alone need none.
    fn onnx(&self, _emit: &mut Emitter<'_>, _inputs: &[Tensor], _shapes: &[&Shape], _output: &Shape) -> Result<Tensor, NoForm> {
        Err(NoForm)
    }

    /// Work; elementwise operations count one operation for each output element.
    fn cost(&self, _inputs: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: if output.batch { output.elements() as f64 } else { 0.0 } }
    }
}

/// Adds the partial sums of a reduction, a row for each block of rows, in order.
pub(crate) fn add_partials(partials: MatRef<'_>, mut output: MatMut<'_>) {
    let total = output.as_mut_slice().expect("fixed tensors are contiguous");
    total.fill(0.0);
    for i in 0..partials.rows() {
        rankmill_kernels::elementwise::add_assign(total, partials.row(i));
    }
}

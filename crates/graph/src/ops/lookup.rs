//! Rows of an embedding table, combined for each row of the batch.

use rankmill_kernels::elementwise;
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::onnx::{Emitter, Ids, NoForm, Tensor};
use crate::op::{Context, Cost, Op};
use crate::shape::{Axis, Shape};

/// How several ids of a row become one vector (EasyRec behaviours 12 and 13), with weights `w` (1 where none are given).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combiner {
    /// `Σ w·e`.
    Sum,
    /// `Σ w·e / Σ w`.
    Mean,
    /// `Σ w·e / sqrt(Σ w²)`.
    SquareRoot,
}

/// Table `[rows, D]` and the ids of a slot → `[B, D]`, or `[B, L, D]` along an axis. A row of the batch without ids gives zeros (EasyRec behaviour 20).
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// Which of the feed's id columns.
    pub slot: usize,
    /// How several ids are combined.
    pub combiner: Combiner,
    /// The axis along which the ids lie.
    pub axis: Option<Axis>,
}

/// How many batch rows ahead table rows are asked for.
const AHEAD: usize = 16;

/// The factor that the combiner puts on the ids of a row.
fn normaliser(column: &IdColumn, combiner: Combiner, row: usize) -> f32 {
    let range = column.offsets[row] as usize..column.offsets[row + 1] as usize;
    let count = range.len() as f32;
    if count == 0.0 {
        return 0.0;
    }
    match (&column.weights, combiner) {
        (_, Combiner::Sum) => 1.0,
        (None, Combiner::Mean) => 1.0 / count,
        (None, Combiner::SquareRoot) => 1.0 / count.sqrt(),
        (Some(weights), Combiner::Mean) => 1.0 / weights[range].iter().sum::<f32>(),
        (Some(weights), Combiner::SquareRoot) => 1.0 / weights[range].iter().map(|w| w * w).sum::<f32>().sqrt(),
    }
}

impl Lookup {
    /// Calls `visit(position in ids, id, factor)` for every id of batch row `row`; the factor is what its table row is multiplied
    /// by in the output, and what the output's gradient is multiplied by in the table's.
    pub fn for_each_id(&self, column: &IdColumn, row: usize, mut visit: impl FnMut(usize, u32, f32)) {
        let normaliser = normaliser(column, self.combiner, row);
        for position in column.offsets[row] as usize..column.offsets[row + 1] as usize {
            let weight = column.weights.as_ref().map_or(1.0, |weights| weights[position]);
            visit(position, column.ids[position], weight * normaliser);
        }
    }

    /// Asks for the table row of a batch row that comes later: large tables are not in cache, and each of their rows would be waited for.
    pub(crate) fn prefetch(&self, column: &IdColumn, row: usize, table: MatRef<'_>) {
        if let Some(id) = column.offsets.get(row + AHEAD).and_then(|position| column.ids.get(*position as usize)) {
            table.prefetch_row(*id as usize);
        }
    }
}

impl Op for Lookup {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        match (inputs[0].batch, inputs[0].dims.as_slice()) {
            (false, [_, dim]) => Ok(Shape { batch: true, axis: self.axis, dims: vec![*dim] }),
            _ => Err("a table is a matrix".to_owned()),
        }
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let column = context.ids[self.slot];
        let table = inputs[0];
        for i in 0..output.rows() {
            let y = output.row(i);
            let row = first_row + i;
            self.prefetch(column, row, table);
            let start = column.offsets[row] as usize;
            if column.offsets[row + 1] as usize == start + 1 && column.weights.is_none() {
                y.copy_from_slice(table.row(column.ids[start] as usize));
                continue;
            }
            y.fill(0.0);
            self.for_each_id(column, row, |_, id, factor| elementwise::add_scaled(y, factor, table.row(id as usize)));
        }
    }

    /// Weights that the combiner leaves out must be 0 or have no id, as the features give them.
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let Ids { ids, weights, is_single } = emit.ids(self)?;
        let rows = emit.node("Gather", &[inputs[0], ids]);
        if is_single {
            return Ok(emit.node("Mul", &[rows, weights]));
        }
        let factors = emit.unsqueeze(weights, -1);
        let weighted = emit.node("Mul", &[rows, factors]);
        let sum = emit.sum(weighted, -2);
        let last = emit.ints(&[-1]);
        let total = match self.combiner {
            Combiner::Sum => return Ok(sum),
            Combiner::Mean => emit.node("ReduceSum", &[weights, last]),
            Combiner::SquareRoot => {
                let squares = emit.node("Mul", &[weights, weights]);
                let squares = emit.node("ReduceSum", &[squares, last]);
                emit.node("Sqrt", &[squares])
            }
        };
        // Where there is no id the sum is 0 already.
        let least = emit.scalar(f32::MIN_POSITIVE);
        let divisor = emit.node("Max", &[total, least]);
        Ok(emit.node("Div", &[sum, divisor]))
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: output.elements() as f64 }
    }
}

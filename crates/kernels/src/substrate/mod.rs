//! The memory a graph runs on and the threads that work on it.
//!
//! A [`Program`] is a list of phases. In a phase
//! 1. *row steps* run over tiles of rows, each on any thread: all row steps of the phase on one tile while it is in cache, then the
//!    next tile;
//! 2. one thread runs the *serial steps*: the combination of sums over rows, and small things without rows;
//! 3. *block steps* run, cut into blocks of their output, each block on any thread, reading all rows.
//!
//! Barriers separate the three. What a step computes comes from a [`Kernels`] implementation; where it reads and writes is fixed
//! in the program and checked when the program is made, which is what makes the sharing sound:
//! - a row step writes batch buffers only, columns that it doesn't read, and touches the rows of its tile only, except that it may read
//!   all rows of columns that no row step of the phase writes;
//! - batch tensors of different widths may use the same memory, but not in the row steps of one phase, where a tile would write what
//!   are other rows to another one;
//! - with few rows, a row step may be cut by columns, in stages that follow from what steps read and write (`stages.rs`);
//! - sums over rows go through partial results, one for each block of [`ROW_BLOCK`] rows, each inside one tile;
//! - serial steps run while all other threads wait;
//! - block steps of a phase write fixed buffers that no other block step of the phase touches.
//!
//! A batch buffer has one row for each row of the batch, or, where it lies along an *axis*, as many as the axis is long: the tensor
//! `[B, L, d]` is a matrix of `B·L` rows, those of a row of the batch one after the other. Axes have their lengths from the run.
//!
//! The first phases may be a *prologue*, which depends on outside matrices alone: as long as these don't change, later runs skip it.
//!
//! Results don't depend on the number of threads: rows are independent, and sums over rows are combined in block order.

mod arena;
mod stages;

use std::ops::Range;

use crate::view::{MatMut, MatRef};
pub use arena::{Arena, LENGTH_UNIT, Part};
use stages::Stage;

/// Rows of a block: sums over rows are formed for each block, then combined in order.
pub const ROW_BLOCK: usize = 64;

/// Most rows of a tile: the tensors of a chain of layers then stay in a second-level cache of a megabyte.
const TILE_ROWS: usize = 128;

/// Most rows of a tile when tensors lie along an axis.
const AXIS_TILE_ROWS: usize = ROW_BLOCK;

/// How many rows the tensors of a run have.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// Rows of the batch.
    pub rows: usize,
    /// The lengths of the axes.
    pub lengths: &'a [usize],
}

impl Extent<'_> {
    /// Rows of a tensor for each row of the batch.
    pub fn length(&self, axis: Option<usize>) -> usize {
        axis.map_or(1, |axis| self.lengths[axis])
    }
}

/// A batch buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchBuffer {
    /// Its elements for each row.
    pub cols: usize,
    /// The axis along which it lies; without one it has a row for each row of the batch.
    pub axis: Option<usize>,
}

/// A part of a batch buffer as a matrix: with `B` rows in a run, elements `B · start` to `B · (start + width)` of the buffer, row after row.
/// Slabs may share memory, as long as no phase uses two such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slab {
    /// The batch buffer.
    pub buffer: usize,
    /// Elements before it, for each row.
    pub start: usize,
    /// Columns of the matrix.
    pub width: usize,
}

impl Slab {
    /// Whether the two share memory.
    fn overlaps(&self, other: &Slab) -> bool {
        self.buffer == other.buffer && self.start < other.start + other.width && other.start < self.start + self.width
    }
}

/// Over how many rows a sum goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowCounts {
    /// All of them.
    pub all: usize,
    /// Those of a block; the last block may have fewer.
    pub block: usize,
}

/// Where a tensor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Columns of a slab; of its rows those of the batch rows that a step is about.
    Batch {
        /// The slab.
        slab: Slab,
        /// First column.
        col: usize,
        /// Number of columns.
        cols: usize,
    },
    /// Columns of a slab with all rows; an input only.
    AllRows {
        /// The slab.
        slab: Slab,
        /// First column.
        col: usize,
        /// Number of columns.
        cols: usize,
    },
    /// A part of a fixed buffer as a matrix.
    Fixed {
        /// The fixed buffer.
        buffer: usize,
        /// First element.
        offset: usize,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// A matrix given at each run, seen whole (a parameter).
    Outside {
        /// Its number.
        index: usize,
    },
    /// A matrix given at each run with a row for each row of the batch, or as many as an axis is long.
    OutsideRows {
        /// Its number.
        index: usize,
        /// The axis along which it lies.
        axis: Option<usize>,
    },
}

impl Place {
    fn slab(&self) -> Option<&Slab> {
        match self {
            Place::Batch { slab, .. } | Place::AllRows { slab, .. } => Some(slab),
            Place::Fixed { .. } | Place::Outside { .. } | Place::OutsideRows { .. } => None,
        }
    }

    /// Whether the two share memory.
    fn overlaps(&self, other: &Place) -> bool {
        match (self, other) {
            (
                Place::Batch { slab: a, col: c, cols: n } | Place::AllRows { slab: a, col: c, cols: n },
                Place::Batch { slab: b, col: d, cols: m } | Place::AllRows { slab: b, col: d, cols: m },
            ) => {
                if a == b {
                    c < &(d + m) && d < &(c + n)
                } else {
                    a.overlaps(b)
                }
            }
            (
                Place::Fixed { buffer: a, offset: o, rows, cols },
                Place::Fixed { buffer: b, offset: p, rows: other_rows, cols: other_cols },
            ) => a == b && o < &(p + other_rows * other_cols) && p < &(o + rows * cols),
            _ => false,
        }
    }
}

/// The inputs of a step.
pub type Places = Vec<Place>;

/// A step that runs row by row.
#[derive(Clone, Debug)]
pub enum RowStep {
    /// Writes the rows of a batch tensor.
    Map {
        /// The number that [`Kernels`] knows the step by.
        id: usize,
        /// What it reads: of batch tensors its own rows.
        inputs: Places,
        /// What it writes; always a [`Place::Batch`].
        output: Place,
        /// Multiply-adds for a row of the output.
        work: usize,
        /// Whether it may be cut by columns ([`Kernels::columns`]), and the number of which a part has a multiple.
        columns: Option<usize>,
    },
    /// Writes one partial sum for each block of rows.
    Partial {
        /// The number that [`Kernels`] knows the step by.
        id: usize,
        /// What it reads: of batch tensors its own rows.
        inputs: Places,
        /// The buffer of partial sums.
        partial: usize,
        /// The axis along which the sum's inputs lie.
        axis: Option<usize>,
    },
}

/// A step that one thread runs while the others wait.
#[derive(Clone, Debug)]
pub enum SerialStep {
    /// Combines partial sums.
    Combine {
        /// The number that [`Kernels`] knows the step by.
        id: usize,
        /// The buffer of partial sums.
        partial: usize,
        /// The axis along which the sum's inputs lie.
        axis: Option<usize>,
        /// What it writes; always a [`Place::Fixed`].
        output: Place,
    },
    /// Computes a tensor without batch rows.
    Once {
        /// The number that [`Kernels`] knows the step by.
        id: usize,
        /// What it reads.
        inputs: Places,
        /// What it writes; always a [`Place::Fixed`].
        output: Place,
    },
}

/// How an output is cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Into ranges of rows.
    Rows,
    /// Into ranges of columns.
    Columns,
}

/// The blocks of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// What a block is a range of.
    pub cut: Cut,
    /// Blocks start at multiples of this.
    pub unit: usize,
    /// How many there are.
    pub count: usize,
}

impl Blocks {
    /// The rows or columns of a block of an output with `extent` of them.
    fn range(&self, extent: usize, block: usize) -> Range<usize> {
        let units = extent.div_ceil(self.unit);
        let at = |block: usize| (units * block / self.count * self.unit).min(extent);
        at(block)..at(block + 1)
    }
}

/// A step whose output is cut into blocks, each computed from all rows.
#[derive(Clone, Debug)]
pub struct BlockStep {
    /// The number that [`Kernels`] knows the step by.
    pub id: usize,
    /// What it reads, all rows.
    pub inputs: Places,
    /// What it writes; always a [`Place::Fixed`].
    pub output: Place,
    /// How the output is cut.
    pub blocks: Blocks,
}

/// A part of a program between barriers.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// First, row by row.
    pub rows: Vec<RowStep>,
    /// Then, by one thread.
    pub serial: Vec<SerialStep>,
    /// Then, block by block.
    pub blocks: Vec<BlockStep>,
}

/// Sizes of all buffers.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// How many axes there are.
    pub axes: usize,
    /// The batch buffers.
    pub batch: Vec<BatchBuffer>,
    /// Elements of each fixed buffer.
    pub fixed: Vec<usize>,
    /// Elements of one block's partial sum, for each buffer of partial sums.
    pub partial: Vec<usize>,
}

/// Why a program is refused; these are defects of the planner, not of the user's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramError {
    /// The step.
    pub id: usize,
    /// The rule it breaks.
    pub rule: &'static str,
}

/// A checked list of phases.
#[derive(Clone, Debug)]
pub struct Program {
    layout: Layout,
    phases: Vec<Phase>,
    /// For each phase its way for few rows.
    stages: Vec<Vec<Stage>>,
    prologue: usize,
    has_partials: bool,
}

/// What the steps compute.
pub trait Kernels: Sync {
    /// Computes rows `first_row ..` of a row step, counted as those of its output.
    fn map(&self, id: usize, inputs: &[MatRef<'_>], first_row: usize, output: MatMut<'_>);
    /// Computes columns `columns` of a row step that may be cut by columns, for all rows; `inputs` are those of the whole step.
    fn columns(&self, id: usize, inputs: &[MatRef<'_>], columns: Range<usize>, output: MatMut<'_>);
    /// Computes the partial sum of a block of rows from `first_row` on, counted along the axis of the sum; `inputs` hold just these rows.
    fn partial(&self, id: usize, inputs: &[MatRef<'_>], first_row: usize, output: &mut [f32]);
    /// Combines the partial sums, one row of `partials` for each block of [`ROW_BLOCK`] rows of the batch.
    fn combine(&self, id: usize, partials: MatRef<'_>, rows: RowCounts, output: MatMut<'_>);
    /// Computes a tensor without batch rows.
    fn once(&self, id: usize, inputs: &[MatRef<'_>], rows: usize, output: MatMut<'_>);
    /// Computes rows or columns `range` of a block step's output.
    fn block(&self, id: usize, inputs: &[MatRef<'_>], range: Range<usize>, output: MatMut<'_>);
}

impl Program {
    /// Checks the rules of the module's description; the first `prologue` phases are the prologue.
    ///
    /// # Errors
    /// The first step that breaks one.
    pub fn new(layout: Layout, phases: Vec<Phase>, prologue: usize) -> Result<Program, ProgramError> {
        let mut partial_owner = vec![false; layout.partial.len()];
        let fail = |id, rule| Err(ProgramError { id, rule });
        let known = |axis: &Option<usize>| axis.is_none_or(|axis| axis < layout.axes);
        for (number, phase) in phases.iter().enumerate() {
            let written: Vec<&Slab> = phase.rows.iter().filter_map(RowStep::output).filter_map(Place::slab).collect();
            for step in &phase.rows {
                let (id, inputs) = match step {
                    RowStep::Map { id, inputs, output, columns, .. } => {
                        if *columns == Some(0) {
                            return fail(*id, "parts of a step that is cut have columns");
                        }
                        if !matches!(output, Place::Batch { .. }) {
                            return fail(*id, "a row step writes a batch buffer");
                        }
                        check_place(&layout, *id, output)?;
                        if inputs.iter().any(|input| input.overlaps(output)) {
                            return fail(*id, "a row step does not read the columns it writes");
                        }
                        (id, inputs)
                    }
                    RowStep::Partial { id, inputs, partial, axis } => {
                        match partial_owner.get_mut(*partial) {
                            Some(owned) if !*owned && known(axis) => *owned = true,
                            _ => return fail(*id, "each buffer of partial sums has one writer, and a known axis"),
                        }
                        (id, inputs)
                    }
                };
                if number < prologue {
                    return fail(*id, "a prologue has no row steps");
                }
                if step.places().filter_map(Place::slab).any(|slab| written.iter().any(|other| *other != slab && other.overlaps(slab))) {
                    return fail(*id, "memory that row steps of a phase write belongs to one slab in it");
                }
                for input in inputs {
                    check_place(&layout, *id, input)?;
                    let written = |step: &RowStep| matches!(step, RowStep::Map { output, .. } if output.overlaps(input));
                    if matches!(input, Place::AllRows { .. }) && phase.rows.iter().any(written) {
                        return fail(*id, "columns of which a row step reads all rows are written in an earlier phase");
                    }
                }
            }
            for step in &phase.serial {
                let (id, output) = match step {
                    SerialStep::Combine { id, partial, axis, output } => {
                        if *partial >= layout.partial.len() || !known(axis) {
                            return fail(*id, "the buffer of partial sums exists");
                        }
                        (id, output)
                    }
                    SerialStep::Once { id, inputs, output } => {
                        for input in inputs {
                            check_place(&layout, *id, input)?;
                            if input.overlaps(output) {
                                return fail(*id, "a serial step does not read what it writes");
                            }
                        }
                        (id, output)
                    }
                };
                if !matches!(output, Place::Fixed { .. }) {
                    return fail(*id, "a serial step writes a fixed buffer");
                }
                check_place(&layout, *id, output)?;
            }
            for (i, step) in phase.blocks.iter().enumerate() {
                if !matches!(step.output, Place::Fixed { .. }) || step.blocks.count == 0 || step.blocks.unit == 0 {
                    return fail(step.id, "a block step writes a fixed buffer in at least one block");
                }
                check_place(&layout, step.id, &step.output)?;
                for input in &step.inputs {
                    check_place(&layout, step.id, input)?;
                }
                for (j, other) in phase.blocks.iter().enumerate() {
                    let reads = other.inputs.iter().any(|input| input.overlaps(&step.output));
                    if reads || (i != j && other.output.overlaps(&step.output)) {
                        return fail(step.id, "block steps of a phase do not share what they write");
                    }
                }
            }
        }
        let has_partials = partial_owner.iter().any(|owned| *owned);
        let stages = phases.iter().map(|phase| stages::stages(&phase.rows)).collect();
        Ok(Program { layout, phases, stages, prologue, has_partials })
    }

    /// Bytes of all buffers for a batch.
    pub fn bytes(&self, extent: Extent<'_>) -> usize {
        let batch: usize = self.layout.batch.iter().map(|buffer| buffer.cols * extent.rows * extent.length(buffer.axis)).sum();
        let partial: usize = self.layout.partial.iter().map(|cols| cols * extent.rows.div_ceil(ROW_BLOCK)).sum();
        4 * (batch + partial + self.layout.fixed.iter().sum::<usize>())
    }

    /// The tiles of a batch, by their first rows, and its end. They are as large as suits the cache; the last ones are smaller, so that
    /// threads come to the end together. Where there are sums over rows they are whole numbers of blocks.
    fn tiles(&self, rows: usize, threads: usize) -> Vec<usize> {
        let most = if self.layout.batch.iter().any(|buffer| buffer.axis.is_some()) { AXIS_TILE_ROWS } else { TILE_ROWS };
        let mut starts = vec![0];
        let mut first = 0;
        while first < rows {
            let left = rows - first;
            first += match (left > most * threads, self.has_partials) {
                (true, _) => most,
                (false, true) => ROW_BLOCK.min(left),
                (false, false) => left.div_ceil(threads).next_multiple_of(8).min(left),
            };
            starts.push(first);
        }
        starts
    }
}

fn check_place(layout: &Layout, id: usize, place: &Place) -> Result<(), ProgramError> {
    let fits = match place {
        Place::Batch { slab, col, cols } | Place::AllRows { slab, col, cols } => {
            let inside = |buffer: &BatchBuffer| slab.start + slab.width <= buffer.cols && buffer.axis.is_none_or(|axis| axis < layout.axes);
            col + cols <= slab.width && layout.batch.get(slab.buffer).is_some_and(inside)
        }
        Place::Fixed { buffer, offset, rows, cols } => layout.fixed.get(*buffer).is_some_and(|length| offset + rows * cols <= *length),
        Place::OutsideRows { axis, .. } => axis.is_none_or(|axis| axis < layout.axes),
        Place::Outside { .. } => true,
    };
    if fits { Ok(()) } else { Err(ProgramError { id, rule: "a place lies inside its buffer" }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    /// Doubles the outside rows, sums the columns of the result, and spreads twice the sum over blocks.
    struct Doubling;

    impl Kernels for Doubling {
        fn map(&self, _: usize, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
            for i in 0..output.rows() {
                for (o, x) in output.row(i).iter_mut().zip(inputs[0].row(i)) {
                    *o = 2.0 * x + (first_row + i) as f32;
                }
            }
        }
        fn columns(&self, _: usize, _: &[MatRef<'_>], _: Range<usize>, _: MatMut<'_>) {
            unreachable!("no step is cut by columns");
        }
        fn partial(&self, _: usize, inputs: &[MatRef<'_>], _: usize, output: &mut [f32]) {
            output.fill(0.0);
            for i in 0..inputs[0].rows() {
                crate::elementwise::add_assign(output, inputs[0].row(i));
            }
        }
        fn combine(&self, _: usize, partials: MatRef<'_>, _: RowCounts, mut output: MatMut<'_>) {
            output.fill(0.0);
            for i in 0..partials.rows() {
                crate::elementwise::add_assign(output.row(0), partials.row(i));
            }
        }
        fn once(&self, _: usize, _: &[MatRef<'_>], _: usize, _: MatMut<'_>) {}
        fn block(&self, _: usize, inputs: &[MatRef<'_>], range: Range<usize>, mut output: MatMut<'_>) {
            for (i, row) in range.enumerate() {
                output.row(i).fill(inputs[0].row(row)[0] + inputs[1].row(0)[0]);
            }
        }
    }

    const BATCH: Place = Place::Batch { slab: Slab { buffer: 0, start: 0, width: 3 }, col: 0, cols: 3 };

    fn program() -> Program {
        let layout = Layout { axes: 0, batch: vec![BatchBuffer { cols: 3, axis: None }], fixed: vec![3, 40], partial: vec![3] };
        let batch = BATCH;
        let total = Place::Fixed { buffer: 0, offset: 0, rows: 1, cols: 3 };
        let phase = Phase {
            rows: vec![
                RowStep::Map { id: 0, inputs: vec![Place::OutsideRows { index: 0, axis: None }], output: batch, work: 3, columns: None },
                RowStep::Partial { id: 1, inputs: vec![batch], partial: 0, axis: None },
            ],
            serial: vec![SerialStep::Combine { id: 1, partial: 0, axis: None, output: total }],
            blocks: vec![BlockStep {
                id: 2,
                inputs: vec![batch, total],
                output: Place::Fixed { buffer: 1, offset: 0, rows: 20, cols: 2 },
                blocks: Blocks { cut: Cut::Rows, unit: 1, count: 3 },
            }],
        };
        Program::new(layout, vec![phase], 0).expect("the rules hold")
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let rows = 1000;
        let data: Vec<f32> = (0..rows * 3).map(|i| (i as f32 * 0.1).sin()).collect();
        let mut results = Vec::new();
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads).expect("threads");
            let mut arena = Arena::new(program(), Extent { rows: 10, lengths: &[] });
            for _ in 0..3 {
                arena.run(&Doubling, &[MatRef::new(&data, rows, 3)], Extent { rows, lengths: &[] }, Part::Whole, &pool);
            }
            let total = arena.view(Place::Fixed { buffer: 0, offset: 0, rows: 1, cols: 3 }).to_vec();
            let spread = arena.view(Place::Fixed { buffer: 1, offset: 0, rows: 20, cols: 2 }).to_vec();
            assert_eq!(spread[39], arena.view(BATCH).row(19)[0] + total[0]);
            results.push((total, spread));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn programs_that_share_wrongly_are_refused() {
        let layout = Layout { axes: 0, batch: vec![BatchBuffer { cols: 4, axis: None }], fixed: vec![4], partial: vec![] };
        let slab = Slab { buffer: 0, start: 0, width: 4 };
        let place = |col| Place::Batch { slab, col, cols: 2 };
        let map = |input, output| {
            let phase =
                Phase { rows: vec![RowStep::Map { id: 5, inputs: vec![input], output, work: 1, columns: None }], ..Phase::default() };
            Program::new(layout.clone(), vec![phase], 0).err().map(|error| error.id)
        };
        assert_eq!(map(place(0), place(2)), None);
        assert_eq!(map(place(0), place(1)), Some(5), "reads what it writes");
        assert_eq!(map(place(0), place(3)), Some(5), "outside of the buffer");
        let all_rows = |col| Place::AllRows { slab, col, cols: 2 };
        let phase = |second| Phase {
            rows: vec![
                RowStep::Map { id: 5, inputs: vec![], output: place(0), work: 1, columns: None },
                RowStep::Map { id: 6, inputs: vec![second], output: place(2), work: 1, columns: None },
            ],
            ..Phase::default()
        };
        let refused = |phase| Program::new(layout.clone(), vec![phase], 0).err().map(|error| error.id);
        assert_eq!(refused(phase(place(0))), None);
        assert_eq!(refused(phase(all_rows(0))), Some(6), "reads all rows of what other tiles write");
        let narrow = |start, width| Place::Batch { slab: Slab { buffer: 0, start, width }, col: 0, cols: 2 };
        assert_eq!(map(narrow(0, 2), narrow(2, 2)), None);
        assert_eq!(map(narrow(0, 2), narrow(1, 3)), Some(5), "reads what it writes, in another slab");
        assert_eq!(map(narrow(0, 2), narrow(3, 2)), Some(5), "a slab outside of the buffer");
        assert_eq!(
            map(narrow(0, 3), Place::Batch { slab: Slab { buffer: 0, start: 2, width: 2 }, col: 0, cols: 2 }),
            Some(5),
            "other rows"
        );
        assert_eq!(refused(phase(narrow(1, 2))), Some(6), "reads in another slab what tiles write");
        assert_eq!(map(place(0), Place::Fixed { buffer: 0, offset: 0, rows: 1, cols: 2 }), Some(5), "rows into a fixed buffer");
    }
}

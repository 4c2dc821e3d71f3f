//! The memory a graph runs on and the threads that work on it.
//!
//! A [`Program`] is a list of phases. In a phase
//! 1. *row steps* run on every thread over that thread's own rows, one step after the other;
//! 2. one thread runs the *serial steps*: the combination of sums over rows, and small things without rows;
//! 3. *block steps* run, cut into blocks of their output, each block on any thread, reading all rows.
//!
//! Barriers separate the three. What a step computes comes from a [`Kernels`] implementation; where it reads and writes is fixed
//! in the program and checked when the program is made, which is what makes the sharing sound:
//! - a row step writes batch buffers only, columns that it doesn't read, and touches its own rows only;
//! - sums over rows go through partial results, one for each block of [`ROW_BLOCK`] rows, each written by the thread that owns the block;
//! - serial steps run while all other threads wait;
//! - block steps of a phase write fixed buffers that no other block step of the phase touches.
//!
//! Results don't depend on the number of threads: rows are independent, and sums over rows are combined in block order.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use crate::pool::{Barrier, PoisonOnPanic, Pool};
use crate::view::{MatMut, MatRef};

/// Rows of a block: sums over rows are formed for each block, then combined in order.
pub const ROW_BLOCK: usize = 64;

/// Where a tensor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Columns of a batch buffer; as many rows as the batch has.
    Batch {
        /// The batch buffer.
        buffer: usize,
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
    /// A matrix given at each run with a row for each row of the batch.
    OutsideRows {
        /// Its number.
        index: usize,
    },
}

impl Place {
    /// Whether the two share memory.
    fn overlaps(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::Batch { buffer: a, col: c, cols: n }, Place::Batch { buffer: b, col: d, cols: m }) => {
                a == b && c < &(d + m) && d < &(c + n)
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
    },
    /// Writes one partial sum for each block of rows.
    Partial {
        /// The number that [`Kernels`] knows the step by.
        id: usize,
        /// What it reads: of batch tensors its own rows.
        inputs: Places,
        /// The buffer of partial sums.
        partial: usize,
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

/// A step whose output is cut into blocks, each computed from all rows.
#[derive(Clone, Debug)]
pub struct BlockStep {
    /// The number that [`Kernels`] knows the step by.
    pub id: usize,
    /// What it reads, all rows.
    pub inputs: Places,
    /// What it writes; always a [`Place::Fixed`].
    pub output: Place,
    /// How many blocks of output rows.
    pub blocks: usize,
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
    /// Columns of each batch buffer.
    pub batch: Vec<usize>,
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
    has_partials: bool,
}

/// What the steps compute.
pub trait Kernels: Sync {
    /// Computes rows `first_row ..` of a row step.
    fn map(&self, id: usize, inputs: &[MatRef<'_>], first_row: usize, output: MatMut<'_>);
    /// Computes the partial sum of a block of rows from `first_row` on; `inputs` hold just these rows.
    fn partial(&self, id: usize, inputs: &[MatRef<'_>], first_row: usize, output: &mut [f32]);
    /// Combines the partial sums, one row of `partials` for each block of [`ROW_BLOCK`] rows, of a batch of `rows` rows.
    fn combine(&self, id: usize, partials: MatRef<'_>, rows: usize, output: MatMut<'_>);
    /// Computes a tensor without batch rows.
    fn once(&self, id: usize, inputs: &[MatRef<'_>], rows: usize, output: MatMut<'_>);
    /// Computes rows `range` of a block step's output.
    fn block(&self, id: usize, inputs: &[MatRef<'_>], range: Range<usize>, output: MatMut<'_>);
}

impl Program {
    /// Checks the rules of the module's description.
    ///
    /// # Errors
    /// The first step that breaks one.
    pub fn new(layout: Layout, phases: Vec<Phase>) -> Result<Program, ProgramError> {
        let mut partial_owner = vec![false; layout.partial.len()];
        let fail = |id, rule| Err(ProgramError { id, rule });
        for phase in &phases {
            for step in &phase.rows {
                let (id, inputs) = match step {
                    RowStep::Map { id, inputs, output } => {
                        if !matches!(output, Place::Batch { .. }) {
                            return fail(*id, "a row step writes a batch buffer");
                        }
                        check_place(&layout, *id, output)?;
                        if inputs.iter().any(|input| input.overlaps(output)) {
                            return fail(*id, "a row step does not read the columns it writes");
                        }
                        (id, inputs)
                    }
                    RowStep::Partial { id, inputs, partial } => {
                        match partial_owner.get_mut(*partial) {
                            Some(owned) if !*owned => *owned = true,
                            _ => return fail(*id, "each buffer of partial sums has one writer"),
                        }
                        (id, inputs)
                    }
                };
                for input in inputs {
                    check_place(&layout, *id, input)?;
                }
            }
            for step in &phase.serial {
                let (id, output) = match step {
                    SerialStep::Combine { id, partial, output } => {
                        if *partial >= layout.partial.len() {
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
                if !matches!(step.output, Place::Fixed { .. }) || step.blocks == 0 {
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
        Ok(Program { layout, phases, has_partials })
    }

    /// Bytes of all buffers for a batch of `rows` rows.
    pub fn bytes(&self, rows: usize) -> usize {
        let batch: usize = self.layout.batch.iter().map(|cols| cols * rows).sum();
        let partial: usize = self.layout.partial.iter().map(|cols| cols * rows.div_ceil(ROW_BLOCK)).sum();
        4 * (batch + partial + self.layout.fixed.iter().sum::<usize>())
    }

    /// The rows of thread `thread` of `threads`.
    fn shard(&self, rows: usize, thread: usize, threads: usize) -> Range<usize> {
        let unit = if self.has_partials { ROW_BLOCK } else { 8 };
        let units = rows.div_ceil(unit);
        let at = |t: usize| (units * t / threads * unit).min(rows);
        at(thread)..at(thread + 1)
    }
}

fn check_place(layout: &Layout, id: usize, place: &Place) -> Result<(), ProgramError> {
    let fits = match place {
        Place::Batch { buffer, col, cols } => layout.batch.get(*buffer).is_some_and(|width| col + cols <= *width),
        Place::Fixed { buffer, offset, rows, cols } => layout.fixed.get(*buffer).is_some_and(|length| offset + rows * cols <= *length),
        Place::Outside { .. } | Place::OutsideRows { .. } => true,
    };
    if fits { Ok(()) } else { Err(ProgramError { id, rule: "a place lies inside its buffer" }) }
}

/// 16 floats on a cache line of their own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A zeroed buffer that starts on a cache line.
struct Buffer(Vec<Line>);

impl Buffer {
    fn new(elements: usize) -> Buffer {
        Buffer(vec![Line([0.0; 16]); elements.div_ceil(16)])
    }

    fn base(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

/// The buffers of a program, for batches of up to a given number of rows.
pub struct Arena {
    program: Program,
    batch: Vec<Buffer>,
    fixed: Vec<Buffer>,
    partial: Vec<Buffer>,
    capacity: usize,
    rows: usize,
}

impl Arena {
    /// Allocates the buffers for batches of up to `capacity` rows; they grow when a larger batch comes.
    pub fn new(program: Program, capacity: usize) -> Arena {
        let fixed = program.layout.fixed.iter().map(|length| Buffer::new(*length)).collect();
        let mut arena = Arena { program, batch: Vec::new(), fixed, partial: Vec::new(), capacity: 0, rows: 0 };
        arena.reserve(capacity);
        arena
    }

    fn reserve(&mut self, rows: usize) {
        if rows <= self.capacity && !self.batch.is_empty() {
            return;
        }
        self.capacity = rows;
        self.batch = self.program.layout.batch.iter().map(|cols| Buffer::new(cols * rows)).collect();
        let blocks = rows.div_ceil(ROW_BLOCK);
        self.partial = self.program.layout.partial.iter().map(|cols| Buffer::new(cols * blocks)).collect();
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The tensor at a place of this arena after a run.
    ///
    /// # Panics
    /// If the place is outside of the arena.
    pub fn view(&self, place: Place) -> MatRef<'_> {
        match place {
            Place::Batch { buffer, col, cols } => {
                let width = self.program.layout.batch[buffer];
                assert!(col + cols <= width && self.rows <= self.capacity);
                // SAFETY: inside the buffer (checked); `&self` keeps writers away.
                unsafe { MatRef::from_raw(self.batch[buffer].0.as_ptr().cast::<f32>().add(col), self.rows, cols, width) }
            }
            Place::Fixed { buffer, offset, rows, cols } => {
                assert!(offset + rows * cols <= self.program.layout.fixed[buffer]);
                // SAFETY: inside the buffer (checked); `&self` keeps writers away.
                unsafe { MatRef::from_raw(self.fixed[buffer].0.as_ptr().cast::<f32>().add(offset), rows, cols, cols) }
            }
            Place::Outside { .. } | Place::OutsideRows { .. } => panic!("the tensor is not in the arena"),
        }
    }

    /// Runs the program on a batch of `rows` rows. `outside` are the matrices behind [`Place::Outside`] and
    /// [`Place::OutsideRows`] (these need `rows` rows).
    ///
    /// # Panics
    /// If an outside matrix has too few rows, or a kernel panics.
    pub fn run(&mut self, kernels: &dyn Kernels, outside: &[MatRef<'_>], rows: usize, pool: &Pool) {
        self.reserve(rows);
        self.rows = rows;
        let shared = Shared {
            program: &self.program,
            batch: self.batch.iter_mut().map(|buffer| Pointer(buffer.base())).collect(),
            fixed: self.fixed.iter_mut().map(|buffer| Pointer(buffer.base())).collect(),
            partial: self.partial.iter_mut().map(|buffer| Pointer(buffer.base())).collect(),
            outside,
            rows,
            kernels,
            counters: self.program.phases.iter().map(|_| AtomicUsize::new(0)).collect(),
        };
        let blocks = rows.div_ceil(if self.program.has_partials { ROW_BLOCK } else { 8 });
        let useful = pool.threads().min(blocks).max(1);
        let barrier = Barrier::new(useful);
        pool.broadcast(useful, |thread| {
            let guard = PoisonOnPanic(&barrier);
            shared.work(thread, useful, &barrier);
            std::mem::forget(guard);
        });
    }
}

#[derive(Clone, Copy)]
struct Pointer(*mut f32);

// SAFETY: the pointers are shared between threads under the rules that `Program::new` checks.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

struct Shared<'a> {
    program: &'a Program,
    batch: Vec<Pointer>,
    fixed: Vec<Pointer>,
    partial: Vec<Pointer>,
    outside: &'a [MatRef<'a>],
    rows: usize,
    kernels: &'a dyn Kernels,
    counters: Vec<AtomicUsize>,
}

type Inputs<'a> = SmallVec<[MatRef<'a>; 6]>;

impl Shared<'_> {
    fn work(&self, thread: usize, threads: usize, barrier: &Barrier) {
        let own = self.program.shard(self.rows, thread, threads);
        for (phase, counter) in self.program.phases.iter().zip(&self.counters) {
            for step in &phase.rows {
                self.row_step(step, &own);
            }
            if !phase.serial.is_empty() || !phase.blocks.is_empty() {
                barrier.wait(|| phase.serial.iter().for_each(|step| self.serial_step(step)));
            }
            if !phase.blocks.is_empty() {
                let total: usize = phase.blocks.iter().map(|step| step.blocks).sum();
                loop {
                    let number = counter.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        break;
                    }
                    self.block_step(phase, number);
                }
                barrier.wait(|| {});
            }
        }
    }

    /// The input views of a step that may read `rows` of batch tensors.
    fn inputs(&self, places: &[Place], rows: &Range<usize>) -> Inputs<'_> {
        places.iter().map(|place| self.read(place, rows)).collect()
    }

    fn read(&self, place: &Place, rows: &Range<usize>) -> MatRef<'_> {
        match *place {
            Place::Batch { buffer, col, cols } => {
                let width = self.program.layout.batch[buffer];
                // SAFETY: inside the buffer (`check_place`, `reserve`); in a row step these rows belong to this thread and the step
                // writes other columns; in serial and block steps nothing writes batch buffers.
                unsafe { MatRef::from_raw(self.batch[buffer].0.add(rows.start * width + col), rows.len(), cols, width) }
            }
            Place::Fixed { buffer, offset, rows, cols } => {
                // SAFETY: inside the buffer (`check_place`); fixed buffers are written by serial steps, while everybody else waits,
                // and by block steps, whose outputs no step running at the same time reads.
                unsafe { MatRef::from_raw(self.fixed[buffer].0.add(offset), rows, cols, cols) }
            }
            Place::Outside { index } => self.outside[index],
            Place::OutsideRows { index } => self.outside[index].rows_range(rows.start, rows.len()),
        }
    }

    fn row_step(&self, step: &RowStep, own: &Range<usize>) {
        if own.is_empty() {
            return;
        }
        match step {
            RowStep::Map { id, inputs, output } => {
                let Place::Batch { buffer, col, cols } = *output else { unreachable!("checked by Program::new") };
                let width = self.program.layout.batch[buffer];
                // SAFETY: inside the buffer; the rows belong to this thread, and no input of the step overlaps the columns.
                let output = unsafe { MatMut::from_raw(self.batch[buffer].0.add(own.start * width + col), own.len(), cols, width) };
                self.kernels.map(*id, &self.inputs(inputs, own), own.start, output);
            }
            RowStep::Partial { id, inputs, partial } => {
                let width = self.program.layout.partial[*partial];
                let mut first = own.start;
                while first < own.end {
                    let rows = first..(first + ROW_BLOCK).min(own.end);
                    // SAFETY: shards start at multiples of `ROW_BLOCK`, so the block's partial sum belongs to this thread.
                    let output = unsafe { std::slice::from_raw_parts_mut(self.partial[*partial].0.add(first / ROW_BLOCK * width), width) };
                    self.kernels.partial(*id, &self.inputs(inputs, &rows), first, output);
                    first = rows.end;
                }
            }
        }
    }

    fn serial_step(&self, step: &SerialStep) {
        let all = 0..self.rows;
        match step {
            SerialStep::Combine { id, partial, output } => {
                let width = self.program.layout.partial[*partial];
                let blocks = self.rows.div_ceil(ROW_BLOCK);
                // SAFETY: all threads have passed their row steps and wait.
                let partials = unsafe { MatRef::from_raw(self.partial[*partial].0, blocks, width, width) };
                self.kernels.combine(*id, partials, self.rows, self.fixed_output(output));
            }
            SerialStep::Once { id, inputs, output } => {
                self.kernels.once(*id, &self.inputs(inputs, &all), self.rows, self.fixed_output(output));
            }
        }
    }

    fn fixed_output(&self, place: &Place) -> MatMut<'_> {
        let Place::Fixed { buffer, offset, rows, cols } = *place else { unreachable!("checked by Program::new") };
        // SAFETY: inside the buffer; the only running thread is this one, and the step does not read the place.
        unsafe { MatMut::from_raw(self.fixed[buffer].0.add(offset), rows, cols, cols) }
    }

    fn block_step(&self, phase: &Phase, mut number: usize) {
        for step in &phase.blocks {
            if number >= step.blocks {
                number -= step.blocks;
                continue;
            }
            let Place::Fixed { buffer, offset, rows, cols } = step.output else { unreachable!("checked by Program::new") };
            let at = |block: usize| rows * block / step.blocks;
            let range = at(number)..at(number + 1);
            // SAFETY: inside the buffer; the counter hands out each block once, blocks are disjoint ranges of rows, and no step
            // of the phase reads or writes the place otherwise.
            let output = unsafe { MatMut::from_raw(self.fixed[buffer].0.add(offset + range.start * cols), range.len(), cols, cols) };
            self.kernels.block(step.id, &self.inputs(&step.inputs, &(0..self.rows)), range, output);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        fn partial(&self, _: usize, inputs: &[MatRef<'_>], _: usize, output: &mut [f32]) {
            output.fill(0.0);
            for i in 0..inputs[0].rows() {
                crate::elementwise::add_assign(output, inputs[0].row(i));
            }
        }
        fn combine(&self, _: usize, partials: MatRef<'_>, _: usize, mut output: MatMut<'_>) {
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

    fn program() -> Program {
        let layout = Layout { batch: vec![3], fixed: vec![3, 40], partial: vec![3] };
        let batch = Place::Batch { buffer: 0, col: 0, cols: 3 };
        let total = Place::Fixed { buffer: 0, offset: 0, rows: 1, cols: 3 };
        let phase = Phase {
            rows: vec![
                RowStep::Map { id: 0, inputs: vec![Place::OutsideRows { index: 0 }], output: batch },
                RowStep::Partial { id: 1, inputs: vec![batch], partial: 0 },
            ],
            serial: vec![SerialStep::Combine { id: 1, partial: 0, output: total }],
            blocks: vec![BlockStep {
                id: 2,
                inputs: vec![batch, total],
                output: Place::Fixed { buffer: 1, offset: 0, rows: 20, cols: 2 },
                blocks: 3,
            }],
        };
        Program::new(layout, vec![phase]).expect("the rules hold")
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let rows = 1000;
        let data: Vec<f32> = (0..rows * 3).map(|i| (i as f32 * 0.1).sin()).collect();
        let mut results = Vec::new();
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads).expect("threads");
            let mut arena = Arena::new(program(), 10);
            for _ in 0..3 {
                arena.run(&Doubling, &[MatRef::new(&data, rows, 3)], rows, &pool);
            }
            let total = arena.view(Place::Fixed { buffer: 0, offset: 0, rows: 1, cols: 3 }).to_vec();
            let spread = arena.view(Place::Fixed { buffer: 1, offset: 0, rows: 20, cols: 2 }).to_vec();
            assert_eq!(spread[39], arena.view(Place::Batch { buffer: 0, col: 0, cols: 3 }).row(19)[0] + total[0]);
            results.push((total, spread));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn programs_that_share_wrongly_are_refused() {
        let layout = Layout { batch: vec![4], fixed: vec![4], partial: vec![] };
        let place = |col| Place::Batch { buffer: 0, col, cols: 2 };
        let map = |input, output| {
            let phase = Phase { rows: vec![RowStep::Map { id: 5, inputs: vec![input], output }], ..Phase::default() };
            Program::new(layout.clone(), vec![phase]).err().map(|error| error.id)
        };
        assert_eq!(map(place(0), place(2)), None);
        assert_eq!(map(place(0), place(1)), Some(5), "reads what it writes");
        assert_eq!(map(place(0), place(3)), Some(5), "outside of the buffer");
        assert_eq!(map(place(0), Place::Fixed { buffer: 0, offset: 0, rows: 1, cols: 2 }), Some(5), "rows into a fixed buffer");
    }
}

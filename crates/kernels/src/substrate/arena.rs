//! The buffers of a program and the threads' way through it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use super::{Cut, Kernels, Phase, Place, Program, ROW_BLOCK, RowStep, SerialStep};
use crate::pages::Pages;
use crate::pool::{Barrier, PoisonOnPanic, Pool};
use crate::view::{MatMut, MatRef};

/// How much of a program a run executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// What follows the prologue, whose results are there from an earlier run.
    AfterPrologue,
}

/// Buffers one after the other, each from a cache line on.
struct Slab {
    pages: Pages,
    starts: Vec<usize>,
}

impl Slab {
    fn new(lengths: impl Iterator<Item = usize>) -> Slab {
        let mut end = 0;
        let starts = lengths
            .map(|length| {
                let start = end;
                end = (start + length).next_multiple_of(16);
                start
            })
            .collect();
        Slab { pages: Pages::zeroed(end), starts }
    }

    fn buffer(&self, number: usize) -> &[f32] {
        &self.pages.as_slice()[self.starts[number]..]
    }

    fn bases(&mut self) -> Vec<Pointer> {
        let base = self.pages.as_mut_ptr();
        self.starts.iter().map(|start| Pointer(base.wrapping_add(*start))).collect()
    }
}

/// The buffers of a program, for batches of up to a given number of rows.
pub struct Arena {
    program: Program,
    batch: Slab,
    fixed: Slab,
    partial: Slab,
    capacity: usize,
    rows: usize,
}

impl Arena {
    /// Allocates the buffers for batches of up to `capacity` rows; they grow when a larger batch comes.
    pub fn new(program: Program, capacity: usize) -> Arena {
        let fixed = Slab::new(program.layout.fixed.iter().copied());
        let [batch, partial] = Arena::slabs(&program, capacity);
        Arena { program, batch, fixed, partial, capacity, rows: 0 }
    }

    /// The buffers whose size depends on the batch: batch buffers and partial sums.
    fn slabs(program: &Program, rows: usize) -> [Slab; 2] {
        let sizes = |columns: &[usize], rows: usize| Slab::new(columns.iter().map(|columns| columns * rows));
        [sizes(&program.layout.batch, rows), sizes(&program.layout.partial, rows.div_ceil(ROW_BLOCK))]
    }

    fn reserve(&mut self, rows: usize) {
        if rows > self.capacity {
            [self.batch, self.partial] = Arena::slabs(&self.program, rows);
            self.capacity = rows;
        }
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
                unsafe { MatRef::from_raw(self.batch.buffer(buffer).as_ptr().add(col), self.rows, cols, width) }
            }
            Place::Fixed { buffer, offset, rows, cols } => {
                assert!(offset + rows * cols <= self.program.layout.fixed[buffer]);
                // SAFETY: inside the buffer (checked); `&self` keeps writers away.
                unsafe { MatRef::from_raw(self.fixed.buffer(buffer).as_ptr().add(offset), rows, cols, cols) }
            }
            Place::Outside { .. } | Place::OutsideRows { .. } => panic!("the tensor is not in the arena"),
        }
    }

    /// Runs the program, or what follows its prologue, on a batch of `rows` rows. `outside` are the matrices behind
    /// [`Place::Outside`] and [`Place::OutsideRows`] (these need `rows` rows).
    ///
    /// # Panics
    /// If an outside matrix has too few rows, or a kernel panics.
    pub fn run(&mut self, kernels: &dyn Kernels, outside: &[MatRef<'_>], rows: usize, part: Part, pool: &Pool) {
        self.reserve(rows);
        self.rows = rows;
        let tiles = self.program.tiles(rows, pool.threads());
        let useful = pool.threads().min(tiles.len() - 1).max(1);
        let shared = Shared {
            program: &self.program,
            batch: self.batch.bases(),
            fixed: self.fixed.bases(),
            partial: self.partial.bases(),
            outside,
            rows,
            tiles,
            kernels,
            counters: self.program.phases.iter().map(|_| Counters::default()).collect(),
            first_phase: if part == Part::Whole { 0 } else { self.program.prologue },
        };
        let barrier = Barrier::new(useful);
        pool.broadcast(useful, |_| {
            let guard = PoisonOnPanic(&barrier);
            shared.work(&barrier);
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
    /// First rows of the tiles, and the end.
    tiles: Vec<usize>,
    kernels: &'a dyn Kernels,
    counters: Vec<Counters>,
    first_phase: usize,
}

/// The next tile and the next block of a phase that nobody has taken.
#[derive(Default)]
struct Counters {
    tile: AtomicUsize,
    block: AtomicUsize,
}

type Inputs<'a> = SmallVec<[MatRef<'a>; 6]>;

impl Shared<'_> {
    fn work(&self, barrier: &Barrier) {
        for (number, (phase, counters)) in self.program.phases.iter().zip(&self.counters).enumerate().skip(self.first_phase) {
            if !phase.rows.is_empty() {
                while let Some(tile) = take(&counters.tile, self.tiles.len() - 1) {
                    let own = self.tiles[tile]..self.tiles[tile + 1];
                    phase.rows.iter().for_each(|step| self.row_step(step, &own));
                }
            }
            let is_last = number + 1 == self.program.phases.len();
            if !is_last || !phase.serial.is_empty() || !phase.blocks.is_empty() {
                barrier.wait(|| phase.serial.iter().for_each(|step| self.serial_step(step)));
            }
            if !phase.blocks.is_empty() {
                let blocks = phase.blocks.iter().map(|step| step.blocks.count).sum();
                while let Some(block) = take(&counters.block, blocks) {
                    self.block_step(phase, block);
                }
                if !is_last {
                    barrier.wait(|| {});
                }
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
                // SAFETY: inside the buffer (`check_place`, `reserve`); in a row step these rows belong to a tile that this thread
                // took, and the step writes other columns; in serial and block steps nothing writes batch buffers.
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
        match step {
            RowStep::Map { id, inputs, output } => {
                let Place::Batch { buffer, col, cols } = *output else { unreachable!("checked by Program::new") };
                let width = self.program.layout.batch[buffer];
                // SAFETY: inside the buffer; the tile was taken by this thread alone, and no input of the step overlaps the columns.
                let output = unsafe { MatMut::from_raw(self.batch[buffer].0.add(own.start * width + col), own.len(), cols, width) };
                self.kernels.map(*id, &self.inputs(inputs, own), own.start, output);
            }
            RowStep::Partial { id, inputs, partial } => {
                let width = self.program.layout.partial[*partial];
                let mut first = own.start;
                while first < own.end {
                    let rows = first..(first + ROW_BLOCK).min(own.end);
                    // SAFETY: tiles start at multiples of `ROW_BLOCK`, so the block's partial sum belongs to this one.
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
            if number >= step.blocks.count {
                number -= step.blocks.count;
                continue;
            }
            let Place::Fixed { buffer, offset, rows, cols } = step.output else { unreachable!("checked by Program::new") };
            let base = self.fixed[buffer].0.wrapping_add(offset);
            let (range, output) = match step.blocks.cut {
                Cut::Rows => {
                    let range = step.blocks.range(rows, number);
                    // SAFETY: inside the buffer; the counter hands out each block once, blocks are disjoint ranges of rows, and no
                    // step of the phase reads or writes the place otherwise.
                    let output = unsafe { MatMut::from_raw(base.wrapping_add(range.start * cols), range.len(), cols, cols) };
                    (range, output)
                }
                Cut::Columns => {
                    let range = step.blocks.range(cols, number);
                    // SAFETY: as above, with disjoint ranges of columns.
                    let output = unsafe { MatMut::from_raw(base.wrapping_add(range.start), rows, range.len(), cols) };
                    (range, output)
                }
            };
            self.kernels.block(step.id, &self.inputs(&step.inputs, &(0..self.rows)), range, output);
            return;
        }
    }
}

/// The next number below `count`, if there is one left.
fn take(counter: &AtomicUsize, count: usize) -> Option<usize> {
    Some(counter.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count)
}

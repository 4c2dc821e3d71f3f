//! The buffers of a program and the threads' way through it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use super::{Blocks, Cut, Extent, Kernels, Phase, Place, Program, ROW_BLOCK, RowCounts, RowStep, SerialStep, Slab, Stage};
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
struct Buffers {
    pages: Pages,
    starts: Vec<usize>,
}

impl Buffers {
    fn new(lengths: impl Iterator<Item = usize>) -> Buffers {
        let mut end = 0;
        let starts = lengths
            .map(|length| {
                let start = end;
                end = (start + length).next_multiple_of(16);
                start
            })
            .collect();
        Buffers { pages: Pages::zeroed(end), starts }
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
    batch: Buffers,
    fixed: Buffers,
    partial: Buffers,
    /// Rows and lengths of axes that the buffers are made for.
    capacity: (usize, Vec<usize>),
    /// Those of the last run.
    rows: usize,
    lengths: Vec<usize>,
}

/// Axes are given room for multiples of this, so that buffers need not grow at every longer sequence.
pub const LENGTH_UNIT: usize = 8;

impl Arena {
    /// Allocates the buffers for batches of up to so many rows and axes of up to such lengths; they grow when a larger batch comes.
    pub fn new(program: Program, capacity: Extent<'_>) -> Arena {
        let fixed = Buffers::new(program.layout.fixed.iter().copied());
        let [batch, partial] = Arena::slabs(&program, capacity);
        let lengths = vec![0; program.layout.axes];
        let capacity = (capacity.rows, capacity.lengths.to_vec());
        Arena { program, batch, fixed, partial, capacity, rows: 0, lengths }
    }

    /// The buffers whose size depends on the batch: batch buffers and partial sums.
    fn slabs(program: &Program, extent: Extent<'_>) -> [Buffers; 2] {
        let batch = program.layout.batch.iter().map(|buffer| buffer.cols * extent.rows * extent.length(buffer.axis));
        let partial = program.layout.partial.iter().map(|cols| cols * extent.rows.div_ceil(ROW_BLOCK));
        [Buffers::new(batch), Buffers::new(partial)]
    }

    fn reserve(&mut self, extent: Extent<'_>) {
        let (rows, lengths) = &mut self.capacity;
        if extent.rows > *rows || extent.lengths.iter().zip(&*lengths).any(|(length, room)| length > room) {
            *rows = extent.rows.max(*rows);
            let room = extent.lengths.iter().zip(&*lengths);
            *lengths = room.map(|(length, room)| if length > room { length.next_multiple_of(LENGTH_UNIT) } else { *room }).collect();
            [self.batch, self.partial] = Arena::slabs(&self.program, Extent { rows: *rows, lengths });
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
            Place::Batch { slab: Slab { buffer, start, width }, col, cols } => {
                let layout = self.program.layout.batch[buffer];
                let rows = self.rows * Extent { rows: self.rows, lengths: &self.lengths }.length(layout.axis);
                assert!(col + cols <= width && start + width <= layout.cols);
                // SAFETY: inside the buffer (checked; `reserve` made room for the rows of the last run); `&self` keeps writers away.
                unsafe { MatRef::from_raw(self.batch.buffer(buffer).as_ptr().add(rows * start + col), rows, cols, width) }
            }
            Place::Fixed { buffer, offset, rows, cols } => {
                assert!(offset + rows * cols <= self.program.layout.fixed[buffer]);
                // SAFETY: inside the buffer (checked); `&self` keeps writers away.
                unsafe { MatRef::from_raw(self.fixed.buffer(buffer).as_ptr().add(offset), rows, cols, cols) }
            }
            Place::AllRows { .. } | Place::Outside { .. } | Place::OutsideRows { .. } => panic!("the tensor is not in the arena"),
        }
    }

    /// Runs the program, or what follows its prologue, on a batch. `outside` are the matrices behind [`Place::Outside`] and
    /// [`Place::OutsideRows`] (these need a row for each row of the batch, times the length of their axis).
    ///
    /// # Panics
    /// If an outside matrix has too few rows, an axis no length, or a kernel panics.
    pub fn run(&mut self, kernels: &dyn Kernels, outside: &[MatRef<'_>], extent: Extent<'_>, part: Part, pool: &Pool) {
        assert_eq!(extent.lengths.len(), self.capacity.1.len(), "every axis has a length");
        self.reserve(extent);
        let rows = extent.rows;
        self.rows = rows;
        self.lengths.clear();
        self.lengths.extend_from_slice(extent.lengths);
        let tiles = self.program.tiles(rows, pool.threads());
        let in_stages = self.program.stages_pay(extent, tiles.len() - 1, pool.threads());
        let useful = if in_stages { pool.threads() } else { pool.threads().min(tiles.len() - 1).max(1) };
        let shared = Shared {
            program: &self.program,
            batch: self.batch.bases(),
            fixed: self.fixed.bases(),
            partial: self.partial.bases(),
            outside,
            extent,
            shares: shares(&tiles, useful),
            tiles,
            kernels,
            taken_tiles: (0..self.program.phases.len() * useful).map(|_| AtomicUsize::new(0)).collect(),
            taken_blocks: self.program.phases.iter().map(|_| AtomicUsize::new(0)).collect(),
            in_stages,
            threads: useful,
            first_phase: if part == Part::Whole { 0 } else { self.program.prologue },
        };
        let barrier = Barrier::new(useful);
        pool.broadcast(useful, |thread| {
            let guard = PoisonOnPanic(&barrier);
            shared.work(&barrier, thread);
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
    extent: Extent<'a>,
    /// First rows of the tiles, and the end.
    tiles: Vec<usize>,
    /// First tiles of the threads' shares, and the end. In every phase a thread begins with its share, whose rows its own cache has.
    shares: Vec<usize>,
    kernels: &'a dyn Kernels,
    /// For each phase, and each share in it, how many tiles have been taken.
    taken_tiles: Vec<AtomicUsize>,
    /// For each phase how many blocks have been taken.
    taken_blocks: Vec<AtomicUsize>,
    /// Whether phases with stages run in stages.
    in_stages: bool,
    threads: usize,
    first_phase: usize,
}

/// Cuts tiles into shares of about as many rows: the first tiles of each, and the end.
fn shares(tiles: &[usize], threads: usize) -> Vec<usize> {
    let (count, rows) = (tiles.len() - 1, tiles.last().copied().unwrap_or(0));
    let first = |share: usize| tiles[..count].partition_point(|start| start * threads < rows * share);
    (0..threads).map(first).chain([count]).collect()
}

type Inputs<'a> = SmallVec<[MatRef<'a>; 6]>;

impl Shared<'_> {
    fn work(&self, barrier: &Barrier, thread: usize) {
        for (number, phase) in self.program.phases.iter().enumerate().skip(self.first_phase) {
            if self.in_stages && !phase.rows.is_empty() {
                self.stages(number, barrier, thread);
            } else if !phase.rows.is_empty() {
                while let Some(tile) = self.take_tile(number, thread) {
                    phase.rows.iter().for_each(|step| self.row_step(step, &self.tile(tile)));
                }
            }
            let is_last = number + 1 == self.program.phases.len();
            if !is_last || !phase.serial.is_empty() || !phase.blocks.is_empty() {
                barrier.wait(|| phase.serial.iter().for_each(|step| self.serial_step(step)));
            }
            if !phase.blocks.is_empty() {
                let blocks = phase.blocks.iter().map(|step| step.blocks.count).sum();
                while let Some(block) = take(&self.taken_blocks[number], blocks) {
                    self.block_step(phase, block);
                }
                if !is_last {
                    barrier.wait(|| {});
                }
            }
        }
    }

    /// A tile of a phase that nobody has taken: of the thread's own share, or else of another one.
    fn take_tile(&self, phase: usize, thread: usize) -> Option<usize> {
        (0..self.threads).find_map(|other| {
            let share = (thread + other) % self.threads;
            let (first, end) = (self.shares[share], self.shares[share + 1]);
            take(&self.taken_tiles[phase * self.threads + share], end - first).map(|tile| first + tile)
        })
    }

    /// The row steps of a phase with few rows.
    fn stages(&self, number: usize, barrier: &Barrier, thread: usize) {
        let steps = &self.program.phases[number].rows;
        let all = 0..self.tiles.len() - 1;
        let stages = &self.program.stages[number];
        if stages.is_empty() {
            return barrier.wait(|| all.for_each(|tile| steps.iter().for_each(|step| self.row_step(step, &self.tile(tile)))));
        }
        for Stage { cut, whole } in stages {
            cut.iter().for_each(|step| self.own_columns(&steps[*step], thread));
            let rest = |tile| whole.iter().for_each(|step| self.row_step(&steps[*step], &self.tile(tile)));
            barrier.wait(|| all.clone().for_each(rest));
        }
    }

    /// The rows of a tile.
    fn tile(&self, number: usize) -> Range<usize> {
        self.tiles[number]..self.tiles[number + 1]
    }

    /// The input views of a step that may read `rows` of batch tensors.
    fn inputs(&self, places: &[Place], rows: &Range<usize>) -> Inputs<'_> {
        places.iter().map(|place| self.read(place, rows)).collect()
    }

    fn read(&self, place: &Place, rows: &Range<usize>) -> MatRef<'_> {
        match *place {
            Place::Batch { slab, col, cols } => {
                let (rows, first) = self.rows_of(slab, rows);
                // SAFETY: inside the buffer (`check_place`, `reserve`); in a row step these rows belong to a tile that this thread
                // took, or other threads write only what the stage does not read, and the step writes other columns; in serial and block steps nothing writes batch buffers.
                unsafe { MatRef::from_raw(first.add(col), rows.len(), cols, slab.width) }
            }
            Place::AllRows { slab, col, cols } => {
                let (rows, first) = self.rows_of(slab, &(0..self.extent.rows));
                // SAFETY: inside the buffer (`check_place`, `reserve`); no row step of the phase writes these columns (`Program::new`), and
                // nothing else writes batch buffers.
                unsafe { MatRef::from_raw(first.add(col), rows.len(), cols, slab.width) }
            }
            Place::Fixed { buffer, offset, rows, cols } => {
                // SAFETY: inside the buffer (`check_place`); fixed buffers are written by serial steps, while everybody else waits,
                // and by block steps, whose outputs no step running at the same time reads.
                unsafe { MatRef::from_raw(self.fixed[buffer].0.add(offset), rows, cols, cols) }
            }
            Place::Outside { index } => self.outside[index],
            Place::OutsideRows { index, axis } => {
                let length = self.extent.length(axis);
                self.outside[index].rows_range(rows.start * length, rows.len() * length)
            }
        }
    }

    /// The rows of a slab that belong to `rows` of the batch, and where the first one lies.
    fn rows_of(&self, slab: Slab, rows: &Range<usize>) -> (Range<usize>, *mut f32) {
        let length = self.extent.length(self.program.layout.batch[slab.buffer].axis);
        let own = rows.start * length..rows.end * length;
        let offset = self.extent.rows * length * slab.start + own.start * slab.width;
        (own, self.batch[slab.buffer].0.wrapping_add(offset))
    }

    fn row_step(&self, step: &RowStep, own: &Range<usize>) {
        match step {
            RowStep::Map { id, inputs, output, .. } => {
                let Place::Batch { slab, col, cols } = *output else { unreachable!("checked by Program::new") };
                let (rows, first) = self.rows_of(slab, own);
                // SAFETY: inside the buffer; the tile was taken by this thread alone, no other slab of the phase shares the memory, and no
                // input of the step overlaps the columns.
                let output = unsafe { MatMut::from_raw(first.add(col), rows.len(), cols, slab.width) };
                self.kernels.map(*id, &self.inputs(inputs, own), rows.start, output);
            }
            RowStep::Partial { id, inputs, partial, axis } => {
                let width = self.program.layout.partial[*partial];
                let mut first = own.start;
                while first < own.end {
                    let rows = first..(first + ROW_BLOCK).min(own.end);
                    // SAFETY: tiles start at multiples of `ROW_BLOCK`, so the block's partial sum belongs to this one.
                    let output = unsafe { std::slice::from_raw_parts_mut(self.partial[*partial].0.add(first / ROW_BLOCK * width), width) };
                    self.kernels.partial(*id, &self.inputs(inputs, &rows), first * self.extent.length(*axis), output);
                    first = rows.end;
                }
            }
        }
    }

    /// The columns of a row step that belong to a thread, all rows.
    fn own_columns(&self, step: &RowStep, thread: usize) {
        let RowStep::Map { id, inputs, output, columns: Some(unit), .. } = step else { unreachable!("stages cut these alone") };
        let Place::Batch { slab, col, cols } = *output else { unreachable!("checked by Program::new") };
        let own = Blocks { cut: Cut::Columns, unit: *unit, count: self.threads }.range(cols, thread);
        if own.is_empty() {
            return;
        }
        let all = 0..self.extent.rows;
        let (rows, first) = self.rows_of(slab, &all);
        // SAFETY: inside the buffer; the ranges of the threads are disjoint, and in this part of a stage nobody reads what the step
        // writes or writes it otherwise (`stages`).
        let output = unsafe { MatMut::from_raw(first.add(col + own.start), rows.len(), own.len(), slab.width) };
        self.kernels.columns(*id, &self.inputs(inputs, &all), own, output);
    }

    fn serial_step(&self, step: &SerialStep) {
        let all = 0..self.extent.rows;
        match step {
            SerialStep::Combine { id, partial, axis, output } => {
                let width = self.program.layout.partial[*partial];
                let blocks = self.extent.rows.div_ceil(ROW_BLOCK);
                let length = self.extent.length(*axis);
                let counts = RowCounts { all: self.extent.rows * length, block: ROW_BLOCK * length };
                // SAFETY: all threads have passed their row steps and wait.
                let partials = unsafe { MatRef::from_raw(self.partial[*partial].0, blocks, width, width) };
                self.kernels.combine(*id, partials, counts, self.fixed_output(output));
            }
            SerialStep::Once { id, inputs, output } => {
                self.kernels.once(*id, &self.inputs(inputs, &all), self.extent.rows, self.fixed_output(output));
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
            self.kernels.block(step.id, &self.inputs(&step.inputs, &(0..self.extent.rows)), range, output);
            return;
        }
    }
}

/// The next number below `count`, if there is one left.
fn take(counter: &AtomicUsize, count: usize) -> Option<usize> {
    Some(counter.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count)
}

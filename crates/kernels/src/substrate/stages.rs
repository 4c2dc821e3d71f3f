//! Few rows: the way through the row steps of a phase when there are fewer tiles than threads.
//!
//! A product of one row with a wide weight matrix goes through megabytes of weights, and tiles can't share it. So the row steps of a phase
//! are put into *stages*. In each, all threads compute the steps that may be cut by columns, every thread its columns of all rows; then
//! one thread, while the others wait at the barrier, runs the other steps over all rows. A step comes into the first stage behind all
//! steps of which it reads or overwrites something, or that read what it overwrites. A thread has the same columns in every run, so that
//! its weights stay in its cache.

use super::{Extent, Place, Program, RowStep};

/// Row steps between two barriers, by their numbers in the phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stage {
    /// First, cut by columns.
    pub(super) cut: Vec<usize>,
    /// Then, by one thread, in order.
    pub(super) whole: Vec<usize>,
}

/// What a barrier costs, in multiply-adds: a microsecond or two.
const BARRIER: usize = 1 << 15;

impl RowStep {
    fn inputs(&self) -> &[Place] {
        match self {
            RowStep::Map { inputs, .. } | RowStep::Partial { inputs, .. } => inputs,
        }
    }

    /// What it writes to batch buffers.
    pub(super) fn output(&self) -> Option<&Place> {
        match self {
            RowStep::Map { output, .. } => Some(output),
            RowStep::Partial { .. } => None,
        }
    }

    /// All that it touches.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.inputs().iter().chain(self.output())
    }

    fn is_cut(&self) -> bool {
        matches!(self, RowStep::Map { columns: Some(_), .. })
    }

    /// Whether one of the two writes what the other reads or writes.
    fn conflicts(&self, other: &RowStep) -> bool {
        let touches =
            |step: &RowStep, written: Option<&Place>| written.is_some_and(|written| step.places().any(|place| place.overlaps(written)));
        touches(self, other.output()) || touches(other, self.output())
    }
}

/// The stages of a phase; none if no step may be cut by columns.
pub(super) fn stages(steps: &[RowStep]) -> Vec<Stage> {
    if !steps.iter().any(RowStep::is_cut) {
        return Vec::new();
    }
    let mut stage_of: Vec<usize> = Vec::with_capacity(steps.len());
    let mut stages: Vec<Stage> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let before = steps[..number].iter().zip(&stage_of).filter(|(other, _)| step.conflicts(other)).map(|(_, stage)| *stage);
        let stage = if step.is_cut() { before.map(|stage| stage + 1).max() } else { before.max() }.unwrap_or(0);
        stages.resize_with(stages.len().max(stage + 1), Stage::default);
        let Stage { cut, whole } = &mut stages[stage];
        if step.is_cut() { cut } else { whole }.push(number);
        stage_of.push(stage);
    }
    stages
}

impl Program {
    /// Whether a run of so many tiles, fewer than threads, is faster in stages.
    pub(super) fn stages_pay(&self, extent: Extent<'_>, tiles: usize, threads: usize) -> bool {
        if tiles >= threads || self.stages.iter().all(Vec::is_empty) {
            return false;
        }
        let (mut cut, mut whole) = (0, 0);
        for step in self.phases.iter().flat_map(|phase| &phase.rows) {
            if let RowStep::Map { work, output: Place::Batch { slab, .. }, .. } = step {
                let work = work * extent.rows * extent.length(self.layout.batch[slab.buffer].axis);
                *if step.is_cut() { &mut cut } else { &mut whole } += work;
            }
        }
        let barriers: usize = self.stages.iter().map(|stages| stages.len() + 1).sum();
        cut / threads + whole + barriers * BARRIER < (cut + whole) / tiles.max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::pool::Pool;
    use crate::substrate::{Arena, BatchBuffer, Kernels, Layout, Part, Phase, RowCounts, Slab};
    use crate::view::{MatMut, MatRef};

    /// Columns of the slots that steps read and write.
    const COLS: usize = 8;
    const SLOTS: usize = 5;
    const ALL: Slab = Slab { buffer: 0, start: 0, width: SLOTS * COLS };

    /// Mixes all columns of the inputs into every column of the output, every third step with what is there.
    struct Mixing;

    impl Kernels for Mixing {
        fn map(&self, id: usize, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
            self.columns(id, inputs, 0..output.cols(), output);
        }
        fn columns(&self, id: usize, inputs: &[MatRef<'_>], columns: Range<usize>, mut output: MatMut<'_>) {
            for i in 0..output.rows() {
                for (j, o) in columns.clone().zip(output.row(i)) {
                    let mixed = inputs.iter().flat_map(|input| input.row(i)).enumerate().map(|(p, x)| x * ((p * 7 + j + id) as f32).sin());
                    *o = if id.is_multiple_of(3) { *o } else { 1.0 } + 0.3 * mixed.sum::<f32>();
                }
            }
        }
        fn partial(&self, _: usize, _: &[MatRef<'_>], _: usize, _: &mut [f32]) {}
        fn combine(&self, _: usize, _: MatRef<'_>, _: RowCounts, _: MatMut<'_>) {}
        fn once(&self, _: usize, _: &[MatRef<'_>], _: usize, _: MatMut<'_>) {}
        fn block(&self, _: usize, _: &[MatRef<'_>], _: Range<usize>, _: MatMut<'_>) {}
    }

    /// Steps that read and write the slots of one buffer as chance will have it.
    fn random_program(seed: u64) -> Program {
        let mut state = seed;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let slot = |number| Place::Batch { slab: ALL, col: number * COLS, cols: COLS };
        let rows = (0..20).map(|id| {
            let to = random(SLOTS);
            let from = [(to + 1 + random(SLOTS - 1)) % SLOTS, (to + 1 + random(SLOTS - 1)) % SLOTS];
            let mut inputs: Vec<Place> = from.map(slot).to_vec();
            if id < 3 {
                inputs.push(Place::OutsideRows { index: 0, axis: None });
            }
            let columns = [None, Some(1), Some(3)][random(3)];
            RowStep::Map { id, inputs, output: slot(to), work: if columns.is_some() { 1 << 24 } else { 1 }, columns }
        });
        let phases = [rows.collect(), Vec::new()].map(|rows| Phase { rows, ..Default::default() });
        let layout = Layout { batch: vec![BatchBuffer { cols: SLOTS * COLS, axis: None }], ..Layout::default() };
        Program::new(layout, phases.to_vec(), 0).expect("the rules hold")
    }

    #[test]
    fn stages_give_the_bits_of_tiles_for_any_program_rows_and_threads() {
        let pools = [2, 3].map(|threads| Pool::new(threads).expect("threads"));
        let one = Pool::new(1).expect("threads");
        for seed in 0..10 {
            let program = random_program(seed);
            for rows in [1, 9] {
                let data: Vec<f32> = (0..rows * COLS).map(|i| (i as f32 * 0.37).sin()).collect();
                let run = |pool: &Pool| {
                    let extent = Extent { rows, lengths: &[] };
                    let mut arena = Arena::new(program.clone(), extent);
                    // The second run starts with what the first has left.
                    for _ in 0..2 {
                        arena.run(&Mixing, &[MatRef::new(&data, rows, COLS)], extent, Part::Whole, pool);
                    }
                    arena.view(Place::Batch { slab: ALL, col: 0, cols: SLOTS * COLS }).to_vec()
                };
                let expected = run(&one);
                assert!(expected.iter().all(|x| x.is_finite()) && expected.windows(2).any(|pair| pair[0] != pair[1]));
                for pool in &pools {
                    let tiles = program.tiles(rows, pool.threads()).len() - 1;
                    let staged = program.stages_pay(Extent { rows, lengths: &[] }, tiles, pool.threads());
                    assert_eq!(staged, tiles < pool.threads(), "{rows} rows, {} threads", pool.threads());
                    assert!(run(pool) == expected, "seed {seed}, {rows} rows, {} threads", pool.threads());
                }
            }
        }
    }

    #[test]
    fn independent_products_share_a_stage_and_dependent_ones_do_not() {
        let slot = |number| Place::Batch { slab: ALL, col: number * COLS, cols: COLS };
        let step = |from: usize, to: usize, columns| RowStep::Map { id: to, inputs: vec![slot(from)], output: slot(to), work: 1, columns };
        let steps = [step(0, 1, Some(1)), step(1, 2, None), step(0, 3, Some(1)), step(2, 4, Some(1)), step(4, 0, None)];
        let expected = [Stage { cut: vec![0, 2], whole: vec![1] }, Stage { cut: vec![3], whole: vec![4] }];
        assert_eq!(stages(&steps), expected, "the last one overwrites what the first stage reads, behind it");
        assert_eq!(stages(&[step(0, 1, None)]), []);
    }

    #[test]
    fn many_rows_and_small_products_stay_in_tiles() {
        let program = |work| {
            let output = Place::Batch { slab: Slab { width: COLS, ..ALL }, col: 0, cols: COLS };
            let rows = vec![RowStep::Map { id: 0, inputs: Vec::new(), output, work, columns: Some(1) }];
            let layout = Layout { batch: vec![BatchBuffer { cols: COLS, axis: None }], ..Layout::default() };
            Program::new(layout, vec![Phase { rows, ..Default::default() }], 0).expect("the rules hold")
        };
        let pays = |work, rows, tiles, threads| program(work).stages_pay(Extent { rows, lengths: &[] }, tiles, threads);
        assert!(pays(1 << 20, 1, 1, 2), "one row of a large product");
        assert!(!pays(1 << 14, 1, 1, 2), "a barrier costs more");
        assert!(pays(1 << 14, 32, 1, 2), "many small rows of a tile");
        assert!(!pays(1 << 20, 1000, 2, 2), "tiles for all threads");
        assert!(!pays(1 << 20, 1, 1, 1), "one thread");
    }
}

//! The sparse side of a step: gradients of tables, row by row, and rows that wait until a batch has them again.

use std::ops::Range;

use rankmill_graph::ops::lookup::Lookup;
use rankmill_graph::{Executor, Value};
use rankmill_kernels::elementwise::{add_scaled, scale};
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;
use rankmill_model::{Model, Parameters, Training};
use rankmill_nn::optim::idle::IdleSteps;
use rankmill_nn::optim::{Gradient, Optimizer, StepRates};

/// When rows move that the batch has not (Adam moves them all: EasyRec behaviour 38).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdleRows {
    /// In tables so large that it pays, when a batch has them again or somebody reads the table; in the others at every step.
    #[default]
    Automatic,
    /// When a batch has them again, in all tables.
    Waiting,
    /// At every step, in all tables.
    EveryStep,
}

/// Fewest rows of a table in which rows wait: smaller ones stay in cache, where moving all rows costs little.
const LEAST_WAITING_ROWS: usize = 1 << 15;
/// And at least so many times the rows of a batch: otherwise most rows are in the next batches anyway.
const LEAST_BATCHES: usize = 4;

/// Whether rows of a table so large wait.
pub(crate) fn waits(rows: usize, batch_size: usize) -> bool {
    rows >= LEAST_WAITING_ROWS.max(LEAST_BATCHES * batch_size)
}

/// Rows that catch up together where they are equally far behind: these of usual widths fit a first-level cache.
const TOGETHER: usize = 64;

/// The gradient of a table: unique rows, ascending, with their sums.
#[derive(Clone, Debug, Default)]
struct RowGradients {
    rows: Vec<u32>,
    values: Vec<f32>,
    /// For each row of the table its place in `rows`, valid where `stamps` says so.
    places: Vec<u32>,
    stamps: Vec<u32>,
    stamp: u32,
    /// The first row that has a gradient: row 0 of a dynamic table has none.
    first: u32,
}

impl RowGradients {
    fn new(rows: usize, first: u32) -> RowGradients {
        RowGradients { places: vec![0; rows], stamps: vec![0; rows], first, ..RowGradients::default() }
    }

    fn resize(&mut self, rows: usize) {
        self.places.resize(rows, 0);
        self.stamps.resize(rows, 0);
    }

    /// Collects the rows that occur in `ids`.
    fn start(&mut self, ids: &[&[u32]], width: usize) {
        if self.stamp == u32::MAX {
            self.stamps.fill(0);
            self.stamp = 0;
        }
        self.stamp += 1;
        self.rows.clear();
        for id in ids.iter().copied().flatten().filter(|id| **id >= self.first) {
            let stamp = &mut self.stamps[*id as usize];
            if *stamp != self.stamp {
                *stamp = self.stamp;
                self.rows.push(*id);
            }
        }
        self.rows.sort_unstable();
        for (place, row) in self.rows.iter().enumerate() {
            self.places[*row as usize] = place as u32;
        }
        self.values.clear();
        self.values.resize(self.rows.len() * width, 0.0);
    }

    fn row(&mut self, id: u32, width: usize) -> &mut [f32] {
        let place = self.places[id as usize] as usize;
        &mut self.values[place * width..(place + 1) * width]
    }

    /// Adds the gradient of a lookup's output, in the order of the batch.
    fn add_lookup(&mut self, lookup: &Lookup, column: &IdColumn, upstream: MatRef<'_>) {
        let width = upstream.cols();
        self.start(&[&column.ids], width);
        for row in 0..upstream.rows() {
            lookup.for_each_id(column, row, |_, id, factor| {
                if id >= self.first {
                    add_scaled(self.row(id, width), factor, upstream.row(row));
                }
            });
        }
    }

    /// The sum of several gradients of one table.
    fn add_all(&mut self, parts: &[&RowGradients], width: usize) {
        let ids: Vec<&[u32]> = parts.iter().map(|part| part.rows.as_slice()).collect();
        self.start(&ids, width);
        for part in parts {
            for (i, id) in part.rows.iter().enumerate() {
                add_scaled(self.row(*id, width), 1.0, &part.values[i * width..(i + 1) * width]);
            }
        }
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Rows { rows: &self.rows, values: &self.values }
    }
}

/// A lookup in a table and its part of the table's gradient.
struct TableLookup {
    parameter: usize,
    lookup: Lookup,
    upstream: Value,
    gradients: RowGradients,
}

/// A table whose rows wait.
struct WaitingTable {
    parameter: usize,
    /// The slots of the id columns that are looked up in it.
    columns: Vec<usize>,
    /// The step to which each row has come.
    done: Vec<u32>,
}

/// All tables of a model in training.
pub(crate) struct Tables {
    lookups: Vec<TableLookup>,
    /// Sums for tables that several features share, by parameter.
    shared: Vec<(usize, RowGradients)>,
    /// In the order of the parameters.
    waiting: Vec<WaitingTable>,
    /// The steps that rows of waiting tables may have missed.
    idle: Option<IdleSteps>,
}

impl Tables {
    pub(crate) fn new(
        model: &Model,
        training: &Training,
        parameters: &Parameters,
        optimizer: &Optimizer,
        idle_rows: IdleRows,
        batch_size: usize,
    ) -> Tables {
        let rows_of = |parameter: usize| parameters.entries[parameter].shape[0];
        let is_dynamic = |parameter: usize| model.graph.parameters()[parameter].keys.is_some();
        let gradients = |parameter: usize| RowGradients::new(rows_of(parameter), u32::from(is_dynamic(parameter)));
        let lookups: Vec<TableLookup> = training
            .gradients
            .tables
            .iter()
            .filter_map(|table| {
                let lookup = *model.graph.lookup(table.lookup)?;
                let gradients = gradients(table.parameter);
                Some(TableLookup { parameter: table.parameter, lookup, upstream: table.upstream, gradients })
            })
            .collect();
        let mut tables: Vec<usize> = lookups.iter().map(|lookup| lookup.parameter).collect();
        tables.sort_unstable();
        tables.dedup();
        let of = |parameter: usize| lookups.iter().filter(move |lookup| lookup.parameter == parameter);
        let several = tables.iter().filter(|parameter| of(**parameter).count() > 1);
        let shared = several.map(|parameter| (*parameter, gradients(*parameter))).collect();
        let idle = IdleSteps::new(optimizer);
        let waits = |parameter: &&usize| match idle_rows {
            _ if idle.is_none() => false,
            IdleRows::Automatic => is_dynamic(**parameter) || self::waits(rows_of(**parameter), batch_size),
            IdleRows::Waiting => true,
            IdleRows::EveryStep => false,
        };
        let waiting = tables
            .iter()
            .filter(waits)
            .map(|parameter| WaitingTable {
                parameter: *parameter,
                columns: of(*parameter).map(|lookup| lookup.lookup.slot).collect(),
                done: vec![0; rows_of(*parameter)],
            })
            .collect();
        Tables { lookups, shared, waiting, idle }
    }

    /// Takes note that a dynamic table has another number of rows; new ones have missed no step.
    pub(crate) fn resize(&mut self, parameter: usize, rows: usize) {
        self.lookups.iter_mut().filter(|lookup| lookup.parameter == parameter).for_each(|lookup| lookup.gradients.resize(rows));
        self.shared.iter_mut().filter(|(index, _)| *index == parameter).for_each(|(_, sum)| sum.resize(rows));
        let done = self.idle.as_ref().map_or(0, IdleSteps::count);
        self.waiting.iter_mut().filter(|table| table.parameter == parameter).for_each(|table| table.done.resize(rows, done));
    }

    /// Whether rows of a table wait that the batch has not.
    pub(crate) fn waits(&self, parameter: usize) -> bool {
        self.waiting.iter().any(|table| table.parameter == parameter)
    }

    /// Takes the rows that a batch has to where they would be if they had moved at every step.
    pub(crate) fn catch_up(&mut self, ids: &[&IdColumn], parameters: &mut Parameters, slots: &mut [Vec<Vec<f32>>], pool: &Pool) {
        let Some(idle) = self.idle.as_ref().filter(|idle| idle.count() > 0) else { return };
        pool.for_each(parts(&mut self.waiting, parameters, slots, pool.threads()), |mut part| {
            for id in part.columns.iter().flat_map(|slot| &ids[*slot].ids) {
                let row = (*id as usize).wrapping_sub(part.first_row);
                if part.done.get(row).is_some_and(|done| *done < idle.count()) {
                    part.catch_up(idle, row..row + 1);
                }
            }
        });
    }

    /// Takes all rows of all tables to where they would be if they had moved at every step.
    pub(crate) fn settle(&mut self, parameters: &mut Parameters, slots: &mut [Vec<Vec<f32>>], pool: &Pool) {
        let Some(idle) = self.idle.as_ref().filter(|idle| idle.count() > 0) else { return };
        let parts = parts(&mut self.waiting, parameters, slots, 8 * pool.threads());
        pool.for_each(parts, |mut part| {
            let mut first = 0;
            while first < part.done.len() {
                let alike = part.done[first..].iter().take(TOGETHER).take_while(|done| **done == part.done[first]).count();
                part.catch_up(idle, first..first + alike);
                first += alike;
            }
        });
        self.forget();
    }

    /// Forgets what rows have missed: all variables were set anew.
    pub(crate) fn forget(&mut self) {
        self.idle.iter_mut().for_each(IdleSteps::forget);
        self.waiting.iter_mut().for_each(|table| table.done.fill(0));
    }

    /// Forms the gradients of all tables, times the `multiplier` of each, from those of the lookups.
    pub(crate) fn backward(
        &mut self,
        executor: &Executor,
        ids: &[&IdColumn],
        multiplier: impl Fn(usize) -> f32 + Sync,
        parameters: &Parameters,
        pool: &Pool,
    ) {
        pool.for_each(self.lookups.iter_mut().collect(), |table| {
            let multiplier = multiplier(table.parameter);
            table.gradients.add_lookup(&table.lookup, ids[table.lookup.slot], executor.value(table.upstream));
            if multiplier != 1.0 {
                let values = std::mem::take(&mut table.gradients.values);
                table.gradients.values.resize(values.len(), 0.0);
                scale(&mut table.gradients.values, multiplier, &values);
            }
        });
        for (parameter, sum) in &mut self.shared {
            let parts = self.lookups.iter().filter(|lookup| lookup.parameter == *parameter).map(|lookup| &lookup.gradients);
            sum.add_all(&parts.collect::<Vec<_>>(), parameters.entries[*parameter].width());
        }
    }

    /// The gradient of a table, if the parameter is one.
    pub(crate) fn gradient(&self, parameter: usize) -> Option<Gradient<'_>> {
        if let Some((_, sum)) = self.shared.iter().find(|(index, _)| *index == parameter) {
            return Some(sum.gradient());
        }
        self.lookups.iter().find(|lookup| lookup.parameter == parameter).map(|lookup| lookup.gradients.gradient())
    }

    /// The gradients of all lookups, those of shared tables apart.
    pub(crate) fn gradients_of_lookups(&self) -> impl Iterator<Item = Gradient<'_>> {
        self.lookups.iter().map(|lookup| lookup.gradients.gradient())
    }

    /// Notes that a step was done: the rows with a gradient have moved, the others of waiting tables have missed it. Tells whether the
    /// tables have to be settled.
    pub(crate) fn stepped(&mut self, rates: &StepRates) -> bool {
        let Some(idle) = self.idle.as_mut().filter(|_| !self.waiting.is_empty()) else { return false };
        idle.record(rates);
        for table in &mut self.waiting {
            let lookups = self.lookups.iter().filter(|lookup| lookup.parameter == table.parameter);
            for row in lookups.flat_map(|lookup| &lookup.gradients.rows) {
                table.done[*row as usize] = idle.count();
            }
        }
        idle.is_full()
    }
}

/// Some rows of a waiting table with their moments.
struct TablePart<'a> {
    first_row: usize,
    width: usize,
    /// The slots of the id columns that are looked up in the table.
    columns: &'a [usize],
    weights: &'a mut [f32],
    moments: [&'a mut [f32]; 2],
    done: &'a mut [u32],
}

/// All waiting tables, each cut into `count` parts.
fn parts<'a>(
    waiting: &'a mut [WaitingTable],
    parameters: &'a mut Parameters,
    slots: &'a mut [Vec<Vec<f32>>],
    count: usize,
) -> Vec<TablePart<'a>> {
    let [m, v] = slots else { unreachable!("only Adam's rows wait, and it has two slots") };
    let mut tables = waiting.iter_mut().peekable();
    let mut parts = Vec::new();
    for (parameter, ((entry, m), v)) in parameters.entries.iter_mut().zip(m).zip(v).enumerate() {
        let Some(table) = tables.next_if(|table| table.parameter == parameter) else { continue };
        let width = entry.width();
        let rows = table.done.len().div_ceil(count).max(1);
        let moments = m.chunks_mut(rows * width).zip(v.chunks_mut(rows * width));
        let pieces = entry.values.chunks_mut(rows * width).zip(moments).zip(table.done.chunks_mut(rows)).enumerate();
        parts.extend(pieces.map(|(i, ((weights, (m, v)), done))| TablePart {
            first_row: i * rows,
            width,
            columns: &table.columns,
            weights,
            moments: [m, v],
            done,
        }));
    }
    parts
}

impl TablePart<'_> {
    /// Takes rows that have come equally far to the last step.
    fn catch_up(&mut self, idle: &IdleSteps, rows: Range<usize>) {
        let elements = rows.start * self.width..rows.end * self.width;
        let [m, v] = &mut self.moments;
        idle.catch_up(self.done[rows.start], &mut self.weights[elements.clone()], &mut m[elements.clone()], &mut v[elements]);
        self.done[rows].fill(idle.count());
    }
}

//! Dynamic tables in training: rows are added when keys have come often enough, and removed when they have not come for long.
//!
//! Both depend on the rows trained on and the number of steps alone, so a run that is resumed has the same bits as one that never
//! stopped. Keys are looked for that are to be forgotten (`steps_to_live`) after every `save_checkpoints_steps` steps, as DeepRec does
//! when it saves, but not at checkpoints of other steps; where checkpoints are not saved by steps, after every `steps_to_live` of them.

use std::borrow::Cow;

use rankmill_data::FeatureBatch;
use rankmill_model::{DynamicTable, Model, ParameterError, Parameters, with_rows};
use rankmill_nn::init::Initializer;

use crate::optimizers::Optimizers;
use crate::tables::Tables;

/// What a dynamic table has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicTableReport {
    /// The feature's name, or the `embedding_name` that several features share.
    pub name: String,
    /// Ids that have a row.
    pub rows: usize,
    /// Ids that are known, with a row or without.
    pub known: usize,
    /// The most ids that may be known.
    pub max_capacity: u64,
    /// How often in this process an id came that was not taken in, since the table was full.
    pub refused: u64,
    /// Ids that this process has forgotten.
    pub forgotten: u64,
}

/// What grows and shrinks with the keys.
pub(crate) struct State<'a> {
    pub(crate) parameters: &'a mut Parameters,
    pub(crate) slots: &'a mut [Vec<Vec<f32>>],
    pub(crate) tables: &'a mut Tables,
}

/// All dynamic tables of a model in training.
pub(crate) struct DynamicTables {
    tables: Vec<DynamicTable>,
    /// How the rows of each parameter start, for each of `tables`.
    starts: Vec<Vec<RowStart>>,
    counts: Vec<Counts>,
    save_every: u64,
}

/// How the rows of a table start.
struct RowStart {
    parameter: usize,
    width: usize,
    initializer: Initializer,
    /// The first values of the optimizer's slots.
    slots: Vec<f32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    refused: u64,
    forgotten: u64,
    /// Whether it was told that the table is full.
    told: bool,
}

impl DynamicTables {
    pub(crate) fn new(model: &Model, optimizers: &Optimizers, save_every: u64) -> DynamicTables {
        let start = |&parameter: &usize| {
            let slot = &model.graph.parameters()[parameter];
            let optimizer = &optimizers.groups[optimizers.group_of(&slot.name)].optimizer;
            RowStart {
                parameter,
                width: slot.shape.dims[1],
                initializer: model.initializers[parameter].clone(),
                slots: optimizer.slots().iter().map(|slot| slot.initial).collect(),
            }
        };
        let starts = model.dynamic.iter().map(|table| table.parameters.iter().map(start).collect()).collect();
        DynamicTables { tables: model.dynamic.clone(), starts, counts: vec![Counts::default(); model.dynamic.len()], save_every }
    }

    /// Counts the keys of a batch, gives rows to those that have come often enough, and puts rows in the place of keys.
    pub(crate) fn admit<'a>(&mut self, batch: &'a FeatureBatch, step: u64, seed: u64, state: State<'_>) -> Cow<'a, FeatureBatch> {
        let State { parameters, slots, tables } = state;
        let (starts, counts) = (&self.starts, &mut self.counts);
        let specs = &self.tables;
        with_rows(batch, specs, |at, lists| {
            let keys = parameters.keys.iter_mut().find(|keys| keys.name() == specs[at].name);
            let admitted = keys.expect("a model has the keys of its tables").admit(lists, step, &specs[at].spec);
            counts[at].refused += admitted.refused;
            for start in starts[at].iter().filter(|_| !admitted.new.is_empty()) {
                start.add_rows(&admitted.new, seed, parameters, slots, tables);
            }
            admitted.rows
        })
    }

    /// Whether keys are to be forgotten now that so many steps are done.
    pub(crate) fn is_due(&self, step: u64) -> bool {
        self.tables.iter().any(|table| self.is_table_due(table, step))
    }

    fn is_table_due(&self, table: &DynamicTable, step: u64) -> bool {
        let every = |steps_to_live| if self.save_every > 0 { self.save_every } else { steps_to_live };
        table.spec.steps_to_live.is_some_and(|steps_to_live| step.is_multiple_of(every(steps_to_live)))
    }

    /// Forgets the keys that have not come for long, with their rows; no rows may wait.
    pub(crate) fn forget(&mut self, step: u64, state: State<'_>) {
        let State { parameters, slots, tables } = state;
        for (at, table) in self.tables.iter().enumerate() {
            let Some(steps_to_live) = table.spec.steps_to_live.filter(|_| self.is_table_due(table, step)) else { continue };
            let Some(keys) = parameters.keys.iter_mut().find(|keys| keys.name() == table.name) else { continue };
            let known = keys.known();
            let Some(kept) = keys.forget(step, steps_to_live) else { continue };
            self.counts[at].forgotten += (known - keys.known()) as u64;
            for start in &self.starts[at] {
                start.keep_rows(&kept, parameters, slots, tables);
            }
        }
    }

    /// Takes the keys of saved variables, and gives all tables as many rows as there are keys.
    pub(crate) fn restore(&self, saved: &Parameters, state: State<'_>) -> Result<(), ParameterError> {
        let State { parameters, slots, tables } = state;
        for (table, starts) in self.tables.iter().zip(&self.starts) {
            let missing = || ParameterError::MissingKeys { name: table.name.clone() };
            let found = saved.keys_of(&table.name).ok_or_else(missing)?.clone();
            let rows = found.rows();
            parameters.keys.iter_mut().filter(|keys| keys.name() == table.name).for_each(|keys| *keys = found.clone());
            for start in starts {
                let entry = &mut parameters.entries[start.parameter];
                entry.values.resize(rows * start.width, 0.0);
                entry.shape[0] = rows;
                for (slot, initial) in slots.iter_mut().zip(&start.slots) {
                    slot[start.parameter].resize(rows * start.width, *initial);
                }
                tables.resize(start.parameter, rows);
            }
        }
        Ok(())
    }

    /// Names and capacities of the tables that have become full, each once.
    pub(crate) fn newly_full(&mut self) -> Vec<(&str, u64)> {
        let full = self.tables.iter().zip(&mut self.counts).filter(|(_, counts)| counts.refused > 0 && !counts.told);
        full.map(|(table, counts)| {
            counts.told = true;
            (table.name.as_str(), table.spec.max_capacity)
        })
        .collect()
    }

    pub(crate) fn reports(&self, parameters: &Parameters) -> Vec<DynamicTableReport> {
        let report = |(table, counts): (&DynamicTable, &Counts)| {
            let keys = parameters.keys_of(&table.name);
            DynamicTableReport {
                name: table.name.clone(),
                rows: keys.map_or(0, |keys| keys.rows() - 1),
                known: keys.map_or(0, |keys| keys.known()),
                max_capacity: table.spec.max_capacity,
                refused: counts.refused,
                forgotten: counts.forgotten,
            }
        };
        self.tables.iter().zip(&self.counts).map(report).collect()
    }
}

impl RowStart {
    /// Adds the rows of some keys.
    fn add_rows(&self, keys: &[u64], seed: u64, parameters: &mut Parameters, slots: &mut [Vec<Vec<f32>>], tables: &mut Tables) {
        let entry = &mut parameters.entries[self.parameter];
        let before = entry.values.len();
        let more = keys.len() * self.width;
        extend(&mut entry.values, more, 0.0);
        for (key, row) in keys.iter().zip(entry.values[before..].chunks_mut(self.width)) {
            self.initializer.fill_row(seed, &entry.name, *key, row);
        }
        entry.shape[0] += keys.len();
        for (slot, initial) in slots.iter_mut().zip(&self.slots) {
            extend(&mut slot[self.parameter], more, *initial);
        }
        tables.resize(self.parameter, entry.shape[0]);
    }

    /// Keeps some rows, which are in ascending order.
    fn keep_rows(&self, rows: &[u32], parameters: &mut Parameters, slots: &mut [Vec<Vec<f32>>], tables: &mut Tables) {
        let keep = |values: &mut Vec<f32>| {
            for (to, from) in rows.iter().enumerate() {
                let from = *from as usize * self.width;
                values.copy_within(from..from + self.width, to * self.width);
            }
            values.truncate(rows.len() * self.width);
        };
        let entry = &mut parameters.entries[self.parameter];
        keep(&mut entry.values);
        entry.shape[0] = rows.len();
        slots.iter_mut().take(self.slots.len()).for_each(|slot| keep(&mut slot[self.parameter]));
        tables.resize(self.parameter, rows.len());
    }
}

/// Adds elements, with room for a quarter more where there is none: doubling would need half of the memory for nothing.
fn extend(values: &mut Vec<f32>, more: usize, value: f32) {
    if values.capacity() - values.len() < more {
        values.reserve_exact(more.max(values.len() / 4));
    }
    values.resize(values.len() + more, value);
}

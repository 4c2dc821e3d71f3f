//! Dynamic tables (`ev_params`): an id has a row of its own, without collisions, once it has come often enough.
//!
//! Ids are *keys* of 63 bits: the fingerprint of a text, an integer itself, or the place of a word in its vocabulary.
//! [`TableKeys`] knows which row a key has; tables of the same feature in several groups, and features that share a table, have the same
//! keys. What EasyRec hands to DeepRec's embedding variables is kept as DeepRec documents it:
//!
//! - Row 0 is that of all keys without one: zeros, which no step moves (`default_value_no_permission`, 0.0). An id without a row counts
//!   among the ids of a mean, and its gradient is dropped.
//! - How often a key occurs in the rows of a batch is counted before the batch is computed. A key that has come `filter_freq` times gets
//!   the next row (`CounterFilter`), with the initial values that its key and the seed say.
//! - A key that has not come for more than `steps_to_live` steps is forgotten, with its row and its count (`GlobalStepEvict`).
//! - When `max_capacity` keys are known, others are not taken in; they are counted. (DeepRec grows without bound.)
//!
//! Rows are numbered in the order in which keys get them, which follows from the rows trained on alone.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rankmill_data::{Column, DynamicSpec, FeatureBatch, FeatureSpec, Positions};
use rankmill_graph::Graph;

/// The tables of a model that are looked up by the same keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicTable {
    /// The feature's name, or the `embedding_name` that several features share.
    pub name: String,
    /// When keys come and go.
    pub spec: DynamicSpec,
    /// The features whose keys they are, by their columns.
    pub features: Vec<usize>,
    /// The tables, by the numbers of the graph's parameters.
    pub parameters: Vec<usize>,
}

impl DynamicTable {
    /// The dynamic tables of a graph.
    pub(crate) fn of(specs: &[FeatureSpec], graph: &Graph) -> Vec<DynamicTable> {
        let mut tables: Vec<DynamicTable> = Vec::new();
        for (feature, spec) in specs.iter().enumerate() {
            let Some(dynamic) = spec.dynamic else { continue };
            let name = keys_name(spec);
            match tables.iter_mut().find(|table| table.name == name) {
                Some(known) => known.features.push(feature),
                None => {
                    let slots = graph.parameters().iter().enumerate();
                    let parameters = slots.filter(|(_, slot)| slot.keys.as_deref() == Some(name)).map(|(at, _)| at).collect();
                    tables.push(DynamicTable { name: name.to_owned(), spec: dynamic, features: vec![feature], parameters });
                }
            }
        }
        tables
    }
}

/// The name of the keys of a feature's tables.
pub(crate) fn keys_name(spec: &FeatureSpec) -> &str {
    spec.embedding_name.as_deref().unwrap_or(&spec.name)
}

/// A key that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    key: u64,
    /// 0 if it has none.
    row: u32,
    /// How often it has come.
    count: u32,
    /// The step that it last came in.
    last_step: u64,
}

/// The keys of a dynamic table: which row each has, and which may come to have one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableKeys {
    name: String,
    known: Vec<Known>,
    /// For each key its place in `known`.
    places: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
    /// Keys that have a row.
    with_row: u32,
}

/// What a batch did to the keys of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The row of each key, list by list.
    pub rows: Vec<Vec<u32>>,
    /// The keys that have got a row, in the order of their rows, which follow those that there were.
    pub new: Vec<u64>,
    /// How many of the keys were not taken in, since the table is full.
    pub refused: u64,
}

/// What a checkpoint keeps of the keys of a table beside those that have a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// How often the keys that have a row have come, in the order of their rows.
    pub counts: Vec<i64>,
    /// The steps that they last came in.
    pub last_steps: Vec<i64>,
    /// The keys that have none.
    pub filtered_keys: Vec<i64>,
    /// How often those have come.
    pub filtered_counts: Vec<i64>,
    /// The steps that those last came in.
    pub filtered_last_steps: Vec<i64>,
}

impl TableKeys {
    /// No keys.
    pub fn new(name: &str) -> TableKeys {
        TableKeys { name: name.to_owned(), ..TableKeys::default() }
    }

    /// Keys that have the rows from 1 on, in that order.
    ///
    /// # Errors
    /// If one comes twice or is none.
    pub fn with_keys(name: &str, keys: &[i64]) -> Result<TableKeys, String> {
        let mut table = TableKeys::new(name);
        for key in keys {
            table.push(*key, table.with_row + 1, 0, 0)?;
            table.with_row += 1;
        }
        Ok(table)
    }

    /// Whose keys they are.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Rows of the tables: one for each key that has one, and row 0.
    pub fn rows(&self) -> usize {
        self.with_row as usize + 1
    }

    /// Keys that are known, with a row or without.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// The row of a key.
    #[inline]
    pub fn row(&self, key: u64) -> u32 {
        self.places.get(&key).map_or(0, |place| self.known[*place as usize].row)
    }

    /// The keys that have a row, in the order of their rows, from row 1 on.
    pub fn keys(&self) -> Vec<i64> {
        self.by_row().iter().map(|known| known.key as i64).collect()
    }

    /// Counts the keys of a batch and gives rows to those that have come often enough.
    pub fn admit(&mut self, lists: &[&[u64]], step: u64, spec: &DynamicSpec) -> Admitted {
        let mut admitted = Admitted::default();
        let mut places = Vec::with_capacity(lists.iter().map(|keys| keys.len()).sum());
        for key in lists.iter().copied().flatten() {
            let place = self.count(*key, step, spec.max_capacity);
            admitted.refused += u64::from(place.is_none());
            places.push(place);
        }
        let mut places = places.into_iter();
        for keys in lists {
            let rows = places.by_ref().take(keys.len()).map(|place| {
                let known = &mut self.known[place? as usize];
                if known.row == 0 && u64::from(known.count) >= spec.filter_freq {
                    self.with_row += 1;
                    known.row = self.with_row;
                    admitted.new.push(known.key);
                }
                Some(known.row)
            });
            admitted.rows.push(rows.map(Option::unwrap_or_default).collect());
        }
        admitted
    }

    /// Forgets the keys that have not come for more than `steps_to_live` steps before `step`. Gives the rows that stay, ascending, row 0
    /// among them: the i-th becomes row i. `None` if all keys stay.
    pub fn forget(&mut self, step: u64, steps_to_live: u64) -> Option<Vec<u32>> {
        let lives = |known: &Known| step.saturating_sub(known.last_step) <= steps_to_live;
        if self.known.iter().all(lives) {
            return None;
        }
        let mut rows: Vec<u32> = self.known.iter().filter(|known| known.row > 0 && lives(known)).map(|known| known.row).collect();
        rows.push(0);
        rows.sort_unstable();
        self.known.retain(lives);
        self.places.clear();
        for (place, known) in self.known.iter_mut().enumerate() {
            known.row = rows.binary_search(&known.row).expect("the rows of all keys that stay") as u32;
            self.places.insert(known.key, place as u32);
        }
        self.with_row = rows.len() as u32 - 1;
        Some(rows)
    }

    /// What a checkpoint keeps beside [`TableKeys::keys`].
    pub fn admission(&self) -> Admission {
        let by_row = self.by_row();
        let mut filtered: Vec<&Known> = self.known.iter().filter(|known| known.row == 0).collect();
        filtered.sort_unstable_by_key(|known| known.key);
        Admission {
            counts: by_row.iter().map(|known| i64::from(known.count)).collect(),
            last_steps: by_row.iter().map(|known| known.last_step as i64).collect(),
            filtered_keys: filtered.iter().map(|known| known.key as i64).collect(),
            filtered_counts: filtered.iter().map(|known| i64::from(known.count)).collect(),
            filtered_last_steps: filtered.iter().map(|known| known.last_step as i64).collect(),
        }
    }

    /// Puts back what [`TableKeys::admission`] gave.
    ///
    /// # Errors
    /// If the lists don't fit the keys, or each other.
    pub fn restore(&mut self, admission: &Admission) -> Result<(), String> {
        let Admission { counts, last_steps, filtered_keys, filtered_counts, filtered_last_steps } = admission;
        let lengths = [counts.len(), last_steps.len(), filtered_counts.len(), filtered_last_steps.len()];
        if lengths != [self.known.len(), self.known.len(), filtered_keys.len(), filtered_keys.len()] {
            return Err(format!("the keys of `{}`, their counts and steps have different lengths", self.name));
        }
        // Keys that have rows stand in their order after loading.
        for (known, (count, step)) in self.known.iter_mut().zip(counts.iter().zip(last_steps)) {
            (known.count, known.last_step) = (number(*count)?, number(*step)?);
        }
        for (key, (count, step)) in filtered_keys.iter().zip(filtered_counts.iter().zip(filtered_last_steps)) {
            self.push(*key, 0, number(*count)?, number(*step)?)?;
        }
        Ok(())
    }

    fn push(&mut self, key: i64, row: u32, count: u32, last_step: u64) -> Result<(), String> {
        let key = u64::try_from(key).map_err(|_| format!("{key} is no key of `{}`", self.name))?;
        let place = u32::try_from(self.known.len()).map_err(|_| format!("`{}` has too many keys", self.name))?;
        if self.places.insert(key, place).is_some() {
            return Err(format!("key {key} of `{}` comes twice", self.name));
        }
        self.known.push(Known { key, row, count, last_step });
        Ok(())
    }

    /// The place of a key that has come once more; `None` if there is no room for it.
    #[inline]
    fn count(&mut self, key: u64, step: u64, capacity: u64) -> Option<u32> {
        if let Some(place) = self.places.get(&key) {
            let known = &mut self.known[*place as usize];
            known.count = known.count.saturating_add(1);
            known.last_step = step;
            return Some(*place);
        }
        if self.known.len() as u64 >= capacity {
            return None;
        }
        let place = self.known.len() as u32;
        self.places.insert(key, place);
        self.known.push(Known { key, row: 0, count: 1, last_step: step });
        Some(place)
    }

    fn by_row(&self) -> Vec<Known> {
        let mut known: Vec<Known> = self.known.iter().filter(|known| known.row > 0).copied().collect();
        known.sort_unstable_by_key(|known| known.row);
        known
    }
}

fn number<T: TryFrom<i64>>(number: i64) -> Result<T, String> {
    T::try_from(number).map_err(|_| format!("{number} is no count and no step"))
}

/// The batch with rows in place of keys, which `rows_of` gives for the lists of keys of each table's features.
pub fn with_rows<'a>(
    batch: &'a FeatureBatch,
    tables: &[DynamicTable],
    mut rows_of: impl FnMut(usize, &[&[u64]]) -> Vec<Vec<u32>>,
) -> Cow<'a, FeatureBatch> {
    if tables.is_empty() {
        return Cow::Borrowed(batch);
    }
    let mut columns = batch.columns.clone();
    for (at, table) in tables.iter().enumerate() {
        let lists: Vec<&[u64]> = table.features.iter().map(|feature| batch.table_keys[*feature].as_slice()).collect();
        for (feature, rows) in table.features.iter().zip(rows_of(at, &lists)) {
            let ids = match &mut columns[*feature] {
                Column::Ids(column) => &mut column.ids,
                Column::Sequence(sequence) => match &mut sequence.positions {
                    Positions::Ids(column) => &mut column.ids,
                    Positions::Dense(_) => unreachable!("features of dynamic tables have ids"),
                },
                Column::Dense(_) => unreachable!("features of dynamic tables have ids"),
            };
            ids.iter_mut().for_each(|id| *id = rows[*id as usize]);
        }
    }
    let (labels, sample_weights, keys) = (batch.labels.clone(), batch.sample_weights.clone(), batch.keys.clone());
    Cow::Owned(FeatureBatch { rows: batch.rows, columns, labels, sample_weights, keys, ..FeatureBatch::default() })
}

/// Spreads keys, which may be small numbers, over all bits.
#[derive(Clone, Copy, Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline]
    fn write_u64(&mut self, key: u64) {
        let z = (self.0 ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = z ^ (z >> 32);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

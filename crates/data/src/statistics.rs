//! What the features looked like over a run: missing values, values out of range, features that never change.

use std::ops::Range;

use rankmill_kernels::ids::IdColumn;

use crate::batch::{Column, DenseColumn, FeatureBatch, FeatureSpec, Positions, SequenceColumn};

/// Counts over all batches that were observed.
#[derive(Clone, Debug)]
pub struct Statistics {
    features: Vec<(FeatureStatistics, Constancy)>,
}

/// What one feature looked like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureStatistics {
    /// The feature's name.
    pub name: String,
    /// Rows seen.
    pub rows: u64,
    /// Rows without a value: an empty field (also one that took a default), no tags, or -1 where that means missing.
    pub missing: u64,
    /// Values outside `num_buckets` or the vocabulary; they became row 0.
    pub out_of_range: u64,
    /// What the feature always was, if it was the same in all rows (two or more).
    pub constant: Option<String>,
}

/// Whether a feature was the same in all rows so far.
#[derive(Clone, Debug)]
enum Constancy {
    Unseen,
    Same(RowValue),
    Varied,
}

/// The value of a feature in one row.
#[derive(Clone, Debug, PartialEq)]
enum RowValue {
    Ids(Vec<u32>, Option<Vec<f32>>),
    Dense(Vec<f32>),
    Sequence(Vec<RowValue>),
}

impl Statistics {
    /// Nothing observed yet.
    #[must_use]
    pub fn new(specs: &[FeatureSpec]) -> Statistics {
        let start = |spec: &FeatureSpec| {
            let counts = FeatureStatistics { name: spec.name.clone(), rows: 0, missing: 0, out_of_range: 0, constant: None };
            (counts, Constancy::Unseen)
        };
        Statistics { features: specs.iter().map(start).collect() }
    }

    /// Adds a batch.
    pub fn observe(&mut self, batch: &FeatureBatch) {
        let features = self.features.iter_mut().zip(&batch.columns).zip(&batch.observed.features).enumerate();
        for (at, (((counts, constancy), column), observed)) in features {
            counts.rows += batch.rows as u64;
            counts.missing += observed.missing;
            counts.out_of_range += observed.out_of_range;
            // The ids of a dynamic table are numbers of keys: they differ in all rows, whatever the keys.
            let is_keyed = batch.table_keys.get(at).is_some_and(|keys| !keys.is_empty());
            for row in if is_keyed { 0..0 } else { 0..batch.rows } {
                match constancy {
                    Constancy::Unseen => *constancy = Constancy::Same(RowValue::of(column, row)),
                    Constancy::Same(value) if value.is(column, row) => {}
                    Constancy::Same(_) => *constancy = Constancy::Varied,
                    Constancy::Varied => break,
                }
            }
        }
    }

    /// The features in the order of the columns.
    #[must_use]
    pub fn features(&self) -> Vec<FeatureStatistics> {
        let finish = |(counts, constancy): &(FeatureStatistics, Constancy)| {
            let constant = match constancy {
                Constancy::Same(value) if counts.rows > 1 => Some(value.describe()),
                _ => None,
            };
            FeatureStatistics { constant, ..counts.clone() }
        };
        self.features.iter().map(finish).collect()
    }
}

fn span(column: &IdColumn, row: usize) -> Range<usize> {
    column.offsets[row] as usize..column.offsets[row + 1] as usize
}

/// The positions of a row of sequences.
fn positions(column: &SequenceColumn, row: usize) -> Range<usize> {
    column.offsets[row] as usize..column.offsets[row + 1] as usize
}

impl RowValue {
    fn of(column: &Column, row: usize) -> RowValue {
        match column {
            Column::Ids(ids) => RowValue::of_ids(ids, row),
            Column::Dense(dense) => RowValue::Dense(dense.row(row).to_vec()),
            Column::Sequence(sequence) => RowValue::Sequence(
                positions(sequence, row)
                    .map(|position| match &sequence.positions {
                        Positions::Ids(ids) => RowValue::of_ids(ids, position),
                        Positions::Dense(dense) => RowValue::Dense(dense.row(position).to_vec()),
                    })
                    .collect(),
            ),
        }
    }

    fn of_ids(column: &IdColumn, row: usize) -> RowValue {
        let weights = column.weights.as_ref().map(|weights| weights[span(column, row)].to_vec());
        RowValue::Ids(column.ids[span(column, row)].to_vec(), weights)
    }

    fn is(&self, column: &Column, row: usize) -> bool {
        match (self, column) {
            (RowValue::Sequence(values), Column::Sequence(sequence)) => {
                let same = |(value, position): (&RowValue, usize)| match &sequence.positions {
                    Positions::Ids(ids) => value.is_ids(ids, position),
                    Positions::Dense(dense) => value.is_dense(dense, position),
                };
                values.len() == sequence.length(row) && values.iter().zip(positions(sequence, row)).all(same)
            }
            (_, Column::Ids(ids)) => self.is_ids(ids, row),
            (_, Column::Dense(dense)) => self.is_dense(dense, row),
            _ => false,
        }
    }

    fn is_ids(&self, column: &IdColumn, row: usize) -> bool {
        let RowValue::Ids(value, weights) = self else { return false };
        *value == column.ids[span(column, row)]
            && match (weights, &column.weights) {
                (Some(weights), Some(all)) => *weights == all[span(column, row)],
                _ => true,
            }
    }

    fn is_dense(&self, column: &DenseColumn, row: usize) -> bool {
        matches!(self, RowValue::Dense(value) if *value == column.row(row))
    }

    fn describe(&self) -> String {
        match self {
            RowValue::Ids(ids, _) if ids.is_empty() => "no value".to_string(),
            RowValue::Ids(ids, _) if ids.len() == 1 => format!("row {} of its table", ids[0]),
            RowValue::Ids(ids, _) => {
                let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
                format!("rows {} of its table", ids.join(", "))
            }
            RowValue::Dense(values) => {
                let values: Vec<_> = values.iter().map(f32::to_string).collect();
                format!("the value {}", values.join(", "))
            }
            RowValue::Sequence(values) if values.is_empty() => "no value".to_string(),
            RowValue::Sequence(values) => format!("a sequence of length {} that begins with {}", values.len(), values[0].describe()),
        }
    }
}

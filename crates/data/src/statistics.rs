//! What the features looked like over a run: missing values, values out of range, features that never change.

use rankmill_kernels::ids::IdColumn;

use crate::batch::{Column, FeatureBatch, FeatureSpec};

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
        for (((counts, constancy), column), observed) in self.features.iter_mut().zip(&batch.columns).zip(&batch.observed.features) {
            counts.rows += batch.rows as u64;
            counts.missing += observed.missing;
            counts.out_of_range += observed.out_of_range;
            for row in 0..batch.rows {
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

fn span(column: &IdColumn, row: usize) -> std::ops::Range<usize> {
    column.offsets[row] as usize..column.offsets[row + 1] as usize
}

impl RowValue {
    fn of(column: &Column, row: usize) -> RowValue {
        match column {
            Column::Ids(ids) => {
                let weights = ids.weights.as_ref().map(|weights| weights[span(ids, row)].to_vec());
                RowValue::Ids(ids.ids[span(ids, row)].to_vec(), weights)
            }
            Column::Dense(dense) => RowValue::Dense(dense.values[row * dense.width..(row + 1) * dense.width].to_vec()),
        }
    }

    fn is(&self, column: &Column, row: usize) -> bool {
        match (self, column) {
            (RowValue::Ids(value, weights), Column::Ids(ids)) => {
                *value == ids.ids[span(ids, row)]
                    && match (weights, &ids.weights) {
                        (Some(weights), Some(all)) => *weights == all[span(ids, row)],
                        _ => true,
                    }
            }
            (RowValue::Dense(value), Column::Dense(dense)) => *value == dense.values[row * dense.width..(row + 1) * dense.width],
            _ => false,
        }
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
        }
    }
}

//! How a batch of features meets the graph: which column goes to which slot.

use rankmill_data::{Column, FeatureBatch, FeatureKind, FeatureSpec};
use rankmill_graph::Feed;
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::view::MatRef;

/// Where a feature's column goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// An id column.
    Ids(usize),
    /// A dense matrix of this width.
    Dense(usize, usize),
    /// A column of sequences.
    Sequence(usize),
}

/// The slots of all features: id columns and dense columns are counted apart, labels follow the dense columns, then the sample
/// weights.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    features: Vec<Slot>,
    dense: usize,
}

impl Slots {
    pub(crate) fn new(specs: &[FeatureSpec]) -> Slots {
        let (mut ids, mut dense, mut sequences) = (0, 0, 0);
        let features = specs
            .iter()
            .map(|spec| match spec.kind {
                FeatureKind::Ids { .. } => {
                    ids += 1;
                    Slot::Ids(ids - 1)
                }
                FeatureKind::Dense { width } => {
                    dense += 1;
                    Slot::Dense(dense - 1, width)
                }
                FeatureKind::IdSequence { .. } | FeatureKind::DenseSequence { .. } => {
                    sequences += 1;
                    Slot::Sequence(sequences - 1)
                }
            })
            .collect();
        Slots { features, dense }
    }

    pub(crate) fn feature(&self, index: usize) -> Slot {
        self.features[index]
    }

    pub(crate) fn label(&self, index: usize) -> usize {
        self.dense + index
    }

    pub(crate) fn sample_weights(&self, labels: usize) -> usize {
        self.dense + labels
    }
}

/// A batch as the graph reads it.
pub struct BatchFeed<'a> {
    rows: usize,
    dense: Vec<MatRef<'a>>,
    ids: Vec<&'a IdColumn>,
    seed: u64,
}

impl<'a> BatchFeed<'a> {
    /// The feed of a batch; `seed` is that of the step's random numbers.
    pub fn new(batch: &'a FeatureBatch, seed: u64) -> BatchFeed<'a> {
        let mut dense = Vec::new();
        let mut ids = Vec::new();
        for column in &batch.columns {
            match column {
                Column::Ids(column) => ids.push(column),
                Column::Dense(column) => dense.push(MatRef::new(&column.values, batch.rows, column.width)),
                Column::Sequence(_) => {}
            }
        }
        let columns = batch.labels.iter().chain(&batch.sample_weights);
        dense.extend(columns.map(|values| MatRef::new(values, batch.rows, values.len() / batch.rows.max(1))));
        BatchFeed { rows: batch.rows, dense, ids, seed }
    }

    /// The feed itself.
    pub fn feed(&self) -> Feed<'_> {
        Feed { rows: self.rows, lengths: &[], dense: &self.dense, ids: &self.ids, seed: self.seed }
    }
}

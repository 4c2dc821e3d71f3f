//! How a batch of features meets the graph: which column goes to which slot.

use std::collections::{BTreeMap, BTreeSet};

use rankmill_data::{Column, FeatureBatch, FeatureKind, FeatureSet, FeatureSpec};
use rankmill_graph::Feed;
use rankmill_graph::onnx::{IdCount, IdInput, InputNames};
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::view::MatRef;

use crate::feed_sequences::{FedSequences, FeedPlan, SequenceSlot};

/// Where a feature's column goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// An id column.
    Ids(usize),
    /// A dense matrix of this width.
    Dense(usize, usize),
    /// A column of sequences, of which [`FeedPlan`] makes what the graph reads.
    Sequence(SequenceSlot),
}

/// A column that is made from the keys of a batch: losses compare rows by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// Which of the batch's keys.
    pub key: usize,
    /// What becomes of it.
    pub form: KeyForm,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// The keys of the batch numbered in the order in which they appear: equal numbers, equal keys.
    Numbered,
    /// 1 for the first row of each key, else 0.
    First,
    /// 1 where the key is this one, else 0.
    Is(u64),
}

impl KeyColumn {
    fn values(self, batch: &FeatureBatch) -> Vec<f32> {
        let keys = &batch.keys[self.key];
        match self.form {
            KeyForm::Is(wanted) => keys.iter().map(|key| f32::from(u8::from(*key == wanted))).collect(),
            KeyForm::First => {
                let mut seen = BTreeSet::new();
                keys.iter().map(|key| f32::from(u8::from(seen.insert(*key)))).collect()
            }
            KeyForm::Numbered => {
                let mut numbers = BTreeMap::new();
                let mut number = |key: &u64| {
                    let next = numbers.len() as f32;
                    *numbers.entry(*key).or_insert(next)
                };
                keys.iter().map(&mut number).collect()
            }
        }
    }
}

/// The key columns of a batch.
pub struct BatchKeys(Vec<Vec<f32>>);

impl BatchKeys {
    /// Makes the columns that a model reads.
    pub fn new(columns: &[KeyColumn], batch: &FeatureBatch) -> BatchKeys {
        BatchKeys(columns.iter().map(|column| column.values(batch)).collect())
    }
}

/// The slots of all features: id columns and dense columns are counted apart, labels follow the dense columns, then the sample
/// weights (empty if there are none), then the key columns. A sequence has the dense columns of [`SequenceSlot`]; its ids follow those of
/// all other features.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    features: Vec<Slot>,
    ids: usize,
    dense: usize,
    labels: usize,
}

impl Slots {
    pub(crate) fn new(specs: &[FeatureSpec], labels: usize) -> Slots {
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
                    dense += SequenceSlot::DENSE;
                    Slot::Sequence(SequenceSlot { place: sequences - 1, dense: dense - SequenceSlot::DENSE })
                }
            })
            .collect();
        Slots { features, ids, dense, labels }
    }

    pub(crate) fn feature(&self, index: usize) -> Slot {
        self.features[index]
    }

    /// The id slots of features that are no sequences: those of sequences follow.
    pub(crate) fn ids(&self) -> usize {
        self.ids
    }

    pub(crate) fn label(&self, index: usize) -> usize {
        self.dense + index
    }

    pub(crate) fn sample_weights(&self) -> usize {
        self.dense + self.labels
    }

    pub(crate) fn key_column(&self, index: usize) -> usize {
        self.dense + self.labels + 1 + index
    }
}

/// What the slots of a model are called outside: as the features that fill them. Of a sequence there are also the lengths of its rows, and
/// what is cut at `max_seq_len`.
pub fn input_names(features: &FeatureSet, feed: &FeedPlan) -> InputNames {
    let mut names = InputNames::default();
    for (i, spec) in features.specs().iter().enumerate() {
        match spec.kind {
            FeatureKind::Ids { weighted, .. } => {
                let count = match features.most_ids(i) {
                    Some(1) => IdCount::One,
                    Some(most) => IdCount::Fixed(most),
                    None => IdCount::Any,
                };
                names.ids.push(IdInput { name: spec.name.clone(), is_weighted: weighted, count });
            }
            FeatureKind::Dense { .. } => names.dense.push(spec.name.clone()),
            FeatureKind::IdSequence { .. } | FeatureKind::DenseSequence { .. } => {
                let name = &spec.name;
                names.dense.extend([format!("{name}_length"), format!("{name}_cut_length"), name.clone(), format!("{name}_cut")]);
            }
        }
    }
    names.ids.extend(feed.id_inputs(features.specs()));
    names
}

/// A batch as the graph reads it.
pub struct BatchFeed<'a> {
    rows: usize,
    lengths: &'a [usize],
    dense: Vec<MatRef<'a>>,
    ids: Vec<&'a IdColumn>,
    seed: u64,
}

impl<'a> BatchFeed<'a> {
    /// The feed of a batch, of its key columns, and of what [`FeedPlan::sequences`] made of its sequences;
    /// `seed` is that of the step's random numbers.
    pub fn new(batch: &'a FeatureBatch, keys: &'a BatchKeys, sequences: &'a FedSequences, seed: u64) -> BatchFeed<'a> {
        let mut dense = Vec::new();
        let mut ids = Vec::new();
        let mut of_sequences = sequences.dense();
        for column in &batch.columns {
            match column {
                Column::Ids(column) => ids.push(column),
                Column::Dense(column) => dense.push(MatRef::new(&column.values, batch.rows, column.width)),
                Column::Sequence(_) => dense.extend(of_sequences.next().into_iter().flatten()),
            }
        }
        ids.extend(sequences.ids());
        let column = |values: &'a [f32]| MatRef::new(values, batch.rows, values.len() / batch.rows.max(1));
        dense.extend(batch.labels.iter().map(|values| column(values)));
        dense.push(column(batch.sample_weights.as_deref().unwrap_or_default()));
        dense.extend(keys.0.iter().map(|values| column(values)));
        BatchFeed { rows: batch.rows, lengths: sequences.lengths(), dense, ids, seed }
    }

    /// The feed itself.
    pub fn feed(&self) -> Feed<'_> {
        Feed { rows: self.rows, lengths: self.lengths, dense: &self.dense, ids: &self.ids, seed: self.seed }
    }
}

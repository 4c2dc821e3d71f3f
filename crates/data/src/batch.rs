//! A batch of rows as the model takes it: one column per feature, labels, sample weights and what travels along.

use rankmill_config::proto;
use rankmill_kernels::ids::IdColumn;

use crate::error::DataError;

/// A batch of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureBatch {
    /// The number of rows.
    pub rows: usize,
    /// One column per [`FeatureSpec`], in the same order.
    pub columns: Vec<Column>,
    /// For each column of a dynamic table the keys of its ids: the ids of the column are then places in this list. Empty for others, and
    /// may have no entries at all if there is no dynamic table.
    pub table_keys: Vec<Vec<u64>>,
    /// For each label field its value per row (`label_dim` values per row where that is more than 1).
    pub labels: Vec<Vec<f32>>,
    /// The weight of each row, if `data_config.sample_weight` is set.
    pub sample_weights: Option<Vec<f32>>,
    /// For each key field (see [`FeatureSet::key_names`](crate::FeatureSet::key_names)) a number per row, equal for equal keys.
    pub keys: Vec<Vec<u64>>,
    /// The raw text of the columns that were asked to be kept.
    pub kept: Vec<KeptColumn>,
    /// What was noticed while reading, for [`Statistics`](crate::Statistics) and [`Report`](crate::Report).
    pub observed: Observed,
}

/// The values of one feature for a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Rows of an embedding table.
    Ids(IdColumn),
    /// Numbers that go into the model as they are.
    Dense(DenseColumn),
    /// Ids or numbers at each of a row's positions.
    Sequence(SequenceColumn),
}

impl Column {
    /// A column of `rows` rows without ids or positions, or with zeros.
    #[must_use]
    pub fn empty(kind: FeatureKind, rows: usize) -> Column {
        let no_ids = |rows| IdColumn { offsets: vec![0; rows + 1], ids: Vec::new(), weights: None };
        let sequence = |positions| Column::Sequence(SequenceColumn { offsets: vec![0; rows + 1], longest: 0, positions });
        match kind {
            FeatureKind::Ids { .. } => Column::Ids(no_ids(rows)),
            FeatureKind::Dense { width } => Column::Dense(DenseColumn { width, values: vec![0.0; rows * width] }),
            FeatureKind::IdSequence { .. } => sequence(Positions::Ids(no_ids(0))),
            FeatureKind::DenseSequence { width } => sequence(Positions::Dense(DenseColumn { width, values: Vec::new() })),
        }
    }

    /// The first row `rows` times.
    ///
    /// # Panics
    /// If there is no row.
    #[must_use]
    pub fn repeated(&self, rows: usize) -> Column {
        match self {
            Column::Ids(column) => Column::Ids(repeated_ids(column, 0..1, rows)),
            Column::Dense(column) => Column::Dense(DenseColumn { width: column.width, values: column.row(0).repeat(rows) }),
            Column::Sequence(column) => {
                let length = column.length(0);
                let positions = match &column.positions {
                    Positions::Ids(ids) => Positions::Ids(repeated_ids(ids, 0..length, rows)),
                    Positions::Dense(numbers) => {
                        let values = numbers.values[..length * numbers.width].repeat(rows);
                        Positions::Dense(DenseColumn { width: numbers.width, values })
                    }
                };
                let offsets = (0..=rows).map(|row| (row * length) as u32).collect();
                Column::Sequence(SequenceColumn { offsets, longest: column.longest, positions })
            }
        }
    }
}

/// Some rows of a column, all of them `count` times.
fn repeated_ids(column: &IdColumn, rows: std::ops::Range<usize>, count: usize) -> IdColumn {
    let some = (0..count).flat_map(|_| rows.clone());
    some_rows(column, some)
}

/// `width` numbers per row, row after row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseColumn {
    /// Numbers per row.
    pub width: usize,
    /// `rows * width` numbers.
    pub values: Vec<f32>,
}

impl DenseColumn {
    /// The numbers of one row.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }
}

/// Sequences: row `i` has the positions `offsets[i]..offsets[i + 1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceColumn {
    /// Where each row's positions start; one more entry than rows.
    pub offsets: Vec<u32>,
    /// The length L that TensorFlow pads this batch to: at least the positions of any row, and more where rows end with positions
    /// that have no value.
    pub longest: usize,
    /// What is at the positions of all rows, one after the other.
    pub positions: Positions,
}

/// What is at each position of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// Any number of rows of an embedding table.
    Ids(IdColumn),
    /// Numbers.
    Dense(DenseColumn),
}

impl SequenceColumn {
    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The number of positions of a row.
    ///
    /// # Panics
    /// If the batch has no such row.
    #[must_use]
    pub fn length(&self, row: usize) -> usize {
        (self.offsets[row + 1] - self.offsets[row]) as usize
    }

    /// The sequences without their rows' positions from `maximum` on.
    #[must_use]
    pub fn cut(&self, maximum: usize) -> SequenceColumn {
        let length = |row: usize| self.length(row).min(maximum);
        let mut offsets = Vec::with_capacity(self.offsets.len());
        offsets.push(0);
        offsets.extend((0..self.rows()).scan(0, |end, row| {
            *end += length(row) as u32;
            Some(*end)
        }));
        let kept = (0..self.rows()).flat_map(|row| (0..length(row)).map(move |i| self.offsets[row] as usize + i));
        let positions = match &self.positions {
            Positions::Ids(column) => Positions::Ids(some_rows(column, kept)),
            Positions::Dense(column) => {
                let values = kept.flat_map(|position| column.row(position)).copied().collect();
                Positions::Dense(DenseColumn { width: column.width, values })
            }
        };
        SequenceColumn { offsets, longest: self.longest.min(maximum), positions }
    }

    /// The positions of all rows with every row cut or filled up to `length`: position `row * length + i` is the row's i-th, without
    /// ids or with zeros where the row is shorter.
    #[must_use]
    pub fn padded(&self, length: usize) -> Positions {
        match &self.positions {
            Positions::Ids(column) => Positions::Ids(self.padded_ids(column, length)),
            Positions::Dense(column) => Positions::Dense(self.padded_numbers(column, length)),
        }
    }

    fn padded_ids(&self, column: &IdColumn, length: usize) -> IdColumn {
        let mut offsets = Vec::with_capacity(self.rows() * length + 1);
        let mut ids = Vec::with_capacity(column.ids.len());
        let mut weights = column.weights.as_ref().map(|weights| Vec::with_capacity(weights.len()));
        offsets.push(0);
        for row in 0..self.rows() {
            let first = self.offsets[row] as usize;
            let count = self.length(row).min(length);
            let (from, to) = (column.offsets[first], column.offsets[first + count]);
            let shift = ids.len() as u32;
            offsets.extend(column.offsets[first + 1..=first + count].iter().map(|offset| offset - from + shift));
            ids.extend_from_slice(&column.ids[from as usize..to as usize]);
            if let (Some(weights), Some(all)) = (&mut weights, &column.weights) {
                weights.extend_from_slice(&all[from as usize..to as usize]);
            }
            offsets.resize((row + 1) * length + 1, ids.len() as u32);
        }
        IdColumn { offsets, ids, weights }
    }

    fn padded_numbers(&self, column: &DenseColumn, length: usize) -> DenseColumn {
        let width = column.width;
        let mut values = Vec::with_capacity(self.rows() * length * width);
        for row in 0..self.rows() {
            let first = self.offsets[row] as usize;
            let count = self.length(row).min(length);
            values.extend_from_slice(&column.values[first * width..(first + count) * width]);
            values.resize((row + 1) * length * width, 0.0);
        }
        DenseColumn { width, values }
    }
}

/// Some rows of a column, in the order given.
fn some_rows(column: &IdColumn, rows: impl Iterator<Item = usize>) -> IdColumn {
    let mut some = IdColumn { offsets: vec![0], ids: Vec::new(), weights: column.weights.as_ref().map(|_| Vec::new()) };
    for row in rows {
        let span = column.offsets[row] as usize..column.offsets[row + 1] as usize;
        some.ids.extend_from_slice(&column.ids[span.clone()]);
        if let (Some(weights), Some(all)) = (&mut some.weights, &column.weights) {
            weights.extend_from_slice(&all[span]);
        }
        some.offsets.push(some.ids.len() as u32);
    }
    some
}

/// The raw text of one input column: row `i` is `bytes[offsets[i]..offsets[i + 1]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptColumn {
    /// The input field's name.
    pub name: String,
    /// Where each row starts; one more entry than rows.
    pub offsets: Vec<u32>,
    /// The text of all rows.
    pub bytes: Vec<u8>,
}

impl KeptColumn {
    /// The text of one row.
    ///
    /// # Panics
    /// If the batch has no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
}

/// What was noticed while a batch was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// One entry per feature.
    pub features: Vec<FeatureCounts>,
    /// The rows that were left out under `data_config.ignore_error`.
    pub skipped: Vec<DataError>,
}

/// Counts of one feature over one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureCounts {
    /// Rows without a value: an empty field, no tags, or -1 where that means missing.
    pub missing: u64,
    /// Values outside `num_buckets` or the vocabulary, and values of a key beyond `lookup_max_sel_elem_num`.
    pub out_of_range: u64,
}

/// What the model needs to know of a feature.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSpec {
    /// The feature's name: `feature_name`, or else its first input.
    pub name: String,
    /// Where the config declares it, for messages.
    pub path: String,
    /// Ids or numbers.
    pub kind: FeatureKind,
    /// `embedding_dim`; 0 when unset.
    pub embedding_dim: usize,
    /// How the embeddings of a row's ids are combined in a deep group. A wide group always sums.
    pub combiner: Combiner,
    /// EasyRec's name for the column's embedding table (behaviour 22), for example `age_embedding`, `price_bucketized_embedding`,
    /// `kv_weighted_by_kv_w_embedding`. For a dense column it is the name its table has in a wide group.
    pub table_suffix: String,
    /// `embedding_name`, if at least two features of the config share it; the table then has this name alone.
    pub embedding_name: Option<String>,
    /// How the table starts, if the config says so.
    pub initializer: Option<proto::Initializer>,
    /// What only sequences have.
    pub sequence: Option<SequenceSpec>,
    /// What only ids of a dynamic table have.
    pub dynamic: Option<DynamicSpec>,
}

/// A table that takes in ids as they come: `ev_params`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicSpec {
    /// How often an id must have come to get a row; with 0 and 1 it gets one at once.
    pub filter_freq: u64,
    /// After how many steps an id is forgotten that has not come again.
    pub steps_to_live: Option<u64>,
    /// The most ids that are known at a time, with a row or without.
    pub max_capacity: u64,
}

/// What the model needs to know of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceSpec {
    /// `max_seq_len`: where sequences are handed on as such they are cut at it (EasyRec behaviour 116); combiners do not read it.
    pub max_seq_len: Option<usize>,
    /// `sequence_length`: how many positions all rows have, if they are filled up to a number of their own.
    pub length: Option<usize>,
    /// How the positions become one vector; `None` adds up all ids of a row by the feature's [`Combiner`].
    pub combiner: Option<proto::SequenceCombiner>,
}

/// The kind of a feature's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// Ids below `rows`.
    Ids {
        /// Rows of the embedding table.
        rows: usize,
        /// Whether each id has a weight.
        weighted: bool,
    },
    /// Numbers.
    Dense {
        /// Numbers per row.
        width: usize,
    },
    /// Ids below `rows` at each position of a sequence.
    IdSequence {
        /// Rows of the embedding table.
        rows: usize,
        /// Whether each id has a weight.
        weighted: bool,
    },
    /// Numbers at each position of a sequence.
    DenseSequence {
        /// Numbers per position.
        width: usize,
    },
}

/// How the embeddings of one row's ids become one vector (EasyRec behaviours 12 and 13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Combiner {
    /// The weighted sum.
    #[default]
    Sum,
    /// The weighted sum divided by the sum of the weights.
    Mean,
    /// The weighted sum divided by the square root of the sum of the squared weights.
    SqrtN,
}

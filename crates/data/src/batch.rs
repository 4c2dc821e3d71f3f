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
}

/// `width` numbers per row, row after row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseColumn {
    /// Numbers per row.
    pub width: usize,
    /// `rows * width` numbers.
    pub values: Vec<f32>,
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
    /// Values outside `num_buckets` or the vocabulary.
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

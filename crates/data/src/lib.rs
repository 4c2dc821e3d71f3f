//! Rows in, feature batches out.
//!
//! A [`Reader`] takes the rows of files in the order of training or of one pass, makes text fields of them ([`RawRows`]), whatever the
//! format of the files, and hands them to a [`FeatureSet`], which makes the columns of a [`FeatureBatch`]. Other sources of rows fill
//! [`RawRows`] themselves.
//! See `ARCHITECTURE.md` for the place of this crate.

mod batch;
mod cache;
mod error;
mod features;
mod field_rows;
pub mod number;
mod panics;
pub mod profile;
mod reader;
mod rejected;
mod rows;
pub mod sinks;
mod sources;
mod statistics;
pub mod synth;

pub use batch::{
    Column, Combiner, DenseColumn, DynamicSpec, FeatureBatch, FeatureCounts, FeatureKind, FeatureSpec, KeptColumn, Observed, Positions,
    SequenceColumn, SequenceSpec,
};
pub use cache::FeatureCache;
pub use error::{DataError, Report, Rule, SkippedCause, shown};
pub use features::{
    Characters, FeatureSet, NormalizationError, OnError, OverlapMethod, Recipe, Scaling, ScoringField, TextColumn, TextFunction,
    TextNormalization, TextSource, TokenIds, Tokens, bucket_column, is_raw, raw_column, read_vocabulary,
};
pub use field_rows::{FieldNames, FieldRows, TextSpan};
pub use panics::{panic_is_expected, panics_as_errors};
pub use rankmill_kernels::ids::IdColumn;
pub use reader::{Batch, Mode, Reader, ReaderOptions, Supply};
pub use rejected::Rejected;
pub use rows::{FieldOrder, Origin, Quotes, RawRows, Splitting};
pub use sources::{InputFile, InputFormat, Position, Side, declared_inputs, expand_inputs};
pub use statistics::{FeatureStatistics, Statistics};

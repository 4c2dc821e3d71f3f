//! Features: from text fields to the columns of a batch. One file per feature type; `build` below is the list of them.

mod block_columns;
mod buckets;
mod build;
mod combo;
mod expr;
mod fields;
mod formula;
mod function;
mod id;
mod ids;
mod lookup;
mod memo;
mod plan;
mod raw;
mod recipe;
mod scoring;
mod sequence;
mod set;
mod split;
mod tag;
mod text;
mod vocabulary;

use rankmill_config::proto::feature_config::FeatureType;
use rankmill_kernels::ids::IdColumn;

use crate::batch::{Column, FeatureCounts, FeatureKind};
use build::Declaration;
use fields::{RowErrors, Values};
use ids::Id;
use memo::Memo;

pub use block_columns::{bucket_column, is_raw, raw_column};
pub use recipe::Recipe;
pub use scoring::ScoringField;
pub use set::{FeatureSet, OnError};
pub use text::{
    Characters, NormalizationError, OverlapMethod, Scaling, TextColumn, TextFunction, TextNormalization, TextSource, TokenIds, Tokens,
};
pub use vocabulary::read_vocabulary;

/// A feature, ready to run.
#[derive(Clone, Debug)]
pub(crate) enum Feature {
    Id(id::IdFeature),
    Tag(tag::TagFeature),
    Raw(raw::RawFeature),
    Combo(combo::ComboFeature),
    Lookup(lookup::LookupFeature),
    Sequence(Box<sequence::SequenceFeature>),
    Expr(expr::ExprFeature),
    Buckets(Box<buckets::BucketFeature>),
    Text(Box<text::TextFeature>),
}

/// What a feature makes of the rows of a batch.
pub(crate) struct Made {
    pub(crate) column: Column,
    /// The keys that its ids number, if its table is dynamic.
    pub(crate) keys: Vec<u64>,
    pub(crate) counts: FeatureCounts,
}

impl Made {
    fn ids<T: Id>((column, counts): (IdColumn<T>, FeatureCounts)) -> Made {
        let (column, keys) = T::split(column);
        Made { column: Column::Ids(column), keys, counts }
    }

    /// A column without a dynamic table.
    fn plain(column: Column, counts: FeatureCounts) -> Made {
        Made { column, keys: Vec::new(), counts }
    }
}

/// What a feature reads.
pub(crate) struct Inputs<'a> {
    /// The values of each of `input_names`.
    pub(crate) values: &'a [Values<'a>],
    /// Rows whose first input is an empty number.
    pub(crate) empty: u64,
    pub(crate) rows: usize,
}

/// Every feature type that is supported, and the function that reads its config.
fn build(declaration: &Declaration<'_>) -> Result<build::Built, build::Problem> {
    match declaration.config.feature_type() {
        FeatureType::IdFeature => build::id_feature(declaration),
        FeatureType::TagFeature => build::tag_feature(declaration),
        FeatureType::RawFeature => build::raw_feature(declaration),
        FeatureType::ComboFeature => combo::build(declaration),
        FeatureType::LookupFeature => lookup::build(declaration),
        FeatureType::SequenceFeature => sequence::build(declaration),
        FeatureType::PassThroughFeature => Err(build::Problem::at(
            "feature_type",
            "a PassThroughFeature makes no column of a model; only raw_input blocks, metrics and samplers name it",
        )),
        FeatureType::ExprFeature => expr::build(declaration),
    }
}

impl Feature {
    /// What its column holds.
    pub(crate) fn kind(&self) -> FeatureKind {
        let ids = |rows: u64, weighted| FeatureKind::Ids { rows: rows as usize, weighted };
        match self {
            Feature::Id(feature) => ids(feature.rule.rows(), false),
            Feature::Tag(feature) => ids(feature.rule.rows(), feature.is_weighted()),
            Feature::Raw(feature) => match feature.table_rows() {
                Some(rows) => FeatureKind::Ids { rows, weighted: feature.is_weighted() },
                None => FeatureKind::Dense { width: feature.width },
            },
            Feature::Combo(feature) => ids(feature.rows(), false),
            Feature::Lookup(feature) => ids(feature.rule.rows(), false),
            Feature::Sequence(feature) => feature.kind(),
            Feature::Expr(_) => FeatureKind::Dense { width: 1 },
            Feature::Buckets(feature) => feature.kind(),
            Feature::Text(feature) => feature.kind(),
        }
    }

    /// The column of the live rows of a batch; its ids are rows (`u32`), or keys (`u64`) of a dynamic table. `memo` is this feature's alone.
    pub(crate) fn transform<T: Id>(&self, inputs: &Inputs<'_>, memo: &mut Memo, errors: &mut RowErrors<'_>) -> Made {
        let &Inputs { values, empty, rows } = inputs;
        match self {
            Feature::Id(feature) => Made::ids::<T>(feature.transform(values[0], rows, empty, memo, errors)),
            Feature::Tag(feature) => Made::ids::<T>(feature.transform(values[0], values.get(1).copied(), rows, empty, memo, errors)),
            Feature::Raw(feature) => match feature.transform(values[0], rows, empty, errors) {
                (Column::Ids(column), counts) => Made::ids((T::from_rows(column), counts)),
                (column, counts) => Made::plain(column, counts),
            },
            Feature::Combo(feature) => Made::ids::<T>(feature.transform(values, rows, errors)),
            Feature::Lookup(feature) => Made::ids::<T>(feature.transform(values[0], values[1], rows, errors)),
            Feature::Sequence(feature) => {
                let (column, keys, counts) = feature.transform::<T>(values[0], rows, empty, errors);
                Made { column: Column::Sequence(column), keys, counts }
            }
            Feature::Expr(feature) => {
                let (column, counts) = feature.transform(values, rows, errors);
                Made::plain(Column::Dense(column), counts)
            }
            Feature::Buckets(feature) => feature.transform(inputs, memo, errors),
            Feature::Text(feature) => feature.transform(values, rows),
        }
    }
}

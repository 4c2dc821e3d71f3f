//! Features: from text fields to the columns of a batch. One file per feature type; `build` below is the list of them.

mod build;
mod fields;
mod id;
mod ids;
mod plan;
mod raw;
mod set;
mod tag;
mod vocabulary;

use rankmill_config::proto::feature_config::FeatureType;

use crate::batch::{Column, FeatureCounts};
use build::Declaration;
use fields::{RowErrors, Values};

pub use set::{FeatureSet, OnError};

/// A feature, ready to run.
#[derive(Clone, Debug)]
pub(crate) enum Feature {
    Id(id::IdFeature),
    Tag(tag::TagFeature),
    Raw(raw::RawFeature),
}

/// What a feature reads.
pub(crate) struct Inputs<'a> {
    pub(crate) first: Values<'a>,
    pub(crate) second: Option<Values<'a>>,
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
        other => Err(build::Problem::at("feature_type", format!("{} is not supported yet", other.as_str_name()))),
    }
}

impl Feature {
    /// The column of the live rows of a batch.
    pub(crate) fn transform(&self, inputs: Inputs<'_>, errors: &mut RowErrors<'_>) -> (Column, FeatureCounts) {
        let Inputs { first, second, empty, rows } = inputs;
        match self {
            Feature::Id(feature) => {
                let (column, counts) = feature.transform(first, rows, empty, errors);
                (Column::Ids(column), counts)
            }
            Feature::Tag(feature) => {
                let (column, counts) = feature.transform(first, second, rows, empty, errors);
                (Column::Ids(column), counts)
            }
            Feature::Raw(feature) => feature.transform(first, rows, empty, errors),
        }
    }
}

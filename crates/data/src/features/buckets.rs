//! What an `embedding_layer` block reads of a feature: rows of one table, in which each feature has a part of its own (EasyRec behaviour
//! 119).
//!
//! A text is hashed into as many buckets as the feature has, the empty one too; an integer is its row already. Tags are the positions of a
//! sequence whose rows EasyRec fills up with empty tags, which count like others; tags with weights stay together.

use rankmill_config::proto::feature_config::FeatureType;
use rankmill_kernels::ids::IdColumn;

use super::Feature;
use super::build::{Declaration, Problem, id_rule};
use super::fields::{RowErrors, Values};
use super::ids::{hashed, in_range};
use super::memo::Memo;
use super::{Inputs, Made, build};
use crate::batch::{Column, FeatureCounts, FeatureKind, Positions, SequenceColumn};

/// A feature for an `embedding_layer` block, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct BucketFeature {
    values: BucketValues,
    /// Rows of the table that belong to this feature.
    buckets: u64,
    /// The first of them.
    offset: u32,
    /// Rows of the whole table.
    rows: usize,
}

#[derive(Clone, Debug)]
enum BucketValues {
    /// One value a row.
    One,
    /// Any number of them, from a tag or sequence feature that hashes; perhaps with weights.
    Several { feature: Box<Feature>, weighted: bool },
}

/// Rows of the table that a feature needs.
pub(crate) fn buckets(declaration: &Declaration<'_>) -> Result<u64, Problem> {
    Ok(id_rule(declaration)?.rows())
}

/// The feature with its part of the table. `keeps_weights` is whether the block's combiner reads weights.
pub(crate) fn feature(declaration: &Declaration<'_>, offset: u32, rows: usize, keeps_weights: bool) -> Result<BucketFeature, Problem> {
    let buckets = buckets(declaration)?;
    let mut config = declaration.config.clone();
    config.hash_bucket_size = Some(buckets);
    config.combiner = None;
    let inputs = declaration.inputs.clone();
    let hashing = Declaration { config: &config, inputs, ignored: declaration.ignored.clone(), ..*declaration };
    let values = match config.feature_type() {
        FeatureType::IdFeature => BucketValues::One,
        FeatureType::TagFeature => {
            let mut feature = build::tag_feature(&hashing)?.feature;
            let Feature::Tag(tag) = &mut feature else { unreachable!("a tag feature was built") };
            let weighted = keeps_weights && tag.is_weighted();
            BucketValues::Several { feature: Box::new(feature), weighted }
        }
        FeatureType::SequenceFeature if config.seq_multi_sep.is_none() && config.sub_feature_type() == FeatureType::IdFeature => {
            let feature = super::sequence::build(&hashing)?.feature;
            BucketValues::Several { feature: Box::new(feature), weighted: false }
        }
        other => {
            let message = format!("an embedding_layer block reads ids, tags and sequences of ids, not a {}", other.as_str_name());
            return Err(Problem::at("feature_type", message));
        }
    };
    Ok(BucketFeature { values, buckets, offset, rows })
}

impl BucketFeature {
    pub(crate) fn kind(&self) -> FeatureKind {
        match self.values {
            BucketValues::One => FeatureKind::Ids { rows: self.rows, weighted: false },
            BucketValues::Several { weighted: true, .. } => FeatureKind::Ids { rows: self.rows, weighted: true },
            BucketValues::Several { weighted: false, .. } => FeatureKind::IdSequence { rows: self.rows, weighted: false },
        }
    }

    /// The id that rows are filled up with: that of the empty text.
    pub(crate) fn fill(&self) -> Option<u32> {
        matches!(self.values, BucketValues::Several { weighted: false, .. }).then(|| self.offset + hashed::<u32>(b"", self.buckets))
    }

    pub(crate) fn transform(&self, inputs: &Inputs<'_>, memo: &mut Memo, errors: &mut RowErrors<'_>) -> Made {
        match &self.values {
            BucketValues::One => {
                let mut counts = FeatureCounts { missing: inputs.empty, out_of_range: 0 };
                let ids = self.ids(inputs.values[0], &mut counts);
                let offsets = (0..=inputs.rows as u32).collect();
                Made::plain(Column::Ids(IdColumn { offsets, ids, weights: None }), counts)
            }
            BucketValues::Several { feature, weighted } => {
                let Made { column, counts, .. } = feature.transform::<u32>(inputs, memo, errors);
                let column = match (column, weighted) {
                    (Column::Ids(ids), true) => Column::Ids(without_zeros(self.moved(ids))),
                    (Column::Ids(ids), false) => Column::Sequence(positions(self.moved(ids))),
                    (Column::Sequence(SequenceColumn { offsets, longest, positions: Positions::Ids(ids) }), _) => {
                        Column::Sequence(SequenceColumn { offsets, longest, positions: Positions::Ids(self.moved(ids)) })
                    }
                    _ => unreachable!("tags and sequences of ids have ids"),
                };
                Made::plain(column, counts)
            }
        }
    }

    fn ids(&self, values: Values<'_>, counts: &mut FeatureCounts) -> Vec<u32> {
        let mut number = |value: i64| self.offset + in_range::<u32>(value, self.buckets, &mut counts.out_of_range);
        match values {
            Values::Text(texts) => texts.iter().map(|text| self.offset + hashed::<u32>(text, self.buckets)).collect(),
            Values::Integers(values, _) | Values::Booleans(values) => values.iter().map(|&value| number(value)).collect(),
            Values::Floats(values) => values.iter().map(|&value| number(value as i64)).collect(),
            Values::Doubles(values) => values.iter().map(|&value| number(value as i64)).collect(),
        }
    }

    /// The ids in this feature's part of the table.
    fn moved(&self, mut column: IdColumn) -> IdColumn {
        column.ids.iter_mut().for_each(|id| *id += self.offset);
        column
    }
}

/// Each id as a position.
fn positions(mut ids: IdColumn) -> SequenceColumn {
    let offsets = std::mem::replace(&mut ids.offsets, (0..=ids.ids.len() as u32).collect());
    ids.weights = None;
    let longest = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0);
    SequenceColumn { offsets, longest, positions: Positions::Ids(ids) }
}

/// Without the ids of weight 0, so that a row that has no others is one without ids.
fn without_zeros(column: IdColumn) -> IdColumn {
    let Some(weights) = &column.weights else { return column };
    let mut kept = IdColumn { offsets: vec![0], ids: Vec::new(), weights: None };
    let mut kept_weights = Vec::new();
    for row in column.offsets.windows(2) {
        for at in (row[0] as usize..row[1] as usize).filter(|at| weights[*at] != 0.0) {
            kept.ids.push(column.ids[at]);
            kept_weights.push(weights[at]);
        }
        kept.offsets.push(kept.ids.len() as u32);
    }
    IdColumn { weights: Some(kept_weights), ..kept }
}

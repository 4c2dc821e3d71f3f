//! Columns that blocks of a backbone read besides those of features: the rows of the table of an `embedding_layer` block, raw numbers, and
//! numbers made of texts (EasyRec behaviour 119).
//!
//! They are columns of a [`FeatureSet`] like those of features, with names that features do not have: the block's place and the feature,
//! `raw/feature`, and the component's place.

use rankmill_config::proto::block::Layer;
use rankmill_config::proto::dataset_config::FieldType;
use rankmill_config::proto::feature_config::FeatureType;
use rankmill_config::proto::input::Name;
use rankmill_config::proto::{self, Block};
use rankmill_config::{Diagnostic, Feature as Declared, Pipeline};

use super::memo::Memo;
use super::plan::Planner;
use super::raw::{RawFeature, RawOutput};
use super::set::PlannedFeature;
use super::split::Separator;
use super::text::{TextColumn, TextFeature};
use super::{Feature, FeatureSet, buckets};
use crate::batch::{Combiner, FeatureKind, FeatureSpec, SequenceSpec};

/// The name of the column with the raw numbers of a feature.
#[must_use]
pub fn raw_column(feature: &str) -> String {
    format!("raw/{feature}")
}

/// The name of the column of a feature in the table of the `embedding_layer` block at `block`, `backbone/name` or
/// `backbone/package/name`.
#[must_use]
pub fn bucket_column(block: &str, feature: &str) -> String {
    format!("{block}/{feature}")
}

/// Whether a `raw_input` block gives a feature as it is in the rows, and not what its type makes of it.
#[must_use]
pub fn is_raw(kind: FeatureType) -> bool {
    matches!(kind, FeatureType::PassThroughFeature | FeatureType::IdFeature)
}

impl<'a> Planner<'a> {
    /// Adds the columns of all `embedding_layer` blocks, and the numbers that `raw_input` blocks give.
    pub(super) fn add_block_columns(&mut self, set: &mut FeatureSet) {
        let Some(tower) = self.pipeline.proto.model_config.as_ref().and_then(|model| model.backbone.as_ref()) else { return };
        let mut blocks: Vec<(String, &Block)> = tower.blocks.iter().map(|block| (format!("backbone/{}", block.name()), block)).collect();
        for package in &tower.packages {
            blocks.extend(package.blocks.iter().map(|block| (format!("backbone/{}/{}", package.name(), block.name()), block)));
        }
        for (place, block) in &blocks {
            let [proto::Input { name: Some(Name::FeatureGroupName(group)), .. }] = &block.inputs[..] else { continue };
            match &block.layer {
                Some(Layer::EmbeddingLayer(options)) => self.add_buckets(place, group, options, set),
                Some(Layer::RawInput(_)) => self.add_raw_numbers(group, set),
                _ => {}
            }
        }
    }

    /// The features of a group that are declared, with the fields that they read.
    fn features_of(&mut self, group: &str) -> Vec<(Declared<'a>, Vec<usize>)> {
        let pipeline = self.pipeline;
        let groups = pipeline.feature_groups();
        let names = groups.iter().find(|known| known.name == group).map(|group| group.features.as_slice()).unwrap_or_default();
        let declared = pipeline.features();
        let mut features = Vec::with_capacity(names.len());
        for name in names {
            match declared.iter().find(|feature| feature.name == name.name) {
                Some(feature) => features.extend(self.inputs(feature).map(|inputs| (feature.clone(), inputs))),
                None => self.unknown_feature(&name.name, &name.path),
            }
        }
        features
    }

    /// The columns of an `embedding_layer` block: the features of its group have one part of the table after the other.
    fn add_buckets(&mut self, place: &str, group: &str, options: &proto::EmbeddingLayer, set: &mut FeatureSet) {
        let features = self.features_of(group);
        let mut offsets = Vec::with_capacity(features.len());
        let mut rows = 0;
        for (feature, inputs) in &features {
            match buckets::buckets(&self.declaration(feature, inputs)) {
                Ok(count) => {
                    offsets.push(rows);
                    rows += count;
                }
                Err(problem) => return self.problem_of(feature, problem),
            }
        }
        if rows > u64::from(u32::MAX) {
            let message = format!("the table of block `{place}` needs {rows} rows; at most {} are supported", u32::MAX);
            return self.problem("model_config.backbone", message);
        }
        let keeps_weights = options.combiner() == "weight";
        for ((feature, inputs), offset) in features.into_iter().zip(offsets) {
            let built = buckets::feature(&self.declaration(&feature, &inputs), offset as u32, rows as usize, keeps_weights);
            match built {
                Ok(built) => {
                    let mut spec = spec(bucket_column(place, &feature.name), &feature.path, built.kind());
                    if let Some(sequence) = &mut spec.sequence {
                        sequence.fill = built.fill();
                    }
                    set.specs.push(spec);
                    set.features.push(PlannedFeature { feature: Feature::Buckets(Box::new(built)), inputs, memo: Memo::default() });
                }
                Err(problem) => self.problem_of(&feature, problem),
            }
        }
    }

    /// The columns of the numbers that a group has as they are in the rows.
    fn add_raw_numbers(&mut self, group: &str, set: &mut FeatureSet) {
        for (feature, inputs) in self.features_of(group) {
            let name = raw_column(&feature.name);
            let is_number = self.fields[inputs[0]].kind != FieldType::String;
            if !is_raw(feature.config.feature_type()) || !is_number || set.specs.iter().any(|spec| spec.name == name) {
                continue;
            }
            set.specs.push(spec(name, &feature.path, FeatureKind::Dense { width: 1 }));
            let raw = RawFeature {
                input: feature.config.input_names[0].clone(),
                width: 1,
                separator: Separator::None,
                several: None,
                range: None,
                normalizer: None,
                output: RawOutput::Dense,
            };
            set.features.push(PlannedFeature { feature: Feature::Raw(raw), inputs, memo: Memo::default() });
        }
    }
}

impl FeatureSet {
    /// Adds a column of numbers that a component needs of texts.
    ///
    /// # Errors
    /// If a feature of it is no text.
    pub fn add_text(&mut self, pipeline: &Pipeline, column: &TextColumn) -> Result<(), Diagnostic> {
        let declared = pipeline.features();
        let mut inputs = Vec::with_capacity(column.sources.len());
        for source in &column.sources {
            let input =
                declared.iter().find(|feature| feature.name == source.feature).and_then(|feature| feature.config.input_names.first());
            let field = input.and_then(|input| self.fields.iter().position(|field| field.name == *input));
            match field.filter(|field| self.fields[*field].kind == FieldType::String) {
                Some(field) => inputs.push(field),
                None => return Err(pipeline.error(&column.path, format!("feature `{}` is no text", source.feature))),
            }
        }
        let feature = TextFeature::new(column);
        self.specs.push(spec(column.name.clone(), &column.path, feature.kind()));
        self.features.push(PlannedFeature { feature: Feature::Text(Box::new(feature)), inputs, memo: Memo::default() });
        Ok(())
    }
}

/// What a model needs to know of a column that is not a feature's own.
fn spec(name: String, path: &str, kind: FeatureKind) -> FeatureSpec {
    let is_sequence = matches!(kind, FeatureKind::IdSequence { .. } | FeatureKind::DenseSequence { .. });
    FeatureSpec {
        table_suffix: name.clone(),
        name,
        path: path.to_owned(),
        kind,
        embedding_dim: 0,
        combiner: Combiner::Sum,
        embedding_name: None,
        initializer: None,
        dynamic: None,
        sequence: is_sequence.then_some(SequenceSpec { max_seq_len: None, length: None, combiner: None, fill: None }),
    }
}

//! How a model's inputs are made from text, for programs in other languages: the settings of the fields and features as plain data.
//!
//! `docs/export/rankmill_features.py` reads it. It repeats what the features do, so a test compares its ids with theirs.

use std::collections::BTreeMap;

use rankmill_config::{Pipeline, proto};
use serde::Serialize;

use super::fields::{EmptyNumbers, Field, FieldDefault};
use super::ids::IdRule;
use super::raw::{RawFeature, RawOutput};
use super::{Feature, FeatureSet};
use crate::batch::Combiner;

/// The recipe of all inputs.
#[derive(Clone, Debug, Serialize)]
pub struct Recipe {
    /// Layout of this description.
    format: u32,
    /// The input fields, in the order of the columns of a row.
    fields: Vec<FieldRecipe>,
    /// The features, in the order of the model's inputs.
    features: Vec<FeatureRecipe>,
}

#[derive(Clone, Debug, Serialize)]
struct FieldRecipe {
    name: String,
    /// As in `data_config.input_fields`.
    r#type: &'static str,
    /// What an empty field stands for; `None` where a number must not be empty.
    default: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct FeatureRecipe {
    name: String,
    inputs: Vec<String>,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    Id {
        rule: Rule,
        /// Decimals of floating-point numbers.
        precision: usize,
    },
    Tag {
        rule: Rule,
        separator: String,
        kv_separator: Option<String>,
        combiner: &'static str,
    },
    Raw {
        /// Numbers per row.
        width: usize,
        separator: String,
        /// `min_val`, and `max_val` less it.
        range: Option<[f32; 2]>,
        normalizer: Option<String>,
        output: Output,
    },
    /// A type that no recipe describes: its ids or numbers must come from elsewhere.
    Other,
}

/// From a value to an id.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Rule {
    /// Fingerprint64 modulo so many buckets.
    Hash(u64),
    /// The place in this list, 0 for others.
    Vocabulary(Vec<String>),
    /// The number, 0 from this one on and below 0.
    Number(u64),
}

/// From numbers to an input.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Output {
    /// The numbers.
    Dense,
    /// The number of boundaries up to a number.
    Buckets(Vec<f32>),
    /// Ids 0, 1, … with the numbers as weights, under this combiner.
    Weights(&'static str),
}

impl FeatureSet {
    /// The recipe of the inputs; `pipeline` is what this set was made of.
    #[must_use]
    pub fn recipe(&self, pipeline: &Pipeline) -> Recipe {
        let declared = pipeline.features();
        let configs: BTreeMap<&str, &proto::FeatureConfig> =
            declared.iter().rev().map(|feature| (feature.name.as_str(), &*feature.config)).collect();
        let features = self.specs.iter().zip(&self.features).map(|(spec, planned)| {
            let config = configs.get(spec.name.as_str()).copied();
            let kind = config.and_then(|config| kind(&planned.feature, config)).unwrap_or(Kind::Other);
            let inputs = config.map(|config| config.input_names.clone()).unwrap_or_default();
            FeatureRecipe { name: spec.name.clone(), inputs, kind }
        });
        Recipe { format: 1, fields: self.fields.iter().map(field).collect(), features: features.collect() }
    }

    /// The most ids that a row can have of the feature of that place; `None` if there is no bound.
    #[must_use]
    pub fn most_ids(&self, feature: usize) -> Option<usize> {
        match &self.features[feature].feature {
            Feature::Id(_) => Some(1),
            Feature::Raw(raw) => Some(raw.width),
            Feature::Tag(_) | Feature::Combo(_) | Feature::Lookup(_) | Feature::Sequence(_) | Feature::Expr(_) => None,
        }
    }
}

fn field(field: &Field) -> FieldRecipe {
    let default = match &field.default {
        FieldDefault::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ if field.empty_numbers == EmptyNumbers::Error => None,
        FieldDefault::Integer(value) => Some(value.to_string()),
        FieldDefault::Number(value) => Some(value.to_string()),
    };
    FieldRecipe { name: field.name.clone(), r#type: field.kind.as_str_name(), default }
}

/// The recipe of a feature, if it can be told.
fn kind(feature: &Feature, config: &proto::FeatureConfig) -> Option<Kind> {
    Some(match feature {
        Feature::Id(id) if id.ignored.is_some() => return None,
        Feature::Id(id) => Kind::Id { rule: rule(&id.rule)?, precision: id.precision },
        Feature::Tag(tag) => Kind::Tag {
            rule: rule(&tag.rule)?,
            separator: config.separator().to_owned(),
            kv_separator: config.kv_separator.clone(),
            combiner: combiner(tag.combiner),
        },
        Feature::Raw(raw) if raw.several.is_some() || config.normalizer_fn().contains("lambda") => return None,
        Feature::Raw(RawFeature { width, range, output, .. }) => Kind::Raw {
            width: *width,
            separator: config.separator().to_owned(),
            range: range.map(|(low, span)| [low, span]),
            normalizer: config.normalizer_fn.clone(),
            output: match output {
                RawOutput::Dense => Output::Dense,
                RawOutput::Buckets(boundaries) => Output::Buckets(boundaries.clone()),
                RawOutput::Weights(of) => Output::Weights(combiner(*of)),
            },
        },
        Feature::Combo(_) | Feature::Lookup(_) | Feature::Sequence(_) | Feature::Expr(_) => return None,
    })
}

/// The rule as data; `None` if a word of the vocabulary is not UTF-8.
fn rule(rule: &IdRule) -> Option<Rule> {
    Some(match rule {
        IdRule::Hash { buckets } => Rule::Hash(*buckets),
        IdRule::Number { buckets } => Rule::Number(*buckets),
        IdRule::Vocabulary { places } => {
            let mut words = vec![String::new(); places.len()];
            let by_place: BTreeMap<u32, &[u8]> = places.iter().map(|(word, place)| (*place, &**word)).collect();
            for (place, word) in by_place {
                words[place as usize] = String::from_utf8(word.to_vec()).ok()?;
            }
            Rule::Vocabulary(words)
        }
    })
}

fn combiner(combiner: Combiner) -> &'static str {
    match combiner {
        Combiner::Sum => "sum",
        Combiner::Mean => "mean",
        Combiner::SqrtN => "sqrtn",
    }
}

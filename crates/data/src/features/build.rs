//! From a `FeatureConfig` to a feature that runs: which settings apply, and which do not fit together.

use std::ops::Range;

use rankmill_config::expression::ExpressionError;
use rankmill_config::proto;
use rankmill_config::proto::dataset_config::FieldType;

use super::Feature;
use super::formula::Formula;
use super::id::IdFeature;
use super::ids::{IdRule, KEYS};
use super::raw::{Pooling, RawFeature, RawOutput};
use super::split::Separator;
use super::tag::{TagFeature, Weights};
use super::vocabulary;
use crate::batch::{Combiner, DynamicSpec};

/// A feature as declared, with what is known of its inputs and its use.
pub(crate) struct Declaration<'a> {
    pub(crate) name: &'a str,
    pub(crate) config: &'a proto::FeatureConfig,
    /// The types of its inputs.
    pub(crate) inputs: Vec<FieldType>,
    /// Whether a deep group uses it; then its combiner counts.
    pub(crate) deep: bool,
    /// Whether a wide group uses it.
    pub(crate) wide: bool,
    /// Whether and how its table takes in ids as they come.
    pub(crate) dynamic: Option<DynamicSpec>,
}

/// A feature that runs and its table.
pub(crate) struct Built {
    pub(crate) feature: Feature,
    pub(crate) combiner: Combiner,
    pub(crate) table_suffix: String,
}

/// Something wrong with the setting of that name (empty: with the feature).
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) setting: &'static str,
    pub(crate) message: String,
    /// The bytes of the setting's text that are wrong, where not all of it is.
    pub(crate) span: Option<Range<usize>>,
}

impl Problem {
    /// Something wrong with a part of a setting's text.
    pub(crate) fn within(setting: &'static str, error: ExpressionError) -> Problem {
        Problem { setting, message: error.message, span: Some(error.span) }
    }

    pub(crate) fn at(setting: &'static str, message: impl Into<String>) -> Problem {
        Problem { setting, message: message.into(), span: None }
    }
}

/// Whether a field holds floating-point numbers.
pub(crate) fn is_float(kind: FieldType) -> bool {
    matches!(kind, FieldType::Float | FieldType::Double)
}

pub(crate) fn id_feature(declaration: &Declaration<'_>) -> Result<Built, Problem> {
    let config = declaration.config;
    let rule = id_rule(declaration)?;
    let precision = match (&rule, is_float(declaration.inputs[0]), config.precision()) {
        (_, false, _) => 0,
        (IdRule::Hash { .. }, true, precision @ 1..) => precision as usize,
        (IdRule::Hash { .. }, true, _) => {
            return Err(Problem::at("precision", "a FLOAT or DOUBLE input is hashed as text; set precision (decimals) above 0"));
        }
        _ => return Err(Problem::at("input_names", "a FLOAT or DOUBLE input of an IdFeature needs hash_bucket_size and precision")),
    };
    Ok(Built {
        feature: Feature::Id(IdFeature { input: config.input_names[0].clone(), rule, precision }),
        combiner: combiner(declaration)?,
        table_suffix: format!("{}_embedding", declaration.name),
    })
}

pub(crate) fn tag_feature(declaration: &Declaration<'_>) -> Result<Built, Problem> {
    let (name, config) = (declaration.name, declaration.config);
    if is_float(declaration.inputs[0]) {
        return Err(Problem::at("input_names", "the first input of a TagFeature must be STRING, not FLOAT or DOUBLE"));
    }
    let weights = match (&config.input_names[..], &config.kv_separator) {
        ([_, _, _, ..], _) => return Err(Problem::at("input_names", "a TagFeature has one input, or two: ids and weights")),
        ([_, _], Some(_)) => {
            return Err(Problem::at("kv_separator", "the weights are in the second input; remove kv_separator or that input"));
        }
        ([_, weights], None) => Weights::Input { name: weights.clone() },
        (_, Some(separator)) if separator.is_empty() => return Err(Problem::at("kv_separator", "is empty")),
        (_, Some(separator)) => Weights::Key { separator: Separator::new(separator), shown: separator.clone() },
        (_, None) => Weights::None,
    };
    let combiner = combiner(declaration)?;
    let table_suffix = match weights {
        Weights::None => format!("{name}_embedding"),
        _ => format!("{name}_weighted_by_{name}_w_embedding"),
    };
    if !matches!(weights, Weights::None) {
        refuse_two_combiners(declaration, combiner)?;
    }
    let feature = TagFeature {
        name: name.to_string(),
        input: config.input_names[0].clone(),
        rule: id_rule(declaration)?,
        separator: Separator::new(config.separator()),
        weights,
        combiner,
    };
    Ok(Built { feature: Feature::Tag(feature), combiner, table_suffix })
}

pub(crate) fn raw_feature(declaration: &Declaration<'_>) -> Result<Built, Problem> {
    let (name, config) = (declaration.name, declaration.config);
    let width = config.raw_input_dim() as usize;
    if width == 0 || width > 1 << 20 {
        return Err(Problem::at("raw_input_dim", "must be from 1 to 1048576"));
    }
    if width > 1 && declaration.inputs[0] != FieldType::String {
        return Err(Problem::at("raw_input_dim", "more than one number needs a STRING input"));
    }
    let normalizer = match config.normalizer_fn() {
        "" => None,
        function => Some(Formula::of_one(function).map_err(|error| Problem::within("normalizer_fn", error))?),
    };
    let (low, high) = (config.min_val(), config.max_val());
    let range = (high > low).then_some((low as f32, (high - low) as f32));
    let several = several(declaration)?;
    let boundaries = boundaries(config)?;
    let has_table = !boundaries.is_empty() || (declaration.deep && config.embedding_dim() > 0);
    let combiner = if has_table { combiner(declaration)? } else { Combiner::Sum };
    let (output, table_suffix) = if !boundaries.is_empty() {
        (RawOutput::Buckets(boundaries), format!("{name}_bucketized_embedding"))
    } else {
        let suffix = format!("{name}_weighted_by_{name}_raw_proj_val_embedding");
        if declaration.deep && config.embedding_dim() > 0 {
            refuse_two_combiners(declaration, combiner)?;
            (RawOutput::Weights(combiner), suffix)
        } else {
            (RawOutput::Dense, suffix)
        }
    };
    if config.embedding_dim() == 0 && declaration.deep && matches!(output, RawOutput::Buckets(_)) {
        return Err(Problem::at("embedding_dim", "buckets in a deep group need an embedding_dim above 0"));
    }
    let input = config.input_names[0].clone();
    let feature = RawFeature { input, width, separator: Separator::new(config.separator()), several, range, normalizer, output };
    if feature.table_rows().is_some_and(|rows| rows > u32::MAX as usize) {
        return Err(Problem::at("raw_input_dim", "raw_input_dim * (boundaries + 1) must fit 32 bits"));
    }
    Ok(Built { feature: Feature::Raw(feature), combiner, table_suffix })
}

/// Where the text of a raw feature is cut into several numbers, and how they are pooled.
fn several(declaration: &Declaration<'_>) -> Result<Option<(Separator, Pooling)>, Problem> {
    let config = declaration.config;
    let (Some(separator), Some(combiner), FieldType::String) = (&config.seq_multi_sep, &config.combiner, declaration.inputs[0]) else {
        return Ok(None);
    };
    let Some(pooling) = Pooling::from_name(combiner) else {
        return Err(Problem::at("combiner", format!("several numbers have no `{combiner}`; expected sum, mean, max or min")));
    };
    Ok(Some((Separator::new(separator), pooling)))
}

/// The sorted boundaries of a raw feature; none if it has no buckets.
pub(crate) fn boundaries(config: &proto::FeatureConfig) -> Result<Vec<f32>, Problem> {
    let mut boundaries = config.boundaries.clone();
    if boundaries.is_empty() && config.num_buckets() > 1 && config.max_val() > config.min_val() {
        if config.num_buckets() > 1 << 24 {
            return Err(Problem::at("num_buckets", "must be at most 16777216"));
        }
        let count = config.num_buckets() as f64;
        boundaries = (0..config.num_buckets()).map(|bucket| bucket as f64 / count).collect();
    }
    if boundaries.iter().any(|boundary| boundary.is_nan()) {
        return Err(Problem::at("boundaries", "must be numbers"));
    }
    boundaries.sort_by(f64::total_cmp);
    if let Some(pair) = boundaries.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Problem::at("boundaries", format!("has {} twice", pair[0])));
    }
    Ok(boundaries.into_iter().map(|boundary| boundary as f32).collect())
}

/// `hash_bucket_size`, `vocab_list`, `vocab_file` or `num_buckets`: the first that is set. In a dynamic table the sizes don't matter: a text
/// is the key that its fingerprint is, a number its own.
pub(crate) fn id_rule(declaration: &Declaration<'_>) -> Result<IdRule, Problem> {
    let (config, is_dynamic) = (declaration.config, declaration.dynamic.is_some());
    let rule = if config.hash_bucket_size() > 0 {
        IdRule::Hash { buckets: if is_dynamic { KEYS } else { config.hash_bucket_size() } }
    } else if !config.vocab_list.is_empty() {
        let places = vocabulary::from_list(config.vocab_list.iter().map(String::as_bytes));
        IdRule::Vocabulary { places: places.map_err(|message| Problem::at("vocab_list", message))? }
    } else if config.vocab_file.as_deref().is_some_and(|path| !path.is_empty()) {
        let places = vocabulary::from_file(config.vocab_file());
        IdRule::Vocabulary { places: places.map_err(|message| Problem::at("vocab_file", message))? }
    } else if is_dynamic {
        IdRule::Number { buckets: KEYS }
    } else if config.num_buckets() > 0 {
        IdRule::Number { buckets: config.num_buckets() }
    } else {
        return Err(Problem::at("", "needs hash_bucket_size, vocab_list, vocab_file or num_buckets above 0"));
    };
    if !is_dynamic && rule.rows() > u64::from(u32::MAX) {
        return Err(Problem::at("", format!("needs a table of {} rows; at most {} are supported", rule.rows(), u32::MAX)));
    }
    Ok(rule)
}

/// The combiner that applies: wide groups always sum.
pub(crate) fn combiner(declaration: &Declaration<'_>) -> Result<Combiner, Problem> {
    let combiner = match declaration.config.combiner() {
        "sum" => Combiner::Sum,
        "mean" => Combiner::Mean,
        "sqrtn" => Combiner::SqrtN,
        other => return Err(Problem::at("combiner", format!("`{other}` is not known; expected sum, mean or sqrtn"))),
    };
    Ok(if declaration.deep { combiner } else { Combiner::Sum })
}

/// Weights up to 0 count in a wide group and do not under `mean` or `sqrtn`, so one column cannot serve both.
fn refuse_two_combiners(declaration: &Declaration<'_>, combiner: Combiner) -> Result<(), Problem> {
    if declaration.wide && declaration.deep && combiner != Combiner::Sum {
        return Err(Problem::at("combiner", "a weighted feature in both a wide and a deep group must have combiner sum"));
    }
    Ok(())
}

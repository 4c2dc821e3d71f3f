//! Features and feature groups: names, table sizes, embedding sizes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, listed};
use crate::features::{Feature, FeatureGroup};
use crate::proto::feature_config::FeatureType;
use crate::proto::{FeatureConfig, WideOrDeep, block};

/// Tables have at most this many rows.
const MAX_ROWS: u64 = u32::MAX as u64;

pub(super) fn check(check: &mut Check<'_>) {
    let features = check.features.clone();
    let names: Vec<(String, String)> = features.iter().map(|f| (f.name.clone(), name_path(f))).collect();
    if features.is_empty() && check.proto().fg_json_path.is_none() {
        check.error("feature_config", "no features are declared", "declare them in `feature_config { features { … } }`");
    }
    check.report_repeated(&names, "feature");
    for feature in &features {
        inputs(check, feature);
        sizes(check, feature);
        vocabulary(check, feature);
        kinds(check, feature);
    }
    shared_tables(check, &features);
}

fn name_path(feature: &Feature<'_>) -> String {
    if feature.config.feature_name.is_some() {
        return format!("{}.feature_name", feature.path);
    }
    format!("{}.input_names[0]", feature.path)
}

fn inputs(check: &mut Check<'_>, feature: &Feature<'_>) {
    let config = &feature.config;
    if config.input_names.is_empty() {
        check.error(&feature.path, "the feature has no `input_names`", "name the input field it is made of");
        return;
    }
    if config.feature_type() == FeatureType::LookupFeature && config.input_names.len() != 2 {
        let message = format!("the LookupFeature `{}` has {} `input_names`", feature.name, config.input_names.len());
        check.error(&format!("{}.input_names[0]", feature.path), message, "expected two: the key and the map");
    }
    if check.fields.is_empty() || check.proto().fg_json_path.is_some() {
        return;
    }
    for (at, name) in config.input_names.iter().enumerate() {
        if check.fields.iter().any(|field| field.name == *name) {
            continue;
        }
        let fields: Vec<String> = check.fields.iter().map(|field| field.name.clone()).collect();
        let known = || fields.iter().map(String::as_str);
        let message = format!("feature `{}` reads `{name}`, which is not among `input_fields`", feature.name);
        check.report_unknown(&format!("{}.input_names[{at}]", feature.path), message, name, known(), &listed(known()));
    }
}

fn sizes(check: &mut Check<'_>, feature: &Feature<'_>) {
    let config = &feature.config;
    let model_ev = check.proto().model_config.as_ref().is_some_and(|model| model.ev_params.is_some());
    let is_dynamic = config.ev_params.is_some() || model_ev;
    for (name, rows) in [("hash_bucket_size", config.hash_bucket_size()), ("num_buckets", config.num_buckets())] {
        if rows > MAX_ROWS && !is_dynamic {
            let message = format!("`{name}` of `{}` is {rows}, but tables are limited to {MAX_ROWS} rows", feature.name);
            check.error(&format!("{}.{name}", feature.path), message, "choose a smaller number");
        }
    }
    if config.raw_input_dim() == 0 {
        check.error(
            &format!("{}.raw_input_dim", feature.path),
            format!("`raw_input_dim` of `{}` is 0", feature.name),
            "expected at least 1",
        );
    }
    if needs_rows(config) && !has_rows(config) && !is_dynamic {
        let kind = config.feature_type().as_str_name();
        let message = format!("the {kind} `{}` has no table size", feature.name);
        check.error(&feature.path, message, "set one of hash_bucket_size, num_buckets, vocab_list, vocab_file");
    }
}

/// A word of a list can have one row only; a list that is not read (EasyRec behaviour 7) may say what it likes.
fn vocabulary(check: &mut Check<'_>, feature: &Feature<'_>) {
    let config = &feature.config;
    if !needs_rows(config) || config.hash_bucket_size() > 0 {
        return;
    }
    let mut places = BTreeMap::new();
    for (at, word) in config.vocab_list.iter().enumerate() {
        if let Some(first) = places.insert(word, at) {
            let message = format!("the `vocab_list` of `{}` has `{word}` twice, as entries {first} and {at}", feature.name);
            check.error(&format!("{}.vocab_list[{at}]", feature.path), message, "remove one of them");
            return;
        }
    }
}

fn needs_rows(config: &FeatureConfig) -> bool {
    match config.feature_type() {
        FeatureType::IdFeature | FeatureType::TagFeature | FeatureType::ComboFeature | FeatureType::LookupFeature => true,
        FeatureType::SequenceFeature => config.sub_feature_type() == FeatureType::IdFeature,
        FeatureType::RawFeature | FeatureType::ExprFeature | FeatureType::PassThroughFeature => false,
    }
}

fn has_rows(config: &FeatureConfig) -> bool {
    config.hash_bucket_size() > 0 || config.num_buckets() > 0 || !config.vocab_list.is_empty() || !config.vocab_file().is_empty()
}

fn kinds(check: &mut Check<'_>, feature: &Feature<'_>) {
    let config = &feature.config;
    // Several numbers in a field are pooled by other combiners than the rows of tables.
    let pools = config.feature_type() == FeatureType::RawFeature && config.seq_multi_sep.is_some();
    let combiners: &[&str] = if pools { &["sum", "mean", "max", "min"] } else { &["sum", "mean", "sqrtn"] };
    if !combiners.contains(&config.combiner()) {
        let message = format!("`{}` is no combiner", config.combiner());
        let expected = format!("expected one of {}", combiners.join(", "));
        check.report_unknown(&format!("{}.combiner", feature.path), message, config.combiner(), combiners.iter().copied(), &expected);
    }
    if config.feature_type() == FeatureType::ExprFeature && config.expression().is_empty() {
        check.error(&feature.path, format!("the ExprFeature `{}` has no `expression`", feature.name), "");
    }
    for (at, _) in config.boundaries.iter().enumerate().filter(|(_, value)| value.is_nan()) {
        check.error(&format!("{}.boundaries[{at}]", feature.path), format!("a boundary of `{}` is not a number", feature.name), "");
    }
}

/// Features of one `embedding_name` use one table, so they must agree on its shape.
fn shared_tables(check: &mut Check<'_>, features: &[Feature<'_>]) {
    let mut first: BTreeMap<&str, &Feature<'_>> = BTreeMap::new();
    for feature in features {
        let table = feature.config.embedding_name();
        if table.is_empty() {
            continue;
        }
        let owner = *first.entry(table).or_insert(feature);
        let (a, b) = (&owner.config, &feature.config);
        for (name, a, b) in [
            ("embedding_dim", u64::from(a.embedding_dim()), u64::from(b.embedding_dim())),
            ("hash_bucket_size", a.hash_bucket_size(), b.hash_bucket_size()),
            ("num_buckets", a.num_buckets(), b.num_buckets()),
        ] {
            if a != b {
                let message = format!("`{name}` is {b}, but `{}` shares the table `{table}` with {name} {a}", owner.name);
                check.error(&format!("{}.{name}", feature.path), message, "features of one `embedding_name` must agree");
            }
        }
    }
}

/// Checks names, members and embedding sizes of the feature groups.
pub(super) fn check_groups(check: &mut Check<'_>) {
    let groups = check.groups.clone();
    let names: Vec<(String, String)> = groups.iter().map(|group| (group.name.to_owned(), format!("{}.group_name", group.path))).collect();
    check.report_repeated(&names, "feature group");
    if groups.is_empty() && check.proto().model_config.is_some() {
        check.error("model_config", "no feature groups are declared", "add `feature_groups { group_name: … feature_names: … }`");
    }
    let unembedded = groups_without_embedding(check);
    let mut reported = BTreeSet::new();
    for group in &groups {
        if group.name.is_empty() {
            check.error(&group.path, "the feature group has no `group_name`", "");
        }
        if group.features.is_empty() && group.config.sequence_features.is_empty() {
            check.error(&group.path, format!("feature group `{}` is empty", group.name), "add `feature_names`");
        }
        let members: Vec<(String, String)> = members(group);
        for (name, path) in &members {
            let Some(feature) = check.features.iter().find(|feature| feature.name == *name).cloned() else {
                unknown_member(check, group, name, path);
                continue;
            };
            let embedded = group.config.wide_deep() == WideOrDeep::Deep && !unembedded.contains(group.name);
            if embedded && needs_width(&feature.config) && feature.config.embedding_dim() == 0 && reported.insert(feature.name.clone()) {
                let message = format!("feature `{name}` is used by group `{}` but its `embedding_dim` is 0", group.name);
                check.error(&feature.path, message, "set `embedding_dim`");
            }
        }
        twice(check, group);
    }
}

fn unknown_member(check: &mut Check<'_>, group: &FeatureGroup<'_>, name: &str, path: &str) {
    if check.proto().fg_json_path.is_some() {
        return;
    }
    let names: Vec<String> = check.features.iter().map(|feature| feature.name.clone()).collect();
    let known = || names.iter().map(String::as_str);
    let message = format!("feature group `{}` names unknown feature `{name}`", group.name);
    check.report_unknown(path, message, name, known(), &listed(known()));
}

fn twice(check: &mut Check<'_>, group: &FeatureGroup<'_>) {
    let mut seen = BTreeSet::new();
    for feature in &group.features {
        if !seen.insert(&feature.name) {
            let message = format!("feature `{}` is twice in group `{}`", feature.name, group.name);
            check.error(&feature.path, message, "remove one of them");
        }
    }
}

/// All features that a group names, those of its sequence groups included.
fn members(group: &FeatureGroup<'_>) -> Vec<(String, String)> {
    let mut names: Vec<(String, String)> = group.features.iter().map(|f| (f.name.clone(), f.path.clone())).collect();
    for (at, sequence) in group.config.sequence_features.iter().enumerate() {
        for (map_at, map) in sequence.seq_att_map.iter().enumerate() {
            let path = format!("{}.sequence_features[{at}].seq_att_map[{map_at}]", group.path);
            for (list, field) in [(&map.key, "key"), (&map.hist_seq, "hist_seq"), (&map.aux_hist_seq, "aux_hist_seq")] {
                names.extend(list.iter().enumerate().map(|(at, name)| (name.clone(), format!("{path}.{field}[{at}]"))));
            }
        }
    }
    names
}

fn needs_width(config: &FeatureConfig) -> bool {
    match config.feature_type() {
        FeatureType::RawFeature => !config.boundaries.is_empty(),
        FeatureType::ExprFeature | FeatureType::PassThroughFeature => false,
        FeatureType::SequenceFeature => config.sub_feature_type() == FeatureType::IdFeature,
        _ => true,
    }
}

/// Groups that are read by `raw_input`, `embedding_layer` or wide blocks only, which bring their own width.
fn groups_without_embedding(check: &Check<'_>) -> BTreeSet<String> {
    let mut own_width = BTreeSet::new();
    let mut embedded = BTreeSet::new();
    let backbone = check.proto().model_config.as_ref().and_then(|model| model.backbone.as_ref());
    let Some(backbone) = backbone else { return own_width };
    let blocks = backbone.blocks.iter().chain(backbone.packages.iter().flat_map(|package| &package.blocks));
    for block in blocks {
        let own = match &block.layer {
            Some(block::Layer::RawInput(_) | block::Layer::EmbeddingLayer(_)) => true,
            Some(block::Layer::InputLayer(layer)) => layer.wide_output_dim() > 0,
            _ => false,
        };
        for input in &block.inputs {
            if let Some(crate::proto::input::Name::FeatureGroupName(name)) = &input.name {
                if own {
                    own_width.insert(name.clone())
                } else {
                    embedded.insert(name.clone())
                };
            }
        }
    }
    own_width.retain(|name| !embedded.contains(name));
    own_width
}

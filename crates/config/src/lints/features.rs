//! Lints of features and of how rows are read.

use std::collections::BTreeSet;

use super::Finder;
use crate::features::Feature;
use crate::proto::feature_config::FeatureType;
use crate::proto::sequence_combiner::Combiner;
use crate::proto::{block, input};
use crate::walk;

pub(super) fn find(finder: &mut Finder<'_>) {
    let pipeline = finder.pipeline;
    let used = used(finder);
    let whole = whole_sequence_groups(finder);
    let groups = pipeline.feature_groups();
    for feature in pipeline.features() {
        if !used.contains(&feature.name) {
            let path = format!("{}.input_names[0]", feature.path);
            finder.note("unused_feature", &path, format!("feature `{}` is declared and used by no group", feature.name));
        }
        values(finder, &feature);
        let mut naming = groups.iter().filter(|group| group.features.iter().any(|member| member.name == feature.name));
        let sequence = feature.config.feature_type() == FeatureType::SequenceFeature;
        if sequence && feature.config.max_seq_len.is_some() && naming.any(|group| !whole.contains(group.name)) {
            let path = format!("{}.max_seq_len", feature.path);
            finder.note("max_seq_len_ignored", &path, format!("`max_seq_len` of `{}` is not read", feature.name));
        }
        let combiner = feature.config.sequence_combiner.as_ref().and_then(|combiner| combiner.combiner.as_ref());
        if let Some(Combiner::TextCnn(cnn)) = combiner
            && cnn.pad_sequence_length() == 0
            && used.contains(&feature.name)
        {
            let path = format!("{}.sequence_combiner.text_cnn", feature.path);
            finder.note("maximum_over_padding", &path, "`pad_sequence_length` is 0");
        }
    }
    shuffling(finder);
    label_functions(finder);
}

/// EasyRec applies functions to the fields of labels only.
fn label_functions(finder: &mut Finder<'_>) {
    let Some(data) = &finder.pipeline.proto.data_config else { return };
    for field in finder.pipeline.input_fields() {
        if field.config.user_define_fn.is_some() && !data.label_fields.contains(&field.name) {
            let message = format!("the `user_define_fn` of `{}` has no effect", field.name);
            let path = format!("{}.user_define_fn", field.path);
            finder.note_as("setting_without_effect", &path, message, "it is applied to label fields only", "remove it");
        }
    }
}

/// Features that some group, metric, loss or sampler names.
fn used(finder: &Finder<'_>) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for group in finder.pipeline.feature_groups() {
        used.extend(group.features.into_iter().map(|feature| feature.name));
    }
    walk::scalars(finder.pipeline.message(), &mut |_, field, value| {
        let names_feature = matches!(
            (field.parent_message().name(), field.name()),
            ("SeqAttMap", _)
                | (_, "uid_field" | "session_id_field" | "session_name" | "session_id" | "sample_id" | "item_id")
                | (_, "task_space_indicator_name" | "task_space_indicator_label" | "sample_weight")
                | (_, "attr_fields" | "item_id_field" | "user_id_field")
        );
        if let Some(name) = value.as_str().filter(|_| names_feature) {
            used.insert(name.to_owned());
        }
    });
    used
}

/// Groups whose sequences reach the model as sequences, cut at `max_seq_len` (behaviour 116).
fn whole_sequence_groups(finder: &Finder<'_>) -> BTreeSet<String> {
    let mut groups = BTreeSet::new();
    let Some(backbone) = finder.pipeline.proto.model_config.as_ref().and_then(|model| model.backbone.as_ref()) else {
        return groups;
    };
    let blocks = backbone.blocks.iter().chain(backbone.packages.iter().flat_map(|package| &package.blocks));
    for block in blocks {
        let Some(block::Layer::InputLayer(layer)) = &block.layer else { continue };
        if !layer.output_seq_and_normal_feature() {
            continue;
        }
        groups.extend(block.inputs.iter().filter_map(|input| match &input.name {
            Some(input::Name::FeatureGroupName(name)) => Some(name.clone()),
            _ => None,
        }));
    }
    groups
}

fn values(finder: &mut Finder<'_>, feature: &Feature<'_>) {
    let (config, path, name) = (&feature.config, &feature.path, &feature.name);
    let ways = [
        ("hash_bucket_size", config.hash_bucket_size() > 0),
        ("vocab_list", !config.vocab_list.is_empty()),
        ("vocab_file", !config.vocab_file().is_empty()),
        ("num_buckets", config.num_buckets() > 0),
    ];
    let given: Vec<&str> = ways.iter().filter(|(_, given)| *given).map(|(way, _)| *way).collect();
    if let [first, second, ..] = given[..] {
        let suffix = if second == "vocab_list" { "[0]" } else { "" };
        let message = format!("`{name}` has both {first} and {second}; {second} is not read");
        finder.note("bucket_precedence", &format!("{path}.{second}{suffix}"), message);
    }
    let buckets = config.num_buckets();
    let looks_like_year = name.to_lowercase().split('_').any(|word| word == "year" || word == "years");
    let numbered = matches!(config.feature_type(), FeatureType::IdFeature | FeatureType::TagFeature);
    if numbered && given == ["num_buckets"] && looks_like_year && buckets < 1900 {
        let message = format!("`{name}` looks like a calendar year, but has {buckets} buckets");
        finder.note("year_out_of_range", &format!("{path}.num_buckets"), message);
    }
    if config.feature_type() == FeatureType::TagFeature && config.separator().chars().count() > 1 {
        let message = format!("the separator {:?} of `{name}` has several characters", config.separator());
        finder.note("tag_separator_characters", &format!("{path}.separator"), message);
    }
    let bounded = config.min_val.is_some() || config.max_val.is_some();
    if bounded && config.max_val() <= config.min_val() {
        let message = format!("`{name}` has min_val {} and max_val {}", config.min_val(), config.max_val());
        let field = if config.max_val.is_some() { "max_val" } else { "min_val" };
        finder.note("normalization_skipped", &format!("{path}.{field}"), message);
    }
    if config.feature_type() == FeatureType::ComboFeature && !config.combo_input_seps.is_empty() {
        let joined = !config.combo_join_sep().is_empty();
        if joined && config.combo_join_sep() != "_X_" {
            let message = format!("`{name}` joins with \"_X_\", not {:?}", config.combo_join_sep());
            finder.note("combo_join_sep_replaced", &format!("{path}.combo_join_sep"), message);
        }
        let mut cut = config.combo_input_seps.iter().map(|separator| !separator.is_empty());
        if cut.clone().skip_while(|cut| *cut).any(|cut| cut) {
            let first = cut.position(|cut| cut).unwrap_or(0);
            let message = format!("`{name}` does not combine its inputs in the order of input_names");
            finder.note("combo_inputs_reordered", &format!("{path}.combo_input_seps[{first}]"), message);
        }
    }
    if config.feature_type() == FeatureType::IdFeature && config.input_names.len() > 1 {
        let message = format!("`{name}` has {} input_names", config.input_names.len());
        finder.note("input_names_ignored", &format!("{path}.input_names[1]"), message);
    }
}

fn shuffling(finder: &mut Finder<'_>) {
    let Some(data) = &finder.pipeline.proto.data_config else { return };
    let (buffer, batch) = (i64::from(data.shuffle_buffer_size()), i64::from(data.batch_size()));
    if data.shuffle() && buffer < batch {
        let path = if data.shuffle_buffer_size.is_some() { "data_config.shuffle_buffer_size" } else { "data_config.batch_size" };
        let message = format!("`shuffle_buffer_size` is {buffer} for a batch of {batch} rows");
        finder.note("small_shuffle_buffer", path, message);
    }
}

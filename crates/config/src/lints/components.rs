//! Lints of components and feature groups whose arithmetic is not what their settings suggest.

use super::Finder;
use super::model::blocks;
use crate::proto::block::Layer;
use crate::proto::keras_layer::Params;
use crate::proto::{Dnn, EasyRecModel, InputLayer, KerasLayer, Mlp};

pub(super) fn find(finder: &mut Finder<'_>, model: &EasyRecModel) {
    for (path, block) in model.backbone.iter().flat_map(blocks) {
        if let Some(Layer::InputLayer(options)) = &block.layer {
            input_layer(finder, options, &format!("{path}.input_layer"));
        }
        for (path, layer) in super::model::keras_layers(block, &path) {
            component(finder, layer, &path);
            super::arithmetic::find(finder, layer, &path);
        }
    }
    sequence_groups(finder, model);
}

/// EasyRec behaviours 116 and 117.
fn input_layer(finder: &mut Finder<'_>, options: &InputLayer, path: &str) {
    let features_drop = options.feature_dropout_rate() > 0.0;
    let sequences = options.output_seq_and_normal_feature();
    let ignored = [
        ("do_batch_norm", options.do_batch_norm() && (sequences || features_drop)),
        ("do_layer_norm", options.do_layer_norm() && (sequences || features_drop)),
        ("dropout_rate", options.dropout_rate() > 0.0 && sequences),
        ("feature_dropout_rate", features_drop && sequences),
    ];
    for (field, _) in ignored.iter().filter(|(_, is_ignored)| *is_ignored) {
        let other = if sequences { "output_seq_and_normal_feature" } else { "feature_dropout_rate" };
        finder.note("input_layer_option_ignored", &format!("{path}.{field}"), format!("`{field}` is set beside `{other}`"));
    }
}

/// EasyRec behaviours 104, 124, 132, 133, 136 and 141.
fn component(finder: &mut Finder<'_>, layer: &KerasLayer, path: &str) {
    if layer.class_name() == "SeqAugment" {
        finder.note("augments_in_evaluation", &format!("{path}.class_name"), "the component SeqAugment");
    }
    match &layer.params {
        Some(Params::AutoDisEmbedding(params)) if params.keep_prob.is_some() => {
            let message = format!("`keep_prob` is {}", params.keep_prob());
            finder.note("keep_prob_drops_nothing", &format!("{path}.auto_dis_embedding.keep_prob"), message);
        }
        Some(Params::Din(params)) if params.attention_dnn.as_ref().is_some_and(norms_inside) => {
            let message = "the MLP that scores positions has batch norms";
            finder.note("attention_norms_count_padding", &format!("{path}.din.attention_dnn"), message);
        }
        Some(Params::Bst(params)) => {
            let rates = [
                ("hidden_dropout_prob", params.hidden_dropout_prob),
                ("attention_probs_dropout_prob", params.attention_probs_dropout_prob),
            ];
            unset_rates(finder, &rates, &format!("{path}.bst"));
        }
        Some(Params::Transformer(params)) => {
            unset_rates(finder, &[("hidden_dropout_prob", params.hidden_dropout_prob)], &format!("{path}.transformer"));
        }
        _ => {}
    }
}

/// Notes that rates are not set; `path` is where they would stand.
pub(super) fn unset_rates(finder: &mut Finder<'_>, rates: &[(&str, Option<f32>)], path: &str) {
    let unset: Vec<String> = rates.iter().filter(|(_, rate)| rate.is_none()).map(|(name, _)| format!("`{name}`")).collect();
    if !unset.is_empty() {
        let verb = if unset.len() == 1 { "is" } else { "are" };
        finder.note("dropout_by_default", path, format!("{} {verb} not set", unset.join(" and ")));
    }
}

/// Whether layers before the last have batch norms.
fn norms_inside(mlp: &Mlp) -> bool {
    mlp.use_bn() && mlp.hidden_units.len() > 1
}

/// EasyRec behaviour 159. A `seq_dnn` that is not set has batch norms, too.
fn sequence_groups(finder: &mut Finder<'_>, model: &EasyRecModel) {
    let has_norms = |dnn: Option<&Dnn>| dnn.is_none_or(|dnn| dnn.use_bn() && dnn.hidden_units.len() > 1);
    for (i, group) in model.feature_groups.iter().enumerate() {
        for (j, sequences) in group.sequence_features.iter().enumerate().filter(|(_, group)| has_norms(group.seq_dnn.as_ref())) {
            let path = format!("model_config.feature_groups[{i}].sequence_features[{j}]");
            let path = if sequences.seq_dnn.is_some() { format!("{path}.seq_dnn") } else { path };
            finder.note("attention_norms_count_padding", &path, "the DNN that scores positions has batch norms");
        }
    }
}

//! Lints of the model and its metrics.

use prost_types::value::Kind;

use super::Finder;
use crate::pipeline::Pipeline;
use crate::proto::eval_metrics::Metric;
use crate::proto::keras_layer::Params;
use crate::proto::{BackboneTower, Block, EasyRecModel, EvalMetrics, KerasLayer, LossType, block, layer};
use crate::walk;

/// Activations that an MLP knows by name (EasyRec behaviour 103).
const ACTIVATIONS: [&str; 11] = ["linear", "relu", "gelu", "leaky_relu", "prelu", "dice", "elu", "selu", "tanh", "swish", "sigmoid"];

pub(super) fn find(finder: &mut Finder<'_>) {
    metrics(finder);
    activations(finder);
    let Some(model) = &finder.pipeline.proto.model_config else { return };
    regularization(finder, model);
    mask_blocks(finder);
    super::heads::find(finder, model);
    super::components::find(finder, model);
    if let Some(backbone) = &model.backbone {
        super::backbone::find(finder, backbone);
        super::inputs::find(finder, model, backbone);
    }
}

fn metrics(finder: &mut Finder<'_>) {
    let proto = &finder.pipeline.proto;
    let sets: &[EvalMetrics] = proto.eval_config.as_ref().map_or(&[], |eval| &eval.metrics_set);
    let raw = proto.model_config.as_ref().filter(|model| model.losses.is_empty() && model.loss_type() == LossType::L2Loss);
    for (at, set) in sets.iter().enumerate() {
        let path = format!("eval_config.metrics_set[{at}]");
        let (name, ranks, ignored) = match &set.metric {
            Some(Metric::Auc(_)) => ("auc", true, false),
            Some(Metric::Gauc(_)) => ("gauc", true, false),
            Some(Metric::SessionAuc(_)) => ("session_auc", true, false),
            Some(Metric::MaxF1(_)) => ("max_f1", true, false),
            Some(Metric::Precision(_)) => ("precision", false, true),
            Some(Metric::Recall(_)) => ("recall", false, true),
            Some(Metric::PrecisionAtTopk(_)) => ("precision_at_topk", false, true),
            _ => continue,
        };
        let path = format!("{path}.{name}");
        if name == "max_f1" {
            finder.note("max_f1_on_logits", &path, "`max_f1` is computed on raw scores");
        }
        if ignored {
            finder.note("metric_ignored", &path, format!("`{name}` is not computed"));
        }
        if ranks && raw.is_some() {
            finder.note("auc_without_probabilities", &path, format!("`{name}` of raw scores"));
        }
    }
}

fn activations(finder: &mut Finder<'_>) {
    let (mut found, mut leaky) = (Vec::new(), Vec::new());
    walk::scalars(finder.pipeline.message(), &mut |path, field, value| {
        let named = matches!(
            (field.parent_message().name(), field.name()),
            ("MLP", "activation" | "final_activation")
                | ("GateNN" | "HighWayTower", "activation")
                | ("PeriodicEmbedding", "linear_activation")
                | ("BSTEncoder", "hidden_act")
        );
        let Some(text) = value.as_str().filter(|_| named) else { return };
        if field.parent_message().name() == "MLP" && text.eq_ignore_ascii_case("prelu") {
            leaky.push((path.to_owned(), field.name().to_owned()));
        }
        if !is_unknown(text) {
            return;
        }
        found.push((path.to_owned(), field.name().to_owned(), text.to_owned()));
    });
    for (path, name) in leaky {
        finder.note("prelu_learns_nothing", &path, format!("`{name}` is prelu"));
    }
    free_activations(finder.pipeline, &mut found);
    for (path, name, text) in found {
        let near = crate::diagnostic::nearest(&text, ACTIVATIONS).map(|near| format!("; did you mean `{near}`?"));
        finder.note("activation_is_linear", &path, format!("`{name}` is `{text}`, which is none{}", near.unwrap_or_default()));
    }
}

fn is_unknown(activation: &str) -> bool {
    !activation.is_empty() && !activation.contains('.') && !ACTIVATIONS.contains(&activation.to_lowercase().as_str())
}

/// The same in `st_params` of components that look names up as EasyRec does: path, setting and value.
fn free_activations(pipeline: &Pipeline, found: &mut Vec<(String, String, String)>) {
    const COMPONENTS: [&str; 7] = ["BST", "Cross", "FinalMLP", "FinalNet", "Highway", "MLP", "PeriodicEmbedding"];
    const SETTINGS: [&str; 5] = ["activation", "final_activation", "hidden_act", "linear_activation", "preactivation"];
    let Some(backbone) = pipeline.proto.model_config.as_ref().and_then(|model| model.backbone.as_ref()) else { return };
    for (path, block) in blocks(backbone) {
        for (layer_path, layer) in keras_layers(block, &path) {
            let Some(Params::StParams(values)) = &layer.params else { continue };
            if !COMPONENTS.contains(&layer.class_name()) {
                continue;
            }
            for (name, value) in values.fields.iter().filter(|(name, _)| SETTINGS.contains(&name.as_str())) {
                if let Some(Kind::StringValue(text)) = &value.kind
                    && is_unknown(text)
                {
                    found.push((format!("{layer_path}.st_params.fields[\"{name}\"]"), name.clone(), text.clone()));
                }
            }
        }
    }
}

fn regularization(finder: &mut Finder<'_>, model: &EasyRecModel) {
    if model.embedding_regularization() > 0.0 {
        let message = format!("`embedding_regularization` is {}", model.embedding_regularization());
        finder.note("embedding_regularization_grows_with_batch", "model_config.embedding_regularization", message);
    }
    let Some(crate::proto::easy_rec_model::Model::ModelParams(params)) = &model.model else { return };
    let Some(backbone) = &model.backbone else { return };
    // Towers of a multi-task model and BST are built from layers whose L2 terms do count (behaviours 26 and 133).
    let towers = params.task_towers.iter().any(|tower| tower.dnn.is_some() || tower.relation_dnn.is_some());
    let blocks = backbone.blocks.iter().chain(backbone.packages.iter().flat_map(|package| &package.blocks));
    let counts = blocks.flat_map(|block| keras_layers(block, "")).any(|(_, layer)| layer.class_name() == "BST");
    if params.l2_regularization() > 0.0 && !towers && !counts {
        let message = format!("`l2_regularization` is {} for a backbone", params.l2_regularization());
        finder.note("backbone_l2_has_no_effect", "model_config.model_params.l2_regularization", message);
    }
}

/// All blocks of a backbone, with their paths.
pub(super) fn blocks(backbone: &BackboneTower) -> Vec<(String, &Block)> {
    let path = "model_config.backbone";
    let packages = backbone.packages.iter().enumerate().map(|(i, package)| (format!("{path}.packages[{i}]"), &package.blocks));
    let all = std::iter::once((path.to_owned(), &backbone.blocks)).chain(packages);
    all.flat_map(|(path, blocks)| blocks.iter().enumerate().map(move |(i, block)| (format!("{path}.blocks[{i}]"), block))).collect()
}

/// The components of a block, with their paths.
pub(super) fn keras_layers<'a>(block: &'a Block, path: &str) -> Vec<(String, &'a KerasLayer)> {
    let mut layers = Vec::new();
    match &block.layer {
        Some(block::Layer::KerasLayer(layer)) => layers.push((format!("{path}.keras_layer"), Some(layer))),
        Some(block::Layer::Recurrent(layer)) => layers.push((format!("{path}.recurrent.keras_layer"), layer.keras_layer.as_ref())),
        Some(block::Layer::Repeat(layer)) => layers.push((format!("{path}.repeat.keras_layer"), layer.keras_layer.as_ref())),
        _ => {}
    }
    for (i, layer) in block.layers.iter().enumerate() {
        let path = format!("{path}.layers[{i}]");
        match &layer.layer {
            Some(layer::Layer::KerasLayer(layer)) => layers.push((format!("{path}.keras_layer"), Some(layer))),
            Some(layer::Layer::Recurrent(layer)) => layers.push((format!("{path}.recurrent.keras_layer"), layer.keras_layer.as_ref())),
            Some(layer::Layer::Repeat(layer)) => layers.push((format!("{path}.repeat.keras_layer"), layer.keras_layer.as_ref())),
            _ => {}
        }
    }
    layers.into_iter().filter_map(|(path, layer)| layer.map(|layer| (path, layer))).collect()
}

/// EasyRec behaviour 31.
fn mask_blocks(finder: &mut Finder<'_>) {
    let mut factors = Vec::new();
    walk::scalars(finder.pipeline.message(), &mut |path, field, _| {
        if field.parent_message().name() == "MaskBlock" && field.name() == "reduction_factor" {
            factors.push(path.trim_end_matches(".reduction_factor").to_owned());
        }
    });
    for block in factors {
        let path = format!("{block}.aggregation_size");
        if finder.pipeline.is_set(&path) {
            finder.note("reduction_factor_wins", &path, "`aggregation_size` is set beside `reduction_factor`");
        }
    }
}

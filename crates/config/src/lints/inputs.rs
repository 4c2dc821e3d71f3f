//! Lints of blocks for which it matters what their inputs are.

use prost_types::value::Kind;

use super::Finder;
use super::arithmetic::setting;
use crate::proto::block::Layer;
use crate::proto::input::Name;
use crate::proto::keras_layer::Params;
use crate::proto::{BackboneTower, Block, EasyRecModel, KerasLayer, layer};

const PATH: &str = "model_config.backbone";

pub(super) fn find(finder: &mut Finder<'_>, model: &EasyRecModel, backbone: &BackboneTower) {
    let packages = backbone.packages.iter().enumerate();
    let packages = packages.map(|(i, package)| (format!("{PATH}.packages[{i}]"), package.blocks.as_slice()));
    for (path, blocks) in std::iter::once((PATH.to_owned(), backbone.blocks.as_slice())).chain(packages) {
        for (i, block) in blocks.iter().enumerate() {
            let Some(Layer::KerasLayer(layer)) = &block.layer else { continue };
            let path = format!("{path}.blocks[{i}].keras_layer");
            match layer.class_name() {
                "AITMTower" => transfer(finder, block, layer, &path),
                "Attention" => attention(finder, blocks, block, &path),
                "Cross" => cross(finder, blocks, block, &path),
                "Gate" => gate(finder, blocks, block, layer, &path),
                _ => {}
            }
        }
    }
    logits(finder, model, backbone);
}

/// The block of that name.
fn named<'a>(blocks: &'a [Block], name: &str) -> Option<&'a Block> {
    blocks.iter().find(|block| block.name() == name)
}

/// What an input's name stands for, if it is taken as it is.
fn plain_source(block: &Block, at: usize) -> Option<&Name> {
    let input = block.inputs.get(at)?;
    if input.input_fn.is_some() || input.input_slice.is_some() { None } else { input.name.as_ref() }
}

/// The last component of a block.
fn last_component(block: &Block) -> Option<&KerasLayer> {
    match (block.layers.last().map(|layer| &layer.layer), &block.layer) {
        (Some(Some(layer::Layer::KerasLayer(layer))), _) | (None, Some(Layer::KerasLayer(layer))) => Some(layer),
        _ => None,
    }
}

/// EasyRec behaviour 139.
fn transfer(finder: &mut Finder<'_>, block: &Block, layer: &KerasLayer, path: &str) {
    let others = block.inputs.len().saturating_sub(1);
    if others == 0 {
        return;
    }
    finder.note("queries_learn_nothing", &format!("{path}.class_name"), format!("a tower that depends on {others}"));
    if others > 1
        && let Some(Params::Aitm(params)) = &layer.params
        && params.transfer_mlp.is_some()
    {
        finder.note("transfer_is_shared", &format!("{path}.aitm.transfer_mlp"), format!("a tower that depends on {others}"));
    }
}

/// EasyRec behaviour 134.
fn attention(finder: &mut Finder<'_>, blocks: &[Block], block: &Block, path: &str) {
    if reads_sequences(blocks, block, blocks.len()) {
        finder.note("padding_is_attended_to", &format!("{path}.class_name"), "the component Attention over a sequence");
    }
}

/// Whether sequences of some length go into a block, through at most so many others.
fn reads_sequences(blocks: &[Block], block: &Block, depth: usize) -> bool {
    if let Some(Layer::InputLayer(options)) = &block.layer {
        return options.output_seq_and_normal_feature();
    }
    depth > 0
        && block.inputs.iter().any(|input| match &input.name {
            Some(Name::BlockName(name)) => named(blocks, name).is_some_and(|source| reads_sequences(blocks, source, depth - 1)),
            _ => false,
        })
}

/// EasyRec behaviour 127.
fn cross(finder: &mut Finder<'_>, blocks: &[Block], block: &Block, path: &str) {
    let is_single = block.inputs.len() == 1 && !block.merge_inputs_into_list() && block.extra_input_fn.is_none();
    let is_matrix = match plain_source(block, 0) {
        Some(Name::FeatureGroupName(_)) => true,
        Some(Name::BlockName(name)) => {
            let source = named(blocks, name);
            source.and_then(last_component).is_some_and(|layer| matches!(layer.class_name(), "Dense" | "MLP" | "MaskNet"))
                || source.is_some_and(|source| matches!(&source.layer, Some(Layer::InputLayer(options)) if *options == Default::default()))
        }
        _ => false,
    };
    if is_single && is_matrix {
        finder.note("easyrec_fails", &format!("{path}.class_name"), "the component Cross with a single tensor");
    }
}

/// EasyRec behaviour 122.
fn gate(finder: &mut Finder<'_>, blocks: &[Block], block: &Block, layer: &KerasLayer, path: &str) {
    let at = match &layer.params {
        Some(Params::Gate(params)) => params.weight_index() as usize,
        _ => match setting(layer, "weight_index") {
            Some(Kind::NumberValue(number)) => *number as usize,
            _ => 0,
        },
    };
    let Some(Name::BlockName(name)) = plain_source(block, at) else { return };
    let Some(source) = named(blocks, name).and_then(last_component) else { return };
    let activation = match (&source.params, setting(source, "activation")) {
        (Some(Params::Mlp(mlp)), _) => mlp.final_activation().to_owned(),
        (_, Some(Kind::StringValue(name))) if source.class_name() == "Dense" => name.clone(),
        _ if source.class_name() == "Dense" => "linear".to_owned(),
        _ => return,
    };
    if !activation.to_lowercase().ends_with("softmax") || activation == "softmax" && source.class_name() == "MLP" {
        let message = format!("the weights are what `{name}` gives, whose activation is {activation}");
        finder.note("gate_weights_are_taken_as_they_are", &format!("{path}.class_name"), message);
    }
}

/// EasyRec behaviour 120: the default of `final_activation`, where the backbone's output is as wide as the logits.
fn logits(finder: &mut Finder<'_>, model: &EasyRecModel, backbone: &BackboneTower) {
    let tasks = matches!(&model.model, Some(crate::proto::easy_rec_model::Model::ModelParams(params)) if !params.task_towers.is_empty());
    let (path, mlp) = match (&backbone.top_mlp, backbone.concat_blocks.as_slice()) {
        (Some(top), _) => (format!("{PATH}.top_mlp"), top),
        (None, [only]) => {
            let Some(at) = backbone.blocks.iter().position(|block| block.name() == only) else { return };
            let Some(Layer::KerasLayer(layer)) = &backbone.blocks[at].layer else { return };
            let Some(Params::Mlp(mlp)) = &layer.params else { return };
            (format!("{PATH}.blocks[{at}].keras_layer.mlp"), mlp)
        }
        _ => return,
    };
    let is_whole = mlp.hidden_units.last().is_some_and(|units| *units == model.num_class());
    if is_whole && !tasks && mlp.final_activation() == "relu" {
        finder.note("logits_are_never_negative", &path, "the last layer has the logits' width and a ReLU, which is the default");
    }
}

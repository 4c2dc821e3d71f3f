//! Lints of how blocks and packages are joined.

use std::collections::{BTreeMap, BTreeSet};

use super::Finder;
use super::model::{blocks, keras_layers};
use crate::proto::block::Layer;
use crate::proto::feature_config::FeatureType;
use crate::proto::input::Name;
use crate::proto::keras_layer::Params;
use crate::proto::{BackboneTower, Block, EmbeddingLayer, InputLayer, KerasLayer, Mlp};

const PATH: &str = "model_config.backbone";

pub(super) fn find(finder: &mut Finder<'_>, backbone: &BackboneTower) {
    ends(finder, backbone);
    tables(finder, backbone);
    calls(finder, backbone);
    for (path, block) in blocks(backbone) {
        match &block.layer {
            Some(Layer::InputLayer(options)) => input_layer(finder, options, &format!("{path}.input_layer")),
            Some(Layer::EmbeddingLayer(options)) => embedding_layer(finder, block, options, &format!("{path}.embedding_layer")),
            _ => {}
        }
    }
}

/// The graphs of blocks: the backbone's and those of the packages, with their paths.
fn graphs(backbone: &BackboneTower) -> Vec<(String, &[Block])> {
    let packages = backbone.packages.iter().enumerate();
    let packages = packages.map(|(i, package)| (format!("{PATH}.packages[{i}]"), package.blocks.as_slice()));
    std::iter::once((PATH.to_owned(), backbone.blocks.as_slice())).chain(packages).collect()
}

/// Everything that blocks read by name: blocks, feature groups, and what packages are given.
fn names_read(blocks: &[Block]) -> impl Iterator<Item = &str> {
    blocks.iter().flat_map(|block| &block.inputs).flat_map(|input| {
        let named = match &input.name {
            Some(Name::BlockName(name) | Name::FeatureGroupName(name)) => Some(name.as_str()),
            _ => None,
        };
        named.into_iter().chain(input.package_input.as_deref())
    })
}

/// EasyRec behaviour 108.
fn ends(finder: &mut Finder<'_>, backbone: &BackboneTower) {
    let chosen = |concat: &[String], output: &[String]| !concat.is_empty() || !output.is_empty();
    let of_backbone = chosen(&backbone.concat_blocks, &backbone.output_blocks);
    let of_packages = backbone.packages.iter().map(|package| chosen(&package.concat_blocks, &package.output_blocks));
    let all_read: BTreeSet<&str> = graphs(backbone).iter().flat_map(|(_, blocks)| names_read(blocks)).collect();
    for ((path, blocks), chosen) in graphs(backbone).into_iter().zip(std::iter::once(of_backbone).chain(of_packages)) {
        // Packages read blocks of the backbone, too.
        let read: BTreeSet<&str> = if path == PATH { all_read.clone() } else { names_read(blocks).collect() };
        let ends: Vec<String> =
            blocks.iter().map(Block::name).filter(|name| !read.contains(name)).map(|name| format!("`{name}`")).collect();
        if !chosen && ends.len() > 1 {
            let message = format!("there are no `concat_blocks`, and nothing reads {}", ends.join(", "));
            finder.note("all_ends_are_joined", &path, message);
        }
    }
}

/// EasyRec behaviour 113: a group has tables of its own wherever it is read.
fn tables(finder: &mut Finder<'_>, backbone: &BackboneTower) {
    let mut first: BTreeMap<&str, String> = BTreeMap::new();
    for (graph, blocks) in graphs(backbone) {
        for (i, block) in blocks.iter().enumerate() {
            for (j, input) in block.inputs.iter().enumerate() {
                let Some(Name::FeatureGroupName(name)) = &input.name else { continue };
                let known = first.entry(name).or_insert_with(|| graph.clone());
                if *known != graph {
                    let path = format!("{graph}.blocks[{i}].inputs[{j}].feature_group_name");
                    finder.note("group_has_several_tables", &path, format!("the group `{name}` is read outside of this package, too"));
                    known.clone_from(&graph);
                }
            }
        }
    }
}

/// EasyRec behaviours 113 and 114.
fn calls(finder: &mut Finder<'_>, backbone: &BackboneTower) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, block) in blocks(backbone) {
        for input in &block.inputs {
            let called = match &input.name {
                Some(Name::PackageName(name)) => Some(name.as_str()),
                _ => None,
            };
            called.into_iter().chain(input.package_input.as_deref()).for_each(|name| *counts.entry(name).or_default() += 1);
        }
    }
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    for (i, package) in backbone.packages.iter().enumerate().filter(|(_, package)| count(package.name()) > 1) {
        if package.blocks.iter().any(has_norms) {
            let message = format!("`{}` has batch norms and is called {} times", package.name(), count(package.name()));
            finder.note("shared_norms_move_together", &format!("{PATH}.packages[{i}]"), message);
        }
    }
    for (path, block) in blocks(backbone) {
        for (j, input) in block.inputs.iter().enumerate() {
            let Some(Name::PackageName(name)) = &input.name else { continue };
            let path = format!("{path}.inputs[{j}]");
            if input.ignore_input() {
                let message = format!("what `{name}` gives is not used");
                finder.note("ignored_package_still_runs", &format!("{path}.ignore_input"), message);
            }
            if input.reset_input.is_some() && count(name) > 1 {
                let message = format!("`{name}` is called {} times", count(name));
                finder.note("reset_input_stays", &format!("{path}.reset_input"), message);
            }
        }
    }
}

fn has_norms(block: &Block) -> bool {
    let of_layer = |layer: &KerasLayer| {
        layer.class_name() == "BatchNormalization"
            || layer.params.iter().filter_map(inner_mlp).any(|mlp| mlp.use_bn() && mlp.hidden_units.len() > 1 || mlp.use_final_bn())
    };
    let of_features = matches!(&block.layer, Some(Layer::InputLayer(options)) if options.do_batch_norm());
    of_features || keras_layers(block, "").iter().any(|(_, layer)| of_layer(layer))
}

/// The MLP that a component is or has.
fn inner_mlp(params: &Params) -> Option<&Mlp> {
    match params {
        Params::Mlp(mlp) => Some(mlp),
        Params::Aitm(params) => params.transfer_mlp.as_ref(),
        Params::Din(params) => params.attention_dnn.as_ref(),
        Params::Fibinet(params) => params.mlp.as_ref(),
        Params::Gate(params) => params.mlp.as_ref(),
        Params::Masknet(params) => params.mlp.as_ref(),
        Params::Mmoe(params) => params.expert_mlp.as_ref(),
        Params::Ppnet(params) => params.mlp.as_ref(),
        Params::TextCnn(params) => params.mlp.as_ref(),
        _ => None,
    }
}

/// EasyRec behaviour 115.
fn input_layer(finder: &mut Finder<'_>, options: &InputLayer, path: &str) {
    let norm = [("do_batch_norm", options.do_batch_norm()), ("do_layer_norm", options.do_layer_norm())];
    let forms = options.output_2d_tensor_and_feature_list() && !options.output_seq_and_normal_feature();
    for (field, _) in norm.iter().filter(|(_, is_set)| *is_set && forms) {
        let message = format!("`{field}` is set beside `output_2d_tensor_and_feature_list`");
        finder.note("whole_and_features_differ", &format!("{path}.{field}"), message);
    }
}

/// EasyRec behaviour 119.
fn embedding_layer(finder: &mut Finder<'_>, block: &Block, options: &EmbeddingLayer, path: &str) {
    let Some(Name::FeatureGroupName(name)) = block.inputs.first().and_then(|input| input.name.as_ref()) else { return };
    let groups = finder.pipeline.feature_groups();
    let members: Vec<&str> =
        groups.iter().filter(|group| group.name == name).flat_map(|group| &group.features).map(|feature| feature.name.as_str()).collect();
    let several: Vec<String> = finder
        .pipeline
        .features()
        .iter()
        .filter(|feature| members.contains(&feature.name.as_str()))
        .filter(|feature| {
            let config = &feature.config;
            let weighted = config.kv_separator.is_some() || config.input_names.len() > 1;
            let tags = config.feature_type() == FeatureType::TagFeature && !(weighted && options.combiner() == "weight");
            tags || config.feature_type() == FeatureType::SequenceFeature
        })
        .map(|feature| format!("`{}`", feature.name))
        .collect();
    if !several.is_empty() {
        finder.note("empty_values_are_looked_up", path, format!("rows have several values of {}", several.join(" and ")));
    }
}

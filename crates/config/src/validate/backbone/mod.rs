//! The backbone: names of blocks and packages, their inputs, cycles, and what every block must have.

mod calls;
mod expressions;

use std::collections::BTreeMap;

use super::{Check, listed};
use crate::proto::{Block, InputLayer, KerasLayer, block, input, layer};

pub(super) fn check(check: &mut Check<'_>) {
    let Some(backbone) = check.proto().model_config.as_ref().and_then(|model| model.backbone.as_ref()) else { return };
    let path = "model_config.backbone";
    let packages: Vec<String> = backbone.packages.iter().map(|package| package.name().to_owned()).collect();
    if backbone.blocks.is_empty() {
        check.error(path, "the backbone has no blocks", "add `blocks { name: … inputs { … } }`");
    }
    let root = Scope { path: path.to_owned(), blocks: &backbone.blocks, outer: &[], packages: &packages, in_package: false };
    scope(check, &root, &backbone.concat_blocks, &backbone.output_blocks);
    let names: Vec<(String, String)> =
        packages.iter().enumerate().map(|(at, name)| (name.clone(), format!("{path}.packages[{at}].name"))).collect();
    check.report_repeated(&names, "package");
    for (at, package) in backbone.packages.iter().enumerate() {
        let path = format!("{path}.packages[{at}]");
        if package.name().is_empty() {
            check.error(&path, "the package has no name", "");
        }
        if package.blocks.is_empty() {
            check.error(&path, format!("package `{}` has no blocks", package.name()), "");
        }
        let inner = Scope { path, blocks: &package.blocks, outer: &backbone.blocks, packages: &packages, in_package: true };
        scope(check, &inner, &package.concat_blocks, &package.output_blocks);
    }
    calls::check(check, backbone);
}

/// The backbone itself or a package: blocks name each other only within one, but those of a package may read those of the backbone.
struct Scope<'a> {
    path: String,
    blocks: &'a [Block],
    /// For a package the blocks of the backbone.
    outer: &'a [Block],
    packages: &'a [String],
    in_package: bool,
}

fn scope(check: &mut Check<'_>, scope: &Scope<'_>, concat_blocks: &[String], output_blocks: &[String]) {
    let names: Vec<(String, String)> = (scope.blocks.iter().enumerate())
        .map(|(at, block)| (block.name().to_owned(), format!("{}.blocks[{at}].name", scope.path)))
        .collect();
    check.report_repeated(&names, "block");
    for (at, block) in scope.blocks.iter().enumerate() {
        let path = format!("{}.blocks[{at}]", scope.path);
        if block.name().is_empty() {
            check.error(&path, "the block has no name", "");
        }
        block_inputs(check, scope, block, &path);
        block_layers(check, block, &path);
        expressions::check(check, block, &path);
    }
    cycles(check, scope);
    for (list, field) in [(concat_blocks, "concat_blocks"), (output_blocks, "output_blocks")] {
        for (at, name) in list.iter().enumerate() {
            if !is_node(check, scope, name) {
                let message = format!("`{field}` names unknown block `{name}`");
                unknown_block(check, scope, &format!("{}.{field}[{at}]", scope.path), message, name);
            }
        }
    }
}

/// Blocks, packages and feature groups are all nodes of the graph.
fn is_node(check: &Check<'_>, scope: &Scope<'_>, name: &str) -> bool {
    scope.blocks.iter().any(|block| block.name() == name)
        || scope.packages.iter().any(|package| package == name)
        || check.groups.iter().any(|group| group.name == name)
}

fn unknown_block(check: &mut Check<'_>, scope: &Scope<'_>, path: &str, message: String, name: &str) {
    let names = || scope.blocks.iter().map(Block::name).filter(|name| !name.is_empty());
    check.report_unknown(path, message, name, names(), &listed(names()));
}

fn block_inputs(check: &mut Check<'_>, scope: &Scope<'_>, block: &Block, path: &str) {
    if block.inputs.is_empty() {
        check.error(
            path,
            format!("block `{}` has no inputs", block.name()),
            "add `inputs { feature_group_name: … }` or `inputs { block_name: … }`",
        );
    }
    let groups: Vec<String> = check.groups.iter().map(|group| group.name.to_owned()).collect();
    let group_names = || groups.iter().map(String::as_str);
    let package_names = || scope.packages.iter().map(String::as_str);
    for (at, input) in block.inputs.iter().enumerate() {
        let path = format!("{path}.inputs[{at}]");
        match &input.name {
            None => check.error(
                &path,
                format!("an input of block `{}` names nothing", block.name()),
                "expected feature_group_name, block_name, package_name or use_package_input",
            ),
            Some(input::Name::FeatureGroupName(name)) if !groups.contains(name) => {
                let message = format!("block `{}` reads unknown feature group `{name}`", block.name());
                let path = format!("{path}.feature_group_name");
                check.report_unknown(&path, message, name, group_names(), &listed(group_names()));
            }
            Some(input::Name::BlockName(name)) if !is_node(check, scope, name) && !scope.outer.iter().any(|block| block.name() == name) => {
                let message = format!("block `{}` reads unknown block `{name}`", block.name());
                let names = || scope.blocks.iter().chain(scope.outer).map(Block::name).filter(|name| !name.is_empty());
                check.report_unknown(&format!("{path}.block_name"), message, name, names(), &listed(names()));
            }
            Some(input::Name::PackageName(name)) if !scope.packages.contains(name) => {
                let message = format!("block `{}` reads unknown package `{name}`", block.name());
                let path = format!("{path}.package_name");
                check.report_unknown(&path, message, name, package_names(), &listed(package_names()));
            }
            Some(input::Name::UsePackageInput(false)) => {
                let message = format!("an input of block `{}` sets `use_package_input` to false, and so names nothing", block.name());
                check.error(&format!("{path}.use_package_input"), message, "write `use_package_input: true`, or name a block");
            }
            Some(input::Name::UsePackageInput(true)) if !scope.in_package => {
                let message = format!("block `{}` uses the package input, but is in no package", block.name());
                check.error(&format!("{path}.use_package_input"), message, "move it into `packages`, or name a block");
            }
            Some(_) => {}
        }
        if let Some(name) = input.package_input.as_deref().filter(|name| !is_node(check, scope, name)) {
            let message = format!("`package_input` names unknown block or package `{name}`");
            let names = || scope.blocks.iter().map(Block::name).chain(package_names()).filter(|name| !name.is_empty());
            check.report_unknown(&format!("{path}.package_input"), message, name, names(), &listed(names()));
        }
    }
}

fn block_layers(check: &mut Check<'_>, block: &Block, path: &str) {
    let reads_group =
        matches!(block.layer, Some(block::Layer::InputLayer(_) | block::Layer::RawInput(_) | block::Layer::EmbeddingLayer(_)));
    let group_inputs = block.inputs.iter().filter(|input| matches!(input.name, Some(input::Name::FeatureGroupName(_)))).count();
    if reads_group && !block.inputs.is_empty() && (block.inputs.len() != 1 || group_inputs != 1) {
        let message = format!("block `{}` reads features, so it takes exactly one feature group", block.name());
        check.error(&format!("{path}.inputs[0]"), message, "expected `inputs { feature_group_name: … }`");
    }
    if let Some(block::Layer::InputLayer(options)) = &block.layer {
        input_options(check, block, options, &format!("{path}.input_layer"));
    }
    match &block.layer {
        Some(block::Layer::Lambda(lambda)) => expression(check, block, lambda.expression(), &format!("{path}.lambda")),
        Some(block::Layer::KerasLayer(layer)) => keras(check, block, Some(layer), &format!("{path}.keras_layer")),
        Some(block::Layer::Recurrent(layer)) => {
            count(check, block, "num_steps", layer.num_steps(), &format!("{path}.recurrent"));
            keras(check, block, layer.keras_layer.as_ref(), &format!("{path}.recurrent.keras_layer"));
        }
        Some(block::Layer::Repeat(layer)) => {
            count(check, block, "num_repeat", layer.num_repeat(), &format!("{path}.repeat"));
            keras(check, block, layer.keras_layer.as_ref(), &format!("{path}.repeat.keras_layer"));
        }
        Some(block::Layer::EmbeddingLayer(layer)) if layer.embedding_dim() == 0 => {
            check.error(
                &format!("{path}.embedding_layer"),
                format!("block `{}` has `embedding_dim` 0", block.name()),
                "set `embedding_dim`",
            );
        }
        _ => {}
    }
    for (at, layer) in block.layers.iter().enumerate() {
        let path = format!("{path}.layers[{at}]");
        match &layer.layer {
            None => check.error(
                &path,
                format!("a layer of block `{}` is empty", block.name()),
                "expected keras_layer, lambda, recurrent or repeat",
            ),
            Some(layer::Layer::Lambda(lambda)) => expression(check, block, lambda.expression(), &format!("{path}.lambda")),
            Some(layer::Layer::KerasLayer(layer)) => keras(check, block, Some(layer), &format!("{path}.keras_layer")),
            Some(layer::Layer::Recurrent(layer)) => {
                count(check, block, "num_steps", layer.num_steps(), &format!("{path}.recurrent"));
                keras(check, block, layer.keras_layer.as_ref(), &format!("{path}.recurrent.keras_layer"));
            }
            Some(layer::Layer::Repeat(layer)) => {
                count(check, block, "num_repeat", layer.num_repeat(), &format!("{path}.repeat"));
                keras(check, block, layer.keras_layer.as_ref(), &format!("{path}.repeat.keras_layer"));
            }
        }
    }
}

fn input_options(check: &mut Check<'_>, block: &Block, options: &InputLayer, path: &str) {
    if options.do_batch_norm() && options.do_layer_norm() {
        let message = format!("block `{}` normalises its features over the batch and over the columns", block.name());
        check.error(&format!("{path}.do_layer_norm"), message, "set do_batch_norm or do_layer_norm, not both");
    }
    let forms = [
        ("only_output_feature_list", options.only_output_feature_list()),
        ("only_output_3d_tensor", options.only_output_3d_tensor()),
        ("output_2d_tensor_and_feature_list", options.output_2d_tensor_and_feature_list()),
        ("output_seq_and_normal_feature", options.output_seq_and_normal_feature()),
    ];
    let asked: Vec<&str> = forms.iter().filter(|(_, asked)| *asked).map(|(name, _)| *name).collect();
    if let [first, second, ..] = asked.as_slice() {
        let message = format!("block `{}` gives its features in one form, but `{first}` and `{second}` are set", block.name());
        check.error(&format!("{path}.{second}"), message, "keep the one that is meant");
    }
}

fn expression(check: &mut Check<'_>, block: &Block, expression: &str, path: &str) {
    if expression.trim().is_empty() {
        check.error(
            path,
            format!("the lambda of block `{}` has no `expression`", block.name()),
            "expected something like 'lambda x: tf.concat(x, axis=1)'",
        );
    }
}

fn keras(check: &mut Check<'_>, block: &Block, layer: Option<&KerasLayer>, path: &str) {
    let Some(layer) = layer else {
        check.error(path, format!("block `{}` has no `keras_layer` to repeat", block.name()), "");
        return;
    };
    if layer.class_name().is_empty() {
        check.error(
            path,
            format!("the `keras_layer` of block `{}` has no `class_name`", block.name()),
            "expected something like class_name: 'MLP'",
        );
    }
}

fn count(check: &mut Check<'_>, block: &Block, name: &str, number: u32, path: &str) {
    if number == 0 {
        check.error(&format!("{path}.{name}"), format!("`{name}` of block `{}` is 0", block.name()), "expected at least 1");
    }
}

/// Reports each cycle once, at the block of it that comes first in the config.
fn cycles(check: &mut Check<'_>, scope: &Scope<'_>) {
    let index: BTreeMap<&str, usize> = scope.blocks.iter().enumerate().map(|(at, block)| (block.name(), at)).collect();
    let reads: Vec<Vec<usize>> = (scope.blocks.iter())
        .map(|block| {
            let named = block.inputs.iter().filter_map(|input| match &input.name {
                Some(input::Name::BlockName(name)) => index.get(name.as_str()).copied(),
                _ => None,
            });
            let passed = block.inputs.iter().filter_map(|input| index.get(input.package_input.as_deref()?).copied());
            named.chain(passed).collect()
        })
        .collect();
    if index.len() < scope.blocks.len() {
        return; // Two blocks of one name have been reported, and nobody can say which one is meant.
    }
    let mut state = vec![State::New; reads.len()];
    for start in 0..reads.len() {
        for cycle in cycles_from(start, &reads, &mut state) {
            let first = cycle.iter().copied().min().unwrap_or(start);
            let turn = cycle.iter().position(|&at| at == first).unwrap_or(0);
            let around = cycle[turn..].iter().chain(&cycle[..=turn]).map(|&at| scope.blocks[at].name());
            let path: Vec<&str> = around.collect();
            let message = format!("blocks form a cycle: {}", path.join(" reads "));
            check.error(&format!("{}.blocks[{first}].name", scope.path), message, "remove one of these inputs");
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

/// Depth-first search without recursion, so that a long chain of blocks cannot exhaust the stack.
fn cycles_from(start: usize, reads: &[Vec<usize>], state: &mut [State]) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    if state[start] != State::New {
        return found;
    }
    state[start] = State::Open;
    let mut trail = vec![(start, 0)];
    while let Some((at, next)) = trail.last_mut() {
        let Some(&to) = reads[*at].get(*next) else {
            state[*at] = State::Done;
            trail.pop();
            continue;
        };
        *next += 1;
        match state[to] {
            State::Done => {}
            State::Open => {
                let from = trail.iter().position(|&(node, _)| node == to).unwrap_or(0);
                found.push(trail[from..].iter().map(|&(node, _)| node).collect());
            }
            State::New => {
                state[to] = State::Open;
                trail.push((to, 0));
            }
        }
    }
    found
}

//! Packages and their calls: each call builds all blocks of the package anew, with the weights of the first one (EasyRec
//! behaviours 108, 109, 113, 114). The backbone itself is called once.

use std::collections::BTreeMap;

use rankmill_config::{Diagnostic, Pipeline, proto};
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::Builder;

use super::dag::{BlockGraph, Node, Outside};
use super::{Backbone, BlockOutput, MOST_CALLS, PATH};
use crate::groups::{GroupColumns, Groups};
use crate::tensor::merge;

/// A package, and what its calls leave behind.
pub(super) struct Package<'a> {
    pub(super) name: &'a str,
    /// Where it stands in the config.
    pub(super) path: String,
    /// What the names of its variables start with.
    pub(super) scope: String,
    pub(super) blocks: &'a [proto::Block],
    concat_blocks: &'a [String],
    output_blocks: &'a [String],
    pub(super) graph: BlockGraph,
    order: Vec<usize>,
    /// The feature groups that its blocks read: they are looked up once, however often the package is called.
    pub(super) groups: BTreeMap<String, GroupColumns>,
    /// Those that they read as sequences.
    pub(super) sequences: BTreeMap<String, Tensors>,
    /// What it was given last.
    pub(super) input: Option<Tensors>,
    /// The options that its input layers have since a `reset_input`.
    pub(super) reset: Option<&'a proto::InputLayer>,
    /// What the nodes came out as in the current or last call.
    pub(super) outputs: Vec<Option<Tensors>>,
    calls: usize,
}

impl<'a> Package<'a> {
    /// The backbone itself.
    pub(super) fn main(pipeline: &Pipeline, tower: &'a proto::BackboneTower, packages: &[&str]) -> Result<Package<'a>, Diagnostic> {
        let outside = Outside { packages, package_blocks: &tower.packages, backbone: &[], in_package: false };
        let lists = [tower.concat_blocks.as_slice(), tower.output_blocks.as_slice()];
        Package::with(pipeline, "backbone", PATH.to_owned(), &tower.blocks, lists, &outside)
    }

    /// The package `tower.packages[i]`.
    pub(super) fn new(
        pipeline: &Pipeline,
        tower: &'a proto::BackboneTower,
        i: usize,
        packages: &[&str],
    ) -> Result<Package<'a>, Diagnostic> {
        let package = &tower.packages[i];
        let outside = Outside { packages, package_blocks: &tower.packages, backbone: &tower.blocks, in_package: true };
        let lists = [package.concat_blocks.as_slice(), package.output_blocks.as_slice()];
        Package::with(pipeline, package.name(), format!("{PATH}.packages[{i}]"), &package.blocks, lists, &outside)
    }

    fn with(
        pipeline: &Pipeline,
        name: &'a str,
        path: String,
        blocks: &'a [proto::Block],
        [concat_blocks, output_blocks]: [&'a [String]; 2],
        outside: &Outside<'_>,
    ) -> Result<Package<'a>, Diagnostic> {
        if blocks.is_empty() {
            return Err(pipeline.error(&path, format!("`{name}` has no blocks")));
        }
        let graph = BlockGraph::new(pipeline, blocks, &path, outside)?;
        let order = graph.order().map_err(|node| {
            pipeline.error(&format!("{path}.blocks[{node}].name"), format!("block `{}` waits for its own output", blocks[node].name()))
        })?;
        let scope = if outside.in_package { format!("backbone/{name}") } else { "backbone".to_owned() };
        Ok(Package {
            name,
            path,
            scope,
            blocks,
            concat_blocks,
            output_blocks,
            outputs: vec![None; graph.nodes.len()],
            graph,
            order,
            groups: BTreeMap::new(),
            sequences: BTreeMap::new(),
            input: None,
            reset: None,
            calls: 0,
        })
    }

    fn node_named(&self, name: &str) -> Option<usize> {
        self.graph.nodes.iter().position(|node| match node {
            Node::Block(index) => self.blocks[*index].name() == name,
            Node::Group { name: group, .. } => group == name,
            Node::Outer(_) => false,
        })
    }

    /// Name of a node, and where its block is declared.
    pub(super) fn described(&self, node: usize) -> (&str, String) {
        match &self.graph.nodes[node] {
            Node::Block(index) => (self.blocks[*index].name(), format!("{}.blocks[{index}]", self.path)),
            Node::Group { name, path } => (name, path.clone()),
            Node::Outer(name) => (name, PATH.to_owned()),
        }
    }
}

impl Backbone<'_> {
    /// Builds the blocks of a package and gives its output; `path` is the config place that asks for it.
    pub(super) fn call(
        &mut self,
        builder: &mut Builder,
        groups: &mut Groups<'_>,
        package: usize,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        let name = self.packages[package].name;
        if self.active.contains(&package) {
            return Err(self.pipeline.error(path, format!("package `{name}` calls itself")));
        }
        self.calls += 1;
        if self.calls > MOST_CALLS {
            return Err(self.pipeline.error(path, format!("the backbone calls its packages more than {MOST_CALLS} times")));
        }
        self.active.push(package);
        self.packages[package].calls += 1;
        let calls = self.packages[package].calls;
        let label = if calls == 1 { name.to_owned() } else { format!("{name}#{calls}") };
        self.packages[package].outputs.fill(None);
        for node in self.packages[package].order.clone() {
            let output = self.node(builder, groups, package, node)?;
            let this = &mut self.packages[package];
            if !matches!(this.graph.nodes[node], Node::Outer(_)) {
                let name = this.described(node).0.to_owned();
                let scope = format!("{}/{name}", this.scope);
                self.blocks.push(BlockOutput { package: label.clone(), name, scope, output: output.clone() });
            }
            this.outputs[node] = Some(output);
        }
        self.active.pop();
        self.package_output(builder, package)
    }

    fn node(&mut self, builder: &mut Builder, groups: &mut Groups<'_>, package: usize, node: usize) -> Result<Tensors, Diagnostic> {
        match self.packages[package].graph.nodes[node].clone() {
            Node::Block(index) => self.block(builder, groups, package, index),
            Node::Group { name, path } => self.feature_group(builder, groups, package, &name, &proto::InputLayer::default(), &path),
            Node::Outer(name) => {
                let main = &self.packages[0];
                let output = main.node_named(&name).and_then(|node| main.outputs[node].clone());
                output.ok_or_else(|| {
                    let this = &self.packages[package];
                    let message =
                        format!("package `{}` is called before block `{name}` of the backbone, which it reads, is built", this.name);
                    self.pipeline.error(&this.path, message)
                })
            }
        }
    }

    /// What leaves a package: a list of `output_blocks`; else `concat_blocks`, or all blocks that nobody reads, as one tensor, or as
    /// a list if one of them is.
    fn package_output(&self, builder: &mut Builder, package: usize) -> Result<Tensors, Diagnostic> {
        let this = &self.packages[package];
        let (field, named) =
            if this.output_blocks.is_empty() { ("concat_blocks", this.concat_blocks) } else { ("output_blocks", this.output_blocks) };
        let mut nodes = Vec::new();
        for (i, name) in named.iter().enumerate() {
            let unknown = || self.pipeline.error(&format!("{}.{field}[{i}]", this.path), format!("there is no block `{name}`"));
            nodes.push(this.node_named(name).ok_or_else(unknown)?);
        }
        if named.is_empty() {
            nodes.extend(this.graph.leaves());
        }
        let outputs = nodes.iter().map(|node| this.outputs[*node].clone().expect("all nodes are built"));
        if field == "output_blocks" {
            return Ok(Tensors::List(outputs.collect()));
        }
        let parts = outputs.map(|output| match output {
            Tensors::Tuple(parts) => Tensors::List(parts),
            other => other,
        });
        let parts = parts.collect();
        let shapes = nodes.iter().map(|node| self.shown(builder, package, *node)).collect::<Vec<_>>().join(" and ");
        let merged = merge(&mut builder.scope(&this.scope), parts, -1);
        merged.map_err(|message| {
            self.pipeline
                .error(&this.path, format!("the outputs of `{}` can't be put side by side: {message}; they are {shapes}", this.name))
        })
    }
}

//! The order of the blocks of a package, and what each of them reads.

use rankmill_config::proto::block::Layer as BlockLayer;
use rankmill_config::proto::input::Name as InputName;
use rankmill_config::{Diagnostic, Pipeline, did_you_mean, proto};

/// A node of the block graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A block, by place in the config.
    Block(usize),
    /// A feature group that blocks name as an input, by name, and where it is named first.
    Group { name: String, path: String },
    /// A block of the backbone that a block of a package reads, by name.
    Outer(String),
}

/// Where an input of a block comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From a node.
    Node(usize),
    /// From a call of a package, which may be given an input.
    Package { index: usize, input: Option<Box<Source>> },
    /// From what the package was given.
    PackageInput,
}

/// The blocks of a package as a graph.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockGraph {
    /// The blocks in the order of the config, then feature groups and outer blocks in the order in which they are named.
    pub(super) nodes: Vec<Node>,
    /// For each node those that read it.
    readers: Vec<Vec<usize>>,
    /// For each block its inputs, in order; none for blocks that read features.
    pub(super) sources: Vec<Vec<Source>>,
}

/// Names that blocks may use besides those of their own package.
pub(super) struct Outside<'a> {
    /// All packages, numbered from 1.
    pub(super) packages: &'a [&'a str],
    /// The blocks of the packages.
    pub(super) package_blocks: &'a [proto::BlockPackage],
    /// For blocks of a package, those of the backbone.
    pub(super) backbone: &'a [proto::Block],
    pub(super) in_package: bool,
}

/// Whether a block reads features and no other blocks.
pub(super) fn reads_features(block: &proto::Block) -> bool {
    matches!(block.layer, Some(BlockLayer::InputLayer(_) | BlockLayer::RawInput(_) | BlockLayer::EmbeddingLayer(_)))
}

impl BlockGraph {
    /// The graph of `blocks`, which stand at `path` in the config.
    pub(super) fn new(pipeline: &Pipeline, blocks: &[proto::Block], path: &str, outside: &Outside<'_>) -> Result<BlockGraph, Diagnostic> {
        let nodes: Vec<Node> = (0..blocks.len()).map(Node::Block).collect();
        let mut graph = BlockGraph { readers: vec![Vec::new(); nodes.len()], sources: vec![Vec::new(); nodes.len()], nodes };
        for (i, block) in blocks.iter().enumerate().filter(|(_, block)| !reads_features(block)) {
            for (j, input) in block.inputs.iter().enumerate() {
                let path = format!("{path}.blocks[{i}].inputs[{j}]");
                let source = graph.source(pipeline, blocks, input, &path, outside)?;
                let read = match &source {
                    Source::Package { input: Some(inner), .. } => inner,
                    other => other,
                };
                if let Source::Node(node) = read {
                    graph.readers[*node].push(i);
                }
                graph.wait_for_packages(blocks, i, &source, outside);
                graph.sources[i].push(source);
            }
        }
        Ok(graph)
    }

    /// A block of the backbone that calls a package comes after the blocks that the package reads.
    fn wait_for_packages(&mut self, blocks: &[proto::Block], caller: usize, source: &Source, outside: &Outside<'_>) {
        let mut called = Vec::new();
        let mut next = Some(source);
        while let Some(Source::Package { index, input }) = next {
            called.push(index - 1);
            next = input.as_deref();
        }
        let mut at = 0;
        while let Some(package) = called.get(at).and_then(|index| outside.package_blocks.get(*index)) {
            at += 1;
            for input in package.blocks.iter().flat_map(|block| &block.inputs) {
                for name in input.package_input.iter().map(String::as_str).chain(named_by(input)) {
                    let is_own = package.blocks.iter().any(|block| block.name() == name);
                    if let Some(index) = self::package(outside, name).map(|index| index - 1).filter(|index| !called.contains(index)) {
                        called.push(index);
                    }
                    let read = blocks.iter().position(|block| block.name() == name).filter(|read| !is_own && *read != caller);
                    if let Some(read) = read.filter(|_| !outside.in_package) {
                        self.readers[read].push(caller);
                    }
                }
            }
        }
    }

    fn source(
        &mut self,
        pipeline: &Pipeline,
        blocks: &[proto::Block],
        input: &proto::Input,
        path: &str,
        outside: &Outside<'_>,
    ) -> Result<Source, Diagnostic> {
        match &input.name {
            Some(InputName::BlockName(name)) => self.node(pipeline, blocks, name, &format!("{path}.block_name"), outside),
            Some(InputName::FeatureGroupName(name)) => {
                Ok(self.named(blocks, name).unwrap_or_else(|| self.push_group(name, format!("{path}.feature_group_name"))))
            }
            Some(InputName::PackageName(name)) => {
                let Some(index) = package(outside, name) else {
                    let near = did_you_mean(name, outside.packages.iter().copied());
                    return Err(pipeline.error(&format!("{path}.package_name"), format!("there is no package `{name}`")).with_help(near));
                };
                let path = format!("{path}.package_input");
                let input = match &input.package_input {
                    None => None,
                    Some(name) => Some(Box::new(match (self.named(blocks, name), package(outside, name)) {
                        (None, Some(index)) => Source::Package { index, input: None },
                        _ => self.node(pipeline, blocks, name, &path, outside)?,
                    })),
                };
                Ok(Source::Package { index, input })
            }
            Some(InputName::UsePackageInput(true)) if outside.in_package => Ok(Source::PackageInput),
            Some(InputName::UsePackageInput(_)) => {
                let message = "only blocks of a package can use its input, and only by `use_package_input: true`";
                Err(pipeline.error(&format!("{path}.use_package_input"), message))
            }
            None => Err(pipeline.error(path, "this input names neither a block nor a feature group nor a package")),
        }
    }

    /// The node of a block or feature group that is known already.
    fn named(&self, blocks: &[proto::Block], name: &str) -> Option<Source> {
        let is_named = |node: &Node| match node {
            Node::Block(i) => blocks[*i].name() == name,
            Node::Group { name: group, .. } => group == name,
            Node::Outer(_) => false,
        };
        self.nodes.iter().position(is_named).map(Source::Node)
    }

    fn push_group(&mut self, name: &str, path: String) -> Source {
        self.push(Node::Group { name: name.to_owned(), path })
    }

    fn push(&mut self, node: Node) -> Source {
        self.nodes.push(node);
        self.readers.push(Vec::new());
        Source::Node(self.nodes.len() - 1)
    }

    /// A block of this package, one of the backbone, or a feature group.
    fn node(
        &mut self,
        pipeline: &Pipeline,
        blocks: &[proto::Block],
        name: &str,
        path: &str,
        outside: &Outside<'_>,
    ) -> Result<Source, Diagnostic> {
        if let Some(known) = self.named(blocks, name) {
            return Ok(known);
        }
        if outside.backbone.iter().any(|block| block.name() == name) {
            let known = self.nodes.iter().position(|node| matches!(node, Node::Outer(outer) if outer == name));
            return Ok(known.map(Source::Node).unwrap_or_else(|| self.push(Node::Outer(name.to_owned()))));
        }
        if pipeline.feature_groups().iter().any(|group| group.name == name) {
            return Ok(self.push_group(name, path.to_owned()));
        }
        let names = blocks.iter().chain(outside.backbone).map(proto::Block::name);
        Err(pipeline.error(path, format!("there is no block `{name}`")).with_help(did_you_mean(name, names)))
    }

    /// Nodes in the order in which EasyRec builds them, which names the input layers: a node is taken from the top of a stack that
    /// starts with the nodes without inputs, and puts the nodes on it that it was the last input of.
    ///
    /// # Errors
    /// A block that waits for its own output.
    pub(super) fn order(&self) -> Result<Vec<usize>, usize> {
        let mut missing = vec![0; self.nodes.len()];
        self.readers.iter().flatten().for_each(|reader| missing[*reader] += 1);
        let mut stack: Vec<usize> = (0..self.nodes.len()).filter(|node| missing[*node] == 0).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(node) = stack.pop() {
            order.push(node);
            for reader in &self.readers[node] {
                missing[*reader] -= 1;
                if missing[*reader] == 0 {
                    stack.push(*reader);
                }
            }
        }
        match missing.iter().position(|count| *count > 0) {
            None => Ok(order),
            Some(node) => Err(node),
        }
    }

    /// The nodes that nobody reads, in order.
    pub(super) fn leaves(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|node| self.readers[*node].is_empty())
    }
}

/// The block, group or package that an input names.
fn named_by(input: &proto::Input) -> Option<&str> {
    match &input.name {
        Some(InputName::BlockName(name) | InputName::FeatureGroupName(name) | InputName::PackageName(name)) => Some(name),
        Some(InputName::UsePackageInput(_)) | None => None,
    }
}

/// The number of a package.
fn package(outside: &Outside<'_>, name: &str) -> Option<usize> {
    outside.packages.iter().position(|package| *package == name).map(|at| at + 1)
}

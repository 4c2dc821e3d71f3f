//! The backbone: a graph of blocks, each built once its inputs are (EasyRec behaviours 32, 102, 107, 108).

use std::collections::BTreeMap;

use rankmill_config::proto::block::Layer as BlockLayer;
use rankmill_config::proto::input::Name as InputName;
use rankmill_config::{Diagnostic, Pipeline, proto};
use rankmill_graph::Value;
use rankmill_nn::layers::mlp::{Mlp, mlp};
use rankmill_nn::layers::scope::Builder;
use rankmill_nn::layers::{self, LayerError, Tensors};

use crate::groups::Groups;

const PATH: &str = "model_config.backbone";

/// A node of the block graph.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// A block, by place in the config.
    Block(usize),
    /// A feature group that blocks name as an input, by name, and where it is named first.
    Group { name: String, path: String },
}

/// What each block came out as, for pictures and shape lists.
#[derive(Clone, Debug)]
pub struct BlockOutput {
    /// The block's name.
    pub name: String,
    /// Its output.
    pub output: Tensors,
}

pub(crate) struct Backbone<'a> {
    pipeline: &'a Pipeline,
    tower: &'a proto::BackboneTower,
    nodes: Vec<Node>,
    /// For each node those that read it.
    readers: Vec<Vec<usize>>,
    /// For each block the nodes that are its inputs, in order; none for an input_layer block.
    sources: Vec<Vec<usize>>,
    outputs: BTreeMap<usize, Tensors>,
    pub(crate) blocks: Vec<BlockOutput>,
}

impl<'a> Backbone<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, tower: &'a proto::BackboneTower) -> Result<Backbone<'a>, Diagnostic> {
        if !tower.packages.is_empty() {
            return Err(pipeline.error(&format!("{PATH}.packages[0]"), "block packages are not supported yet"));
        }
        let mut nodes: Vec<Node> = (0..tower.blocks.len()).map(Node::Block).collect();
        let mut readers = vec![Vec::new(); nodes.len()];
        let mut sources = vec![Vec::new(); nodes.len()];
        for (i, block) in tower.blocks.iter().enumerate() {
            if matches!(block.layer, Some(BlockLayer::InputLayer(_))) {
                continue;
            }
            for (j, input) in block.inputs.iter().enumerate() {
                let path = format!("{PATH}.blocks[{i}].inputs[{j}]");
                let source = match &input.name {
                    Some(InputName::BlockName(name)) => tower.blocks.iter().position(|block| block.name() == name),
                    Some(InputName::FeatureGroupName(name)) => {
                        let known = nodes.iter().position(|node| matches!(node, Node::Group { name: group, .. } if group == name));
                        Some(known.unwrap_or_else(|| {
                            nodes.push(Node::Group { name: name.clone(), path: format!("{path}.feature_group_name") });
                            readers.push(Vec::new());
                            nodes.len() - 1
                        }))
                    }
                    _ => None,
                };
                match source {
                    Some(source) => {
                        readers[source].push(i);
                        sources[i].push(source);
                    }
                    None => return Err(pipeline.error(&path, "this input names neither a block nor a feature group of the backbone")),
                }
            }
        }
        Ok(Backbone { pipeline, tower, nodes, readers, sources, outputs: BTreeMap::new(), blocks: Vec::new() })
    }

    /// Builds all blocks and gives the backbone's output.
    pub(crate) fn build(&mut self, builder: &mut Builder, groups: &mut Groups<'_>) -> Result<Value, Diagnostic> {
        for node in self.order()? {
            let output = match self.nodes[node].clone() {
                Node::Block(index) => self.block(builder, groups, index)?,
                Node::Group { name, path } => Tensors::One(groups.tensor(builder, &name, &proto::InputLayer::default(), &path)?),
            };
            if let Node::Block(index) = self.nodes[node] {
                let name = self.tower.blocks[index].name().to_owned();
                self.blocks.push(BlockOutput { name, output: output.clone() });
            }
            self.outputs.insert(node, output);
        }
        let mut values = Vec::new();
        for tensors in self.results()? {
            values.extend(tensors.values());
        }
        let concatenated = builder.scope("backbone").concat(&values);
        let output = concatenated.map_err(|error| self.pipeline.error(PATH, error.to_string()))?;
        let Some(top) = &self.tower.top_mlp else { return Ok(output) };
        let path = format!("{PATH}.top_mlp");
        Mlp::from_config(top)
            .and_then(|settings| mlp(&mut builder.scope("backbone_top_mlp"), &settings, output))
            .map_err(|error| self.layer_error(&path, error))
    }

    /// Nodes in the order in which EasyRec builds them, which names the input layers: a node is taken from the top of a stack that
    /// starts with the nodes without inputs, and puts the nodes on it that it was the last input of.
    fn order(&self) -> Result<Vec<usize>, Diagnostic> {
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
            Some(node) => {
                let path = format!("{PATH}.blocks[{node}].name");
                Err(self.pipeline.error(&path, format!("block `{}` waits for its own output", self.tower.blocks[node].name())))
            }
        }
    }

    /// The tensors that leave the backbone: `concat_blocks`, or all blocks that nobody reads.
    fn results(&self) -> Result<Vec<Tensors>, Diagnostic> {
        let named = if self.tower.concat_blocks.is_empty() { &self.tower.output_blocks } else { &self.tower.concat_blocks };
        if named.is_empty() {
            let leaves = (0..self.nodes.len()).filter(|node| self.readers[*node].is_empty());
            return Ok(leaves.map(|node| self.outputs[&node].clone()).collect());
        }
        let field = if self.tower.concat_blocks.is_empty() { "output_blocks" } else { "concat_blocks" };
        let find = |(i, name): (usize, &String)| {
            let node = self.nodes.iter().position(|node| match node {
                Node::Block(index) => self.tower.blocks[*index].name() == name,
                Node::Group { name: group, .. } => group == name,
            });
            match node {
                Some(node) => Ok(self.outputs[&node].clone()),
                None => Err(self.pipeline.error(&format!("{PATH}.{field}[{i}]"), format!("there is no block `{name}`"))),
            }
        };
        named.iter().enumerate().map(find).collect()
    }

    fn block(&mut self, builder: &mut Builder, groups: &mut Groups<'_>, index: usize) -> Result<Tensors, Diagnostic> {
        let block = &self.tower.blocks[index];
        let path = format!("{PATH}.blocks[{index}]");
        if let Some(BlockLayer::InputLayer(options)) = &block.layer {
            let Some(InputName::FeatureGroupName(group)) = block.inputs.first().and_then(|input| input.name.as_ref()) else {
                return Err(self.pipeline.error(&path, "an input_layer block needs one input, a feature group"));
            };
            self.refuse_unsupported_input_options(options, &path)?;
            return Ok(Tensors::One(groups.tensor(builder, group, options, &path)?));
        }
        let input = self.merged_inputs(builder, index, &path)?;
        let scope = format!("backbone/{}", block.name());
        match &block.layer {
            Some(BlockLayer::KerasLayer(layer)) => self.component(builder, &scope, layer, &input, &format!("{path}.keras_layer")),
            Some(BlockLayer::Lambda(_)) => Err(self.unsupported(&path, "lambda")),
            Some(BlockLayer::Recurrent(_)) => Err(self.unsupported(&path, "recurrent")),
            Some(BlockLayer::Repeat(_)) => Err(self.unsupported(&path, "repeat")),
            Some(BlockLayer::RawInput(_)) => Err(self.unsupported(&path, "raw_input")),
            Some(BlockLayer::EmbeddingLayer(_)) => Err(self.unsupported(&path, "embedding_layer")),
            Some(BlockLayer::InputLayer(_)) | None => self.sequence(builder, block, &scope, input, &path),
        }
    }

    /// The blocks of `layers`, one after the other; a block without any passes its input on.
    fn sequence(
        &self,
        builder: &mut Builder,
        block: &proto::Block,
        scope: &str,
        input: Tensors,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        let mut current = input;
        for (i, layer) in block.layers.iter().enumerate() {
            let path = format!("{path}.layers[{i}]");
            let Some(proto::layer::Layer::KerasLayer(layer)) = &layer.layer else {
                return Err(self.pipeline.error(&path, "of the sequential layers only keras_layer is supported yet"));
            };
            let scope = format!("{scope}_l{i}");
            current = self.component(builder, &scope, layer, &current, &format!("{path}.keras_layer"))?;
        }
        Ok(current)
    }

    fn component(
        &self,
        builder: &mut Builder,
        scope: &str,
        layer: &proto::KerasLayer,
        input: &Tensors,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        layers::build(&mut builder.scope(scope), layer, input).map_err(|error| self.layer_error(path, error))
    }

    /// The inputs of a block as one tensor or a list: one alone stays as it is, lists are joined, tensors are put side by side.
    fn merged_inputs(&self, builder: &mut Builder, index: usize, path: &str) -> Result<Tensors, Diagnostic> {
        let block = &self.tower.blocks[index];
        for (i, input) in block.inputs.iter().enumerate() {
            let path = format!("{path}.inputs[{i}]");
            for (field, is_set) in [
                ("input_fn", input.input_fn.is_some()),
                ("input_slice", input.input_slice.is_some()),
                ("reset_input", input.reset_input.is_some()),
            ] {
                if is_set {
                    return Err(self.unsupported(&format!("{path}.{field}"), field));
                }
            }
        }
        if block.extra_input_fn.is_some() {
            return Err(self.unsupported(&format!("{path}.extra_input_fn"), "extra_input_fn"));
        }
        let inputs: Vec<Tensors> = self.sources[index].iter().map(|source| self.outputs[source].clone()).collect();
        if let ([only], false) = (inputs.as_slice(), block.merge_inputs_into_list()) {
            return Ok(only.clone());
        }
        if block.merge_inputs_into_list() {
            return Ok(Tensors::List(inputs));
        }
        if inputs.iter().any(|input| matches!(input, Tensors::List(_))) {
            let parts = inputs.into_iter().flat_map(|input| match input {
                Tensors::List(parts) => parts,
                other => vec![other],
            });
            return Ok(Tensors::List(parts.collect()));
        }
        let flat: Vec<Value> = inputs.iter().flat_map(Tensors::values).collect();
        let axis = block.input_concat_axis();
        if axis != -1 && axis != 1 {
            let path = format!("{path}.input_concat_axis");
            return Err(self.pipeline.error(&path, format!("matrices are put side by side along axis 1 or -1, not {axis}")));
        }
        let joined = builder.scope(&format!("backbone/{}", block.name())).concat(&flat);
        joined.map(Tensors::One).map_err(|error| self.pipeline.error(&format!("{path}.inputs"), error.to_string()))
    }

    fn refuse_unsupported_input_options(&self, options: &proto::InputLayer, path: &str) -> Result<(), Diagnostic> {
        let set = [
            ("only_output_feature_list", options.only_output_feature_list()),
            ("only_output_3d_tensor", options.only_output_3d_tensor()),
            ("output_2d_tensor_and_feature_list", options.output_2d_tensor_and_feature_list()),
            ("output_seq_and_normal_feature", options.output_seq_and_normal_feature()),
            ("feature_dropout_rate", options.feature_dropout_rate() > 0.0),
        ];
        match set.iter().find(|(_, is_set)| *is_set) {
            Some((field, _)) => Err(self.unsupported(&format!("{path}.input_layer.{field}"), field)),
            None => Ok(()),
        }
    }

    fn unsupported(&self, path: &str, what: &str) -> Diagnostic {
        self.pipeline.error(path, format!("`{what}` is not supported yet"))
    }

    fn layer_error(&self, path: &str, error: LayerError) -> Diagnostic {
        match &error {
            LayerError::Setting { field, message } if field.is_empty() => self.pipeline.error(path, message),
            LayerError::Setting { field, message } => self.pipeline.error(&format!("{path}.{field}"), message),
            LayerError::Graph(graph) => self.pipeline.error(path, graph.to_string()),
        }
    }
}

//! A backbone under construction, and what becomes of the model's variables.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use super::Renamed;
use crate::proto::block::Layer;
use crate::proto::input::Name;
use crate::proto::keras_layer::Params;
use crate::proto::{
    BackboneTower, Block, Dnn, EasyRecModel, FeatureGroupConfig, Input, InputLayer, KerasLayer, Lambda, Mlp, ModelParams, WeightedGate,
};

/// A backbone, its head, and what is to be said of them.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// `RankModel` or `MultiTaskModel`.
    pub(super) class: &'static str,
    pub(super) params: ModelParams,
    pub(super) backbone: BackboneTower,
    /// Feature groups besides those of the model.
    pub(super) groups: Vec<FeatureGroupConfig>,
    pub(super) differences: Vec<String>,
    pub(super) renamed: Vec<Renamed>,
    /// Layers with the activation Dice, whose batch norms are numbered over the whole model.
    dices: usize,
}

/// An input of a block: another block's output, or a part of it.
pub(super) fn block(name: &str) -> Input {
    Input { name: Some(Name::BlockName(name.to_owned())), ..Input::default() }
}

/// An element of another block's output.
pub(super) fn element(name: &str, at: usize) -> Input {
    Input { input_slice: Some(format!("[{at}]")), ..block(name) }
}

/// A layer with its message.
pub(super) fn layer(class_name: &str, params: Option<Params>) -> Layer {
    Layer::KerasLayer(KerasLayer { class_name: Some(class_name.to_owned()), params })
}

/// `st_params` with one truth value.
pub(super) fn settings(name: &str, value: bool) -> Params {
    Params::StParams(Struct { fields: BTreeMap::from([(name.to_owned(), Value { kind: Some(Kind::BoolValue(value)) })]) })
}

impl Draft {
    /// A backbone without blocks for the model `config`, whose kernels are penalised by `penalty`.
    pub(super) fn new(config: &EasyRecModel, class: &'static str, penalty: f32) -> Draft {
        // On a backbone the penalty acts on task towers, and on the attention of feature groups to their sequences.
        let acts = class == "MultiTaskModel" || config.feature_groups.iter().any(|group| !group.sequence_features.is_empty());
        let params = ModelParams { l2_regularization: acts.then_some(penalty), ..ModelParams::default() };
        Draft {
            class,
            params,
            backbone: BackboneTower::default(),
            groups: Vec::new(),
            differences: Vec::new(),
            renamed: Vec::new(),
            dices: 0,
        }
    }

    /// Says that a penalty is lost, if there was one.
    pub(super) fn loses_penalty(&mut self, penalty: f32, of: &str) {
        if penalty > 0.0 {
            self.differences.push(format!("the loss lacks the penalty on the kernels of {of} (l2_regularization {penalty})"));
        }
    }

    /// A variable, or all that start so, of another name.
    pub(super) fn rename(&mut self, from: impl Into<String>, to: impl Into<String>) {
        self.renamed.push(Renamed { from: from.into(), to: to.into(), rows: Vec::new() });
    }

    /// Adds a block.
    pub(super) fn add(&mut self, name: &str, inputs: Vec<Input>, layer: Layer) {
        self.backbone.blocks.push(Block { name: Some(name.to_owned()), inputs, layer: Some(layer), ..Block::default() });
    }

    /// As [`Draft::add`], the inputs being put into a list.
    pub(super) fn add_merged(&mut self, name: &str, inputs: Vec<Input>, layer: Layer) {
        self.add(name, inputs, layer);
        if let Some(block) = self.backbone.blocks.last_mut() {
            block.merge_inputs_into_list = Some(true);
        }
    }

    /// Adds a block with a feature group.
    pub(super) fn features(&mut self, name: &str, group: &str, options: InputLayer) {
        let input = Input { name: Some(Name::FeatureGroupName(group.to_owned())), ..Input::default() };
        self.add(name, vec![input], Layer::InputLayer(options));
    }

    /// Adds a function of the inputs.
    pub(super) fn lambda(&mut self, name: &str, inputs: Vec<Input>, expression: &str) {
        self.add(name, inputs, Layer::Lambda(Lambda { expression: Some(expression.to_owned()) }));
    }

    /// Adds the inputs side by side.
    pub(super) fn joined(&mut self, name: &str, inputs: Vec<Input>) {
        self.backbone.blocks.push(Block { name: Some(name.to_owned()), inputs, ..Block::default() });
    }

    /// Adds a dense layer; `variable` is its name in the model.
    pub(super) fn dense(&mut self, name: &str, inputs: Vec<Input>, units: u32, variable: &str) {
        let units = Value { kind: Some(Kind::NumberValue(f64::from(units))) };
        let settings = Struct { fields: BTreeMap::from([("units".to_owned(), units)]) };
        self.add(name, inputs, layer("Dense", Some(Params::StParams(settings))));
        self.rename(format!("{variable}/"), format!("backbone/{name}/"));
    }

    /// Adds a sum of experts, weighted by a softmax over what a dense layer makes of the selector; `variable` is the gate's name in the model.
    pub(super) fn gate(&mut self, name: &str, selector: Vec<Input>, experts: Vec<Input>, variable: &str) -> Input {
        let weights = format!("{name}_weights");
        let (units, softmax) = (Kind::NumberValue(experts.len() as f64), Kind::StringValue("softmax".to_owned()));
        let fields = [("units", units), ("activation", softmax)].map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
        self.add(&weights, selector, layer("Dense", Some(Params::StParams(Struct { fields: BTreeMap::from(fields) }))));
        self.rename(format!("{variable}/dnn/"), format!("backbone/{weights}/"));
        let inputs = std::iter::once(block(&weights)).chain(experts).collect();
        self.add_merged(name, inputs, layer("Gate", Some(Params::Gate(WeightedGate { weight_index: Some(0), mlp: None }))));
        block(name)
    }

    /// Adds a DNN of the model, whose variables are `<variable>/dnn_<i>/...`; gives what later blocks read: one without layers is no block.
    pub(super) fn dnn(&mut self, name: &str, inputs: Vec<Input>, dnn: Option<&Dnn>, variable: &str) -> Vec<Input> {
        let Some(dnn) = dnn.filter(|dnn| !dnn.hidden_units.is_empty()) else { return inputs };
        self.add(name, inputs, layer("MLP", Some(Params::Mlp(mlp(dnn)))));
        self.rename_layers(dnn, variable, &format!("backbone/{name}"), dnn.hidden_units.len());
        vec![block(name)]
    }

    /// Renames the variables of a DNN, of which `normed` layers have batch norm and activation.
    pub(super) fn rename_layers(&mut self, dnn: &Dnn, from: &str, to: &str, normed: usize) {
        for i in 0..dnn.hidden_units.len() {
            let (old, new) = (format!("{from}/dnn_{i}"), format!("{to}/layer_{i}"));
            self.rename(format!("{old}/"), format!("{new}/dense/"));
            self.rename(format!("{old}/bn/"), format!("{new}/bn/"));
            if dnn.activation().eq_ignore_ascii_case("dice") && i < normed {
                let number = if self.dices == 0 { String::new() } else { format!("_{}", self.dices) };
                self.rename(format!("alpha_{old}/act"), format!("{new}/act/dice_alpha"));
                self.rename(format!("batch_normalization{number}/"), format!("{new}/act/batch_normalization{number}/"));
                self.dices += 1;
            }
        }
    }

    /// Renames the first rows of a kernel of the model.
    pub(super) fn reorder(&mut self, from: &str, to: &str, rows: Vec<usize>) {
        self.renamed.push(Renamed { from: from.to_owned(), to: to.to_owned(), rows });
    }

    /// What the head reads.
    pub(super) fn finish(mut self, outputs: &[Input]) -> Draft {
        let names = outputs.iter().filter_map(|input| match &input.name {
            Some(Name::BlockName(name)) => Some(name.clone()),
            _ => None,
        });
        self.backbone.concat_blocks = names.collect();
        // EasyRec builds blocks with features from the last one to the first, and numbers their tables so.
        let blocks = std::mem::take(&mut self.backbone.blocks);
        let (mut features, others): (Vec<Block>, Vec<Block>) =
            blocks.into_iter().partition(|block| matches!(block.layer, Some(Layer::InputLayer(_))));
        features.reverse();
        self.backbone.blocks = [features, others].concat();
        self
    }
}

/// The MLP with the arithmetic of a DNN: layers with a bias, the last one as the others.
pub(super) fn mlp(dnn: &Dnn) -> Mlp {
    let activation = match dnn.activation() {
        "tf.nn.relu" => "relu",
        other => other,
    };
    Mlp {
        hidden_units: dnn.hidden_units.clone(),
        dropout_ratio: dnn.dropout_ratio.clone(),
        activation: Some(activation.to_owned()),
        use_bn: Some(dnn.use_bn()),
        use_final_bn: Some(dnn.use_bn()),
        final_activation: Some(activation.to_owned()),
        use_bias: Some(true),
        initializer: Some("glorot_uniform".to_owned()),
        use_final_bias: Some(true),
        ..Mlp::default()
    }
}

/// The width of what a DNN gives, if it has layers.
pub(super) fn width(dnn: Option<&Dnn>) -> Option<u32> {
    dnn.and_then(|dnn| dnn.hidden_units.last().copied())
}

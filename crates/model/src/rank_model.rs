//! `RankModel`: one probability for each row, from the backbone's output (EasyRec behaviours 32, 36, 37).

use rankmill_config::{Diagnostic, Diagnostics, Pipeline, proto};
use rankmill_data::FeatureSet;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::loss::SigmoidCrossEntropy;
use rankmill_graph::ops::reduce::{CountNonZero, OverRows};
use rankmill_graph::ops::sum::Sum;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{Gradients, Graph, GraphError, Value, differentiate};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::{Bias, Builder, Mode, MovingUpdate};

use crate::backbone::{Backbone, BlockOutput};
use crate::feed::Slots;
use crate::groups::Groups;

/// What only a training graph has.
#[derive(Clone, Debug)]
pub struct Training {
    /// The loss that is minimised, a scalar.
    pub total_loss: Value,
    /// The loss of the labels, a scalar: EasyRec's `cross_entropy_loss`.
    pub cross_entropy: Value,
    /// The regularisation that is added to it, a scalar, if there is any.
    pub regularization: Option<Value>,
    /// The gradients of the loss.
    pub gradients: Gradients,
    /// The moving statistics that follow the batch.
    pub updates: Vec<MovingUpdate>,
    /// Which of the batch's labels the loss uses.
    pub label: usize,
}

/// A model as a graph.
#[derive(Clone, Debug)]
pub struct Model {
    /// The graph.
    pub graph: Graph,
    /// How its parameters start.
    pub initializers: Vec<Initializer>,
    /// `[B, 1]`.
    pub logits: Value,
    /// `[B, 1]`.
    pub probabilities: Value,
    /// Losses and gradients, in training.
    pub training: Option<Training>,
    /// The tensor of each feature group, before any normalisation.
    pub group_tensors: Vec<(String, Value)>,
    /// The output of each block.
    pub blocks: Vec<BlockOutput>,
    /// Named tensors inside of the layers.
    pub taps: Vec<(String, Value)>,
}

impl Model {
    /// Builds the graph that a config describes.
    ///
    /// # Errors
    /// What the config asks for and can't be built, with the config line.
    pub fn build(pipeline: &Pipeline, features: &FeatureSet, mode: Mode) -> Result<Model, Diagnostics> {
        build(pipeline, features, mode).map_err(|diagnostic| Diagnostics(vec![diagnostic]))
    }
}

fn build(pipeline: &Pipeline, features: &FeatureSet, mode: Mode) -> Result<Model, Diagnostic> {
    let Some(config) = &pipeline.proto.model_config else {
        return Err(pipeline.error("", "the config has no model_config"));
    };
    check_head(pipeline, config)?;
    let Some(tower) = &config.backbone else {
        return Err(pipeline.error("model_config", "a RankModel needs a `backbone`"));
    };
    let slots = Slots::new(features.specs());
    let mut builder = Builder::new(mode);
    let mut groups = Groups::new(pipeline, features, &slots);
    let mut backbone = Backbone::new(pipeline, tower)?;
    let Tensors::One(output) = backbone.build(&mut builder, &mut groups)? else {
        let message = "a RankModel needs one tensor, but the backbone ends in a list of them; add a `top_mlp`, or put them side by side";
        return Err(pipeline.error("model_config.backbone", message));
    };
    let blocks = std::mem::take(&mut backbone.blocks);
    let at_head = |error: GraphError| pipeline.error("model_config.backbone", error.to_string());
    let logits = if builder.graph.shape(output).elements() == 1 {
        output
    } else {
        builder.scope("").dense("output", output, 1, Initializer::GlorotUniform, Bias::Zeros).map_err(at_head)?
    };
    let probabilities = builder.scope("").add(Unary::Sigmoid, &[logits]).map_err(at_head)?;
    let training = match mode {
        Mode::Inference => None,
        Mode::Training => Some(training(pipeline, config, &slots, &mut builder, logits, &groups.squares).map_err(at_head)?),
    };
    let group_tensors = groups.tensors;
    let Builder { graph, initializers, taps, .. } = builder;
    Ok(Model { graph, initializers, logits, probabilities, training, group_tensors, blocks, taps })
}

/// Which of `data_config.label_fields` the model learns: the one `label_name` names, else the first.
pub fn label_index(pipeline: &Pipeline) -> usize {
    let name = pipeline.proto.model_config.as_ref().map(|model| model.label_name()).unwrap_or_default();
    let fields = pipeline.proto.data_config.as_ref().map(|data| data.label_fields.as_slice()).unwrap_or_default();
    fields.iter().position(|field| field == name).unwrap_or(0)
}

fn check_head(pipeline: &Pipeline, config: &proto::EasyRecModel) -> Result<(), Diagnostic> {
    if config.model_class() != "RankModel" {
        let message = format!("model class `{}` is not supported yet; RankModel with a backbone is", config.model_class());
        return Err(pipeline.error("model_config.model_class", message));
    }
    if config.num_class() != 1 {
        return Err(pipeline.error("model_config.num_class", "several classes are not supported yet"));
    }
    if config.loss_type() != proto::LossType::Classification || !config.losses.is_empty() {
        let path = if config.losses.is_empty() { "model_config.loss_type" } else { "model_config.losses[0]" };
        return Err(pipeline.error(path, "of the losses only CLASSIFICATION is supported yet"));
    }
    for (path, is_set) in [
        ("model_config.kd[0]", !config.kd.is_empty()),
        ("model_config.variational_dropout", config.variational_dropout.is_some()),
        ("model_config.ev_params", config.ev_params.is_some()),
    ] {
        if is_set {
            return Err(pipeline.error(path, "this part of the model is not supported yet"));
        }
    }
    Ok(())
}

fn training(
    pipeline: &Pipeline,
    config: &proto::EasyRecModel,
    slots: &Slots,
    builder: &mut Builder,
    logits: Value,
    squares: &[Value],
) -> Result<Training, GraphError> {
    let data = pipeline.proto.data_config.as_ref();
    let label_count = data.map_or(0, |data| data.label_fields.len());
    let label_index = label_index(pipeline);
    let has_weights = data.is_some_and(|data| !data.sample_weight().is_empty());
    let mut s = builder.scope("loss");
    let labels = s.add(DenseInput { slot: slots.label(label_index), width: 1, axis: None }, &[])?;
    let losses = s.add(SigmoidCrossEntropy, &[logits, labels])?;
    let cross_entropy = if has_weights {
        let weights = s.add(DenseInput { slot: slots.sample_weights(label_count), width: 1, axis: None }, &[])?;
        let weighted = s.add(Binary::Multiply, &[losses, weights])?;
        let sum = s.add(OverRows::Sum, &[weighted])?;
        let count = s.add(CountNonZero, &[weights])?;
        s.add(Binary::DivideOrZero, &[sum, count])?
    } else {
        s.add(OverRows::Mean, &[losses])?
    };
    let regularization = match squares {
        [] => None,
        [only] => Some(*only),
        several => Some(s.add(Sum, several)?),
    };
    let regularization = match regularization {
        Some(total) => Some(s.add(Unary::Scale(config.embedding_regularization()), &[total])?),
        None => None,
    };
    let total_loss = match regularization {
        Some(term) => s.add(Binary::Add, &[cross_entropy, term])?,
        None => cross_entropy,
    };
    let gradients = differentiate(&mut builder.graph, total_loss)?;
    let updates = builder.updates.clone();
    Ok(Training { total_loss, cross_entropy, regularization, gradients, updates, label: label_index })
}

//! A model as a graph: feature groups, what the model class builds on them, predictions, losses, gradients.

use rankmill_config::{Diagnostic, Diagnostics, Pipeline, proto};
use rankmill_data::FeatureSet;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::sum::Sum;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{Gradients, Graph, GraphError, Value, differentiate};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::LayerError;
use rankmill_nn::layers::scope::{Builder, Mode, MovingUpdate};

use crate::backbone::BlockOutput;
use crate::dynamic::DynamicTable;
use crate::explain::Explaining;
use crate::feature_dropout::{self, FeatureDropout};
use crate::feed::{KeyColumn, Slots};
use crate::feed_sequences::FeedPlan;
use crate::groups::Groups;
use crate::losses::{self, LossTerms, add_all};
use crate::models;
use crate::predictions::predictions;
use crate::tasks::{Task, TaskConfig, task_configs};

/// What a graph is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Batch statistics, dropout, losses and gradients.
    Training,
    /// Moving statistics, and the losses of the labels.
    Evaluation,
    /// Moving statistics; labels are not read.
    Prediction,
    /// As for prediction, with the gradients of what is predicted in the features.
    Explanation,
}

impl Purpose {
    fn mode(self) -> Mode {
        match self {
            Purpose::Training => Mode::Training,
            Purpose::Evaluation | Purpose::Prediction | Purpose::Explanation => Mode::Inference,
        }
    }
}

/// A prediction by EasyRec's name: `probs`, `logits`, `y`, `probs_1`, and so on, with the suffix of its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// EasyRec's name.
    pub name: String,
    /// `[B, N]`.
    pub value: Value,
    /// `N`.
    pub width: usize,
}

/// What only a training graph has.
#[derive(Clone, Debug)]
pub struct Training {
    /// The loss that is minimised, a scalar: the sum of the labels' losses and the regularisation.
    pub total_loss: Value,
    /// The regularisation, a scalar, if there is any.
    pub regularization: Option<Value>,
    /// The gradients of the loss.
    pub gradients: Gradients,
    /// The moving statistics that follow the batch.
    pub updates: Vec<MovingUpdate>,
}

/// A model as a graph.
#[derive(Clone, Debug)]
pub struct Model {
    /// The graph.
    pub graph: Graph,
    /// How its parameters start.
    pub initializers: Vec<Initializer>,
    /// All predictions, task after task.
    pub outputs: Vec<Output>,
    /// What is learnt: one task, or one for each tower of a multi-task model.
    pub tasks: Vec<Task>,
    /// EasyRec's `loss_dict`: each loss of the labels by name, a weighted scalar; none for prediction.
    pub losses: Vec<(String, Value)>,
    /// What training needs.
    pub training: Option<Training>,
    /// What explaining needs.
    pub explaining: Option<Explaining>,
    /// What the graph reads of the sequences of a batch.
    pub feed: FeedPlan,
    /// The tables that get rows as ids come.
    pub dynamic: Vec<DynamicTable>,
    /// Which of the batch's keys the graph reads, and how.
    pub key_columns: Vec<KeyColumn>,
    /// The tensor of each feature group, before any normalisation.
    pub group_tensors: Vec<(String, Value)>,
    /// The output of each block.
    pub blocks: Vec<BlockOutput>,
    /// The learnt dropouts of features, group by group.
    pub feature_dropouts: Vec<FeatureDropout>,
    /// Named tensors inside of the layers.
    pub taps: Vec<(String, Value)>,
}

impl Model {
    /// Builds the graph that a config describes.
    ///
    /// # Errors
    /// What the config asks for and can't be built, with the config line.
    pub fn build(pipeline: &Pipeline, features: &FeatureSet, purpose: Purpose) -> Result<Model, Diagnostics> {
        build(pipeline, features, purpose).map_err(|diagnostic| Diagnostics(vec![diagnostic]))
    }

    /// The values that scoring reads.
    pub fn output_values(&self) -> Vec<Value> {
        self.outputs.iter().map(|output| output.value).collect()
    }
}

/// What model classes build with.
pub(crate) struct Construction<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) config: &'a proto::EasyRecModel,
    pub(crate) builder: Builder,
    pub(crate) groups: Groups<'a>,
    pub(crate) tasks: &'a [TaskConfig],
    pub(crate) blocks: Vec<BlockOutput>,
}

impl Construction<'_> {
    /// An error at `path` of the config.
    pub(crate) fn error(&self, path: &str, message: impl ToString) -> Diagnostic {
        self.pipeline.error(path, message.to_string())
    }

    /// An error of a layer whose config is at `path`.
    pub(crate) fn layer_error(&self, path: &str, error: LayerError) -> Diagnostic {
        layer_error(self.pipeline, path, error)
    }
}

/// An error of a layer whose config is at `path`.
pub(crate) fn layer_error(pipeline: &Pipeline, path: &str, error: LayerError) -> Diagnostic {
    match &error {
        LayerError::Setting { field, message } if field.is_empty() => pipeline.error(path, message),
        LayerError::Setting { field, message } => pipeline.error(&format!("{path}.{field}"), message),
        LayerError::Graph(graph) => pipeline.error(path, graph.to_string()),
    }
}

fn build(pipeline: &Pipeline, features: &FeatureSet, purpose: Purpose) -> Result<Model, Diagnostic> {
    let Some(config) = &pipeline.proto.model_config else {
        return Err(pipeline.error("", "the config has no model_config"));
    };
    let class = models::class(pipeline, config)?;
    let task_configs = task_configs(pipeline, config)?;
    let slots = Slots::new(features.specs(), features.label_names().len());
    let mut builder = Builder::new(purpose.mode());
    if let Some(proto::easy_rec_model::Model::ModelParams(params)) = &config.model {
        builder.kernel_penalty = params.l2_regularization();
    }
    let mut construction = Construction {
        pipeline,
        config,
        builder,
        groups: Groups {
            explaining: (purpose == Purpose::Explanation).then(Explaining::default),
            ..Groups::new(pipeline, features, &slots)
        },
        tasks: &task_configs,
        blocks: Vec::new(),
    };
    let heads = class(&mut construction)?;
    let Construction { mut builder, mut groups, blocks, .. } = construction;
    if purpose == Purpose::Training {
        dropout_loss(&mut builder, &groups, config)
            .map_err(|error| pipeline.error("model_config.variational_dropout", error.to_string()))?;
    }
    let mut outputs = Vec::new();
    let mut tasks = Vec::with_capacity(task_configs.len());
    for (task, head) in task_configs.iter().zip(&heads) {
        let made = predictions(&mut builder.scope("predictions"), task, *head).map_err(|error| pipeline.error(&task.path, error))?;
        for (name, value) in made {
            if !outputs.iter().any(|output: &Output| output.name == name) {
                let width = builder.graph.shape(value).elements();
                outputs.push(Output { name, value, width });
            }
        }
        tasks.push(Task::new(task, &outputs));
    }
    if config.model_class() == "ESMM" {
        let product = esmm_product(&mut builder, &task_configs, &outputs);
        outputs.extend(product.map_err(|error| pipeline.error("model_config.esmm", error.to_string()))?);
    }
    let mut terms = LossTerms::default();
    if matches!(purpose, Purpose::Training | Purpose::Evaluation) {
        let mut reader = losses::Reader::new(pipeline, features, &slots, &outputs);
        terms = losses::loss_dict(&mut builder, &mut reader, &task_configs, config)?;
    }
    let at_model = |error: GraphError| pipeline.error("model_config", error.to_string());
    let training = match purpose {
        Purpose::Training => Some(training(&mut builder, &terms, &groups.squares, config).map_err(at_model)?),
        Purpose::Evaluation | Purpose::Prediction | Purpose::Explanation => None,
    };
    if let Some(explaining) = &mut groups.explaining {
        explaining.differentiate(&mut builder, &tasks, &outputs).map_err(at_model)?;
    }
    let Groups { tensors: group_tensors, feed, dropouts, explaining, .. } = groups;
    let feature_dropouts = dropouts.into_iter().map(|(dropout, _)| dropout).collect();
    let Builder { graph, initializers, taps, .. } = builder;
    let dynamic = DynamicTable::of(features.specs(), &graph);
    let LossTerms { terms: losses, key_columns } = terms;
    Ok(Model {
        graph,
        initializers,
        outputs,
        tasks,
        losses,
        training,
        explaining,
        feed,
        dynamic,
        key_columns,
        group_tensors,
        blocks,
        feature_dropouts,
        taps,
    })
}

/// The prediction of a click and a conversion: the product of both.
fn esmm_product(builder: &mut Builder, tasks: &[TaskConfig], outputs: &[Output]) -> Result<Option<Output>, GraphError> {
    let [click, conversion] = tasks else { return Ok(None) };
    let name = losses::esmm::product_name(conversion);
    let own = conversion.output_name(name.strip_suffix("_ctcvr").unwrap_or(name));
    let find = |name: &str| outputs.iter().find(|output| output.name == name).map(|output| output.value);
    let (Some(click), Some(conversion)) = (find(&click.output_name("probs")), find(&own)) else { return Ok(None) };
    let value = builder.scope("predictions").add(Binary::Multiply, &[click, conversion])?;
    Ok(Some(Output { name: name.to_owned(), value, width: 1 }))
}

/// The loss of the learnt dropouts of features, which only training has.
fn dropout_loss(builder: &mut Builder, groups: &Groups<'_>, config: &proto::EasyRecModel) -> Result<(), GraphError> {
    let losses: Vec<Value> = groups.dropouts.iter().map(|(_, loss)| *loss).collect();
    let Some(dropout) = config.variational_dropout.as_ref().filter(|_| !losses.is_empty()) else { return Ok(()) };
    let mut s = builder.scope("loss");
    let total = add_all(&mut s, &losses)?;
    let loss = s.add(Unary::Scale(dropout.regularization_lambda()), &[total])?;
    builder.losses.push((feature_dropout::LOSS.to_owned(), loss));
    Ok(())
}

fn training(builder: &mut Builder, terms: &LossTerms, squares: &[Value], config: &proto::EasyRecModel) -> Result<Training, GraphError> {
    let mut penalties = Vec::new();
    let embeddings = match squares {
        [] => None,
        [only] => Some(*only),
        several => Some(builder.scope("loss").add(Sum, several)?),
    };
    if let Some(total) = embeddings {
        penalties.push(builder.scope("loss").add(Unary::Scale(config.embedding_regularization()), &[total])?);
    }
    penalties.extend(&builder.penalties);
    let mut s = builder.scope("loss");
    let regularization = if penalties.is_empty() { None } else { Some(add_all(&mut s, &penalties)?) };
    let losses: Vec<Value> = terms.terms.iter().map(|(_, value)| *value).collect();
    let loss = add_all(&mut s, &losses)?;
    let total_loss = match regularization {
        Some(term) => s.add(Binary::Add, &[loss, term])?,
        None => loss,
    };
    let gradients = differentiate(&mut builder.graph, total_loss)?;
    Ok(Training { total_loss, regularization, gradients, updates: builder.updates.clone() })
}

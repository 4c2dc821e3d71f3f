//! The losses of all tasks by EasyRec's names, each with its weight (EasyRec behaviours 170 to 182).

mod binary;
mod distillation;
pub(crate) mod esmm;
mod jrc;
mod listwise;
mod pairwise;
mod regression;
mod sessions;
mod softmax;
mod weighting;
pub(crate) mod ziln;

use rankmill_config::proto::{self, LossType};
use rankmill_config::{Diagnostic, Pipeline};
use rankmill_data::FeatureSet;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::choose::{Choose, Condition};
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::reduce::{CountNonZero, OverRows};
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_kernels::fingerprint::fingerprint64;
use rankmill_nn::layers::scope::{Builder, Scope};

use self::weighting::Weighting;
use crate::feed::{KeyColumn, KeyForm, Slots};
use crate::model::Output;
use crate::tasks::{SpaceRows, TaskConfig};

/// The losses of the labels, and which keys they read.
#[derive(Clone, Debug, Default)]
pub(crate) struct LossTerms {
    /// EasyRec's `loss_dict`: weighted scalars by name.
    pub(crate) terms: Vec<(String, Value)>,
    pub(crate) key_columns: Vec<KeyColumn>,
}

impl LossTerms {
    /// A name that no loss has: `name`, `name_1`, `name_2`, …
    fn unused(&self, name: String) -> String {
        let taken = |name: &str| self.terms.iter().any(|(known, _)| known == name);
        let mut unused = name.clone();
        let mut number = 0;
        while taken(&unused) {
            number += 1;
            unused = format!("{name}_{number}");
        }
        unused
    }

    /// Sets a loss. One of the same name is replaced, as in EasyRec (behaviours 178 and 179).
    fn set(&mut self, name: String, value: Value) {
        match self.terms.iter_mut().find(|(known, _)| *known == name) {
            Some(term) => term.1 = value,
            None => self.terms.push((name, value)),
        }
    }
}

/// What losses read besides each other: labels, weights, keys, predictions.
pub(crate) struct Reader<'a> {
    pipeline: &'a Pipeline,
    features: &'a FeatureSet,
    slots: &'a Slots,
    outputs: &'a [Output],
    key_columns: Vec<KeyColumn>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, features: &'a FeatureSet, slots: &'a Slots, outputs: &'a [Output]) -> Reader<'a> {
        Reader { pipeline, features, slots, outputs, key_columns: Vec::new() }
    }

    fn at(&self, path: &str) -> impl Fn(GraphError) -> Diagnostic + use<'a> {
        let (pipeline, path) = (self.pipeline, path.to_owned());
        move |error| pipeline.error(&path, error.to_string())
    }

    fn label(&self, s: &mut Scope<'_>, index: usize) -> Result<Value, GraphError> {
        s.add(DenseInput { slot: self.slots.label(index), width: 1, axis: None }, &[])
    }

    fn output(&self, name: &str) -> Option<Value> {
        self.outputs.iter().find(|output| output.name == name).map(|output| output.value)
    }

    /// A column made from the values of a feature; `path` is where the config names it.
    fn key_column(&mut self, s: &mut Scope<'_>, name: &str, form: KeyForm, path: &str) -> Result<Value, Diagnostic> {
        let key = self.features.key_names().iter().position(|known| known == name);
        let key = key.ok_or_else(|| self.pipeline.error(path, format!("there is no feature `{name}` to tell rows by")))?;
        let column = KeyColumn { key, form };
        let index = self.key_columns.iter().position(|known| *known == column).unwrap_or_else(|| {
            self.key_columns.push(column);
            self.key_columns.len() - 1
        });
        s.add(DenseInput { slot: self.slots.key_column(index), width: 1, axis: None }, &[]).map_err(self.at(path))
    }

    /// 1 for rows whose feature has a value, else 0.
    fn has_value(&mut self, s: &mut Scope<'_>, feature: &str, value: &str, path: &str) -> Result<Value, Diagnostic> {
        self.key_column(s, feature, KeyForm::Is(fingerprint64(value.as_bytes())), path)
    }

    /// The weight of each row in the losses of a task (behaviour 180); none if all are 1.
    fn weights(&mut self, s: &mut Scope<'_>, task: &TaskConfig) -> Result<Option<Value>, Diagnostic> {
        let has_weights = self.pipeline.proto.data_config.as_ref().is_some_and(|data| !data.sample_weight().is_empty());
        let at = self.at(&task.path);
        let sample = match has_weights && task.uses_sample_weight {
            true => Some(s.add(DenseInput { slot: self.slots.sample_weights(), width: 1, axis: None }, &[]).map_err(&at)?),
            false => None,
        };
        let Some(space) = &task.space else { return Ok(sample) };
        let indicator = match &space.rows {
            SpaceRows::Label(label) => self.label(s, *label).map_err(&at)?,
            SpaceRows::Feature { name, value, path } => self.has_value(s, name, value, path)?,
        };
        let choose = Choose { condition: Condition::Above(0.0), yes: space.inside, no: space.outside };
        let weights = s.add(choose, &[indicator]).map_err(&at)?;
        match sample {
            Some(sample) => s.add(Binary::Multiply, &[sample, weights]).map(Some).map_err(&at),
            None => Ok(Some(weights)),
        }
    }
}

/// What a loss of a task is computed from.
#[derive(Clone, Copy, Debug)]
struct LossInput {
    /// The raw output `[B, N]`.
    logits: Value,
    /// The label `[B, 1]`.
    label: Value,
    /// The weight of each row `[B, 1]`; none if all are 1.
    weights: Option<Value>,
}

/// EasyRec's `loss_dict` of all tasks.
pub(crate) fn loss_dict(
    builder: &mut Builder,
    reader: &mut Reader<'_>,
    tasks: &[TaskConfig],
    config: &proto::EasyRecModel,
) -> Result<LossTerms, Diagnostic> {
    let mut terms = LossTerms::default();
    let own_weights = reader.pipeline.is_fixed("tower_losses_share_a_weight");
    let keeps_all = reader.pipeline.is_fixed("loss_is_replaced");
    let weighting = Weighting::new(config, tasks, own_weights);
    let is_esmm = config.model_class() == "ESMM";
    if is_esmm {
        for (name, value) in esmm_losses(&mut builder.scope("loss"), reader, tasks)? {
            terms.set(name, value);
        }
    }
    for (t, task) in tasks.iter().enumerate().filter(|_| !is_esmm) {
        let weights = reader.weights(&mut builder.scope("loss"), task)?;
        let mut calibrations = Vec::new();
        for (i, loss) in task.losses.iter().enumerate() {
            let path = task.loss_path(i);
            let mut s = builder.scope("loss");
            if loss.loss_type() == LossType::OrderCalibrateLoss {
                calibrations.extend(order_calibration(&mut s, reader, task, loss, &path)?);
                continue;
            }
            let value = task_loss(&mut s, reader, task, loss, weights, &path)?;
            let name = loss_name(loss, &task.suffix);
            let name = if keeps_all { terms.unused(name) } else { name };
            let weighted = weighting.apply(builder, (t, i), loss, &name, value).map_err(|error| reader.pipeline.error(&path, error))?;
            terms.set(name, weighted);
        }
        if !calibrations.is_empty() {
            let total = add_all(&mut builder.scope("loss"), &calibrations).map_err(reader.at(&task.path))?;
            let name = "order_calibrate_loss".to_owned();
            terms.set(if keeps_all { terms.unused(name) } else { name }, total);
        }
    }
    for (i, kd) in config.kd.iter().enumerate() {
        let path = format!("model_config.kd[{i}]");
        let value = distillation::loss(&mut builder.scope("loss"), reader, kd, &path)?;
        terms.set(distillation::name(kd), value);
    }
    for (name, value) in std::mem::take(&mut builder.losses) {
        terms.set(name, value);
    }
    terms.key_columns = std::mem::take(&mut reader.key_columns);
    Ok(terms)
}

fn esmm_losses(s: &mut Scope<'_>, reader: &mut Reader<'_>, tasks: &[TaskConfig]) -> Result<Vec<(String, Value)>, Diagnostic> {
    let [click, conversion] = tasks else { return Ok(Vec::new()) };
    let at = reader.at("model_config.esmm");
    let output = |name: &str| {
        let value = reader.output(name);
        value.ok_or_else(|| reader.pipeline.error("model_config.esmm", format!("ESMM needs the prediction `{name}`")))
    };
    let (click_logits, product) = (output(&click.output_name("logits"))?, output(esmm::product_name(conversion))?);
    let labels = (reader.label(s, click.label).map_err(&at)?, reader.label(s, conversion.label).map_err(&at)?);
    let weights = reader.weights(s, conversion)?;
    let over_rows = if reader.pipeline.is_fixed("esmm_sums_over_the_batch") { OverRows::Mean } else { OverRows::Sum };
    let input = esmm::EsmmInput { click_logits, product, click: labels.0, conversion: labels.1, weights, over_rows };
    esmm::losses(s, tasks, &input).map_err(at)
}

/// The key of a loss in `loss_dict`: a name of the config stands alone for those of one logit (behaviour 179).
fn loss_name(loss: &proto::Loss, suffix: &str) -> String {
    let (kind, configured) = (loss.loss_type(), loss.loss_name());
    match kind {
        LossType::Classification | LossType::BinaryCrossEntropyLoss if configured.is_empty() => format!("cross_entropy_loss{suffix}"),
        LossType::L2Loss | LossType::SigmoidL2Loss if configured.is_empty() => format!("l2_loss{suffix}"),
        LossType::Classification | LossType::BinaryCrossEntropyLoss | LossType::L2Loss | LossType::SigmoidL2Loss => configured.to_owned(),
        _ if configured.is_empty() => format!("{}{suffix}", kind.as_str_name().to_lowercase()),
        _ => format!("{configured}{suffix}"),
    }
}

/// A loss of a task before it is weighted, a scalar.
fn task_loss(
    s: &mut Scope<'_>,
    reader: &mut Reader<'_>,
    task: &TaskConfig,
    loss: &proto::Loss,
    weights: Option<Value>,
    path: &str,
) -> Result<Value, Diagnostic> {
    let (kind, at) = (loss.loss_type(), reader.at(path));
    let prediction = if matches!(kind, LossType::L2Loss | LossType::SigmoidL2Loss) { "y" } else { "logits" };
    let Some(logits) = reader.output(&task.output_name(prediction)) else {
        return Err(reader.pipeline.error(path, format!("the task predicts no `{prediction}`, which {} needs", kind.as_str_name())));
    };
    let label = reader.label(s, task.label).map_err(&at)?;
    let input = LossInput { logits, label, weights };
    let param = loss.loss_param.as_ref();
    match kind {
        LossType::Classification if task.classes > 1 => softmax::loss(s, input),
        LossType::Classification => binary::cross_entropy(s, input),
        LossType::BinaryCrossEntropyLoss => binary::cross_entropy(s, LossInput { weights: None, ..input }),
        LossType::BinaryFocalLoss => binary::focal(s, input, param),
        LossType::F1ReweightedLoss => binary::f1(s, input, param),
        LossType::L2Loss | LossType::SigmoidL2Loss => regression::squared_error(s, input),
        LossType::ZilnLoss => ziln::loss(s, input, param),
        LossType::PairWiseLoss | LossType::PairwiseLogisticLoss | LossType::PairwiseHingeLoss | LossType::PairwiseFocalLoss => {
            return pairwise::loss(s, reader, kind, param, input, path);
        }
        LossType::JrcLoss => return jrc::loss(s, reader, param, input, path),
        LossType::ListwiseRankLoss | LossType::ListwiseDistillLoss => return listwise::loss(s, reader, kind, param, input, path),
        _ => return Err(reader.pipeline.error(path, format!("{} is not supported for a ranking model", kind.as_str_name()))),
    }
    .map_err(at)
}

/// `mean(relu(p - p_related))` for each related tower, times the loss's own weight (behaviour 179).
fn order_calibration(
    s: &mut Scope<'_>,
    reader: &Reader<'_>,
    task: &TaskConfig,
    loss: &proto::Loss,
    path: &str,
) -> Result<Vec<Value>, Diagnostic> {
    let probability = |suffix: &str| {
        let name = format!("probs{suffix}");
        reader
            .output(&name)
            .ok_or_else(|| reader.pipeline.error(path, format!("ORDER_CALIBRATE_LOSS needs `{name}`, which is not predicted")))
    };
    let own = probability(&task.suffix)?;
    let term = |related: Value, s: &mut Scope<'_>| -> Result<Value, GraphError> {
        let excess = s.add(Binary::Subtract, &[own, related])?;
        let excess = s.add(Unary::Relu, &[excess])?;
        let mean = s.add(OverRows::Mean, &[excess])?;
        s.add(Unary::Scale(loss.weight()), &[mean])
    };
    task.relations.iter().map(|suffix| term(probability(suffix)?, s).map_err(reader.at(path))).collect()
}

/// TensorFlow's mean over the rows whose weight is not 0: `Σ loss·weight / #(weight ≠ 0)`; 0 if there is none.
fn weighted_mean(s: &mut Scope<'_>, losses: Value, weights: Option<Value>) -> Result<Value, GraphError> {
    let Some(weights) = weights else { return s.add(OverRows::Mean, &[losses]) };
    let weighted = s.add(Binary::Multiply, &[losses, weights])?;
    let sum = s.add(OverRows::Sum, &[weighted])?;
    let count = s.add(CountNonZero, &[weights])?;
    s.add(Binary::DivideOrZero, &[sum, count])
}

/// The sum of scalars.
pub(crate) fn add_all(s: &mut Scope<'_>, scalars: &[Value]) -> Result<Value, GraphError> {
    let mut total = scalars[0];
    for scalar in &scalars[1..] {
        total = s.add(Binary::Add, &[total, *scalar])?;
    }
    Ok(total)
}

/// A constant as a scalar value.
fn constant(s: &mut Scope<'_>, value: f32) -> Result<Value, GraphError> {
    s.add(rankmill_graph::ops::fill::Fill { shape: rankmill_graph::Shape::fixed(&[]), value }, &[])
}

/// `y(1 - s) + s/2`.
fn smoothed(s: &mut Scope<'_>, label: Value, smoothing: f32) -> Result<Value, GraphError> {
    if smoothing == 0.0 {
        return Ok(label);
    }
    let scaled = s.add(Unary::Scale(1.0 - smoothing), &[label])?;
    let half = constant(s, 0.5 * smoothing)?;
    s.add(Binary::Add, &[scaled, half])
}

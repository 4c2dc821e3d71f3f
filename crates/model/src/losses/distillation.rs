//! Knowledge distillation: a prediction is drawn to a label that another model made (EasyRec behaviour 181).
//!
//! With `T` the temperature: `BINARY_CROSS_ENTROPY_LOSS` and `KL_DIVERGENCE_LOSS` compare `sigmoid(logit / T)` of both sides, where a
//! probability becomes a logit first; `CROSS_ENTROPY_LOSS` takes `sigmoid(ln(p + 1e-7) / T)` of a probability, which is not the
//! probability itself, as EasyRec does; `L2_LOSS` compares the numbers as they are.

use rankmill_config::proto::{Kd, LossType};
use rankmill_config::{Diagnostic, did_you_mean};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::choose::{Choose, Condition};
use rankmill_graph::ops::loss::SigmoidCrossEntropy;
use rankmill_graph::ops::probability_loss::ProbabilityLoss;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::scope::Scope;

use super::{Reader, weighted_mean};

/// The name of the loss in `loss_dict`.
pub(super) fn name(kd: &Kd) -> String {
    if !kd.loss_name().is_empty() {
        return kd.loss_name().to_owned();
    }
    format!("kd_loss_{}_{}", kd.pred_name().replace('/', "_"), kd.soft_label_name().replace('/', "_"))
}

/// The weighted loss, a scalar.
pub(super) fn loss(s: &mut Scope<'_>, reader: &mut Reader<'_>, kd: &Kd, path: &str) -> Result<Value, Diagnostic> {
    let at = reader.at(path);
    let Some(prediction) = reader.output(kd.pred_name()) else {
        let near = did_you_mean(kd.pred_name(), reader.outputs.iter().map(|output| output.name.as_str()));
        let message = format!("the model predicts no `{}`", kd.pred_name());
        return Err(reader.pipeline.error(&format!("{path}.pred_name"), message).with_help(near));
    };
    let place = reader.features.label_names().iter().position(|name| name == kd.soft_label_name());
    let place = place.ok_or_else(|| {
        let message = format!("`{}` is none of data_config.label_fields", kd.soft_label_name());
        reader.pipeline.error(&format!("{path}.soft_label_name"), message)
    })?;
    let label = reader.label(s, place).map_err(&at)?;
    let weights = match (&kd.task_space_indicator_name, &kd.task_space_indicator_value) {
        (Some(name), Some(value)) => {
            let inside = reader.has_value(s, name, value, &format!("{path}.task_space_indicator_name"))?;
            let choose = Choose { condition: Condition::Above(0.0), yes: kd.in_task_space_weight(), no: kd.out_task_space_weight() };
            Some(s.add(choose, &[inside]).map_err(&at)?)
        }
        _ => None,
    };
    let losses = row_losses(s, kd, prediction, label).map_err(&at)?;
    let Some(losses) = losses else {
        let message = format!("{} is no loss of distillation", kd.loss_type().as_str_name());
        return Err(reader.pipeline.error(&format!("{path}.loss_type"), message));
    };
    let mean = weighted_mean(s, losses, weights).map_err(&at)?;
    s.add(Unary::Scale(kd.loss_weight()), &[mean]).map_err(at)
}

fn row_losses(s: &mut Scope<'_>, kd: &Kd, prediction: Value, label: Value) -> Result<Option<Value>, GraphError> {
    let (prediction_is_logits, label_is_logits) = (kd.pred_is_logits(), kd.label_is_logits());
    let cooled = |s: &mut Scope<'_>, x: Value| match kd.temperature() {
        temperature if temperature > 0.0 && temperature != 1.0 => s.add(Unary::Scale(1.0 / temperature), &[x]),
        _ => Ok(x),
    };
    let logit = |s: &mut Scope<'_>, x: Value, is_logits: bool, from: Unary| {
        let x = if is_logits { x } else { s.add(from, &[x])? };
        cooled(s, x)
    };
    let probability = |s: &mut Scope<'_>, x: Value, is_logits: bool, from: Unary| {
        let x = logit(s, x, is_logits, from)?;
        s.add(Unary::Sigmoid, &[x])
    };
    Ok(Some(match kd.loss_type() {
        LossType::BinaryCrossEntropyLoss => {
            let y = probability(s, label, label_is_logits, Unary::LogOdds)?;
            let z = logit(s, prediction, prediction_is_logits, Unary::LogOdds)?;
            s.add(SigmoidCrossEntropy, &[z, y])?
        }
        LossType::KlDivergenceLoss => {
            let y = probability(s, label, label_is_logits, Unary::LogOdds)?;
            let p = probability(s, prediction, prediction_is_logits, Unary::LogOdds)?;
            s.add(ProbabilityLoss::Divergence, &[p, y])?
        }
        LossType::CrossEntropyLoss => {
            let y = probability(s, label, label_is_logits, Unary::Log(1e-7))?;
            let p = probability(s, prediction, prediction_is_logits, Unary::Log(1e-7))?;
            s.add(ProbabilityLoss::LogLoss, &[p, y])?
        }
        LossType::L2Loss => {
            let difference = s.add(Binary::Subtract, &[prediction, label])?;
            s.add(Unary::Square, &[difference])?
        }
        _ => return Ok(None),
    }))
}

//! Losses of one logit and a label that is 0 or 1 (EasyRec behaviours 170, 171, 173, 174).

use rankmill_config::proto::loss::LossParam;
use rankmill_config::proto::{BinaryFocalLoss, F1ReweighedLoss};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::choose::{Choose, Condition};
use rankmill_graph::ops::focal::FocalFactor;
use rankmill_graph::ops::hard_rows::{HardRows, HardShares};
use rankmill_graph::ops::loss::SigmoidCrossEntropy;
use rankmill_graph::ops::reduce::OverRows;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::scope::Scope;

use super::{LossInput, constant, smoothed, weighted_mean};

/// Cross entropy, the weighted mean over rows.
pub(super) fn cross_entropy(s: &mut Scope<'_>, input: LossInput) -> Result<Value, GraphError> {
    let losses = s.add(SigmoidCrossEntropy, &[input.logits, input.label])?;
    weighted_mean(s, losses, input.weights)
}

/// Cross entropy in which rows that are right already count less: their weight is multiplied by `(1 - p_t)^γ`, and rows without
/// weight do not count in the mean. With an `ohem_ratio` below 1 only the rows of the largest losses count.
pub(super) fn focal(s: &mut Scope<'_>, input: LossInput, param: Option<&LossParam>) -> Result<Value, GraphError> {
    let unset = BinaryFocalLoss::default();
    let param = if let Some(LossParam::BinaryFocalLoss(param)) = param { param } else { &unset };
    let factor = s.add(FocalFactor { gamma: param.gamma(), alpha: param.alpha }, &[input.logits, input.label])?;
    let weights = match input.weights {
        Some(weights) => s.add(Binary::Multiply, &[factor, weights])?,
        None => factor,
    };
    let label = smoothed(s, input.label, param.label_smoothing())?;
    let losses = s.add(SigmoidCrossEntropy, &[input.logits, label])?;
    if param.ohem_ratio() >= 1.0 {
        return weighted_mean(s, losses, Some(weights));
    }
    let losses = s.add(Binary::Multiply, &[losses, weights])?;
    let hard = s.add(HardRows { ratio: param.ohem_ratio() }, &[losses])?;
    let shares = s.add(HardShares, &[losses, hard])?;
    let chosen = s.add(Binary::Multiply, &[losses, shares])?;
    let total = s.add(OverRows::Sum, &[chosen])?;
    let count = s.add(OverRows::Sum, &[shares])?;
    s.add(Binary::DivideOrZero, &[total, count])
}

/// Cross entropy in which every negative row has the weight `Σp / ((β² - 1)·positives + Σp + 1e-8)` and every positive one 1, which
/// brings the loss near to F_β. With β² = 1 all weights are 1.
pub(super) fn f1(s: &mut Scope<'_>, input: LossInput, param: Option<&LossParam>) -> Result<Value, GraphError> {
    let unset = F1ReweighedLoss::default();
    let param = if let Some(LossParam::F1ReweightedLoss(param)) = param { param } else { &unset };
    let probabilities = s.add(Unary::Sigmoid, &[input.logits])?;
    let total = s.add(OverRows::Sum, &[probabilities])?;
    let positives = s.add(OverRows::Sum, &[input.label])?;
    let scaled = s.add(Unary::Scale(param.f1_beta_square() - 1.0), &[positives])?;
    let epsilon = constant(s, 1e-8)?;
    let sum = s.add(Binary::Add, &[total, scaled])?;
    let denominator = s.add(Binary::Add, &[sum, epsilon])?;
    let of_negatives = s.add(Binary::DivideOrZero, &[total, denominator])?;
    let is_positive = s.add(Choose::indicator(Condition::Equals(1.0)), &[input.label])?;
    let is_negative = s.add(Choose { condition: Condition::Equals(1.0), yes: 0.0, no: 1.0 }, &[input.label])?;
    let negatives = s.add(Binary::Multiply, &[is_negative, of_negatives])?;
    let mut weights = s.add(Binary::Add, &[is_positive, negatives])?;
    if let Some(rows) = input.weights {
        weights = s.add(Binary::Multiply, &[weights, rows])?;
    }
    let label = smoothed(s, input.label, param.label_smoothing())?;
    let losses = s.add(SigmoidCrossEntropy, &[input.logits, label])?;
    weighted_mean(s, losses, Some(weights))
}

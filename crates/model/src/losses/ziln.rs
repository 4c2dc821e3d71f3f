//! Zero-inflated lognormal loss and predictions for values that are mostly 0, such as revenue (Wang, Liu, Miao 2019; EasyRec
//! behaviour 176). Sample weights are not used, as in EasyRec.

use rankmill_config::proto::ZilnLoss;
use rankmill_config::proto::loss::LossParam;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::choose::{Choose, Condition};
use rankmill_graph::ops::concat::Columns;
use rankmill_graph::ops::log_normal::{LogNormalLoss, LogNormalScale, ZeroInflatedMean};
use rankmill_graph::ops::loss::SigmoidCrossEntropy;
use rankmill_graph::ops::reduce::OverRows;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::scope::Scope;

use super::{LossInput, add_all, constant};

fn column(s: &mut Scope<'_>, x: Value, first: usize) -> Result<Value, GraphError> {
    s.add(Columns { first, width: 1 }, &[x])
}

/// `mean(CE)·cw + rw·Σ lognormal / (positives + 1e-8) + mu_reg·mean(μ²) + sigma_reg·mean(s²)`, where `s` is the raw third output.
pub(super) fn loss(s: &mut Scope<'_>, input: LossInput, param: Option<&LossParam>) -> Result<Value, GraphError> {
    let unset = ZilnLoss::default();
    let param = if let Some(LossParam::ZilnLoss(param)) = param { param } else { &unset };
    let (logit, mu, raw_sigma) = (column(s, input.logits, 0)?, column(s, input.logits, 1)?, column(s, input.logits, 2)?);
    let is_positive = s.add(Choose::indicator(Condition::Above(0.0)), &[input.label])?;
    let losses = s.add(SigmoidCrossEntropy, &[logit, is_positive])?;
    let classification = s.add(OverRows::Mean, &[losses])?;
    let losses = s.add(LogNormalLoss(LogNormalScale { max_sigma: param.max_sigma() }), &[input.logits, input.label])?;
    let total = s.add(OverRows::Sum, &[losses])?;
    let positives = s.add(OverRows::Sum, &[is_positive])?;
    let epsilon = constant(s, 1e-8)?;
    let positives = s.add(Binary::Add, &[positives, epsilon])?;
    let regression = s.add(Binary::DivideOrZero, &[total, positives])?;
    let mut terms = vec![
        s.add(Unary::Scale(param.classification_weight()), &[classification])?,
        s.add(Unary::Scale(param.regression_weight()), &[regression])?,
    ];
    for (x, weight) in [(mu, param.mu_regularization()), (raw_sigma, param.sigma_regularization())] {
        let squares = s.add(Unary::Square, &[x])?;
        let mean = s.add(OverRows::Mean, &[squares])?;
        terms.push(s.add(Unary::Scale(weight), &[mean])?);
    }
    add_all(s, &terms)
}

/// The probability of a value above 0, the raw outputs, and the expected value.
pub(crate) fn predictions(s: &mut Scope<'_>, param: &ZilnLoss, output: Value) -> Result<Vec<(&'static str, Value)>, GraphError> {
    let logit = column(s, output, 0)?;
    let mean = ZeroInflatedMean {
        scale: LogNormalScale { max_sigma: param.max_sigma() },
        max_log: param.max_log_clip_value(),
        logarithm: param.return_log_pred_value(),
    };
    Ok(vec![("probs", s.add(Unary::Sigmoid, &[logit])?), ("logits", output), ("y", s.add(mean, &[output])?)])
}

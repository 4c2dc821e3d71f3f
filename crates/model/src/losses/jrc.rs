//! Joint optimisation of ranking and calibration (Sheng et al. 2023; EasyRec behaviour 175): `α·CE + (1 - α)·GE` of two logits a row.
//!
//! `GE` is the cross entropy of a softmax over the rows of a session, for each of the two logits: with `ℓ(z)_i` the logarithm of the
//! sum of `exp z` over the session of row `i`, `GE = mean(w_i·(ℓ(z_{y_i})_i - z_{y_i, i}))`, `w_i` the mean weight of the session. With
//! `same_label_loss: false` the other rows of the same label are left out of the sum, and `w_i` is the row's own weight.

use rankmill_config::Diagnostic;
use rankmill_config::proto::JrcLoss;
use rankmill_config::proto::loss::LossParam;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::concat::Columns;
use rankmill_graph::ops::random_weight::RandomWeight;
use rankmill_graph::ops::reduce::OverRows;
use rankmill_graph::ops::sessions::SessionMean;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::scope::Scope;

use super::sessions::{Sessions, log_sum_exp, sessions};
use super::{LossInput, Reader, constant, softmax};

/// The loss, a scalar.
pub(super) fn loss(
    s: &mut Scope<'_>,
    reader: &mut Reader<'_>,
    param: Option<&LossParam>,
    input: LossInput,
    path: &str,
) -> Result<Value, Diagnostic> {
    let Some(LossParam::JrcLoss(param)) = param else {
        return Err(reader.pipeline.error(path, "JRC_LOSS needs a `jrc_loss` with the `session_name`"));
    };
    let sessions = sessions(s, reader, param.session_name(), path)?;
    let at = reader.at(path);
    let entropy = softmax::loss(s, input).map_err(&at)?;
    let generative = generative(s, sessions, input, param.same_label_loss()).map_err(&at)?;
    let weighted = weighted(s, param, entropy, generative).map_err(&at)?;
    weighted.ok_or_else(|| {
        let message = format!(
            "`{}` is no strategy of jrc_loss; expected fixed, random_uniform, random_normal or uncertainty",
            param.loss_weight_strategy()
        );
        reader.pipeline.error(path, message)
    })
}

fn generative(s: &mut Scope<'_>, sessions: Sessions, input: LossInput, same_label: bool) -> Result<Value, GraphError> {
    let one = constant(s, 1.0)?;
    let negative = s.add(Binary::Subtract, &[one, input.label])?;
    let mut parts = Vec::new();
    for (class, share) in [(1, input.label), (0, negative)] {
        let x = s.add(Columns { first: class, width: 1 }, &[input.logits])?;
        let total = log_sum_exp(s, x, sessions, (!same_label).then_some(share))?;
        let surprise = s.add(Binary::Subtract, &[total, x])?;
        parts.push(s.add(Binary::Multiply, &[share, surprise])?);
    }
    let mut losses = s.add(Binary::Add, &[parts[0], parts[1]])?;
    if let Some(weights) = input.weights {
        let numbers = sessions.numbers;
        let weights = if same_label { s.add(SessionMean, &[weights, numbers, weights, numbers])? } else { weights };
        losses = s.add(Binary::Multiply, &[losses, weights])?;
    }
    s.add(OverRows::Mean, &[losses])
}

/// The weighted sum of the two parts; none if the strategy is unknown.
fn weighted(s: &mut Scope<'_>, param: &JrcLoss, entropy: Value, generative: Value) -> Result<Option<Value>, GraphError> {
    let (first, second) = match param.loss_weight_strategy() {
        "fixed" => {
            let alpha = param.alpha();
            (s.add(Unary::Scale(alpha), &[entropy])?, s.add(Unary::Scale(1.0 - alpha), &[generative])?)
        }
        "random_uniform" | "random_normal" => {
            let draw = |s: &mut Scope<'_>, index| s.add(RandomWeight { index, count: 2 }, &[]);
            let (one, other) = (draw(s, 0)?, draw(s, 1)?);
            (s.add(Binary::Multiply, &[entropy, one])?, s.add(Binary::Multiply, &[generative, other])?)
        }
        "uncertainty" => {
            // EasyRec's names are the wrong way round.
            (uncertain(s, "jrc_loss_ranking_loss_weight", entropy)?, uncertain(s, "jrc_loss_calibration_loss_weight", generative)?)
        }
        _ => return Ok(None),
    };
    s.add(Binary::Add, &[first, second]).map(Some)
}

fn uncertain(s: &mut Scope<'_>, name: &str, loss: Value) -> Result<Value, GraphError> {
    let u = s.parameter(name, &[], Initializer::Constant(0.0))?;
    let negative = s.add(Unary::Scale(-1.0), &[u])?;
    let precision = s.add(Unary::Exponential, &[negative])?;
    let scaled = s.add(Binary::Multiply, &[loss, precision])?;
    let penalty = s.add(Unary::Scale(0.5), &[u])?;
    s.add(Binary::Add, &[scaled, penalty])
}

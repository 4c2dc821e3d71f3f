//! Losses over the rows of a session as a list (Cao et al. 2007; EasyRec behaviour 177): `-Σ y·log softmax(z)` over each session, the
//! mean over sessions. Sample weights are not used, as in EasyRec.
//!
//! `LISTWISE_RANK_LOSS` takes labels as they are, or their softmax over the session if they are logits. `LISTWISE_DISTILL_LOSS` takes
//! ranks of another model: `y = ln(1 + n) - ln(clip(rank, 1, n))`, divided by its sum over the session.

use rankmill_config::Diagnostic;
use rankmill_config::proto::loss::LossParam;
use rankmill_config::proto::{ListwiseDistillLoss, ListwiseRankLoss, LossType};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::rank_relevance::RankRelevance;
use rankmill_graph::ops::reduce::OverRows;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::scope::Scope;

use super::sessions::{Sessions, log_sum_exp, sessions};
use super::{LossInput, Reader};

/// Functions of labels that configs may name.
const TRANSFORMS: [(&str, Transform); 5] = [
    ("tf.math.log1p", |s, y| s.add(Unary::Log(1.0), &[y])),
    ("tf.log1p", |s, y| s.add(Unary::Log(1.0), &[y])),
    ("tf.math.square", |s, y| s.add(Unary::Square, &[y])),
    ("tf.square", |s, y| s.add(Unary::Square, &[y])),
    ("tf.math.exp", |s, y| s.add(Unary::Exponential, &[y])),
];

type Transform = fn(&mut Scope<'_>, Value) -> Result<Value, GraphError>;

/// The loss, a scalar.
pub(super) fn loss(
    s: &mut Scope<'_>,
    reader: &mut Reader<'_>,
    kind: LossType,
    param: Option<&LossParam>,
    input: LossInput,
    path: &str,
) -> Result<Value, Diagnostic> {
    let at = reader.at(path);
    if kind == LossType::ListwiseDistillLoss {
        let unset = ListwiseDistillLoss::default();
        let param = if let Some(LossParam::ListwiseDistillLoss(param)) = param { param } else { &unset };
        if !param.transform_fn().is_empty() {
            return Err(reader.pipeline.error(path, "`transform_fn` of LISTWISE_DISTILL_LOSS is not supported"));
        }
        let sessions = sessions(s, reader, param.session_name(), path)?;
        let scale = param.scale_logits().then_some("listwise_distill_loss");
        let z = scores(s, input.logits, param.temperature(), scale).map_err(&at)?;
        let y = relevance(s, input.label, param.label_clip_max_value(), sessions).map_err(&at)?;
        return list_loss(s, z, y, sessions).map_err(at);
    }
    let unset = ListwiseRankLoss::default();
    let param = if let Some(LossParam::ListwiseRankLoss(param)) = param { param } else { &unset };
    let sessions = sessions(s, reader, param.session_name(), path)?;
    let mut y = input.label;
    if !param.transform_fn().is_empty() {
        let known = TRANSFORMS.iter().find(|(name, _)| *name == param.transform_fn());
        let (_, transform) = known.ok_or_else(|| {
            let names: Vec<&str> = TRANSFORMS.iter().map(|(name, _)| *name).collect();
            let message = format!("`transform_fn` is `{}`; known: {}", param.transform_fn(), names.join(", "));
            reader.pipeline.error(path, message)
        })?;
        y = transform(s, y).map_err(&at)?;
    }
    let scale = param.scale_logits().then_some("listwise_loss");
    let z = scores(s, input.logits, param.temperature(), scale).map_err(&at)?;
    if param.label_is_logits() {
        y = cooled(s, y, param.temperature()).and_then(|y| session_softmax(s, y, sessions)).map_err(&at)?;
    }
    list_loss(s, z, y, sessions).map_err(at)
}

fn cooled(s: &mut Scope<'_>, x: Value, temperature: f32) -> Result<Value, GraphError> {
    if temperature == 1.0 { Ok(x) } else { s.add(Unary::Scale(1.0 / temperature), &[x]) }
}

/// `z / T`, or `|w|·z / T + b` with learnt `w` and `b` in the variable scope `scale`.
fn scores(s: &mut Scope<'_>, logits: Value, temperature: f32, scale: Option<&str>) -> Result<Value, GraphError> {
    let z = cooled(s, logits, temperature)?;
    let Some(scope) = scale else { return Ok(z) };
    let mut s = s.root(scope);
    let w = s.parameter("scale_w", &[1], Initializer::Constant(1.0))?;
    let b = s.parameter("scale_b", &[1], Initializer::Constant(0.0))?;
    let w = s.add(Unary::Absolute, &[w])?;
    let scaled = s.add(Binary::Multiply, &[z, w])?;
    s.add(Binary::Add, &[scaled, b])
}

/// The relevance of ranks, divided by its sum over the session.
fn relevance(s: &mut Scope<'_>, ranks: Value, most: f32, sessions: Sessions) -> Result<Value, GraphError> {
    let y = s.add(RankRelevance { most }, &[ranks])?;
    let logarithm = s.add(Unary::Log(0.0), &[y])?;
    session_softmax(s, logarithm, sessions)
}

fn session_softmax(s: &mut Scope<'_>, x: Value, sessions: Sessions) -> Result<Value, GraphError> {
    let total = log_sum_exp(s, x, sessions, None)?;
    let logarithm = s.add(Binary::Subtract, &[x, total])?;
    s.add(Unary::Exponential, &[logarithm])
}

fn list_loss(s: &mut Scope<'_>, z: Value, y: Value, sessions: Sessions) -> Result<Value, GraphError> {
    let total = log_sum_exp(s, z, sessions, None)?;
    let surprise = s.add(Binary::Subtract, &[total, z])?;
    let losses = s.add(Binary::Multiply, &[y, surprise])?;
    let sum = s.add(OverRows::Sum, &[losses])?;
    s.add(Binary::DivideOrZero, &[sum, sessions.count])
}

//! Losses over pairs of rows, one of which has the larger label (EasyRec behaviour 172).

use rankmill_config::Diagnostic;
use rankmill_config::proto::loss::LossParam;
use rankmill_config::proto::{LossType, PairwiseFocalLoss, PairwiseHingeLoss, PairwiseLogisticLoss, PairwiseLoss};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::concat::Columns;
use rankmill_graph::ops::focal::FocalFactor;
use rankmill_graph::ops::pairs::{HardPairs, Margin, PairLosses, PairRule};
use rankmill_graph::ops::reduce::OverRows;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::scope::Scope;

use super::sessions::{constant_column, sessions};
use super::{LossInput, Reader};

/// The settings that the losses have in common.
struct Settings<'a> {
    rule: PairRule,
    session_name: &'a str,
    temperature: f32,
    /// Whether labels are divided by the temperature, too.
    cools_labels: bool,
    ohem_ratio: f32,
    exponent: Exponent,
}

/// What `use_exponent` makes of labels and scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exponent {
    /// It is not set.
    Off,
    /// EasyRec: the scores are replaced by `sigmoid(label)`.
    OfLabels,
    /// The evident intention: they become `sigmoid(score)`.
    OfScores,
}

fn margin(uses_labels: bool, fixed: f32) -> Margin {
    if uses_labels { Margin::OfLabels } else { Margin::Fixed(fixed) }
}

fn pair_wise(param: &PairwiseLoss) -> Settings<'_> {
    Settings {
        rule: PairRule::Logistic(Margin::Fixed(param.margin())),
        session_name: param.session_name(),
        temperature: param.temperature(),
        cools_labels: false,
        ohem_ratio: 1.0,
        exponent: Exponent::Off,
    }
}

fn logistic(param: &PairwiseLogisticLoss) -> Settings<'_> {
    Settings {
        rule: PairRule::Logistic(margin(param.use_label_margin(), param.hinge_margin())),
        session_name: param.session_name(),
        temperature: param.temperature(),
        cools_labels: param.use_label_margin(),
        ohem_ratio: param.ohem_ratio(),
        exponent: Exponent::Off,
    }
}

fn hinge(param: &PairwiseHingeLoss, exponent: Exponent) -> Settings<'_> {
    Settings {
        rule: PairRule::Hinge(margin(param.use_label_margin(), param.margin())),
        session_name: param.session_name(),
        temperature: param.temperature(),
        cools_labels: param.label_is_logits(),
        ohem_ratio: param.ohem_ratio(),
        exponent: if param.use_exponent() { exponent } else { Exponent::Off },
    }
}

fn focal(param: &PairwiseFocalLoss) -> Settings<'_> {
    Settings {
        rule: PairRule::Focal {
            factor: FocalFactor { gamma: param.gamma(), alpha: param.alpha },
            // The default of the schema is not used: EasyRec asks whether it is set.
            below: param.hinge_margin.unwrap_or(f32::INFINITY),
        },
        session_name: param.session_name(),
        temperature: param.temperature(),
        cools_labels: false,
        ohem_ratio: param.ohem_ratio(),
        exponent: Exponent::Off,
    }
}

/// The weighted mean over pairs with a weight, 0 if there is none.
pub(super) fn loss(
    s: &mut Scope<'_>,
    reader: &mut Reader<'_>,
    kind: LossType,
    param: Option<&LossParam>,
    input: LossInput,
    path: &str,
) -> Result<Value, Diagnostic> {
    let unset = (PairwiseLoss::default(), PairwiseLogisticLoss::default(), PairwiseHingeLoss::default(), PairwiseFocalLoss::default());
    let exponent = if reader.pipeline.is_fixed("pairwise_hinge_without_gradient") { Exponent::OfScores } else { Exponent::OfLabels };
    let settings = match (kind, param) {
        (LossType::PairwiseLogisticLoss, Some(LossParam::PairwiseLogisticLoss(param))) => logistic(param),
        (LossType::PairwiseLogisticLoss, _) => logistic(&unset.1),
        (LossType::PairwiseHingeLoss, Some(LossParam::PairwiseHingeLoss(param))) => hinge(param, exponent),
        (LossType::PairwiseHingeLoss, _) => hinge(&unset.2, exponent),
        (LossType::PairwiseFocalLoss, Some(LossParam::PairwiseFocalLoss(param))) => focal(param),
        (LossType::PairwiseFocalLoss, _) => focal(&unset.3),
        (_, Some(LossParam::PairwiseLoss(param))) => pair_wise(param),
        _ => pair_wise(&unset.0),
    };
    if !(settings.ohem_ratio > 0.0 && settings.ohem_ratio <= 1.0) {
        return Err(reader.pipeline.error(path, format!("`ohem_ratio` is {}; expected above 0 and at most 1", settings.ohem_ratio)));
    }
    if settings.temperature <= 0.0 {
        return Err(reader.pipeline.error(path, format!("`temperature` is {}; expected above 0", settings.temperature)));
    }
    let sessions = sessions(s, reader, settings.session_name, path)?;
    mean_over_pairs(s, &settings, sessions.numbers, input).map_err(reader.at(path))
}

fn mean_over_pairs(s: &mut Scope<'_>, settings: &Settings<'_>, sessions: Value, input: LossInput) -> Result<Value, GraphError> {
    let cooled = |s: &mut Scope<'_>, x: Value| match settings.temperature {
        1.0 => Ok(x),
        temperature => s.add(Unary::Scale(1.0 / temperature), &[x]),
    };
    let mut label = if settings.cools_labels { cooled(s, input.label)? } else { input.label };
    let mut score = cooled(s, input.logits)?;
    if settings.exponent != Exponent::Off {
        if settings.cools_labels {
            label = s.add(Unary::Sigmoid, &[label])?;
        }
        let replaced = if settings.exponent == Exponent::OfLabels { label } else { score };
        score = s.add(Unary::Sigmoid, &[replaced])?;
    }
    let weights = match input.weights {
        Some(weights) => weights,
        None => constant_column(s, 1.0)?,
    };
    let columns = [score, label, sessions, weights];
    let mut inputs = [columns, columns].concat();
    if settings.ohem_ratio < 1.0 {
        inputs.push(s.add(HardPairs { rule: settings.rule, ratio: settings.ohem_ratio }, &columns)?);
    }
    let rows = s.add(PairLosses(settings.rule), &inputs)?;
    let losses = s.add(Columns { first: 0, width: 1 }, &[rows])?;
    let counts = s.add(Columns { first: 1, width: 1 }, &[rows])?;
    let total = s.add(OverRows::Sum, &[losses])?;
    let count = s.add(OverRows::Sum, &[counts])?;
    s.add(Binary::DivideOrZero, &[total, count])
}

//! The losses of ESMM (Ma et al. 2018; EasyRec behaviour 154): clicks, and conversions over all impressions, whose probability is the
//! product of both towers'. They are sums over the batch, and sample weights are not used, as in EasyRec; with
//! `rankmill_fix: "esmm_sums_over_the_batch"` they are means.

use rankmill_config::proto::LossType;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::loss::SigmoidCrossEntropy;
use rankmill_graph::ops::probability_loss::ProbabilityLoss;
use rankmill_graph::ops::reduce::OverRows;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::scope::Scope;

use super::{LossInput, regression};
use crate::tasks::TaskConfig;

/// The name of the prediction of a click and a conversion.
pub(crate) fn product_name(conversion: &TaskConfig) -> &'static str {
    if is_value(conversion) { "y_ctcvr" } else { "probs_ctcvr" }
}

fn is_value(conversion: &TaskConfig) -> bool {
    matches!(conversion.main_loss(), LossType::L2Loss | LossType::SigmoidL2Loss)
}

/// What the losses read: logits of clicks, the product, the labels of both, the weights of rows.
pub(super) struct EsmmInput {
    pub(super) click_logits: Value,
    pub(super) product: Value,
    pub(super) click: Value,
    pub(super) conversion: Value,
    pub(super) weights: Option<Value>,
    /// What becomes of the losses of all rows.
    pub(super) over_rows: OverRows,
}

/// Both losses by name, from the tasks click and conversion.
pub(super) fn losses(s: &mut Scope<'_>, tasks: &[TaskConfig], input: &EsmmInput) -> Result<Vec<(String, Value)>, GraphError> {
    let [click, conversion] = tasks else { return Ok(Vec::new()) };
    let both = s.add(Binary::Multiply, &[input.click, input.conversion])?;
    let (name, loss) = if is_value(conversion) {
        let error = LossInput { logits: input.product, label: both, weights: input.weights };
        ("weighted_l2_loss", regression::squared_error(s, error)?)
    } else {
        let losses = s.add(ProbabilityLoss::ClippedLogLoss, &[input.product, both])?;
        ("weighted_cross_entropy_loss", s.add(input.over_rows, &[losses])?)
    };
    let of_conversions = (format!("{name}{}", conversion.suffix), s.add(Unary::Scale(conversion.weight), &[loss])?);
    let losses = s.add(SigmoidCrossEntropy, &[input.click_logits, input.click])?;
    let loss = s.add(input.over_rows, &[losses])?;
    let of_clicks = (format!("weighted_cross_entropy_loss{}", click.suffix), s.add(Unary::Scale(click.weight), &[loss])?);
    Ok(vec![of_conversions, of_clicks])
}

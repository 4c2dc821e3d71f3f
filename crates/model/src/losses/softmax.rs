//! Cross entropy of several classes (EasyRec behaviour 170): the label is the number of the class.

use rankmill_graph::ops::loss::SoftmaxCrossEntropy;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::scope::Scope;

use super::{LossInput, weighted_mean};

/// The weighted mean over rows.
pub(super) fn loss(s: &mut Scope<'_>, input: LossInput) -> Result<Value, GraphError> {
    let losses = s.add(SoftmaxCrossEntropy, &[input.logits, input.label])?;
    weighted_mean(s, losses, input.weights)
}

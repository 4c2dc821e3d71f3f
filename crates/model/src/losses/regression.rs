//! The squared error of a predicted value (EasyRec behaviour 171).

use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::scope::Scope;

use super::{LossInput, weighted_mean};

/// The weighted mean of `(y - prediction)²`.
pub(super) fn squared_error(s: &mut Scope<'_>, input: LossInput) -> Result<Value, GraphError> {
    let difference = s.add(Binary::Subtract, &[input.logits, input.label])?;
    let squares = s.add(Unary::Square, &[difference])?;
    weighted_mean(s, squares, input.weights)
}

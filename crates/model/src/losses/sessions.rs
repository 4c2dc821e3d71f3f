//! Rows by session: what losses over pairs and lists compare.

use rankmill_config::Diagnostic;
use rankmill_graph::ops::broadcast::{RepeatRow, Scaling};
use rankmill_graph::ops::reduce::OverRows;
use rankmill_graph::ops::sessions::SessionLogSumExp;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::scope::Scope;

use super::{Reader, constant};
use crate::feed::KeyForm;

/// The same number in every row.
pub(super) fn constant_column(s: &mut Scope<'_>, value: f32) -> Result<Value, GraphError> {
    let value = constant(s, value)?;
    s.add(RepeatRow { scaling: Scaling::One, axis: None }, &[value])
}

/// The sessions of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sessions {
    /// The number of each row's session.
    pub(super) numbers: Value,
    /// How many there are, a scalar.
    pub(super) count: Value,
}

/// The sessions that a feature tells apart; without one the batch is one session.
pub(super) fn sessions(s: &mut Scope<'_>, reader: &mut Reader<'_>, feature: &str, path: &str) -> Result<Sessions, Diagnostic> {
    let at = reader.at(path);
    if feature.is_empty() {
        return Ok(Sessions { numbers: constant_column(s, 0.0).map_err(&at)?, count: constant(s, 1.0).map_err(&at)? });
    }
    let numbers = reader.key_column(s, feature, KeyForm::Numbered, path)?;
    let first = reader.key_column(s, feature, KeyForm::First, path)?;
    Ok(Sessions { numbers, count: s.add(OverRows::Sum, &[first]).map_err(at)? })
}

/// `ln Σ exp(x)` over the rows of each row's session; rows whose mark is not 0 count in their own sum alone.
pub(super) fn log_sum_exp(s: &mut Scope<'_>, x: Value, sessions: Sessions, marks: Option<Value>) -> Result<Value, GraphError> {
    let marks = match marks {
        Some(marks) => marks,
        None => constant_column(s, 0.0)?,
    };
    s.add(SessionLogSumExp, &[x, sessions.numbers, marks, x, sessions.numbers, marks])
}

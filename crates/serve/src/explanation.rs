//! Requests that ask why, beside the scores: what each feature adds, and the masks of MaskNet, as `rankmill explain` tells them.

use axum::http::{HeaderMap, HeaderName};
use rankmill_model::{EXPLANATION_STEPS, OutputSpec};

use crate::error::ServeError;
use crate::registry::Version;

/// How many rows an explained one counts as: each step of its explanation computes it once more, as do the scores with and without its
/// features.
pub(crate) const ROWS_OF_ONE: usize = EXPLANATION_STEPS + 2;
/// Rows that are explained at once, so that a worker is soon free for others.
pub(crate) const ROWS_AT_ONCE: usize = 8;
/// The parameter of KServe's protocol.
pub(crate) const PARAMETER: &str = "explain";

/// The same for the protocols that have no parameters.
static HEADER: HeaderName = HeaderName::from_static("rankmill-explain");

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Scores,
    /// Scores, and how they come about.
    Explanations,
}

impl Answer {
    /// What the parameter asks for, if it is there: `value` is none if it is there and no boolean.
    pub(crate) fn of_parameter(value: Option<Option<bool>>) -> Result<Answer, ServeError> {
        match value {
            None | Some(Some(false)) => Ok(Answer::Scores),
            Some(Some(true)) => Ok(Answer::Explanations),
            Some(None) => Err(ServeError::invalid(format!("the parameter `{PARAMETER}` is neither true nor false"))),
        }
    }

    /// What the header asks for.
    pub(crate) fn of_header(headers: &HeaderMap) -> Result<Answer, ServeError> {
        match headers.get(&HEADER).map(|value| value.as_bytes()) {
            None | Some(b"false") => Ok(Answer::Scores),
            Some(b"true") => Ok(Answer::Explanations),
            Some(_) => Err(ServeError::invalid("the header Rankmill-Explain is neither true nor false")),
        }
    }

    /// What a version answers.
    pub(crate) fn outputs(self, version: &Version) -> Result<impl Iterator<Item = &OutputSpec>, ServeError> {
        let more: &[OutputSpec] = match self {
            Answer::Scores => &[],
            Answer::Explanations => version.predictor.explained().map_err(|reason| {
                ServeError::invalid(format!("version {} of model `{}` can't be explained: {reason}", version.number, version.model))
            })?,
        };
        Ok(version.schema.outputs.iter().chain(more))
    }

    /// The places of these outputs among all; those of all, if there are none.
    pub(crate) fn places<'a>(self, version: &Version, names: impl ExactSizeIterator<Item = &'a str>) -> Result<Vec<usize>, ServeError> {
        if names.len() == 0 {
            return Ok((0..self.outputs(version)?.count()).collect());
        }
        let find = |name: &str| {
            self.outputs(version)?.position(|output| output.name == name).ok_or_else(|| {
                let known = version.schema.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>().join(", ");
                ServeError::invalid(format!("there is no output `{}`; the model has {known}", rankmill_data::shown(name.as_bytes())))
            })
        };
        names.map(find).collect()
    }
}

//! Bodies, and what a request asks for in its path and headers.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::error::{ErrorKind, ServeError};
use crate::limits::Limits;
use crate::registry::Wanted;

/// The model and version in a path.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    model: Option<String>,
    version: Option<String>,
}

impl Target {
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        self.version.as_deref().map_or(Wanted::Any, Wanted::Named)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Target, ServeError> {
        let path = Path::<BTreeMap<String, String>>::from_request_parts(parts, state).await;
        let Path(mut path) = path.map_err(|error| ServeError::invalid(format!("the path: {error}")))?;
        Ok(Target { model: path.remove("model"), version: path.remove("version") })
    }
}

/// The whole body.
pub(super) async fn read(body: Body, headers: &HeaderMap, limits: &Limits) -> Result<Bytes, ServeError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(ServeError::new(ErrorKind::UnsupportedType, "compressed bodies are not read"));
    }
    match Limited::new(body, limits.body_bytes).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ServeError::new(ErrorKind::TooLarge, format!("the body is larger than {} bytes", limits.body_bytes)))
        }
        Err(error) => Err(ServeError::invalid(format!("the body ended early: {error}"))),
    }
}

/// The content type without its parameters, in lower case. JSON if there is none, or the one that curl gives to what it is not told of.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase() {
        unsaid if matches!(unsaid.as_str(), "" | "application/x-www-form-urlencoded") => "application/json".to_owned(),
        content_type => content_type,
    }
}

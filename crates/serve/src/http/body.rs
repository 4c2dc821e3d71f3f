//! Bodies, and what a request asks for in its path and headers.

use std::collections::BTreeMap;
use std::io::Read;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
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

/// The whole body, decompressed.
pub(super) async fn read(body: Body, headers: &HeaderMap, limits: &Limits) -> Result<Bytes, ServeError> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or(&b"identity"[..], |encoding| encoding.as_bytes());
    if ![&b"identity"[..], b"gzip", b"deflate"].contains(&encoding) {
        let encoding = rankmill_data::shown(encoding);
        return Err(ServeError::new(
            ErrorKind::UnsupportedType,
            format!("the body's encoding is `{encoding}`, but must be gzip or deflate"),
        ));
    }
    let body = match Limited::new(body, limits.body_bytes).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large(limits)),
        Err(error) => return Err(ServeError::invalid(format!("the body ended early: {error}"))),
    };
    match encoding {
        b"gzip" => decompress(MultiGzDecoder::new(&*body), limits),
        b"deflate" => decompress(ZlibDecoder::new(&*body), limits),
        _ => Ok(body),
    }
}

fn too_large(limits: &Limits) -> ServeError {
    ServeError::new(ErrorKind::TooLarge, format!("the body is larger than {} bytes", limits.body_bytes))
}

/// What comes out, which may not be larger than what goes in without compression.
fn decompress(decoder: impl Read, limits: &Limits) -> Result<Bytes, ServeError> {
    let mut bytes = Vec::new();
    let read = decoder.take(limits.body_bytes as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| ServeError::invalid(format!("the body is not compressed as its head says: {error}")))?;
    if bytes.len() > limits.body_bytes { Err(too_large(limits)) } else { Ok(bytes.into()) }
}

/// The content type without its parameters, in lower case. JSON if there is none, or the one that curl gives to what it is not told of.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase() {
        unsaid if matches!(unsaid.as_str(), "" | "application/x-www-form-urlencoded") => "application/json".to_owned(),
        content_type => content_type,
    }
}

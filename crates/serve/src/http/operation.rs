//! Pages for those who run the server.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::{ErrorKind, ServeError};

/// The description of all pages.
const OPENAPI: &str = include_str!("../../openapi.json");

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ServeError> {
    let text = app.metrics.text(app.engine.waiting()).map_err(|error| ServeError::new(ErrorKind::Internal, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}

pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

//! HTTP: which page does what.

mod body;
mod guard;
pub(crate) mod kserve;
mod operation;
mod score;
mod tensorflow;
pub(crate) mod triton;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde::Serialize;

use crate::app::App;
use crate::error::{ErrorKind, ServeError};
use crate::registry::Version;

/// Tells which version scored.
static MODEL_VERSION: HeaderName = HeaderName::from_static("rankmill-model-version");

/// All pages, and gRPC beside them.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let pages = Router::new()
        .route("/v2", get(kserve::server))
        .route("/v2/health/live", get(kserve::live))
        .route("/v2/health/ready", get(kserve::ready))
        .route("/v2/models/{model}", get(kserve::metadata))
        .route("/v2/models/{model}/versions/{version}", get(kserve::metadata))
        .route("/v2/models/{model}/ready", get(kserve::model_ready))
        .route("/v2/models/{model}/versions/{version}/ready", get(kserve::model_ready))
        .route("/v2/models/{model}/infer", post(kserve::infer))
        .route("/v2/models/{model}/versions/{version}/infer", post(kserve::infer))
        .route("/v2/models/stats", get(triton::statistics))
        .route("/v2/models/{model}/stats", get(triton::statistics))
        .route("/v2/models/{model}/versions/{version}/stats", get(triton::statistics))
        .route("/v2/models/{model}/config", get(triton::config))
        .route("/v2/models/{model}/versions/{version}/config", get(triton::config))
        .route("/v1/models/{*target}", any(tensorflow::page))
        .route("/score", post(score::score))
        .route("/score/{model}", post(score::score))
        .route("/score/{model}/versions/{version}", post(score::score))
        .route("/metrics", get(operation::metrics))
        .route("/openapi.json", get(operation::openapi))
        .fallback(no_page)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(app));
    crate::grpc::routes(app)
        .merge(crate::tensorflow_grpc::routes(app))
        .merge(crate::grpc_health::routes(app))
        .merge(pages)
        .layer(middleware::from_fn_with_state(Arc::clone(app), guard::guard))
}

async fn no_page() -> ServeError {
    ServeError::new(ErrorKind::NotFound, "there is no such page; /openapi.json lists what there is")
}

async fn no_method() -> Response {
    let body = ErrorBody { error: "this page does not take this method" };
    (StatusCode::METHOD_NOT_ALLOWED, json(&body)).into_response()
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

/// What a response was, for the metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome(pub(crate) &'static str);

impl IntoResponse for ServeError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), json(&ErrorBody { error: &self.message })).into_response();
        response.extensions_mut().insert(Outcome(self.label()));
        let header = match self.kind {
            ErrorKind::Exhausted | ErrorKind::Unavailable => Some((header::RETRY_AFTER, "1")),
            ErrorKind::Unauthenticated => Some((header::WWW_AUTHENTICATE, "Bearer")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A response with the version whose scores it has: not every form of body has a place for it.
fn of_version(version: &Version, response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    response.headers_mut().insert(MODEL_VERSION.clone(), HeaderValue::from(version.number));
    response
}

/// A JSON body.
fn json(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        // What is written here always can be.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

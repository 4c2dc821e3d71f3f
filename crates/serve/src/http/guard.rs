//! Before and after every request: the token, the time limit, the metrics and the log.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::{ErrorKind, ServeError};
use crate::http::Outcome;

/// Lets a request through, if it may.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = request.uri().path().to_owned();
    let is_grpc = request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let refuse = |error: ServeError| match is_grpc {
        true => tonic::Status::from(error).into_http(),
        false => error.into_response(),
    };
    let response = if !may_enter(&app, &request, &path) {
        refuse(ServeError::new(ErrorKind::Unauthenticated, "a valid bearer token is needed"))
    } else {
        match tokio::time::timeout(app.limits.request_time, next.run(request)).await {
            Ok(response) => response,
            Err(_) => refuse(ServeError::new(ErrorKind::Timeout, "the request took too long")),
        }
    };
    if let Some(protocol) = protocol(&path) {
        let outcome = outcome(&response);
        app.metrics.request(protocol, outcome, started.elapsed());
        let micros = started.elapsed().as_micros() as u64;
        tracing::debug!(protocol, path, status = response.status().as_u16(), outcome, micros, "request");
    }
    response
}

fn protocol(path: &str) -> Option<&'static str> {
    let starts = [("/v2/models/", "kserve_http"), ("/inference.", "kserve_grpc"), ("/v1/models/", "tensorflow_http"), ("/score", "score")];
    starts.iter().find(|(start, _)| path.starts_with(start)).map(|(_, protocol)| *protocol)
}

fn outcome(response: &Response) -> &'static str {
    if let Some(Outcome(outcome)) = response.extensions().get() {
        return outcome;
    }
    match response.headers().get("grpc-status").map(|status| status.as_bytes()) {
        None | Some(b"0") => {}
        Some(b"3" | b"11") => return "invalid",
        Some(b"4") => return "timeout",
        Some(b"5" | b"12") => return "not_found",
        Some(b"8") => return "exhausted",
        Some(b"14") => return "unavailable",
        Some(b"16") => return "unauthenticated",
        Some(_) => return "internal",
    }
    if response.status().is_success() { "ok" } else { "invalid" }
}

/// Health may be asked for by anybody.
fn may_enter(app: &App, request: &Request, path: &str) -> bool {
    let Some(token) = &app.token else { return true };
    if path.starts_with("/v2/health/") {
        return true;
    }
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|given| equal(given, token.as_bytes()))
}

/// Compares in a time that does not tell where the difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

//! Before and after every request: the token, the time limit, the metrics and the log. A request that meets a defect fails alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
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
        let time = app.limits.request_time.min(grpc_timeout(request.headers()).unwrap_or(Duration::MAX));
        match tokio::time::timeout(time, caught(next.run(request))).await {
            Ok(Some(response)) => response,
            Ok(None) => {
                tracing::error!(path, "a request could not be answered: this is a defect of the server");
                refuse(ServeError::new(ErrorKind::Internal, "the request failed; see the server's log"))
            }
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

/// What a future gives; none if it panics.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// How long a gRPC client waits: digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn protocol(path: &str) -> Option<&'static str> {
    let starts = [
        ("/v2/models/", "kserve_http"),
        ("/inference.", "kserve_grpc"),
        ("/v1/models/", "tensorflow_http"),
        ("/tensorflow.serving.", "tensorflow_grpc"),
        ("/score", "score"),
    ];
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
    if app.tokens.is_empty() || path.starts_with("/v2/health/") || path.starts_with("/grpc.health.") {
        return true;
    }
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|given| app.tokens.iter().fold(false, |found, token| found | equal(given, token.as_bytes())))
}

/// Compares in a time that does not tell where the difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert_eq!(runtime.block_on(caught(async { 1 })), Some(1));
        assert_eq!(runtime.block_on(caught(async { assert!(std::hint::black_box(false), "meant to fail") })), None);
    }

    #[test]
    fn times_of_grpc_are_read() {
        let read =
            |text: &str| grpc_timeout(&HeaderMap::from_iter([("grpc-timeout".parse().expect("a name"), text.parse().expect("a value"))]));
        for (text, time) in [("2H", Some(7_200_000)), ("1M", Some(60_000)), ("3S", Some(3000)), ("250m", Some(250)), ("9000u", Some(9))] {
            assert_eq!(read(text), time.map(Duration::from_millis), "{text}");
        }
        for text in ["", "5", "m", "-1S", "1 S", "5x"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

//! Why a request gets no scores, in the terms of both protocols.

use axum::http::StatusCode;
use rankmill_data::DataError;

/// What kind of failure it is: the HTTP status and the gRPC code follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request says something that can't be meant.
    Invalid,
    /// No valid token came with it.
    Unauthenticated,
    /// There is no such model, version or page.
    NotFound,
    /// It is larger than the limits allow.
    TooLarge,
    /// Its content type is not understood.
    UnsupportedType,
    /// The queue is full.
    Exhausted,
    /// The time is over.
    Timeout,
    /// The server starts or stops.
    Unavailable,
    /// A defect.
    Internal,
}

/// A failure with the message that the client gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServeError {
    /// Its kind.
    pub kind: ErrorKind,
    /// What is wrong, with the name of the input or field.
    pub message: String,
}

impl ServeError {
    /// A failure of that kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> ServeError {
        ServeError { kind, message: message.into() }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> ServeError {
        ServeError::new(ErrorKind::Invalid, message)
    }

    /// A row breaks a rule of its field.
    pub(crate) fn row(error: &DataError) -> ServeError {
        let mut message = String::new();
        if let Some(column) = &error.column {
            message.push_str(&format!("field `{column}`: "));
        }
        if error.row > 0 {
            message.push_str(&format!("row {}: ", error.row));
        }
        if let Some(value) = &error.value {
            message.push_str(&format!("value \"{value}\" "));
        }
        message.push_str(&error.rule.to_string());
        ServeError::invalid(message)
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        match self.kind {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::UnsupportedType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorKind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The gRPC code.
    pub(crate) fn code(&self) -> tonic::Code {
        match self.kind {
            ErrorKind::Invalid | ErrorKind::UnsupportedType => tonic::Code::InvalidArgument,
            ErrorKind::Unauthenticated => tonic::Code::Unauthenticated,
            ErrorKind::NotFound => tonic::Code::NotFound,
            ErrorKind::TooLarge => tonic::Code::OutOfRange,
            ErrorKind::Exhausted => tonic::Code::ResourceExhausted,
            ErrorKind::Timeout => tonic::Code::DeadlineExceeded,
            ErrorKind::Unavailable => tonic::Code::Unavailable,
            ErrorKind::Internal => tonic::Code::Internal,
        }
    }

    /// The word for metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self.kind {
            ErrorKind::Invalid => "invalid",
            ErrorKind::Unauthenticated => "unauthenticated",
            ErrorKind::NotFound => "not_found",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::UnsupportedType => "unsupported_type",
            ErrorKind::Exhausted => "exhausted",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Internal => "internal",
        }
    }
}

impl From<ServeError> for tonic::Status {
    fn from(error: ServeError) -> tonic::Status {
        tonic::Status::new(error.code(), error.message)
    }
}

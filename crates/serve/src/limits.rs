//! How large a request may be, and how long things may take.

use std::time::Duration;

use crate::error::{ErrorKind, ServeError};
use crate::explanation::ROWS_OF_ONE;

/// The limits of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Rows of a request.
    pub rows: usize,
    /// Bytes of one value.
    pub text_bytes: usize,
    /// Requests that wait; more are turned away.
    pub queue: usize,
    /// From the first byte of a request to its answer.
    pub request_time: Duration,
    /// How long a connection may neither take nor bring anything in the middle of a request or an answer.
    pub idle_time: Duration,
    /// Connections at the same time; more wait to be accepted.
    pub connections: usize,
}

/// Arrays within arrays, in JSON.
pub(crate) const DEPTH: usize = 4;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 16 << 20,
            rows: 20_000,
            text_bytes: 64 << 10,
            queue: 1000,
            request_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(30),
            connections: 4096,
        }
    }
}

impl Limits {
    pub(crate) fn check_rows(&self, rows: usize) -> Result<(), ServeError> {
        if rows > self.rows {
            let message = format!("the request has {rows} rows or more; at most {} are allowed", self.rows);
            return Err(ServeError::new(ErrorKind::TooLarge, message));
        }
        Ok(())
    }

    /// The same for rows that are explained, which are more work.
    pub(crate) fn check_explained(&self, rows: usize) -> Result<(), ServeError> {
        let most = self.rows / ROWS_OF_ONE;
        if rows > most {
            let message =
                format!("the request has {rows} rows to explain, each of which counts as {ROWS_OF_ONE}; at most {most} are allowed");
            return Err(ServeError::new(ErrorKind::TooLarge, message));
        }
        Ok(())
    }

    pub(crate) fn check_text(&self, name: &str, bytes: usize) -> Result<(), ServeError> {
        if bytes > self.text_bytes {
            let message = format!("field `{name}`: a value has {bytes} bytes; at most {} are allowed", self.text_bytes);
            return Err(ServeError::new(ErrorKind::TooLarge, message));
        }
        Ok(())
    }
}

//! Panics by which libraries refuse damaged input.
//!
//! The libraries for Arrow and Parquet check some of what they read by panicking. That is what users' files and requests can set off, so it
//! becomes an error here, and nothing that an operator should be told of.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` of a library that may panic on damaged input; then what it said is the error. `work` must leave nothing behind that is half
/// changed and used again.
///
/// # Errors
/// The message of the panic.
pub fn panics_as_errors<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = EXPECTED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(before);
    outcome.map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        message.unwrap_or("it cannot be decoded").to_owned()
    })
}

/// Whether the calling thread is in [`panics_as_errors`], so that a panic hook need not tell of the panic.
pub fn panic_is_expected() -> bool {
    EXPECTED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_expected_only_within() {
        assert!(!panic_is_expected());
        assert_eq!(panics_as_errors(panic_is_expected), Ok(true));
        let nested = panics_as_errors(|| {
            assert_eq!(panics_as_errors(|| panic!("no such type")), Err::<(), _>("no such type".to_owned()));
            panic_is_expected()
        });
        assert_eq!((nested, panic_is_expected()), (Ok(true), false));
        assert_eq!(panics_as_errors(|| panic!("{} bytes", 7)), Err::<(), _>("7 bytes".to_owned()));
    }
}

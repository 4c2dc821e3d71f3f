//! Standard input as a file: `-`.
//!
//! The reader looks at the beginning of a file (its format, its header) before it reads the rows. Standard input cannot be opened twice,
//! so what was looked at is kept here until the rows are read; that happens once.

use std::io::{self, Cursor, Read, Stdin};
use std::sync::{Mutex, PoisonError};

use crate::error::{DataError, Rule};

/// The path that stands for standard input.
pub(crate) const STANDARD_INPUT: &str = "-";

static SEEN: Mutex<State> = Mutex::new(State::Kept(Vec::new()));

enum State {
    /// What was looked at so far, from the beginning.
    Kept(Vec<u8>),
    /// The rows are being read or were.
    Taken,
}

/// Standard input from its beginning, to look at; all that is read is kept.
pub(crate) fn peek() -> Result<Peek, DataError> {
    match *SEEN.lock().unwrap_or_else(PoisonError::into_inner) {
        State::Kept(_) => Ok(Peek { at: 0 }),
        State::Taken => Err(taken()),
    }
}

/// Standard input from its beginning, to read once.
pub(crate) fn take() -> Result<io::Chain<Cursor<Vec<u8>>, Stdin>, DataError> {
    let mut state = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    match std::mem::replace(&mut *state, State::Taken) {
        State::Kept(seen) => Ok(Cursor::new(seen).chain(io::stdin())),
        State::Taken => Err(taken()),
    }
}

fn taken() -> DataError {
    DataError::file(STANDARD_INPUT, Rule::StandardInputTwice)
}

/// Reads standard input and keeps what it read.
pub(crate) struct Peek {
    at: usize,
}

impl Read for Peek {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Kept(seen) = &mut *state else {
            return Ok(0);
        };
        if self.at == seen.len() {
            let count = io::stdin().read(buffer)?;
            seen.extend_from_slice(&buffer[..count]);
            self.at += count;
            return Ok(count);
        }
        let count = (&seen[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

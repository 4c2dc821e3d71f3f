//! Where words go: results to stdout, as text or as one JSON object; messages and progress to stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    /// Only what went wrong.
    Error,
    /// Also what is likely not meant.
    Warn,
    /// Also what is done, and progress.
    Info,
    /// Also details for the hunt for a fault.
    Debug,
}

/// The two streams of the program and what the user wants to read there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    level: Level,
}

impl Output {
    pub(crate) fn new(json: bool, level: Level) -> Output {
        Output { json, level }
    }

    /// Prints the result of the command: the JSON of `result`, or else its text.
    pub(crate) fn result<R: Serialize + Display>(&self, result: &R) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string(result)? } else { result.to_string() };
        quiet_if_closed(writeln!(io::stdout().lock(), "{}", text.trim_end()))?;
        Ok(())
    }

    /// Writes a message to stderr if it is important enough.
    pub(crate) fn log(&self, level: Level, message: &str) {
        if level > self.level {
            return;
        }
        let prefix = match level {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug => "",
        };
        // Whoever closed stderr does not want to hear of it.
        let _ = writeln!(io::stderr().lock(), "{prefix}{}", message.trim_end());
    }

    /// How important a message must be to be shown.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// How progress is to be shown.
    pub(crate) fn progress_style(&self) -> ProgressStyle {
        match (self.level >= Level::Info, io::stderr().is_terminal()) {
            (false, _) => ProgressStyle::Silent,
            (true, true) => ProgressStyle::Bar,
            (true, false) => ProgressStyle::Lines,
        }
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressStyle {
    /// Not at all.
    Silent,
    /// As a bar that moves, on a terminal.
    Bar,
    /// As lines, in a file or a pipe.
    Lines,
}

/// Success, if the other side merely stopped reading.
fn quiet_if_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_pipe_is_quiet() {
        assert!(quiet_if_closed(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(quiet_if_closed(Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}

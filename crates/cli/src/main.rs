//! The `rankmill` program: one file per subcommand in `commands`, what they share beside it.

mod arguments;
mod commands;
mod gate;
mod output;
mod profile;
mod progress;
mod report;
mod table;
mod units;

use std::process::ExitCode;

use clap::Parser;
use rankmill_data::panic_is_expected;

use crate::arguments::Arguments;
use crate::output::{Level, Output};

/// How a command ended that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Done.
    Done,
    /// Done, but a gate that the user asked for failed.
    GateFailed,
}

fn main() -> ExitCode {
    tell_of_defects_only();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to stdout with code 0, wrong usage to stderr with code 2; a closed pipe is no news.
            let _ = error.print();
            return ExitCode::from(error.exit_code().clamp(0, 2) as u8);
        }
    };
    let output = Output::new(arguments.global.json, arguments.global.log_level);
    match commands::run(&arguments.command, &output) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::GateFailed) => ExitCode::from(1),
        Err(error) => {
            output.log(Level::Error, &with_causes(&error));
            ExitCode::from(2)
        }
    }
}

/// What libraries panic about in damaged input is told as an error. Other panics are defects, and told as Rust does.
fn tell_of_defects_only() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic_is_expected() {
            tell(panic);
        }
    }));
}

/// An error and those causes of it that it doesn't tell itself.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let cause = || anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::NotFound));
        assert_eq!(with_causes(&cause().context("no file")), format!("no file: {}", cause()));
        assert_eq!(with_causes(&cause().context(format!("a.csv: {}", cause()))), format!("a.csv: {}", cause()));
    }
}

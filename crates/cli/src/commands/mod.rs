//! The subcommands.

pub(crate) mod calibrate;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod data;
pub(crate) mod demo;
pub(crate) mod eval;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod predict;
pub(crate) mod select;
pub(crate) mod serve;
pub(crate) mod train;

use crate::Outcome;
use crate::arguments::Command;
use crate::output::Output;

/// Runs a command.
pub(crate) fn run(command: &Command, output: &Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Check(arguments) => check::run(arguments, output),
        Command::Data(command) => data::run(command, output),
        Command::Train(arguments) => train::run(arguments, output),
        Command::Calibrate(arguments) => calibrate::run(arguments, output),
        Command::Eval(arguments) => eval::run(arguments, output),
        Command::Predict(arguments) => predict::run(arguments, output),
        Command::Export(arguments) => export::run(arguments, output),
        Command::Import(arguments) => import::run(arguments, output),
        Command::Serve(arguments) => serve::run(arguments, output),
        Command::Compare(arguments) => compare::run(arguments, output),
        Command::Explain(arguments) => explain::run(arguments, output),
        Command::Select(arguments) => select::run(arguments, output),
        Command::Demo(arguments) => demo::run(arguments, output),
    }
}

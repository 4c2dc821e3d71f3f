//! `rankmill import`: a model from variables that another system trained.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use rankmill_config::Pipeline;
use rankmill_export::import::{import, read_variables};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::EditArgs;
use crate::output::{Level, Output};
use crate::table::Table;
use crate::units;

/// Make a model of a config and of variables that another system trained.
///
/// The variables go by EasyRec's names, such as `input_layer/user_id_embedding/embedding_weights`; `rankmill export --format onnx`
/// and `variables.safetensors` in a model directory have them, too. All that are missing or have another shape are listed.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The config that the variables were trained with.
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    /// The variables: safetensors, or NumPy's npz.
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: PathBuf,
    /// The directory to write the model to; it must not exist.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Steps that the variables were trained for, to be told with the model.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) global_step: u64,
    #[command(flatten)]
    pub(crate) edits: EditArgs,
}

/// What was imported.
#[derive(Debug, Serialize)]
struct ImportReport {
    output: String,
    variables: usize,
    parameters: usize,
    /// Variables of the file that the model does not have.
    ignored: Vec<String>,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["", ""]);
        table.row(["variables".to_owned(), units::count(self.variables as u64)]);
        table.row(["parameters".to_owned(), units::count(self.parameters as u64)]);
        table.row(["not the model's, left out".to_owned(), units::count(self.ignored.len() as u64)]);
        write!(f, "{table}model: {}", self.output)
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &ImportArgs, output: &Output) -> anyhow::Result<Outcome> {
    let pipeline = Pipeline::load(&arguments.config, &arguments.edits.edits(Vec::new()))?;
    let variables = read_variables(&arguments.weights)?;
    let imported = import(&pipeline, variables, &arguments.output, arguments.global_step)?;
    for name in &imported.ignored {
        output.log(Level::Info, &format!("the model has no variable `{name}`; left out"));
    }
    output.result(&ImportReport {
        output: arguments.output.display().to_string(),
        variables: imported.variables,
        parameters: imported.elements,
        ignored: imported.ignored,
    })?;
    Ok(Outcome::Done)
}

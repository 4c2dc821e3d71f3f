//! `rankmill export`: a model for other programs.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rankmill_export::onnx::{self, Exported, Weights};
use rankmill_kernels::pool::Pool;
use rankmill_model::{Predictor, pack};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::ModelArgs;
use crate::output::Output;
use crate::table::Table;
use crate::units;

/// Write a model as one file: as ONNX for other runtimes, or as a packed bundle.
///
/// The model is loaded and its golden rows are checked first. The file appears when it is complete.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// What to write.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// For onnx: keep the variables in FILE.data beside the file, which runtimes map into memory; done by itself where the file
    /// would come near protobuf's 2 GiB.
    #[arg(long)]
    pub(crate) external_data: bool,
}

/// Formats of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// ONNX, operator set 17, from ids to `probs` and `logits`; how ids are made from text stands in its metadata.
    Onnx,
    /// All of a model in one file, which eval, predict and export take as MODEL.
    Bundle,
}

/// What was written.
#[derive(Debug, Serialize)]
struct ExportReport {
    output: String,
    bytes: u64,
    #[serde(flatten)]
    onnx: Option<OnnxReport>,
}

/// What is told of an ONNX file.
#[derive(Debug, Serialize)]
struct OnnxReport {
    nodes: usize,
    inputs: Vec<TensorReport>,
    outputs: Vec<TensorReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<DataReport>,
}

#[derive(Debug, Serialize)]
struct TensorReport {
    name: String,
    shape: String,
}

#[derive(Debug, Serialize)]
struct DataReport {
    file: String,
    bytes: u64,
}

impl From<Exported> for OnnxReport {
    fn from(exported: Exported) -> OnnxReport {
        OnnxReport {
            nodes: exported.nodes,
            inputs: exported.inputs.into_iter().map(|(name, shape)| TensorReport { name, shape }).collect(),
            outputs: exported.outputs.into_iter().map(|(name, shape)| TensorReport { name, shape }).collect(),
            data: exported.data.map(|(path, bytes)| DataReport { file: path.display().to_string(), bytes }),
        }
    }
}

impl fmt::Display for ExportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["", ""]);
        if let Some(onnx) = &self.onnx {
            for input in &onnx.inputs {
                table.row([format!("input {}", input.name), input.shape.clone()]);
            }
            for output in &onnx.outputs {
                table.row([format!("output {}", output.name), output.shape.clone()]);
            }
            table.row(["nodes".to_owned(), units::count(onnx.nodes as u64)]);
        }
        table.row(["bytes".to_owned(), units::count(self.bytes)]);
        write!(f, "{table}")?;
        if let Some(data) = self.onnx.as_ref().and_then(|onnx| onnx.data.as_ref()) {
            writeln!(f, "variables: {} ({} bytes)", data.file, units::count(data.bytes))?;
        }
        write!(f, "output: {}", self.output)
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &ExportArgs, output: &Output) -> anyhow::Result<Outcome> {
    let ExportArgs { model, format, output: path, external_data } = arguments;
    anyhow::ensure!(!external_data || *format == Format::Onnx, "--external-data is for --format onnx");
    let predictor = Predictor::load(&model.model, Pool::new(1)?.into())?;
    let output_name = path.display().to_string();
    let report = match format {
        Format::Onnx => {
            let weights = if *external_data { Weights::Beside } else { Weights::WherePossible };
            let exported = onnx::export(&predictor, path, weights)?;
            ExportReport { output: output_name, bytes: exported.bytes, onnx: Some(exported.into()) }
        }
        Format::Bundle => ExportReport { output: output_name, bytes: pack(&model.model, path)?, onnx: None },
    };
    output.result(&report)?;
    Ok(Outcome::Done)
}

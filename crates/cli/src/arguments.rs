//! What stands on the command line, as plain structs; the arguments of each subcommand stand in its file.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use rankmill_config::{Edits, FIXABLE};
use rankmill_data::Rejected;
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::tables::TableFormat;

use crate::commands::{calibrate, check, compare, data, demo, eval, explain, export, import, predict, select, serve, train};
use crate::output::Level;

/// Train, evaluate and apply click-through-rate ranking models from one config file.
///
/// The config is EasyRec's `pipeline.config`, unmodified. Results go to stdout, progress and messages to stderr.
///
/// Exit codes: 0 done; 1 a gate that was asked for (--require, --strict) failed; 2 the config, the data, the flags or a
/// file cannot be used.
#[derive(Debug, Parser)]
#[command(name = "rankmill", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Global {
    /// Print the result as one JSON object on stdout, and nothing else there.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How much to say on stderr; progress is shown from `info` on.
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: Level,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(check::CheckArgs),
    Train(train::TrainArgs),
    Eval(eval::EvalArgs),
    Calibrate(calibrate::CalibrateArgs),
    Predict(predict::PredictArgs),
    Compare(compare::CompareArgs),
    Explain(explain::ExplainArgs),
    Select(select::SelectArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Serve(serve::ServeArgs),
    #[command(subcommand)]
    Data(data::DataCommand),
    Demo(demo::DemoArgs),
}

/// Edits of a config before it is checked.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Edits of the config")]
pub(crate) struct EditArgs {
    /// Set a field of the config, such as `train_config.num_steps=100`; may be repeated, and later ones win.
    ///
    /// List elements are named by `[0]`, `[-1]`, `[+]` (append), `[:]`, `[1:3]` or a condition such as
    /// `feature_config.features[input_names[0]="user_id"].embedding_dim=32`.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Set fields by a JSON object from paths to values, as EasyRec's `--edit_config_json`; done before --set.
    #[arg(long, value_name = "JSON")]
    pub(crate) edit_config_json: Option<String>,
    /// Follow the evident intention of what a lint is about, instead of EasyRec's numbers; `all` for every lint that can be
    /// fixed. May be repeated. The model keeps it, as `rankmill_fix` of its config.
    #[arg(long, value_name = "LINT")]
    pub(crate) fix: Vec<String>,
}

impl EditArgs {
    /// The edits, and after them those that other flags stand for.
    pub(crate) fn edits(&self, last: Vec<String>) -> Edits {
        let names = self.fix.iter().flat_map(|name| if name == "all" { FIXABLE.to_vec() } else { vec![name.as_str()] });
        let fixes = names.map(|name| assign("rankmill_fix[+]", name));
        Edits { set: self.set.iter().cloned().chain(fixes).chain(last).collect(), json: self.edit_config_json.clone() }
    }
}

/// The assignment of a string to a field of the config.
pub(crate) fn assign(path: &str, text: &str) -> String {
    let mut value = String::with_capacity(text.len() + 2);
    for character in text.chars() {
        match character {
            '"' | '\\' => value.extend(['\\', character]),
            '\n' => value.push_str("\\n"),
            other => value.push(other),
        }
    }
    format!("{path}=\"{value}\"")
}

/// How many threads compute.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct ThreadArgs {
    /// Threads that compute; the result does not depend on their number [default: one per processor].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}

impl ThreadArgs {
    /// The threads.
    pub(crate) fn pool(self) -> anyhow::Result<Arc<Pool>> {
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let pool = Pool::new(threads).with_context(|| format!("--threads {threads}: the system refuses so many threads"))?;
        Ok(Arc::new(pool))
    }
}

/// What becomes of rows that can't be used.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RejectedArgs {
    /// Write the rows that `data_config.ignore_error` lets skip to this file, or else the one that stops the run: a JSON object a line
    /// with the place, the cause and the row.
    #[arg(long, value_name = "FILE")]
    pub(crate) rejected: Option<PathBuf>,
}

impl RejectedArgs {
    /// The file, created.
    pub(crate) fn create(&self) -> anyhow::Result<Option<Rejected>> {
        Ok(self.rejected.as_deref().map(Rejected::create).transpose()?)
    }
}

/// How the factors of matrix products are represented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PrecisionArg {
    /// 32-bit numbers.
    #[default]
    F32,
    /// bfloat16 factors, 32-bit sums.
    Bf16,
}

impl PrecisionArg {
    /// The precision, if this processor computes it.
    pub(crate) fn supported(self) -> anyhow::Result<Precision> {
        let precision = match self {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::Bf16 => Precision::Bf16,
        };
        anyhow::ensure!(precision.is_supported(), "--precision bf16 needs a processor with AVX-512 BF16, which this one has not");
        Ok(precision)
    }
}

/// How exactly a model is scored with.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct PrecisionArgs {
    /// Precision of the factors of matrix products: bf16 is faster on processors with AVX-512 BF16, and moves probabilities in the
    /// third digit; everything else stays f32.
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t)]
    pub(crate) precision: PrecisionArg,
}

/// The form of tables of embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TablesArg {
    /// As they were trained.
    #[default]
    F32,
    /// 16 bits for each number: half the memory.
    Bf16,
    /// 8 bits for each number and a scale for each row: about a quarter of the memory.
    Int8,
}

impl TablesArg {
    /// The form, if it is not that of training.
    pub(crate) fn format(self) -> Option<TableFormat> {
        match self {
            TablesArg::F32 => None,
            TablesArg::Bf16 => Some(TableFormat::Bf16),
            TablesArg::Int8 => Some(TableFormat::Int8),
        }
    }
}

/// How tables of embeddings are kept.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct TablesArgs {
    /// The form of embedding tables in memory: fewer bits take less of it and move the scores a little; `eval` tells how much.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub(crate) tables: TablesArg,
}

/// A model to read.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    /// A model directory (its newest checkpoint is read), one checkpoint in it, or a packed bundle.
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
}

#[cfg(test)]
mod tests;

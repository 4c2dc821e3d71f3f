//! `rankmill demo`: the whole way, without any file to begin with.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::Context;
use clap::Args;
use rankmill_config::Edits;
use rankmill_kernels::gemm::Precision;
use rankmill_train::run::{Profile, Start};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::{ThreadArgs, assign};
use crate::commands::train::{Manner, train_pipeline};
use crate::commands::{check, data};
use crate::output::{Level, Output};
use crate::report::RunReport;
use crate::units;

/// The example config, whose paths are relative to the demo's folder.
const CONFIG: &str = include_str!("../../../../examples/masknet_on_movielens.config");
const CONFIG_FILE: &str = "masknet_on_movielens.config";

/// Make data, train a MaskNet on it and evaluate it; needs no files.
///
/// The folder then holds the data, the config and the model, to try the other commands on.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Rows to make up, nine tenths of them to train on.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) rows: u64,
    /// Seed of the data and of the training.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The folder to work in; it is made if need be.
    #[arg(long, value_name = "DIR", default_value = "rankmill-demo")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// What the demo came to.
#[derive(Debug, Serialize)]
struct DemoReport {
    #[serde(flatten)]
    run: RunReport,
    /// The exact AUC of the true click probabilities on the test rows.
    best_auc: Option<f64>,
    #[serde(skip)]
    folder: PathBuf,
}

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.run)?;
        if let Some(best) = self.best_auc {
            writeln!(f, "\nThe rows are made up: no model can be expected to reach an AUC above {best:.4}.")?;
        }
        write!(f, "\n{}", suggestions(&self.folder))
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &DemoArgs, output: &Output) -> anyhow::Result<Outcome> {
    let DemoArgs { rows, seed, dir, threads } = arguments;
    output.log(Level::Info, &format!("making {} rows in {}", units::count(*rows), dir.display()));
    let data = data::synthesize(&dir.join("data"), *rows, *seed, output)?;
    let config = dir.join(CONFIG_FILE);
    fs::write(&config, CONFIG).with_context(|| format!("{}: cannot be written", config.display()))?;
    // The config's paths are relative to its folder, where the user goes on; the demo itself runs outside.
    let inside = |path: &str, file: &str| assign(path, &dir.join(file).to_string_lossy());
    let set = vec![
        inside("train_input_path", "data/movies_train_data"),
        inside("eval_input_path", "data/movies_test_data"),
        inside("model_dir", "model"),
    ];
    let pipeline = check::load(&config, &Edits { set, json: None }, output)?;
    let manner = Manner {
        start: Start::Overwrite,
        eval_every: None,
        seed: *seed,
        precision: Precision::default(),
        profile: Profile::default(),
        rejected: None,
        cache: None,
    };
    let run = train_pipeline(&pipeline, manner, &threads.pool()?, output)?;
    output.result(&DemoReport { run, best_auc: data.best_auc, folder: dir.clone() })?;
    Ok(Outcome::Done)
}

/// What to try after the demo.
fn suggestions(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "Try next, in the folder {folder}:\n  \
         rankmill check {CONFIG_FILE}\n  \
         rankmill train {CONFIG_FILE} --overwrite --set model_config.embedding_regularization=0\n  \
         rankmill eval model --input data/movies_test_data\n  \
         rankmill predict model --input data/movies_test_data --keep user_id,movie_id --output scores.csv"
    )
}

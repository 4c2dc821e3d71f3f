//! `rankmill data`: makes, prepares or looks at data sets.

mod profile;

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rankmill_data::synth::movielens::{SynthSummary, write_movielens};
use rankmill_data::synth::movielens_1m::{TERMS, convert_movielens_1m};
use rankmill_data::synth::{TEST_FILE, TRAIN_FILE};
use serde::Serialize;

use crate::Outcome;
use crate::output::{Level, Output};
use crate::progress::Progress;
use crate::table::Table;
use crate::units;

/// Make, prepare or look at data sets.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    #[command(subcommand)]
    Synth(SynthCommand),
    #[command(name = "movielens-1m")]
    Movielens1m(Movielens1mArgs),
    Profile(profile::ProfileArgs),
}

/// Make up data sets with known click probabilities.
#[derive(Debug, Subcommand)]
pub(crate) enum SynthCommand {
    Movielens(SynthMovielensArgs),
}

/// Make up rows shaped like MovieLens-1M, in EasyRec's MovieLens layout.
///
/// Writes `movies_train_data` (nine tenths) and `movies_test_data`, on which EasyRec's MovieLens configs run unmodified: tab
/// separated, without header: label, user_id, movie_id, rating, gender, age, job_id, zip_id, title, genres, year. The click
/// probability of each row is known, so the result tells the best AUC that any model could reach on the test rows. `rating`
/// decides the label: never use it as a feature.
///
/// The same rows and seed give the same bytes on any machine. Any number of rows needs the same little memory.
#[derive(Debug, Args)]
pub(crate) struct SynthMovielensArgs {
    /// Rows to make, in both files together.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    rows: u64,
    /// Seed of users, films and rows.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The folder to write to; it is made if need be.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

#[doc = "Convert the original MovieLens-1M files to EasyRec's MovieLens layout."]
#[derive(Debug, Args)]
#[command(
    long_about = "Convert the original MovieLens-1M files to EasyRec's MovieLens layout.\n\nReads users.dat, movies.dat and \
                  ratings.dat and writes `movies_train_data` (nine tenths) and `movies_test_data`. Ratings of 3 are dropped, 4 \
                  and 5 become label 1, 1 and 2 label 0; the rows are shuffled with a fixed seed. `rating` decides the label: \
                  never use it as a feature.",
    after_long_help = TERMS
)]
pub(crate) struct Movielens1mArgs {
    /// The unpacked folder (its files may be compressed as .gz or .zst), or ml-1m.zip as it was downloaded from
    /// grouplens.org/datasets/movielens/1m.
    #[arg(long, value_name = "DIR_OR_ZIP")]
    from: PathBuf,
    /// The folder to write to; it is made if need be.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// What was written.
#[derive(Debug, Serialize)]
struct DataReport {
    train_file: String,
    train_rows: u64,
    test_file: String,
    test_rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_rows: Option<u64>,
    click_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_auc: Option<f64>,
}

impl DataReport {
    fn new(folder: &Path, train_rows: u64, test_rows: u64, click_rate: Option<f64>) -> DataReport {
        DataReport {
            train_file: folder.join(TRAIN_FILE).display().to_string(),
            train_rows,
            test_file: folder.join(TEST_FILE).display().to_string(),
            test_rows,
            dropped_rows: None,
            click_rate,
            best_auc: None,
        }
    }
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["", ""]);
        for (file, rows) in [(&self.train_file, self.train_rows), (&self.test_file, self.test_rows)] {
            table.row([file.clone(), format!("{} rows", units::count(rows))]);
        }
        if let Some(rows) = self.dropped_rows {
            table.row(["ratings of 3, dropped".to_owned(), format!("{} rows", units::count(rows))]);
        }
        if let Some(rate) = self.click_rate {
            table.row(["click rate".to_owned(), format!("{rate:.4}")]);
        }
        if let Some(auc) = self.best_auc {
            table.row(["best AUC any model can reach".to_owned(), format!("{auc:.4}")]);
        }
        write!(f, "{table}")
    }
}

/// Runs the command.
pub(crate) fn run(command: &DataCommand, output: &Output) -> anyhow::Result<Outcome> {
    let report = match command {
        DataCommand::Profile(arguments) => return profile::run(arguments, output),
        DataCommand::Synth(SynthCommand::Movielens(arguments)) => {
            let SynthMovielensArgs { rows, seed, output: folder } = arguments;
            let summary = synthesize(folder, *rows, *seed, output)?;
            let SynthSummary { train_rows, test_rows, click_rate, best_auc } = summary;
            DataReport { best_auc, ..DataReport::new(folder, train_rows, test_rows, click_rate) }
        }
        DataCommand::Movielens1m(Movielens1mArgs { from, to }) => {
            let summary = convert_movielens_1m(from, to)?;
            output.log(Level::Info, TERMS);
            let report = DataReport::new(to, summary.train_rows, summary.test_rows, summary.click_rate);
            DataReport { dropped_rows: Some(summary.dropped_rows), ..report }
        }
    };
    output.result(&report)?;
    Ok(Outcome::Done)
}

/// Makes up a data set and shows how far it is.
pub(crate) fn synthesize(folder: &Path, rows: u64, seed: u64, output: &Output) -> anyhow::Result<SynthSummary> {
    let mut progress = Progress::new(output.progress_style(), 1);
    let summary = write_movielens(folder, rows, seed, &mut |done| {
        let what = format!("{} of {} rows made", units::count(done), units::count(rows));
        progress.update_share(done as f64 / rows.max(1) as f64, &what);
    });
    progress.finish();
    Ok(summary?)
}

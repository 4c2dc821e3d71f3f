//! `rankmill calibrate`: fits curves that make a model's probabilities right on average.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rankmill_data::{Reader, ReaderOptions, Side, declared_inputs};
use rankmill_model::bundle::locate;
use rankmill_model::calibration::{CALIBRATION_FILE, CalibratedOutput, Calibration, Method, Sample};
use rankmill_model::{Predictor, Predicts, Task};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::{ModelArgs, RejectedArgs, ThreadArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::table::Table;
use crate::units;

/// Calibrate a model: fit a curve to its probabilities on rows that it was not trained on, and keep it with the model.
///
/// `predict` and `serve` then give `calibrated_probs` beside `probs`, which stays as it is; in a model with several tasks each probability
/// has its own. A running server takes it up like a new version. Calibrating again replaces the curves.
#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Rows with labels: text, JSON lines, Parquet or TFRecord, also .gz or .zst, or `-` for standard input; patterns such as `part-*`
    /// are allowed; may be repeated or separated by commas [default: the config's eval_input_path].
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub(crate) input: Vec<String>,
    /// The kind of curve.
    #[arg(long, value_enum, value_name = "METHOD", default_value_t)]
    pub(crate) method: MethodArg,
    #[command(flatten)]
    pub(crate) rejected: RejectedArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// The kind of curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MethodArg {
    /// Any rising curve: best from some thousand rows on.
    #[default]
    Isotonic,
    /// A logistic function of the log odds: two numbers, for few rows.
    Platt,
}

/// What was fitted.
#[derive(Debug, Serialize)]
struct CalibrateReport {
    file: String,
    outputs: Vec<OutputReport>,
}

#[derive(Debug, Serialize)]
struct OutputReport {
    name: String,
    rows: u64,
    ece_before: f64,
    ece_after: f64,
    log_loss_before: f64,
    log_loss_after: f64,
}

impl fmt::Display for CalibrateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for output in &self.outputs {
            let mut table = Table::new([output.name.as_str(), "before", "after"]);
            table.row(["calibration error".to_owned(), format!("{:.5}", output.ece_before), format!("{:.5}", output.ece_after)]);
            table.row(["log loss".to_owned(), format!("{:.5}", output.log_loss_before), format!("{:.5}", output.log_loss_after)]);
            write!(f, "{table}")?;
            writeln!(f, "rows: {}; after: each half by the curve of the other half", units::count(output.rows))?;
        }
        write!(f, "calibration: {}", self.file)
    }
}

/// The output that is a task's probability, if it has one.
fn probability(task: &Task) -> Option<usize> {
    match task.predicts {
        Predicts::Binary | Predicts::Classes(2) | Predicts::ProbabilityAndValue => task.score,
        Predicts::Classes(_) | Predicts::Value => None,
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &CalibrateArgs, output: &Output) -> anyhow::Result<Outcome> {
    let model = &arguments.model.model;
    anyhow::ensure!(
        !model.is_file(),
        "{}: a packed bundle can't be changed; calibrate the model it was made of, and pack that again",
        model.display()
    );
    let bundle: PathBuf = locate(model)?;
    let mut predictor = Predictor::load(&bundle, arguments.threads.pool()?)?;
    let tasks: Vec<(usize, usize)> = predictor.model().tasks.iter().filter_map(|task| Some((probability(task)?, task.label))).collect();
    anyhow::ensure!(!tasks.is_empty(), "{}: the model predicts no probability of a label that is 0 or 1", model.display());
    let inputs = match arguments.input.as_slice() {
        [] => declared_inputs(&predictor.pipeline, Side::Eval),
        given => given.to_vec(),
    };
    anyhow::ensure!(!inputs.is_empty(), "there is nothing to calibrate on: the config has no eval_input_path; pass --input");
    let mut options = ReaderOptions::sequential(&predictor.pipeline, inputs)?;
    options.rejected = arguments.rejected.create()?;
    let mut reader = Reader::new(options, predictor.features.clone())?;
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); tasks.len()];
    let mut progress = Progress::new(output.progress_style(), 1);
    while let Some(batch) = reader.next().transpose()? {
        let scores = predictor.score(&batch.features);
        for (samples, (place, label)) in samples.iter_mut().zip(&tasks) {
            let weights = batch.features.sample_weights.as_deref();
            let rows = scores.columns[*place].iter().zip(&batch.features.labels[*label]).enumerate();
            samples.extend(rows.map(|(row, (probability, label))| Sample {
                probability: *probability,
                label: *label,
                weight: weights.map_or(1.0, |weights| weights[row]),
            }));
        }
        progress.update_share(reader.progress(), "scoring");
    }
    progress.finish();
    let method = match arguments.method {
        MethodArg::Isotonic => Method::Isotonic,
        MethodArg::Platt => Method::Platt,
    };
    let mut outputs = Vec::with_capacity(tasks.len());
    for (samples, (place, _)) in samples.iter().zip(&tasks) {
        let name = &predictor.outputs()[*place].name;
        let wrong = samples.iter().find(|sample| !(0.0..=1.0).contains(&sample.label));
        if let Some(sample) = wrong {
            anyhow::bail!("`{name}` can't be calibrated: a row has the label {}, which is no share between 0 and 1", sample.label);
        }
        let fitted = CalibratedOutput::fit(name, method, samples);
        outputs.push(fitted.ok_or_else(|| anyhow::anyhow!("there are no rows to calibrate `{name}` on"))?);
    }
    let calibration = Calibration::new(outputs);
    calibration.write(&bundle)?;
    let report = |fitted: &CalibratedOutput| OutputReport {
        name: fitted.name(),
        rows: fitted.rows,
        ece_before: fitted.before.ece,
        ece_after: fitted.after.ece,
        log_loss_before: fitted.before.log_loss,
        log_loss_after: fitted.after.log_loss,
    };
    let file = bundle.join(CALIBRATION_FILE).display().to_string();
    output.result(&CalibrateReport { file, outputs: calibration.outputs.iter().map(report).collect() })?;
    Ok(Outcome::Done)
}

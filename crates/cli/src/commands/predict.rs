//! `rankmill predict`: scores files of rows.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use rankmill_data::sinks::{PredictionSink, SinkColumn, SinkValues};
use rankmill_data::{Reader, ReaderOptions};
use rankmill_kernels::gemm::Precision;
use rankmill_model::{Output as Prediction, Predictor, Scores};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::{ModelArgs, PrecisionArgs, RejectedArgs, TablesArgs, ThreadArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::table::Table;
use crate::units;

/// Score rows: writes a column for each prediction (`probs` and `logits` of a click model), after those that are kept.
///
/// The output has a row for each row of the input, in its order, without those that `data_config.ignore_error` lets skip. It
/// appears when it is complete: a run that fails leaves no half-written file.
#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Files to score: text, JSON lines, Parquet or TFRecord, also .gz or .zst, or `-` for standard input; patterns such as `part-*`
    /// are allowed; may be repeated or separated by commas.
    #[arg(long, value_name = "PATH", value_delimiter = ',', required = true)]
    pub(crate) input: Vec<String>,
    /// The file to write; its extension chooses the format: .csv, .tsv or .parquet.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// An input column to copy to the output, as text; may be repeated or separated by commas.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub(crate) keep: Vec<String>,
    /// Rows to score at once; the scores do not depend on it.
    #[arg(long, value_name = "ROWS", default_value = "1024")]
    pub(crate) batch_size: NonZeroUsize,
    #[command(flatten)]
    pub(crate) rejected: RejectedArgs,
    #[command(flatten)]
    pub(crate) precision: PrecisionArgs,
    #[command(flatten)]
    pub(crate) tables: TablesArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// What was written.
#[derive(Debug, Serialize)]
struct PredictReport {
    output: String,
    rows: u64,
    bytes: u64,
    seconds: f64,
    skipped_rows: u64,
    /// Text values that were not UTF-8 and got replacement characters.
    replaced_texts: u64,
}

impl fmt::Display for PredictReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["", ""]);
        table.row(["rows".to_owned(), units::count(self.rows)]);
        table.row(["bytes".to_owned(), units::count(self.bytes)]);
        let span = Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        table.row(["time".to_owned(), units::duration(span)]);
        for (name, number) in [("skipped rows", self.skipped_rows), ("texts that were not UTF-8", self.replaced_texts)] {
            if number > 0 {
                table.row([name.to_owned(), units::count(number)]);
            }
        }
        write!(f, "{table}output: {}", self.output)
    }
}

/// A column of the result: one column of a prediction.
#[derive(Debug, PartialEq)]
struct ScoreColumn {
    name: String,
    output: usize,
    width: usize,
    column: usize,
}

impl ScoreColumn {
    fn values(&self, scores: &Scores) -> Vec<f32> {
        scores.columns[self.output].iter().skip(self.column).step_by(self.width).copied().collect()
    }
}

/// The columns of all predictions, `logits_0`, `logits_1`, … where there is one for each class. EasyRec has a prediction `logits_1` of
/// its own, which is the same column.
fn columns(outputs: &[Prediction]) -> Vec<ScoreColumn> {
    let mut columns: Vec<ScoreColumn> = Vec::new();
    for (i, output) in outputs.iter().enumerate() {
        for column in 0..output.width {
            let name = if output.width == 1 { output.name.clone() } else { format!("{}_{column}", output.name) };
            if !columns.iter().any(|known| known.name == name) {
                columns.push(ScoreColumn { name, output: i, width: output.width, column });
            }
        }
    }
    columns
}

/// Runs the command.
pub(crate) fn run(arguments: &PredictArgs, output: &Output) -> anyhow::Result<Outcome> {
    let precision = arguments.precision.precision.supported()?;
    let predictor = Predictor::load(&arguments.model.model, arguments.threads.pool()?)?;
    let predictor = if precision == Precision::F32 { predictor } else { predictor.with_precision(precision) };
    let mut predictor = match arguments.tables.tables.format() {
        Some(format) => predictor.with_tables(format)?,
        None => predictor,
    };
    let started = Instant::now();
    let mut options = ReaderOptions::sequential(&predictor.pipeline, arguments.input.clone())?;
    options.batch_size = arguments.batch_size.get();
    options.keep.clone_from(&arguments.keep);
    options.rejected = arguments.rejected.create()?;
    let mut reader = Reader::new(options, predictor.features.clone())?;
    let scored = columns(predictor.outputs());
    let kept = arguments.keep.iter().map(SinkColumn::text);
    let columns = kept.chain(scored.iter().map(|column| SinkColumn::float(column.name.as_str()))).collect();
    let mut sink = PredictionSink::create(&arguments.output, columns)?;
    let mut progress = Progress::new(output.progress_style(), 1);
    while let Some(batch) = reader.next().transpose()? {
        let scores = predictor.score(&batch.features);
        let kept = batch.features.kept.iter().map(|column| SinkValues::Text { offsets: &column.offsets, bytes: &column.bytes });
        let values: Vec<Vec<f32>> = scored.iter().map(|column| column.values(&scores)).collect();
        sink.write(&kept.chain(values.iter().map(|values| SinkValues::Float(values))).collect::<Vec<_>>())?;
        progress.update_share(reader.progress(), "scoring");
    }
    let written = sink.finish()?;
    progress.finish();
    output.result(&PredictReport {
        output: arguments.output.display().to_string(),
        rows: written.rows,
        bytes: written.bytes,
        seconds: started.elapsed().as_secs_f64(),
        skipped_rows: reader.report().skipped,
        replaced_texts: written.replaced_texts,
    })?;
    Ok(Outcome::Done)
}

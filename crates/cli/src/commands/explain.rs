//! `rankmill explain`: which features made the scores of rows.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use rankmill_data::sinks::{PredictionSink, SinkColumn, SinkValues};
use rankmill_data::{Reader, ReaderOptions};
use rankmill_model::{EXPLANATION_STEPS, Explainer, Explanation, Predictor};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::{ModelArgs, RejectedArgs, ThreadArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::table::Table;
use crate::units;

/// Explain scores: what each feature adds to the logit of each row, and how far the mask blocks of MaskNet let features through.
///
/// What a feature adds is measured on the way from a row without any feature to the row itself (integrated gradients): over all features
/// it adds up to the logit less that of the row without features. The summary has the mean of the absolute values over all rows.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Files of rows, given as for `rankmill predict`.
    #[arg(long, value_name = "PATH", value_delimiter = ',', required = true)]
    pub(crate) input: Vec<String>,
    /// Write what each feature adds to each row, and the masks, into this file; its extension chooses the format: .csv, .tsv or .parquet.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// An input column to copy to the output, as text; may be repeated or separated by commas.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', requires = "output")]
    pub(crate) keep: Vec<String>,
    /// Explain only so many rows, the first ones [default: all].
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<NonZeroUsize>,
    /// Places on the way where gradients are taken: more are more exact.
    #[arg(long, value_name = "N", default_value_t = const { NonZeroUsize::new(EXPLANATION_STEPS).expect("it is above 0") })]
    pub(crate) steps: NonZeroUsize,
    #[command(flatten)]
    pub(crate) rejected: RejectedArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// What a feature adds, over all rows.
#[derive(Debug, Serialize)]
struct FeatureReport {
    feature: String,
    mean_absolute: f64,
    mean: f64,
    /// Its part of all features' mean absolute values.
    share: f64,
}

#[derive(Debug, Serialize)]
struct OutputReport {
    output: String,
    /// The mean prediction, and that for rows without features.
    mean: f64,
    base: f64,
    features: Vec<FeatureReport>,
}

/// How far a mask block lets each feature through, over all rows.
#[derive(Debug, Serialize)]
struct MaskReport {
    block: String,
    features: Vec<MaskedFeature>,
}

#[derive(Debug, Serialize)]
struct MaskedFeature {
    feature: String,
    mean: f64,
}

#[derive(Debug, Serialize)]
struct ExplainReport {
    model: String,
    rows: u64,
    steps: usize,
    outputs: Vec<OutputReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    masks: Vec<MaskReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl fmt::Display for ExplainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", units::count(self.rows))?;
        for OutputReport { output, mean, base, features } in &self.outputs {
            let mut table = Table::new(["feature", "mean |added|", "mean added", "share"]);
            for feature in features {
                let share = format!("{:.1} %", 100.0 * feature.share);
                table.row([feature.feature.clone(), format!("{:.6}", feature.mean_absolute), format!("{:+.6}", feature.mean), share]);
            }
            write!(f, "\n\n`{output}`: {mean:.6} on average, {base:.6} without features\n\n{table}")?;
        }
        for MaskReport { block, features } in &self.masks {
            let mut table = Table::new(["feature", "mean mask"]);
            features.iter().for_each(|feature| table.row([feature.feature.clone(), format!("{:.6}", feature.mean)]));
            write!(f, "\nmask block {block}\n\n{table}")?;
        }
        self.file.iter().try_for_each(|file| write!(f, "\noutput: {file}"))
    }
}

/// Of an output: predictions, bases, and of each feature absolute values and values.
type OutputSums = (f64, f64, Vec<(f64, f64)>);

/// Sums over rows.
#[derive(Default)]
struct Sums {
    rows: u64,
    outputs: Vec<OutputSums>,
    /// Of each block the masks of the features that it has.
    masks: Vec<Vec<f64>>,
}

impl Sums {
    fn add(&mut self, explanation: &Explanation, rows: usize) {
        let features = explanation.features.len();
        self.rows += rows as u64;
        self.outputs.resize_with(explanation.outputs.len(), || (0.0, 0.0, vec![(0.0, 0.0); features]));
        self.masks.resize(explanation.masks.len(), Vec::new());
        let sum = |values: &[f32]| values[..rows].iter().map(|x| f64::from(*x)).sum::<f64>();
        for (sums, output) in self.outputs.iter_mut().zip(&explanation.outputs) {
            sums.0 += sum(&output.scores);
            sums.1 += sum(&output.base);
            for (i, added) in output.attributions[..rows * features].iter().enumerate() {
                let feature = &mut sums.2[i % features];
                feature.0 += f64::from(added.abs());
                feature.1 += f64::from(*added);
            }
        }
        for (sums, mask) in self.masks.iter_mut().zip(&explanation.masks) {
            let features = mask.features.len();
            sums.resize(features, 0.0);
            mask.values[..rows * features].iter().enumerate().for_each(|(i, value)| sums[i % features] += f64::from(*value));
        }
    }

    fn report(self, names: &[String], explanation: &Explanation) -> (Vec<OutputReport>, Vec<MaskReport>) {
        let rows = self.rows.max(1) as f64;
        let outputs = self.outputs.into_iter().zip(&explanation.outputs).map(|((mean, base, sums), output)| {
            let all: f64 = sums.iter().map(|(absolute, _)| absolute).sum();
            let report = |((absolute, mean), name): ((f64, f64), &String)| FeatureReport {
                feature: name.clone(),
                mean_absolute: absolute / rows,
                mean: mean / rows,
                share: if all > 0.0 { absolute / all } else { 0.0 },
            };
            let mut features: Vec<FeatureReport> = sums.into_iter().zip(names).map(report).collect();
            features.sort_by(|a, b| b.mean_absolute.total_cmp(&a.mean_absolute));
            OutputReport { output: output.name.clone(), mean: mean / rows, base: base / rows, features }
        });
        let masks = self.masks.into_iter().zip(&explanation.masks).map(|(sums, mask)| {
            let features = sums.into_iter().zip(&mask.features);
            let features = features.map(|(sum, feature)| MaskedFeature { feature: names[*feature].clone(), mean: sum / rows }).collect();
            MaskReport { block: mask.name.clone(), features }
        });
        (outputs.collect(), masks.collect())
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &ExplainArgs, output: &Output) -> anyhow::Result<Outcome> {
    let pool = arguments.threads.pool()?;
    let predictor = Predictor::load(&arguments.model.model, pool.clone())?;
    let mut explainer = Explainer::of(&predictor, pool)?;
    if let Some(objection) = explainer.objection() {
        anyhow::bail!(objection);
    }
    let mut options = ReaderOptions::sequential(&predictor.pipeline, arguments.input.clone())?;
    options.keep.clone_from(&arguments.keep);
    options.rejected = arguments.rejected.create()?;
    let mut reader = Reader::new(options, predictor.features)?;
    let kept = arguments.keep.iter().map(SinkColumn::text);
    let named = explainer.columns().into_iter().map(|name| SinkColumn::float(name.as_str())).collect::<Vec<_>>();
    let mut sink = arguments.output.as_ref().map(|file| PredictionSink::create(file, kept.chain(named).collect())).transpose()?;
    let mut progress = Progress::new(output.progress_style(), 1);
    let (mut sums, mut last) = (Sums::default(), None);
    let mut left = arguments.rows.map_or(usize::MAX, NonZeroUsize::get);
    while left > 0 {
        let Some(batch) = reader.next().transpose()? else { break };
        let explanation = explainer.explain(&batch.features, arguments.steps.get());
        let rows = explanation.rows.min(left);
        left -= rows;
        sums.add(&explanation, rows);
        if let Some(sink) = &mut sink {
            let values = explanation.columns();
            let kept =
                batch.features.kept.iter().map(|column| SinkValues::Text { offsets: &column.offsets[..=rows], bytes: &column.bytes });
            sink.write(&kept.chain(values.iter().map(|values| SinkValues::Float(&values[..rows]))).collect::<Vec<_>>())?;
        }
        last = Some(explanation);
        progress.update_share(reader.progress(), "explaining");
    }
    progress.finish();
    sink.map(PredictionSink::finish).transpose()?;
    let last = last.ok_or_else(|| anyhow::anyhow!("there are no rows to explain"))?;
    let rows = sums.rows;
    let (outputs, masks) = sums.report(explainer.features(), &last);
    output.result(&ExplainReport {
        model: arguments.model.model.display().to_string(),
        rows,
        steps: arguments.steps.get(),
        outputs,
        masks,
        file: arguments.output.as_ref().map(|file| file.display().to_string()),
    })?;
    Ok(Outcome::Done)
}

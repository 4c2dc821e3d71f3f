//! `rankmill compare`: two models over the same rows.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use rankmill_config::nearest;
use rankmill_config::proto::eval_metrics::Metric;
use rankmill_data::{Reader, ReaderOptions, Side, declared_inputs};
use rankmill_kernels::fingerprint::fingerprint64;
use rankmill_model::{Predictor, Predicts, Task};
use rankmill_train::compare::{Comparison, Estimate, Figure, Rows, Settings, compare_probabilities, compare_values};
use rankmill_train::metrics::Reduction;
use serde::{Serialize, Serializer};

use crate::Outcome;
use crate::arguments::ThreadArgs;
use crate::output::{Level, Output};
use crate::progress::Progress;
use crate::table::Table;
use crate::units;

/// Compare two models on the same rows: the figures of both with confidence intervals, and whether they differ by more than chance.
///
/// Intervals of AUC are DeLong's, those of GAUC come from drawing users anew, those of log loss from the losses of the rows. The
/// difference is B minus A; its p-value is two-sided.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The first model: a model directory (its newest checkpoint is read), one checkpoint in it, an export, or a packed bundle.
    #[arg(value_name = "MODEL_A")]
    pub(crate) model_a: PathBuf,
    /// The second model.
    #[arg(value_name = "MODEL_B")]
    pub(crate) model_b: PathBuf,
    /// Files to compare on, given as for `rankmill eval` [default: the eval_input_path of A's config].
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub(crate) input: Vec<String>,
    /// The input field that tells users apart, for GAUC [default: the uid_field of A's config, if it has a gauc].
    #[arg(long, value_name = "FIELD")]
    pub(crate) user: Option<String>,
    /// Probability with which each interval holds the true figure.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    pub(crate) confidence: f64,
    /// Times that users are drawn anew for GAUC.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub(crate) resamples: u32,
    /// Seed of the draws.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// A figure in the report.
#[derive(Debug, Serialize)]
struct FigureReport {
    name: String,
    method: &'static str,
    a: EstimateReport,
    b: EstimateReport,
    difference: EstimateReport,
    #[serde(serialize_with = "number")]
    p_value: f64,
}

/// A number that is not one becomes `null`.
#[derive(Debug, Serialize)]
struct EstimateReport {
    #[serde(serialize_with = "number")]
    value: f64,
    #[serde(serialize_with = "number")]
    low: f64,
    #[serde(serialize_with = "number")]
    high: f64,
}

fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.serialize_none() }
}

impl From<Estimate> for EstimateReport {
    fn from(Estimate { value, low, high }: Estimate) -> EstimateReport {
        EstimateReport { value, low, high }
    }
}

impl FigureReport {
    fn new(figure: Figure, suffix: &str) -> FigureReport {
        let Figure { name, method, a, b, difference, p_value } = figure;
        FigureReport { name: format!("{name}{suffix}"), method, a: a.into(), b: b.into(), difference: difference.into(), p_value }
    }
}

/// What the comparison came to.
#[derive(Debug, Serialize)]
struct CompareReport {
    a: String,
    b: String,
    rows: u64,
    /// Users that `gauc` is an average over.
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<u64>,
    confidence: f64,
    resamples: u32,
    seed: u64,
    metrics: Vec<FigureReport>,
}

impl fmt::Display for CompareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |estimate: &EstimateReport, sign: bool| {
            let value = if sign { format!("{:+.6}", estimate.value) } else { format!("{:.6}", estimate.value) };
            if sign {
                format!("{value} [{:+.6}, {:+.6}]", estimate.low, estimate.high)
            } else {
                format!("{value} [{:.6}, {:.6}]", estimate.low, estimate.high)
            }
        };
        let mut table = Table::new(["metric", "A", "B", "B - A", "p", "method"]);
        for FigureReport { name, method, a, b, difference, p_value } in &self.metrics {
            let p_value = if p_value.is_nan() { "-".to_owned() } else { format!("{p_value:.4}") };
            table.row([name.clone(), shown(a, false), shown(b, false), shown(difference, true), p_value, (*method).to_owned()]);
        }
        writeln!(f, "A: {}\nB: {}", self.a, self.b)?;
        let users = self.users.map_or_else(String::new, |users| format!(" of {} users with both labels", units::count(users)));
        writeln!(f, "{} rows{users}, {} % intervals\n", units::count(self.rows), 100.0 * self.confidence)?;
        write!(f, "{table}")
    }
}

/// What a model says of the rows.
struct Scored {
    tasks: Vec<Task>,
    /// For each task that scores: labels and scores.
    columns: Vec<(Vec<f32>, Vec<f32>)>,
    users: Vec<u64>,
    rows: u64,
}

fn score(mut predictor: Predictor, inputs: &[String], user: Option<&str>, output: &Output) -> anyhow::Result<Scored> {
    let mut options = ReaderOptions::sequential(&predictor.pipeline, inputs.to_vec())?;
    options.keep = user.map(str::to_owned).into_iter().collect();
    let tasks: Vec<Task> = predictor.model().tasks.iter().filter(|task| task.score.is_some()).cloned().collect();
    let mut scored = Scored { columns: vec![(Vec::new(), Vec::new()); tasks.len()], tasks, users: Vec::new(), rows: 0 };
    let mut reader = Reader::new(options, predictor.features.clone())?;
    let mut progress = Progress::new(output.progress_style(), 1);
    while let Some(batch) = reader.next().transpose()? {
        let batch = batch.features;
        let scores = predictor.score(&batch);
        for (task, (labels, values)) in scored.tasks.iter().zip(&mut scored.columns) {
            labels.extend_from_slice(&batch.labels[task.label]);
            values.extend_from_slice(scores.column(task.score));
        }
        if let Some(column) = batch.kept.first() {
            scored.users.extend((0..batch.rows).map(|row| fingerprint64(column.row(row))));
        }
        scored.rows += batch.rows as u64;
        progress.update_share(reader.progress(), "scoring");
    }
    progress.finish();
    Ok(scored)
}

/// The field that tells users apart, and how they are averaged.
fn users(user: Option<&str>, predictor: &Predictor) -> anyhow::Result<Option<(String, Reduction)>> {
    let Predictor { pipeline, .. } = predictor;
    let gauc = predictor.model().tasks.iter().flat_map(|task| &task.metrics).find_map(|set| match &set.metric {
        Some(Metric::Gauc(gauc)) => Some(gauc),
        _ => None,
    });
    let reduction = gauc.and_then(|gauc| Reduction::from_name(gauc.reduction())).unwrap_or(Reduction::Mean);
    let Some(name) = user.or(gauc.map(|gauc| gauc.uid_field())) else { return Ok(None) };
    let fields = pipeline.input_fields();
    let features = pipeline.features();
    let feature = features.iter().find(|feature| feature.name == name).and_then(|feature| feature.config.input_names.first());
    let field = if fields.iter().any(|field| field.name == name) { Some(name) } else { feature.map(String::as_str) };
    let field = field.with_context(|| {
        let near = nearest(name, fields.iter().map(|field| field.name.as_str()));
        format!("--user: there is no input field `{name}`{}", near.map_or_else(String::new, |near| format!("; did you mean `{near}`?")))
    })?;
    Ok(Some((field.to_owned(), reduction)))
}

/// Runs the command.
pub(crate) fn run(arguments: &CompareArgs, output: &Output) -> anyhow::Result<Outcome> {
    let CompareArgs { model_a, model_b, confidence, resamples, seed, .. } = arguments;
    anyhow::ensure!(*confidence > 0.0 && *confidence < 1.0, "--confidence {confidence}: expected a share between 0 and 1, such as 0.95");
    anyhow::ensure!(*resamples > 0, "--resamples 0: expected at least 1");
    let pool = arguments.threads.pool()?;
    let load = |model: &Path| Predictor::load(model, Arc::clone(&pool));
    let (first, second) = (load(model_a)?, load(model_b)?);
    let inputs = if arguments.input.is_empty() { declared_inputs(&first.pipeline, Side::Eval) } else { arguments.input.clone() };
    anyhow::ensure!(!inputs.is_empty(), "there is nothing to compare on: the config of A has no eval_input_path; pass --input");
    let user = users(arguments.user.as_deref(), &first)?;
    let field = user.as_ref().map(|(field, _)| field.as_str());
    let (a, b) = (score(first, &inputs, field, output)?, score(second, &inputs, field, output)?);
    anyhow::ensure!(a.rows == b.rows, "the models read different rows: A {} of them, B {}", a.rows, b.rows);
    anyhow::ensure!(a.users == b.users, "the models read different rows: their users differ");
    let settings = Settings { confidence: *confidence, resamples: *resamples, seed: *seed };
    let mut report = CompareReport {
        a: model_a.display().to_string(),
        b: model_b.display().to_string(),
        rows: a.rows,
        users: None,
        confidence: *confidence,
        resamples: *resamples,
        seed: *seed,
        metrics: Vec::new(),
    };
    for (task, (labels, scores)) in a.tasks.iter().zip(&a.columns) {
        let same = b.tasks.iter().position(|other| other.suffix == task.suffix && is_value(other) == is_value(task));
        let Some((other_labels, other_scores)) = same.map(|place| &b.columns[place]) else {
            output.log(
                Level::Warn,
                &format!("B has no task `{}` that predicts the same: it is left out", task.suffix.trim_start_matches('_')),
            );
            continue;
        };
        anyhow::ensure!(labels == other_labels, "the labels of task `{}` differ: the models learn different ones", task.suffix);
        let users = user.as_ref().map(|(_, reduction)| (a.users.as_slice(), *reduction));
        let rows = Rows { labels, scores: [scores, other_scores], users };
        let compared = if is_value(task) { compare_values(&rows, &settings) } else { compare_probabilities(&rows, &settings, &pool) };
        let Comparison { figures, users } = compared;
        report.users = report.users.or(users);
        report.metrics.extend(figures.into_iter().map(|figure| FigureReport::new(figure, &task.suffix)));
    }
    anyhow::ensure!(!report.metrics.is_empty(), "the models have no task in common that can be compared");
    output.result(&report)?;
    Ok(Outcome::Done)
}

fn is_value(task: &Task) -> bool {
    task.predicts == Predicts::Value
}

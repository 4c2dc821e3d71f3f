//! `rankmill eval`: evaluates a model.

use std::borrow::Cow;
use std::sync::Arc;

use clap::Args;
use rankmill_data::{Side, declared_inputs};
use rankmill_model::Predictor;
use rankmill_train::evaluate::Evaluator;

use crate::Outcome;
use crate::arguments::{ModelArgs, PrecisionArgs, RejectedArgs, TablesArgs, ThreadArgs};
use crate::gate::GateArgs;
use crate::output::{Level, Output};
use crate::progress::Progress;
use crate::report::{Metrics, RunReport};

/// Evaluate a model: the metrics of its config, exact AUC and log loss.
///
/// `auc` is EasyRec's, computed on thresholds; `auc_exact` is exact.
#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Files to evaluate on: text, JSON lines, Parquet or TFRecord, also .gz or .zst, or `-` for standard input; patterns such as
    /// `part-*` are allowed; may be repeated or separated by commas [default: the config's eval_input_path].
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub(crate) input: Vec<String>,
    #[command(flatten)]
    pub(crate) rejected: RejectedArgs,
    #[command(flatten)]
    pub(crate) precision: PrecisionArgs,
    #[command(flatten)]
    pub(crate) tables: TablesArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) gates: GateArgs,
}

/// Runs the command.
pub(crate) fn run(arguments: &EvalArgs, output: &Output) -> anyhow::Result<Outcome> {
    let precision = arguments.precision.precision.supported()?;
    let pool = arguments.threads.pool()?;
    let folder = &arguments.model.model;
    let predictor = Predictor::load(folder, Arc::clone(&pool))?;
    let Predictor { pipeline, features, global_step, .. } = &predictor;
    let inputs = if arguments.input.is_empty() { declared_inputs(pipeline, Side::Eval) } else { arguments.input.clone() };
    anyhow::ensure!(!inputs.is_empty(), "there is nothing to evaluate on: the config has no eval_input_path; pass --input");
    let mut evaluator = Evaluator::new(pipeline, features, pool, precision)?.with_rejected(arguments.rejected.create()?);
    let mut parameters = Cow::Borrowed(predictor.parameters());
    if let Some(format) = arguments.tables.tables.format() {
        let packed = evaluator.with_tables(format, &parameters)?;
        (evaluator, parameters) = (packed.0, Cow::Owned(packed.1));
    }
    evaluator.remarks().iter().for_each(|remark| output.log(Level::Warn, remark));
    let mut progress = Progress::new(output.progress_style(), 1);
    let evaluation = evaluator.evaluate(&parameters, &inputs, |fraction| progress.update_share(fraction, "evaluating"));
    progress.finish();
    let evaluation = evaluation?;
    let skipped = Some(evaluation.report.to_string()).filter(|_| evaluation.report.skipped > 0);
    let report = RunReport {
        metrics: Metrics::from(evaluation.figures()),
        rows: evaluation.rows,
        seconds: Metrics::from([("eval", evaluation.seconds)]),
        steps: *global_step,
        model: folder.display().to_string(),
        export: None,
        remarks: skipped.into_iter().collect(),
        profile: Vec::new(),
    };
    output.result(&report)?;
    arguments.gates.check(&report.metrics, output)
}

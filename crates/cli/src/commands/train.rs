//! `rankmill train`: trains the model of a config.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;
use rankmill_config::{Edits, Pipeline};
use rankmill_data::{Rejected, Side, declared_inputs};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_train::run::{Event, Outcome as Trained, Profile, RunOptions, Start, train};

use crate::Outcome;
use crate::arguments::{EditArgs, PrecisionArg, RejectedArgs, ThreadArgs, assign};
use crate::commands::check;
use crate::gate::GateArgs;
use crate::output::{Level, Output};
use crate::profile::profile_lines;
use crate::progress::{Progress, StepReport};
use crate::report::{Metrics, RunReport};
use crate::units;

/// Train the model of a config, evaluate it, and keep checkpoints in the model directory.
///
/// Ctrl-C saves a checkpoint and stops. A run that was stopped or killed goes on with --resume and ends with the same bits
/// as one that never was.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// An EasyRec pipeline config: protobuf text, or JSON.
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    /// Where checkpoints and logs go [default: the config's model_dir].
    #[arg(long, value_name = "DIR")]
    pub(crate) model_dir: Option<PathBuf>,
    /// Files to train on: text, JSON lines, Parquet or TFRecord, also .gz or .zst; patterns such as `part-*` are allowed; may be
    /// repeated or separated by commas [default: the config's train_input_path].
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub(crate) train_input: Vec<String>,
    /// Files to evaluate on, given as for --train-input [default: the config's eval_input_path].
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub(crate) eval_input: Vec<String>,
    /// Go on from the newest checkpoint of the model directory, or start if there is none.
    #[arg(long, conflicts_with = "overwrite")]
    pub(crate) resume: bool,
    /// Go on from the newest checkpoint with the training files from their beginning, such as those of a new day: the model and the
    /// optimizer go on, the steps are counted on.
    #[arg(long, conflicts_with_all = ["overwrite", "resume"], alias = "continue_train")]
    pub(crate) continue_train: bool,
    /// Start anew although the model directory holds a run, and remove its checkpoints.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Evaluate after every so many steps, besides the end [default: only at the end, and with each checkpoint where the export or an
    /// early stop is decided by it].
    #[arg(long, value_name = "STEPS")]
    pub(crate) eval_every: Option<NonZeroU64>,
    /// Seed of initial weights, shuffling and dropout.
    #[arg(long, value_name = "N", default_value_t = 2020)]
    pub(crate) seed: u64,
    /// Precision of the factors of matrix products in training: bf16 is faster on processors with AVX-512 BF16; weights, sums, norms,
    /// losses and the optimizer stay f32, as does evaluation.
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t)]
    pub(crate) precision: PrecisionArg,
    /// Take the time of every operation of the training steps, and print a table of it at the end.
    #[arg(long)]
    pub(crate) profile: bool,
    /// Keep the features of the training rows in this folder, made once for these files and settings, and read them from there: worth
    /// it for several epochs of rows that take long to read. The results have the same bits.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) rejected: RejectedArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) gates: GateArgs,
    #[command(flatten)]
    pub(crate) edits: EditArgs,
}

impl TrainArgs {
    /// What --resume, --continue-train and --overwrite say.
    pub(crate) fn start(&self) -> Start {
        match (self.resume, self.continue_train, self.overwrite) {
            (true, _, _) => Start::Resume,
            (_, true, _) => Start::Continue,
            (_, _, true) => Start::Overwrite,
            _ => Start::Fresh,
        }
    }

    /// The edits, with those that the flags for paths stand for: what runs is what the edited config says.
    pub(crate) fn config_edits(&self) -> Edits {
        let mut flags = Vec::new();
        if let Some(folder) = &self.model_dir {
            flags.push(assign("model_dir", &folder.to_string_lossy()));
        }
        for (path, inputs) in [("train_input_path", &self.train_input), ("eval_input_path", &self.eval_input)] {
            if !inputs.is_empty() {
                flags.push(assign(path, &inputs.join(",")));
            }
        }
        self.edits.edits(flags)
    }
}

/// The training files and the model directory that a config names.
fn paths(pipeline: &Pipeline) -> anyhow::Result<(Vec<String>, PathBuf)> {
    let train = declared_inputs(pipeline, Side::Train);
    let name = pipeline.file_name();
    anyhow::ensure!(!train.is_empty(), "{name}: there is nothing to train on; set train_input_path, or pass --train-input");
    let model_dir = pipeline.proto.model_dir();
    anyhow::ensure!(!model_dir.is_empty(), "{name}: set model_dir, or pass --model-dir");
    Ok((train, PathBuf::from(model_dir)))
}

/// How to train, as the flags say it.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) start: Start,
    pub(crate) eval_every: Option<u64>,
    pub(crate) seed: u64,
    pub(crate) precision: Precision,
    pub(crate) profile: Profile,
    pub(crate) rejected: Option<Rejected>,
    pub(crate) cache: Option<PathBuf>,
}

/// Trains the model of a checked config; shows how it goes.
pub(crate) fn train_pipeline(pipeline: &Pipeline, manner: Manner, pool: &Arc<Pool>, output: &Output) -> anyhow::Result<RunReport> {
    let (train_inputs, model_dir) = paths(pipeline)?;
    let Manner { start, eval_every, seed, precision, profile, rejected, cache } = manner;
    let eval_inputs = declared_inputs(pipeline, Side::Eval);
    let options = RunOptions { model_dir, train_inputs, eval_inputs, start, eval_every, seed, precision, profile, rejected, cache };
    let stop = stop_on_interrupt()?;
    let every = pipeline.proto.train_config.as_ref().map_or(1, |train| u64::from(train.log_step_count_steps()));
    let mut progress = Progress::new(output.progress_style(), every);
    let trained = train(pipeline, &options, pool, stop, &mut |event| tell(&event, &mut progress, output));
    progress.finish();
    Ok(report(&trained?))
}

/// Shows one event.
fn tell(event: &Event<'_>, progress: &mut Progress, output: &Output) {
    let log = |progress: &Progress, level, text: &str| progress.aside(|| output.log(level, text));
    match event {
        Event::Started { parameters, resumed_from } => {
            let from = resumed_from.map_or_else(String::new, |step| format!(", going on from step {}", units::count(step)));
            log(progress, Level::Info, &format!("{} parameters{from}", units::count(*parameters as u64)));
        }
        Event::Progress(at) => progress.update(&StepReport {
            step: at.step,
            total_steps: at.total_steps,
            rows_per_second: at.rows_per_second,
            loss: f64::from(at.losses.total),
            auc_so_far: Some(at.auc).filter(|auc| auc.is_finite()),
            fraction: at.fraction,
        }),
        Event::Saved(path) => log(progress, Level::Info, &format!("saved {}", path.display())),
        Event::Exported(path) => log(progress, Level::Info, &format!("exported {}", path.display())),
        Event::Evaluating(fraction) => progress.update_share(*fraction, "evaluating"),
        Event::Evaluated { step, evaluation } => {
            let figures: Vec<String> = evaluation.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            let text = format!("step {}: {}  loss {:.4}", units::count(*step), figures.join("  "), evaluation.loss);
            log(progress, Level::Info, &text);
        }
        Event::Remark(remark) => log(progress, Level::Warn, remark),
    }
}

/// The final figures.
fn report(trained: &Trained) -> RunReport {
    let mut remarks = Vec::new();
    remarks.extend(trained.ending.as_ref().map(ToString::to_string));
    if trained.report.skipped > 0 {
        remarks.push(trained.report.to_string());
    }
    for table in trained.dynamic_tables.iter().filter(|table| table.refused > 0) {
        let (refused, capacity) = (units::count(table.refused), units::count(table.max_capacity));
        remarks.push(format!("{}: {refused} ids had no room in the dynamic table, whose max_capacity is {capacity}", table.name));
    }
    for feature in &trained.statistics {
        if feature.out_of_range > 0 {
            let share = 100.0 * feature.out_of_range as f64 / feature.rows.max(1) as f64;
            remarks.push(format!("{}: {} values out of range, {share:.1} for 100 rows", feature.name, units::count(feature.out_of_range)));
        }
        if let Some(value) = &feature.constant {
            remarks.push(format!("{}: the same in every row ({value})", feature.name));
        }
    }
    let figures = trained.evaluation.as_ref();
    let metrics = figures.map(|evaluation| Metrics::from(evaluation.figures()));
    RunReport {
        metrics: metrics.unwrap_or_default(),
        rows: figures.map_or(trained.rows, |evaluation| evaluation.rows),
        seconds: Metrics::from([
            ("train", trained.train_seconds),
            ("eval", trained.eval_seconds),
            ("first_step", trained.first_step_seconds),
        ]),
        steps: trained.global_step,
        model: trained.checkpoint.display().to_string(),
        export: trained.export.as_ref().map(|path| path.display().to_string()),
        remarks,
        profile: profile_lines(&trained.profile),
    }
}

/// A flag that Ctrl-C sets; a second Ctrl-C ends the program at once.
fn stop_on_interrupt() -> anyhow::Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the user asks for it a second time; files are written aside, so none is left half-written")]
            std::process::exit(2);
        }
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(&STOP)
}

/// Runs the command.
pub(crate) fn run(arguments: &TrainArgs, output: &Output) -> anyhow::Result<Outcome> {
    let pipeline = check::load(&arguments.config, &arguments.config_edits(), output)?;
    let pool = arguments.threads.pool()?;
    let manner = Manner {
        start: arguments.start(),
        eval_every: arguments.eval_every.map(NonZeroU64::get),
        seed: arguments.seed,
        precision: arguments.precision.supported()?,
        profile: if arguments.profile { Profile::On } else { Profile::Off },
        rejected: arguments.rejected.create()?,
        cache: arguments.cache.clone(),
    };
    let report = train_pipeline(&pipeline, manner, &pool, output)?;
    output.result(&report)?;
    arguments.gates.check(&report.metrics, output)
}

//! A training run: read, step, report, evaluate, save, until the data or the steps end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rankmill_config::proto::TrainConfig;
use rankmill_config::{Diagnostics, Pipeline};
use rankmill_data::{Batch, FeatureCache, FeatureStatistics, InputFile, Position, Reader, ReaderOptions, Rejected, Report, Supply};
use rankmill_graph::OpProfile;
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::bundle::{CONFIG_FILE, Manifest, processor, write_file};
use rankmill_model::feature_set;
use serde_json::json;

use crate::checkpoint::{self, RunState};
use crate::control::Control;
pub use crate::ending::{Ending, STOP_FILE};
use crate::error::TrainError;
use crate::evaluate::{Evaluation, Evaluator};
use crate::events::{EVALUATION_FOLDER, EventWriter, LEARNING_RATE, STEPS_PER_SECOND, TOTAL_LOSS, loss_tag};
use crate::exports::{self, ExportRule};
use crate::fine_tune::start_from_checkpoint;
use crate::frozen::Frozen;
use crate::golden_rows::Golden;
use crate::history::History;
use crate::online::{self, OnlineMetrics};
use crate::step::{DynamicTableReport, Keep, StepLosses, Trainer, TrainerOptions};

/// What to do with a model directory that holds a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Refuse.
    Fresh,
    /// Go on with it; start anew where there is nothing to go on with.
    Resume,
    /// Go on from its newest checkpoint with the training files from their beginning, such as new ones; start anew where there is nothing
    /// to go on with.
    Continue,
    /// Remove its checkpoints and start anew.
    Overwrite,
}

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where checkpoints and event logs go.
    pub model_dir: PathBuf,
    /// Training files.
    pub train_inputs: Vec<String>,
    /// Evaluation files; none means no evaluation.
    pub eval_inputs: Vec<String>,
    /// What to do with a run that is there.
    pub start: Start,
    /// Evaluate each time so many steps are done.
    pub eval_every: Option<u64>,
    /// Seed of initial values, shuffling and random layers.
    pub seed: u64,
    /// How the factors of products are represented in training; evaluation is exact.
    pub precision: Precision,
    /// Whether to take the time of every operation.
    pub profile: Profile,
    /// Where rows are written that are left out, or that stop the run.
    pub rejected: Option<Rejected>,
    /// The folder where the features of the training rows are kept, so that they are made once.
    pub cache: Option<PathBuf>,
}

/// Whether a run takes the time of every operation of its training steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// No.
    #[default]
    Off,
    /// Yes; reading the clock so often costs about a hundredth of the speed.
    On,
}

/// What a run tells while it goes on.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The run starts: parameters of the model, and the step it resumes from.
    Started {
        /// Elements of all variables.
        parameters: usize,
        /// The step of the checkpoint, if the run goes on from one.
        resumed_from: Option<u64>,
    },
    /// Some steps are done.
    Progress(Progress),
    /// A checkpoint was written.
    Saved(&'a Path),
    /// A model was exported.
    Exported(&'a Path),
    /// An evaluation goes on; the share of bytes read.
    Evaluating(f64),
    /// An evaluation is done.
    Evaluated {
        /// Steps trained.
        step: u64,
        /// Its figures.
        evaluation: &'a Evaluation,
    },
    /// Something the user should know.
    Remark(String),
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// The step at which the run ends, if that is known.
    pub total_steps: Option<u64>,
    /// Share of the work done, between 0 and 1.
    pub fraction: f64,
    /// Rows per second since the last report.
    pub rows_per_second: f64,
    /// Losses of the last step.
    pub losses: StepLosses,
    /// AUC of all training rows so far, each scored before it was trained on: that of the first task that ranks, NaN if none does.
    pub auc: f64,
}

/// What a run leaves behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Steps done.
    pub global_step: u64,
    /// Rows trained on by this process.
    pub rows: u64,
    /// Losses of the last step of this process.
    pub losses: Option<StepLosses>,
    /// The last evaluation.
    pub evaluation: Option<Evaluation>,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The last export.
    pub export: Option<PathBuf>,
    /// Wall time of training, without evaluation.
    pub train_seconds: f64,
    /// Wall time of evaluations.
    pub eval_seconds: f64,
    /// Wall time from the start to the end of the first step.
    pub first_step_seconds: f64,
    /// What each feature's values were like.
    pub statistics: Vec<FeatureStatistics>,
    /// Rows that were left out, by cause.
    pub report: Report,
    /// How well reading kept up with training.
    pub supply: Supply,
    /// What the dynamic tables have come to.
    pub dynamic_tables: Vec<DynamicTableReport>,
    /// Why the run ended before its data and its steps did, if so.
    pub ending: Option<Ending>,
    /// What each part of the training steps took, if the run was profiled.
    pub profile: Vec<OpProfile>,
}

/// Trains the model of a config. `stop` asks for an early, orderly end; `tell` hears how it goes.
///
/// # Errors
/// A config, data or files that can't be used, with the place of the fault.
pub fn train(
    pipeline: &Pipeline,
    options: &RunOptions,
    pool: &Arc<Pool>,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, TrainError> {
    Run::prepare(pipeline, options, pool, tell)?.go(stop, tell)
}

struct Run<'a> {
    pipeline: &'a Pipeline,
    options: &'a RunOptions,
    trainer: Trainer,
    reader: Reader,
    evaluator: Option<Evaluator>,
    golden: Golden,
    events: EventWriter,
    eval_events: Option<EventWriter>,
    online: OnlineMetrics,
    history: History,
    control: Control,
    position: Position,
    rows_before: u64,
    rows: u64,
    threads: usize,
    started: Instant,
    eval_seconds: f64,
    evaluation: Option<(u64, Evaluation)>,
    last_saved: Option<u64>,
    saved_at: Instant,
    checkpoint: PathBuf,
    export: Option<PathBuf>,
}

impl<'a> Run<'a> {
    fn prepare(
        pipeline: &'a Pipeline,
        options: &'a RunOptions,
        pool: &Arc<Pool>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Run<'a>, TrainError> {
        let started = Instant::now();
        let existing = rankmill_model::bundle::checkpoints(&options.model_dir)?.pop();
        match (options.start, existing) {
            (Start::Fresh, Some((step, _))) => {
                return Err(TrainError::Occupied { directory: options.model_dir.display().to_string(), step });
            }
            _ => checkpoint::tidy(&options.model_dir)?,
        }
        let train_config = pipeline.proto.train_config.clone().unwrap_or_default();
        let epochs = pipeline.proto.data_config.as_ref().map_or(0, |data| data.num_epochs());
        if train_config.num_steps() == 0 && epochs == 0 {
            return Err(TrainError::Endless);
        }
        let features = feature_set(pipeline)?;
        let control = Control::new(pipeline, &options.model_dir)?;
        let keep = if online::wants_all(pipeline) { Keep::Metrics } else { Keep::Needed };
        let trainer_options = TrainerOptions { seed: options.seed, precision: options.precision, keep, ..TrainerOptions::default() };
        let mut trainer = Trainer::new(pipeline, &features, Arc::clone(pool), trainer_options)?;
        let restored = match options.start {
            Start::Resume | Start::Continue => checkpoint::restore(&options.model_dir, &mut trainer)?,
            Start::Fresh | Start::Overwrite => None,
        };
        if restored.is_none()
            && let Some(remark) = start_from_checkpoint(pipeline, &mut trainer)?
        {
            tell(Event::Remark(remark));
        }
        if options.profile == Profile::On {
            trainer.start_profile();
        }
        let (state, manifest) = restored.unzip();
        if let Some(state) = state.as_ref().filter(|state| state.seed != options.seed) {
            trainer.set_seed(state.seed);
        }
        let continued = state.as_ref().filter(|_| options.start == Start::Continue);
        // The same rows would otherwise come in the same order once more.
        let order = continued.map_or(0, |state| state.global_step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut reading = ReaderOptions::train(pipeline, options.train_inputs.clone(), trainer.seed() ^ order)?;
        reading.position = state.as_ref().filter(|_| continued.is_none()).map(|state| state.position);
        reading.rejected.clone_from(&options.rejected);
        reading.cache = options.cache.as_deref().map(|folder| FeatureCache::new(folder, pipeline)).transpose()?;
        let reader = Reader::new(reading, features.clone())?;
        let evaluator = match options.eval_inputs.is_empty() {
            true => None,
            false => Some(Evaluator::new(pipeline, &features, Arc::clone(pool), Precision::F32)?.with_rejected(options.rejected.clone())),
        };
        control.check_metrics(pipeline, evaluator.as_ref())?;
        let golden = Golden::new(pipeline, options, &features, pool)?;
        if options.start == Start::Overwrite {
            // Only now that the new run can be: a mistyped path must not cost the old one.
            checkpoint::clear(&options.model_dir)?;
            exports::clear(&options.model_dir)?;
        }
        let history = match &state {
            Some(state) => History::read(&options.model_dir, state.global_step)?,
            None => {
                History::clear(&options.model_dir)?;
                History::default()
            }
        };
        let events = EventWriter::create(&options.model_dir)?;
        let eval_events = evaluator.as_ref().map(|_| EventWriter::create(&options.model_dir.join(EVALUATION_FOLDER))).transpose()?;
        tell(Event::Started { parameters: trainer.parameters().count(), resumed_from: state.as_ref().map(|state| state.global_step) });
        if trainer.seed() != options.seed {
            tell(Event::Remark(format!("the run goes on with its own seed, {}, not with {}", trainer.seed(), options.seed)));
        }
        let precision = options.precision.name();
        if let Some(before) = state.as_ref().map(|state| state.precision.as_str()).filter(|before| *before != precision) {
            tell(Event::Remark(format!("the run was trained with {before} products so far and goes on with {precision} ones")));
        }
        if let Some(manifest) = manifest.filter(|manifest| continued.is_none() && !manifest.trained_on(reader.files())) {
            let before: Vec<&str> = manifest.data.iter().map(|file| file.path.as_str()).collect();
            let text = format!(
                "the training files are not those the run began with ({}): it goes on at the same row of the new ones",
                before.join(", ")
            );
            tell(Event::Remark(text));
        }
        let frozen = Frozen::new(pipeline).map_err(Diagnostics::from)?;
        for remark in evaluator.iter().flat_map(Evaluator::remarks).chain(frozen.remarks(trainer.parameters())) {
            tell(Event::Remark(remark));
        }
        let done = trainer.global_step;
        if train_config.num_steps() > 0 && u64::from(train_config.num_steps()) <= done {
            let text = format!("{done} steps are done, as many as train_config.num_steps asks for: nothing is left to train");
            tell(Event::Remark(text));
        }
        let position = state.as_ref().filter(|_| continued.is_none()).map_or_else(Position::default, |state| state.position);
        let rows_before = state.as_ref().map_or(0, |state| state.rows);
        Ok(Run {
            pipeline,
            options,
            online: OnlineMetrics::new(pipeline, &features, &trainer)?,
            history,
            control,
            trainer,
            reader,
            evaluator,
            golden,
            events,
            eval_events,
            position,
            rows_before,
            rows: 0,
            threads: pool.threads(),
            started,
            eval_seconds: 0.0,
            evaluation: None,
            last_saved: state.map(|state| state.global_step),
            saved_at: Instant::now(),
            checkpoint: PathBuf::new(),
            export: None,
        })
    }

    fn go(mut self, stop: &AtomicBool, tell: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, TrainError> {
        let config = self.pipeline.proto.train_config.clone().unwrap_or_default();
        let total_steps = Some(u64::from(config.num_steps())).filter(|steps| *steps > 0);
        let log_every = u64::from(config.log_step_count_steps()).max(1);
        let summary_every = u64::from(config.save_summary_steps()).max(1);
        let mut last_report = (Instant::now(), 0);
        let mut losses = None;
        let mut first_step_seconds = 0.0;
        let mut ending = self.catch_up(tell)?;
        while ending.is_none() && total_steps.is_none_or(|total| self.trainer.global_step < total) {
            ending = self.control.watch.ending(stop);
            if ending.is_some() {
                break;
            }
            let Some(batch) = self.reader.next().transpose()? else { break };
            let step_losses = self.step(&batch)?;
            let step = self.trainer.global_step;
            if losses.is_none() {
                first_step_seconds = self.started.elapsed().as_secs_f64();
            }
            losses = Some(step_losses);
            for (table, capacity) in self.trainer.newly_full_tables() {
                let text = format!(
                    "step {step}: the dynamic table of `{table}` is full with {capacity} ids; further ones are not taken in                      (ev_params: raise max_capacity, or set steps_to_live)"
                );
                tell(Event::Remark(text));
            }
            if step.is_multiple_of(log_every) {
                let (since, rows) = last_report;
                let seconds = since.elapsed().as_secs_f64().max(1e-9);
                let rows_per_second = (self.rows - rows) as f64 / seconds;
                last_report = (Instant::now(), self.rows);
                let mut values = self.online.tagged();
                values.push((STEPS_PER_SECOND.to_owned(), log_every as f64 / seconds));
                self.events.scalars(step, &values.iter().map(|(tag, value)| (tag.as_str(), *value)).collect::<Vec<_>>())?;
                tell(Event::Progress(self.progress(total_steps, rows_per_second, step_losses)));
            }
            if step.is_multiple_of(summary_every) || step.is_multiple_of(log_every) || step == 1 {
                self.write_events(step_losses)?;
            }
            let saves = self.is_time_to_save(&config);
            if saves {
                self.save(tell)?;
            }
            if self.is_time_to_evaluate(saves) {
                self.evaluate(tell)?;
                ending = self.control.early_ending(&self.history);
                last_report = (Instant::now(), self.rows);
            }
        }
        self.save(tell)?;
        let step = self.trainer.global_step;
        if let Some(losses) = losses {
            self.write_events(losses)?;
        }
        let train_seconds = self.started.elapsed().as_secs_f64() - self.eval_seconds;
        if ending != Some(Ending::Interrupted) {
            if self.evaluation.as_ref().is_none_or(|(at, _)| *at != step) {
                self.evaluate(tell)?;
            }
            if self.control.exporter.rule == ExportRule::Final {
                self.export(tell)?;
            }
        }
        let online = self.online.finish(&self.options.model_dir, step)?;
        if !online.is_empty() {
            self.events.scalars(step, &online.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>())?;
            self.events.flush()?;
        }
        let outcome = Outcome {
            global_step: step,
            rows: self.rows,
            losses,
            evaluation: self.evaluation.take().map(|(_, evaluation)| evaluation),
            checkpoint: self.checkpoint.clone(),
            export: self.export.clone(),
            train_seconds,
            eval_seconds: self.eval_seconds,
            first_step_seconds,
            statistics: self.reader.statistics(),
            report: self.reader.report().clone(),
            supply: self.reader.supply(),
            dynamic_tables: self.trainer.dynamic_tables(),
            ending,
            profile: self.trainer.profile(),
        };
        self.record(&outcome)?;
        Ok(outcome)
    }

    /// Makes up for an evaluation that a run which was killed has missed, so that all that follows is as if it never was.
    fn catch_up(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> Result<Option<Ending>, TrainError> {
        let step = self.trainer.global_step;
        if self.last_saved == Some(step) && self.control.evaluates_checkpoints() && !self.history.has(step) {
            self.save(tell)?;
            self.evaluate(tell)?;
        }
        Ok(self.control.early_ending(&self.history))
    }

    fn is_time_to_evaluate(&self, saves: bool) -> bool {
        let step = self.trainer.global_step;
        saves && self.control.evaluates_checkpoints() || self.options.eval_every.is_some_and(|every| step.is_multiple_of(every.max(1)))
    }

    /// After so many steps, or where only `save_checkpoints_secs` is set, after so much time.
    fn is_time_to_save(&self, config: &TrainConfig) -> bool {
        let by_time = config.save_checkpoints_secs.filter(|seconds| *seconds > 0);
        let steps = if by_time.is_some() && config.save_checkpoints_steps.is_none() { 0 } else { config.save_checkpoints_steps() };
        let is_due = by_time.is_some_and(|seconds| self.saved_at.elapsed() >= Duration::from_secs(u64::from(seconds)));
        is_due || steps > 0 && self.trainer.global_step.is_multiple_of(u64::from(steps))
    }

    /// Writes `run.json`: what ran, on what, how long, and what came out; and the resolved config beside it.
    fn record(&mut self, outcome: &Outcome) -> Result<(), TrainError> {
        let files = |files: &[InputFile]| -> Vec<serde_json::Value> {
            files.iter().map(|file| json!({ "path": file.path, "bytes": file.bytes, "fingerprint": file.fingerprint })).collect()
        };
        let metrics: serde_json::Map<String, serde_json::Value> = outcome
            .evaluation
            .iter()
            .flat_map(|evaluation| evaluation.figures())
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let table = |table: &DynamicTableReport| {
            json!({ "name": table.name, "rows": table.rows, "known": table.known, "max_capacity": table.max_capacity,
                    "refused": table.refused, "forgotten": table.forgotten })
        };
        let dynamic_tables: Vec<serde_json::Value> = outcome.dynamic_tables.iter().map(table).collect();
        let record = json!({
            "rankmill": env!("CARGO_PKG_VERSION"),
            "processor": processor(),
            "threads": self.threads,
            "precision": self.options.precision.name(),
            "seed": self.trainer.seed(),
            "config": self.pipeline.file_name(),
            "train_files": files(self.reader.files()),
            "eval_inputs": self.options.eval_inputs,
            "parameters": self.trainer.parameters().count(),
            "global_step": outcome.global_step,
            "rows": outcome.rows,
            "interrupted": outcome.ending == Some(Ending::Interrupted),
            "ended_early": outcome.ending.as_ref().map(ToString::to_string),
            "seconds": {
                "first_step": outcome.first_step_seconds, "train": outcome.train_seconds, "eval": outcome.eval_seconds,
            },
            "input": {
                "batches": outcome.supply.requests, "mean_ready": outcome.supply.mean_ready(), "capacity": outcome.supply.capacity,
                "seconds_waited": outcome.supply.waited.as_secs_f64(),
            },
            "metrics": metrics,
            "dynamic_tables": dynamic_tables,
            "skipped_rows": outcome.report.skipped,
        });
        let directory = &self.options.model_dir;
        write_file(&directory.join(CONFIG_FILE), self.pipeline.to_text().as_bytes())?;
        Ok(write_file(&directory.join("run.json"), format!("{record:#}\n").as_bytes())?)
    }

    fn step(&mut self, batch: &Batch) -> Result<StepLosses, TrainError> {
        let losses = self.trainer.step(&batch.features);
        if !losses.total.is_finite() {
            return Err(TrainError::NotFinite { loss: losses.total, step: self.trainer.global_step });
        }
        self.position = batch.position;
        self.rows += batch.features.rows as u64;
        self.online.update(&self.trainer, &batch.features)?;
        Ok(losses)
    }

    fn progress(&self, total_steps: Option<u64>, rows_per_second: f64, losses: StepLosses) -> Progress {
        let step = self.trainer.global_step;
        let by_steps = total_steps.map(|total| step as f64 / total as f64);
        let by_bytes = match self.pipeline.proto.data_config.as_ref().map_or(0, |data| data.num_epochs()) {
            0 => 0.0,
            _ => self.reader.progress(),
        };
        let fraction = by_steps.unwrap_or(0.0).max(by_bytes).min(1.0);
        Progress { step, total_steps, fraction, rows_per_second, losses, auc: self.online.auc() }
    }

    fn write_events(&mut self, losses: StepLosses) -> Result<(), TrainError> {
        let mut values: Vec<(String, f32)> = self.trainer.loss_terms().map(|(name, loss)| (loss_tag(name), loss)).collect();
        values.extend([
            (loss_tag("regularization_loss"), losses.regularization),
            (loss_tag(TOTAL_LOSS), losses.total),
            (LEARNING_RATE.to_owned(), losses.learning_rate),
        ]);
        let values: Vec<(&str, f64)> = values.iter().map(|(tag, value)| (tag.as_str(), f64::from(*value))).collect();
        self.events.scalars(self.trainer.global_step, &values)?;
        Ok(self.events.flush()?)
    }

    fn save(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
        let step = self.trainer.global_step;
        let state = RunState {
            global_step: step,
            seed: self.trainer.seed(),
            position: self.position,
            rows: self.rows_before + self.rows,
            precision: self.options.precision.name().to_owned(),
        };
        let golden = self.golden.rows(self.trainer.parameters())?;
        let manifest = Manifest::new(step, self.reader.files(), golden);
        let keep = self.pipeline.proto.train_config.as_ref().map_or(10, |train| train.keep_checkpoint_max()) as usize;
        let path = checkpoint::save(&self.options.model_dir, self.pipeline, &mut self.trainer, &state, &manifest, keep)?;
        if self.last_saved != Some(step) {
            tell(Event::Saved(&path));
        }
        self.last_saved = Some(step);
        self.saved_at = Instant::now();
        self.checkpoint = path;
        if self.control.exporter.rule == ExportRule::Latest { self.export(tell) } else { Ok(()) }
    }

    /// Exports the last checkpoint, which is that of the current step.
    fn export(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
        let path = self.control.exporter.export(&self.checkpoint, self.trainer.global_step)?;
        tell(Event::Exported(&path));
        self.export = Some(path);
        Ok(())
    }

    fn evaluate(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
        let Some(evaluator) = &mut self.evaluator else { return Ok(()) };
        let progress = |fraction| tell(Event::Evaluating(fraction));
        let evaluation = evaluator.evaluate(self.trainer.parameters(), &self.options.eval_inputs, progress)?;
        self.eval_seconds += evaluation.seconds;
        let step = self.trainer.global_step;
        let figures = evaluation.figures().map(|(name, value)| (name.to_owned(), value));
        let figures: Vec<(String, f64)> = figures.chain(evaluation.tagged_losses()).collect();
        if let Some(events) = &mut self.eval_events {
            events.scalars(step, &figures.iter().map(|(tag, value)| (tag.as_str(), *value)).collect::<Vec<_>>())?;
            events.flush()?;
        }
        self.history.push(step, figures);
        self.history.write(&self.options.model_dir)?;
        tell(Event::Evaluated { step, evaluation: &evaluation });
        self.evaluation = Some((step, evaluation));
        if self.control.exporter.is_best(&self.history, step) {
            self.save(tell)?;
            self.export(tell)?;
        }
        Ok(())
    }
}

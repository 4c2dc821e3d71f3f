//! A model that many threads score with at the same time: one set of variables, and for each thread an executor of its own.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_data::{DataError, FeatureBatch, FeatureCounts, FieldNames, FieldRows, RawRows, Rule, ScoringField};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::tables::TableFormat;

use crate::bundle::{BundleError, Storage, VARIABLES_FILE, locate};
use crate::explain::{EXPLANATION_STEPS, Explainer};
use crate::predictor::{Predictor, Scores};
use crate::sharing::{LEAST_ROWS, Plans, Sharing};

/// Rows scored at once: the buffers of an executor stay as large as its largest batch was.
const ROWS_AT_ONCE: usize = 1024;
/// Text scored at once, roughly: a text that is that of all rows is one in the request, but is written out for the features.
const BYTES_AT_ONCE: usize = 16 << 20;
/// Rows between looks at the size of the text.
const ROWS_AT_A_TIME: usize = 32;
/// What errors call the source of the rows.
const SOURCE: &str = "rows";

/// A trained model that any number of threads score rows with. Scores do not depend on the thread, nor on what else is scored at the same
/// time: a part whose rows depend on each other ([`ConcurrentPredictor::rows_are_independent`]) is a batch of its own.
///
/// ```no_run
/// use std::num::NonZeroUsize;
/// use rankmill_model::ConcurrentPredictor;
///
/// let model = ConcurrentPredictor::load("model".as_ref(), NonZeroUsize::MIN)?;
/// let mut rows = model.rows();
/// rows.push([("user_id", "6040"), ("movie_id", "1193"), ("genres", "Drama|Romance")])?;
/// for output in model.score(&rows)? {
///     println!("{} {:?}", output.name, output.values);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ConcurrentPredictor {
    pipeline: Pipeline,
    global_step: u64,
    fields: Arc<FieldNames>,
    scoring_fields: Vec<ScoringField>,
    feature_names: Vec<String>,
    outputs: Vec<OutputSpec>,
    rows_are_independent: bool,
    slots: Vec<Mutex<Slot>>,
    next: AtomicUsize,
    sharing: Sharing,
    explained: OnceLock<Result<Explained, String>>,
}

/// What an explanation has beside the scores.
#[derive(Clone, Debug)]
struct Explained {
    outputs: Vec<OutputSpec>,
    /// Of the columns of an explanation those that are among the outputs.
    columns: Vec<usize>,
}

/// How a model is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// How many threads score at the same time.
    pub threads: NonZeroUsize,
    /// Precision of the factors of products.
    pub precision: Precision,
    /// The form of the tables of embeddings; as they were trained, if none.
    pub tables: Option<TableFormat>,
    /// Where large variables are. Tables in another form are in memory.
    pub storage: Storage,
}

/// What one thread at a time uses.
struct Slot {
    predictor: Predictor,
    raw: RawRows,
    plans: Plans,
    explainer: Option<Explainer>,
}

impl Slot {
    fn new(predictor: Predictor, raw: RawRows) -> Slot {
        Slot { predictor, raw, plans: Plans::default(), explainer: None }
    }

    /// What explains scores, which is planned when it is asked for: few ask, and it takes buffers of its own.
    fn explainer(&mut self) -> Result<&mut Explainer, String> {
        let explainer = match self.explainer.take() {
            Some(explainer) => explainer,
            None => Explainer::of(&self.predictor, self.predictor.pool()).map_err(|problems| messages(&problems))?,
        };
        Ok(self.explainer.insert(explainer))
    }
}

/// An output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    /// EasyRec's name: `probs`, `logits`.
    pub name: String,
    /// Numbers per row.
    pub width: usize,
}

/// The values of an output for some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputValues {
    /// EasyRec's name: `probs`, `logits`.
    pub name: String,
    /// Numbers per row.
    pub width: usize,
    /// `width` numbers for each row, row after row.
    pub values: Vec<f32>,
}

/// Some of the rows that are scored together.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// All rows.
    pub rows: &'a FieldRows,
    /// Which of them.
    pub range: Range<usize>,
}

/// The scores of several parts, one after the other, and what was noticed.
#[derive(Clone, Debug, Default)]
pub struct ScoredParts {
    /// The outputs for all rows.
    pub outputs: Vec<OutputValues>,
    /// What each feature looked like, in the order of [`ConcurrentPredictor::feature_names`].
    pub features: Vec<FeatureCounts>,
    /// What the features took.
    pub feature_time: Duration,
    /// What the graph took.
    pub graph_time: Duration,
}

impl ConcurrentPredictor {
    /// Loads a model directory (its newest checkpoint) or a bundle for up to `threads` threads that score at the same time. Checks that
    /// its golden rows score as they did when it was written.
    ///
    /// # Errors
    /// As [`Predictor::load`], and for variables that are not finite.
    pub fn load(directory: &Path, threads: NonZeroUsize) -> Result<ConcurrentPredictor, BundleError> {
        ConcurrentPredictor::load_with_precision(directory, threads, Precision::F32)
    }

    /// The same with the factors of products at `precision`.
    ///
    /// # Errors
    /// As [`ConcurrentPredictor::load`].
    pub fn load_with_precision(directory: &Path, threads: NonZeroUsize, precision: Precision) -> Result<ConcurrentPredictor, BundleError> {
        ConcurrentPredictor::load_with(directory, LoadOptions { threads, precision, tables: None, storage: Storage::Memory })
    }

    /// The same as `options` have it.
    ///
    /// # Errors
    /// As [`ConcurrentPredictor::load`].
    pub fn load_with(directory: &Path, options: LoadOptions) -> Result<ConcurrentPredictor, BundleError> {
        // Tables in another form are in memory, whatever they were made of.
        let storage = if options.tables.is_some() { Storage::Memory } else { options.storage };
        let mut predictor = Predictor::load_to(directory, storage, single_thread(directory)?)?;
        if let Some(broken) = predictor.not_finite() {
            return Err(BundleError::damaged(&variables_of(directory)?, format!("variable `{broken}` has values that are not finite")));
        }
        if options.precision != Precision::F32 {
            predictor = predictor.with_precision(options.precision);
        }
        if let Some(format) = options.tables {
            predictor = match predictor.with_tables(format) {
                Ok(predictor) => predictor,
                Err(error) => return Err(BundleError::damaged(&variables_of(directory)?, error)),
            };
        }
        ConcurrentPredictor::new(predictor, directory, options.threads.get())
    }

    fn new(mut predictor: Predictor, directory: &Path, threads: usize) -> Result<ConcurrentPredictor, BundleError> {
        let scoring_fields = predictor.features.scoring_fields();
        predictor.features = predictor.features.for_scoring();
        let names: Vec<String> = predictor.features.field_names().map(str::to_owned).collect();
        let columns = names.len();
        let feature_names = predictor.features.specs().iter().map(|spec| spec.name.clone()).collect();
        let describe = |output: &crate::model::Output| OutputSpec { name: output.name.clone(), width: output.width };
        let outputs = predictor.outputs().iter().map(describe).collect();
        let (pipeline, global_step) = (predictor.pipeline.clone(), predictor.global_step);
        let rows_are_independent = !predictor.model().feed.follows_longest();
        let raw = RawRows::new(columns, Arc::from([SOURCE.to_owned()]));
        let mut slots = Vec::with_capacity(threads);
        for _ in 1..threads {
            let predictor = predictor.another(single_thread(directory)?);
            slots.push(Mutex::new(Slot::new(predictor, raw.clone())));
        }
        slots.push(Mutex::new(Slot::new(predictor, raw)));

        let fields = Arc::new(FieldNames::new(names));
        let next = AtomicUsize::new(0);
        let sharing = Sharing::default();
        let explained = OnceLock::new();
        Ok(ConcurrentPredictor {
            pipeline,
            global_step,
            fields,
            scoring_fields,
            feature_names,
            outputs,
            rows_are_independent,
            slots,
            next,
            sharing,
            explained,
        })
    }

    /// The same with or without work that rows share. Scores do not depend on it.
    #[must_use]
    pub fn with_sharing(self, sharing: Sharing) -> ConcurrentPredictor {
        ConcurrentPredictor { sharing, ..self }
    }

    /// The config.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Steps it was trained for.
    pub fn global_step(&self) -> u64 {
        self.global_step
    }

    /// The input fields, in the order of `data_config.input_fields`.
    pub fn fields(&self) -> &[ScoringField] {
        &self.scoring_fields
    }

    /// The names of the features, in the order of [`ScoredParts::features`].
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// Whether a row's scores are those it has alone, whatever rows are scored with it. They are not where sequences are filled up to the
    /// longest one of a batch, as in EasyRec, and something may read what they are filled up with.
    pub fn rows_are_independent(&self) -> bool {
        self.rows_are_independent
    }

    /// What it computes for a row.
    pub fn outputs(&self) -> &[OutputSpec] {
        &self.outputs
    }

    /// Rows to fill and to score.
    pub fn rows(&self) -> FieldRows {
        FieldRows::new(Arc::clone(&self.fields))
    }

    /// How many threads score at the same time; more wait for each other.
    pub fn threads(&self) -> usize {
        self.slots.len()
    }

    /// Scores rows on the calling thread.
    ///
    /// # Errors
    /// The first row that breaks a rule.
    pub fn score(&self, rows: &FieldRows) -> Result<Vec<OutputValues>, DataError> {
        let mut slot = self.free_slot();
        Ok(self.score_in(&mut slot, &[Part { rows, range: 0..rows.rows() }])?.outputs)
    }

    /// Scores several parts together with the executor `slot`, on the calling thread.
    ///
    /// # Errors
    /// The first row that breaks a rule; [`DataError::row`] is its place among the rows of its part, counted from 1.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn score_parts(&self, slot: usize, parts: &[Part<'_>]) -> Result<ScoredParts, DataError> {
        let mut slot = self.slots[slot].lock().unwrap_or_else(PoisonError::into_inner);
        self.score_in(&mut slot, parts)
    }

    /// What [`ConcurrentPredictor::explain_part`] gives for a row, beside its scores: the columns of
    /// [`Explainer::columns`](crate::Explainer::columns).
    ///
    /// # Errors
    /// Why the model can't be explained.
    pub fn explained(&self) -> Result<&[OutputSpec], &str> {
        Ok(&self.explanation()?.outputs)
    }

    fn explanation(&self) -> Result<&Explained, &str> {
        let explained = self.explained.get_or_init(|| {
            let mut slot = self.free_slot();
            let explainer = slot.explainer()?;
            if let Some(objection) = explainer.objection() {
                return Err(objection.to_owned());
            }
            let names = explainer.columns().into_iter().enumerate();
            let (columns, names): (_, Vec<String>) =
                names.filter(|(_, name)| self.outputs.iter().all(|output| output.name != *name)).unzip();
            Ok(Explained { outputs: names.into_iter().map(|name| OutputSpec { name, width: 1 }).collect(), columns })
        });
        explained.as_ref().map_err(String::as_str)
    }

    /// Explains rows by the numbers of `rankmill explain`, with the executor `slot`, on the calling thread; see
    /// [`ConcurrentPredictor::explained`]. A row takes about [`EXPLANATION_STEPS`] times the work of training with it.
    ///
    /// # Errors
    /// The first row that breaks a rule; none if the model can't be explained.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn explain_part(&self, slot: usize, part: &Part<'_>) -> Result<Vec<OutputValues>, DataError> {
        let Ok(explained) = self.explanation() else { return Ok(Vec::new()) };
        let mut slot = self.slots[slot].lock().unwrap_or_else(PoisonError::into_inner);
        let Slot { predictor, raw, .. } = &mut *slot;
        raw.clear();
        part.rows.append_to(part.range.clone(), raw).map_err(too_large)?;
        let batch = predictor.features.transform(raw);
        raw.clear();
        let batch = batch?;
        let Ok(explainer) = slot.explainer() else { return Ok(Vec::new()) };
        let mut columns = explainer.explain(&batch, EXPLANATION_STEPS).columns();
        let values = explained.columns.iter().map(|column| std::mem::take(&mut columns[*column]));
        Ok(explained.outputs.iter().zip(values).map(|(spec, values)| OutputValues { name: spec.name.clone(), width: 1, values }).collect())
    }

    fn free_slot(&self) -> MutexGuard<'_, Slot> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let slots = (0..self.slots.len()).map(|i| &self.slots[first.wrapping_add(i) % self.slots.len()]);
        for slot in slots {
            match slot.try_lock() {
                Ok(slot) => return slot,
                Err(TryLockError::Poisoned(slot)) => return slot.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.slots[first % self.slots.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn score_in(&self, slot: &mut Slot, parts: &[Part<'_>]) -> Result<ScoredParts, DataError> {
        let empty = |spec: &OutputSpec| OutputValues { name: spec.name.clone(), width: spec.width, values: Vec::new() };
        let mut scored = ScoredParts { outputs: self.outputs.iter().map(empty).collect(), ..ScoredParts::default() };
        slot.raw.clear();
        for part in parts {
            if self.sharing == Sharing::Auto && part.range.len() >= LEAST_ROWS && score_sharing(slot, part, &mut scored)? {
                continue;
            }
            let mut start = part.range.start;
            while start < part.range.end {
                let end = part.range.end.min(start + ROWS_AT_A_TIME.min(ROWS_AT_ONCE - slot.raw.rows()));
                part.rows.append_to(start..end, &mut slot.raw).map_err(too_large)?;
                start = end;
                if slot.raw.rows() == ROWS_AT_ONCE || slot.raw.memory() > BYTES_AT_ONCE {
                    score_batch(slot, &mut scored)?;
                }
            }
            if !self.rows_are_independent && slot.raw.rows() > 0 {
                score_batch(slot, &mut scored)?;
            }
        }
        if slot.raw.rows() > 0 {
            score_batch(slot, &mut scored)?;
        }
        Ok(scored)
    }
}

/// Scores a part of which some fields are equal in all rows; false if it was not done, because there are none, or because a row breaks a rule
/// and the first one is to be found.
fn score_sharing(slot: &mut Slot, part: &Part<'_>, scored: &mut ScoredParts) -> Result<bool, DataError> {
    if part.range.len() > ROWS_AT_ONCE || part.rows.text_bytes() > BYTES_AT_ONCE {
        return Ok(false);
    }
    let equal = part.rows.equal_fields(part.range.clone());
    let Some(plan) = slot.plans.find(&slot.predictor, &equal, &slot.raw) else { return Ok(false) };
    let started = Instant::now();
    let Ok(batches) = plan.batches(part.rows, part.range.clone()) else { return Ok(false) };
    let transformed = Instant::now();
    let scores = plan.score(&slot.predictor, &batches);
    let done = Instant::now();
    // What waits comes first.
    if slot.raw.rows() > 0 {
        score_batch(slot, scored)?;
    }
    append_scores(scores, &mut scored.outputs);
    scored.note(&batches.own, transformed - started, done - transformed);
    Ok(true)
}

fn score_batch(slot: &mut Slot, scored: &mut ScoredParts) -> Result<(), DataError> {
    let Slot { predictor, raw, .. } = slot;
    let started = Instant::now();
    let batch = predictor.features.transform(raw);
    raw.clear();
    let batch = batch?;
    let transformed = Instant::now();
    append_scores(predictor.score(&batch), &mut scored.outputs);
    scored.note(&batch, transformed - started, transformed.elapsed());
    Ok(())
}

impl ScoredParts {
    /// Counts a batch and what it took.
    fn note(&mut self, batch: &FeatureBatch, feature_time: Duration, graph_time: Duration) {
        self.feature_time += feature_time;
        self.graph_time += graph_time;
        self.features.resize(batch.observed.features.len(), FeatureCounts::default());
        for (sum, counts) in self.features.iter_mut().zip(&batch.observed.features) {
            sum.missing += counts.missing;
            sum.out_of_range += counts.out_of_range;
        }
    }
}

/// What is wrong, in one line.
fn messages(problems: &Diagnostics) -> String {
    problems.0.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}

pub(crate) fn too_large(rule: Rule) -> DataError {
    DataError::file(SOURCE, rule)
}

/// The file of a model's variables.
fn variables_of(directory: &Path) -> Result<PathBuf, BundleError> {
    let bundle = if directory.is_file() { directory.to_owned() } else { locate(directory)? };
    Ok(bundle.join(VARIABLES_FILE))
}

fn single_thread(directory: &Path) -> Result<Arc<Pool>, BundleError> {
    Pool::new(1).map(Arc::new).map_err(BundleError::io(directory))
}

fn append_scores(scores: Scores, outputs: &mut [OutputValues]) {
    for (output, values) in outputs.iter_mut().zip(scores.columns) {
        output.values.extend(values);
    }
}

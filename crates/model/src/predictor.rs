//! Scores of rows, by the code and the graph that trained the model.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet};
use rankmill_graph::ops::packed_lookup::{pack_tables, tables};
use rankmill_graph::{EqualInputs, Executor, Feed, Shape, SharedExecutor, Value, Weights};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::tables::TableFormat;
use rankmill_kernels::view::MatRef;

use crate::bundle::{Bundle, BundleError, MappedVariables, Storage, VARIABLES_FILE};
use crate::calibration::{CALIBRATION_FILE, Calibration};
use crate::dynamic::with_rows;
use crate::feed::{BatchFeed, BatchKeys};
use crate::model::{Model, Output, Purpose};
use crate::parameters::{Parameter, ParameterError, Parameters};
use crate::tasks::Task;
use crate::texts::feature_set;

/// The inference graph of a model, without values.
pub struct Scorer {
    executor: Executor,
    /// Predictions, names and shapes of the graph's parameters.
    model: Model,
    /// Where the graph's parameters are among the variables last scored with.
    sources: Vec<Source>,
    pool: Arc<Pool>,
    precision: Precision,
}

/// What is read of a model's graph.
fn read_values(model: &Model) -> Vec<Value> {
    let mut read = model.output_values();
    read.extend(model.losses.iter().map(|(_, value)| *value));
    read
}

/// A parameter's place among the variables, and its shape as a matrix: working this out again for each call would take longer than
/// all else around the graph's run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    place: usize,
    rows: usize,
    cols: usize,
}

impl Source {
    pub(crate) fn new(parameters: &Parameters, place: usize) -> Source {
        let (rows, cols) = Shape::fixed(&parameters.entries[place].shape).as_matrix();
        Source { place, rows, cols }
    }

    pub(crate) fn view<'a>(self, parameters: &'a Parameters, mapped: &'a MappedVariables) -> MatRef<'a> {
        let numbers = mapped.get(&self.place).map_or(parameters.entries[self.place].values.as_slice(), |numbers| numbers);
        MatRef::new(numbers, self.rows, self.cols)
    }
}

/// The scores of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// For each of the model's outputs its values, row after row.
    pub columns: Vec<Vec<f32>>,
    /// For each of the model's losses its mean over the batch, if the labels were read.
    pub losses: Vec<f32>,
}

impl Scores {
    /// The values of an output, none if there is no such output.
    pub fn column(&self, output: Option<usize>) -> &[f32] {
        output.map_or(&[], |output| &self.columns[output])
    }
}

impl Scorer {
    /// Builds the inference graph of a config, for `purpose` evaluation with losses; products are computed at `precision`.
    ///
    /// # Errors
    /// What the config asks for and can't be built, with the config line.
    pub fn new(
        pipeline: &Pipeline,
        features: &FeatureSet,
        purpose: Purpose,
        pool: Arc<Pool>,
        precision: Precision,
    ) -> Result<Scorer, Diagnostics> {
        Ok(Scorer::of(Model::build(pipeline, features, purpose)?, pool, precision))
    }

    /// Plans a model's graph.
    fn of(model: Model, pool: Arc<Pool>, precision: Precision) -> Scorer {
        let executor = Executor::new(model.graph.clone(), &read_values(&model), 0, precision);
        Scorer { executor, model, sources: Vec::new(), pool, precision }
    }

    /// The same scorer with tables of embeddings in `format`, and the variables as it takes them then. Tables that something else than
    /// lookups reads stay as they are.
    ///
    /// # Errors
    /// If a variable is missing or has another shape.
    pub fn with_tables(self, format: TableFormat, parameters: &Parameters) -> Result<(Scorer, Parameters), ParameterError> {
        let Scorer { mut model, pool, precision, .. } = self;
        let places = parameters.places(&model.graph)?;
        let tables = tables(&model.graph, &read_values(&model));
        let packed: BTreeSet<usize> = tables.iter().map(|table| places[*table]).collect();
        let pack = |(place, entry): (usize, &Parameter)| match packed.contains(&place) {
            true => {
                let width = entry.width();
                let shape = vec![entry.values.len() / width, format.words(width)];
                Parameter { shape, values: format.pack_rows(&entry.values, width), name: entry.name.clone(), ..*entry }
            }
            false => entry.clone(),
        };
        let entries = parameters.entries.iter().enumerate().map(pack).collect();
        pack_tables(&mut model.graph, &tables, format);
        Ok((Scorer::of(model, pool, precision), Parameters { entries, keys: parameters.keys.clone() }))
    }

    /// The predictions, in the order of [`Scores::columns`].
    pub fn outputs(&self) -> &[Output] {
        &self.model.outputs
    }

    /// The tasks.
    pub fn tasks(&self) -> &[Task] {
        &self.model.tasks
    }

    /// The names of the losses, in the order of [`Scores::losses`].
    pub fn loss_names(&self) -> impl Iterator<Item = &str> {
        self.model.losses.iter().map(|(name, _)| name.as_str())
    }

    /// Takes the variables to score with, of which there may be more than the model needs.
    ///
    /// # Errors
    /// If a variable is missing or has another shape.
    pub fn with<'a>(&'a mut self, parameters: &'a Parameters) -> Result<ScorerWith<'a>, ParameterError> {
        self.sources = parameters.places(&self.model.graph)?.into_iter().map(|place| Source::new(parameters, place)).collect();
        Ok(ScorerWith { scorer: self, parameters, weights: Weights::Changed })
    }

    /// Scores a batch with variables whose places are known.
    fn score(&mut self, parameters: &Parameters, mapped: &MappedVariables, weights: Weights, batch: &FeatureBatch) -> Scores {
        let views: Vec<MatRef<'_>> = self.sources.iter().map(|source| source.view(parameters, mapped)).collect();
        let batch = &*with_rows(batch, &self.model.dynamic, |table, lists| {
            let keys = parameters.keys_of(&self.model.dynamic[table].name);
            let row = |key: &u64| keys.map_or(0, |keys| keys.row(*key));
            lists.iter().map(|list| list.iter().map(row).collect()).collect()
        });
        let keys = BatchKeys::new(&self.model.key_columns, batch);
        let sequences = self.model.feed.sequences(batch);
        self.executor.run(&views, weights, &BatchFeed::new(batch, &keys, &sequences, 0).feed(), &self.pool);
        let values = |value: Value| self.executor.value(value);
        Scores {
            columns: self.model.outputs.iter().map(|output| values(output.value).to_vec()).collect(),
            losses: self.model.losses.iter().map(|(_, value)| values(*value).scalar()).collect(),
        }
    }
}

/// A [`Scorer`] with values.
pub struct ScorerWith<'a> {
    scorer: &'a mut Scorer,
    parameters: &'a Parameters,
    weights: Weights,
}

impl ScorerWith<'_> {
    /// Scores a batch.
    pub fn score(&mut self, batch: &FeatureBatch) -> Scores {
        let weights = std::mem::replace(&mut self.weights, Weights::Unchanged);
        self.scorer.score(self.parameters, &MappedVariables::new(), weights, batch)
    }
}

/// A trained model that scores rows.
pub struct Predictor {
    /// The config it was trained from.
    pub pipeline: Pipeline,
    /// What turns rows into batches.
    pub features: FeatureSet,
    parameters: Arc<Parameters>,
    mapped: Arc<MappedVariables>,
    calibration: Option<Arc<Calibration>>,
    /// The predictions, the calibrated ones last.
    outputs: Vec<Output>,
    /// Steps it was trained for.
    pub global_step: u64,
    scorer: Scorer,
    weights: Weights,
}

impl Predictor {
    /// Loads a model directory (its newest checkpoint) or a bundle, packed or not, and checks that its golden rows score as they did when it was
    /// written: the same bits by the same version on the same kind of processor, within 1e-6 otherwise.
    ///
    /// # Errors
    /// If the directory holds no model, a file is damaged, or a golden row scores differently.
    pub fn load(directory: &Path, pool: Arc<Pool>) -> Result<Predictor, BundleError> {
        Predictor::load_to(directory, Storage::Memory, pool)
    }

    /// The same with large variables in `storage`. Those that stay in their file have no values among [`Predictor::parameters`].
    pub(crate) fn load_to(directory: &Path, storage: Storage, pool: Arc<Pool>) -> Result<Predictor, BundleError> {
        let bundle = Bundle::read(directory, storage)?;
        let features = feature_set(&bundle.pipeline).map_err(BundleError::Config)?;
        let mut scorer =
            Scorer::new(&bundle.pipeline, &features, Purpose::Prediction, pool, Precision::F32).map_err(BundleError::Config)?;
        let Bundle { pipeline, parameters, manifest, path, calibration, mapped } = bundle;
        scorer.with(&parameters).map_err(|error| BundleError::damaged(&path.join(VARIABLES_FILE), error))?;
        let global_step = manifest.global_step;
        let (parameters, mapped) = (Arc::new(parameters), Arc::new(mapped));
        let mut outputs = scorer.outputs().to_vec();
        let calibration = match calibration {
            Some(text) => Some(Arc::new(Calibration::read(&text, &path.join(CALIBRATION_FILE), &outputs)?)),
            None => None,
        };
        outputs.extend(calibration.iter().flat_map(|calibration| &calibration.outputs).map(|calibrated| {
            let source =
                scorer.outputs().iter().find(|output| output.name == calibrated.source).expect("it was looked for when it was read");
            Output { name: calibrated.name(), ..source.clone() }
        }));
        let weights = Weights::Changed;
        let mut predictor = Predictor { pipeline, features, parameters, mapped, calibration, outputs, global_step, scorer, weights };
        manifest.verify(&mut predictor, &path)?;
        Ok(predictor)
    }

    /// The same model with products at another precision.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Predictor {
        let Scorer { model, sources, pool, .. } = self.scorer;
        let scorer = Scorer { sources, ..Scorer::of(model, pool, precision) };
        Predictor { scorer, weights: Weights::Changed, ..self }
    }

    /// The same model with tables of embeddings in `format`, in as little memory as that takes.
    ///
    /// # Errors
    /// As [`Scorer::with_tables`].
    pub fn with_tables(self, format: TableFormat) -> Result<Predictor, ParameterError> {
        let (mut scorer, parameters) = self.scorer.with_tables(format, &self.parameters)?;
        scorer.with(&parameters)?;
        Ok(Predictor { scorer, parameters: Arc::new(parameters), weights: Weights::Changed, ..self })
    }

    /// The predictions, in the order of [`Scores::columns`]; calibrated probabilities, which are not in the graph, come last.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// How its probabilities are calibrated, if they are.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_deref()
    }

    /// The inference graph.
    pub fn model(&self) -> &Model {
        &self.scorer.model
    }

    /// The same model with the same variables and buffers of its own, for scoring on another thread.
    #[must_use]
    pub fn another(&self, pool: Arc<Pool>) -> Predictor {
        let scorer = Scorer::of(self.scorer.model.clone(), pool, self.scorer.precision);
        Predictor {
            pipeline: self.pipeline.clone(),
            features: self.features.clone(),
            parameters: Arc::clone(&self.parameters),
            mapped: Arc::clone(&self.mapped),
            calibration: self.calibration.clone(),
            outputs: self.outputs.clone(),
            global_step: self.global_step,
            scorer: Scorer { sources: self.scorer.sources.clone(), ..scorer },
            weights: Weights::Changed,
        }
    }

    /// A plan of the graph for batches whose inputs `equal` have equal rows, if that shares any work.
    pub(crate) fn shared(&self, equal: &EqualInputs) -> Option<SharedExecutor> {
        let Scorer { model, precision, .. } = &self.scorer;
        SharedExecutor::new(&model.graph, &model.output_values(), equal, *precision)
    }

    /// Scores a batch by such a plan; `common` has what is equal in its first row. `has_run` says whether the plan scored before.
    pub(crate) fn score_shared(&self, plan: &mut SharedExecutor, has_run: bool, common: &FeatureBatch, all: &FeatureBatch) -> Scores {
        let Scorer { model, sources, pool, .. } = &self.scorer;
        let views: Vec<MatRef<'_>> = sources.iter().map(|source| source.view(&self.parameters, &self.mapped)).collect();
        let weights = if has_run { Weights::Unchanged } else { Weights::Changed };
        let keys = BatchKeys::new(&[], all);
        let [first, rest] = [common, all].map(|batch| model.feed.sequences(batch));
        // Axes are as long as in a batch with all columns; a column that is empty in one of the two makes none longer.
        let lengths: Vec<usize> = first.lengths().iter().zip(rest.lengths()).map(|(a, b)| *a.max(b)).collect();
        let [first, rest] = [(common, &first), (all, &rest)].map(|(batch, sequences)| BatchFeed::new(batch, &keys, sequences, 0));
        let [first, rest] = [&first, &rest].map(|feed| Feed { lengths: &lengths, ..feed.feed() });
        plan.run(&views, weights, &first, &rest, pool);
        let columns = model.outputs.iter().map(|output| plan.value(output.value).to_vec()).collect();
        self.calibrated(Scores { columns, losses: Vec::new() })
    }

    /// The scores with the calibrated ones.
    fn calibrated(&self, mut scores: Scores) -> Scores {
        for calibrated in self.calibration.iter().flat_map(|calibration| &calibration.outputs) {
            let place = self.outputs.iter().position(|output| output.name == calibrated.source);
            let column = scores.column(place).iter().map(|probability| calibrated.curve.apply(*probability)).collect();
            scores.columns.push(column);
        }
        scores
    }

    /// The threads it computes with.
    pub(crate) fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.scorer.pool)
    }

    /// The variables, to be shared: all of them, and the numbers of those that are in a file.
    pub(crate) fn shared_variables(&self) -> (&Arc<Parameters>, &Arc<MappedVariables>) {
        (&self.parameters, &self.mapped)
    }

    /// The variables.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// A variable with values that are not finite.
    pub(crate) fn not_finite(&self) -> Option<&str> {
        let mapped = self.mapped.iter().map(|(place, numbers)| (*place, &**numbers));
        let own = self.parameters.entries.iter().enumerate().map(|(place, entry)| (place, entry.values.as_slice()));
        let mut broken = own.chain(mapped).filter(|(_, numbers)| numbers.iter().any(|number| !number.is_finite()));
        broken.next().map(|(place, _)| self.parameters.entries[place].name.as_str())
    }

    /// Scores a batch.
    pub fn score(&mut self, batch: &FeatureBatch) -> Scores {
        let weights = std::mem::replace(&mut self.weights, Weights::Unchanged);
        let scores = self.scorer.score(&self.parameters, &self.mapped, weights, batch);
        self.calibrated(scores)
    }
}

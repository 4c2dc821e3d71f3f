//! Scores of rows, by the code and the graph that trained the model.

use std::path::Path;
use std::sync::Arc;

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet};
use rankmill_graph::Executor;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;
use rankmill_nn::layers::scope::Mode;

use crate::bundle::{Bundle, BundleError};
use crate::feed::BatchFeed;
use crate::parameters::{ParameterError, Parameters};
use crate::rank_model::Model;

/// The inference graph of a model, without values.
pub struct Scorer {
    executor: Executor,
    logits: rankmill_graph::Value,
    probabilities: rankmill_graph::Value,
    /// Names and shapes of the graph's parameters.
    model: Model,
    /// Place of each of the graph's parameters among the variables last scored with.
    order: Vec<usize>,
    pool: Arc<Pool>,
}

/// The scores of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Logit of each row.
    pub logits: Vec<f32>,
    /// Probability of each row.
    pub probabilities: Vec<f32>,
}

impl Scorer {
    /// Builds the inference graph of a config.
    ///
    /// # Errors
    /// What the config asks for and can't be built, with the config line.
    pub fn new(pipeline: &Pipeline, features: &FeatureSet, pool: Arc<Pool>) -> Result<Scorer, Diagnostics> {
        let model = Model::build(pipeline, features, Mode::Inference)?;
        let outputs = [model.logits, model.probabilities];
        let executor = Executor::new(model.graph.clone(), &outputs, 0);
        Ok(Scorer { executor, logits: model.logits, probabilities: model.probabilities, model, order: Vec::new(), pool })
    }

    /// Scores a batch with the given variables, of which there may be more than the model needs.
    ///
    /// # Errors
    /// If a variable is missing or has another shape.
    pub fn score(&mut self, parameters: &Parameters, batch: &FeatureBatch) -> Result<Scores, ParameterError> {
        let slots = self.model.graph.parameters();
        let fits = self.order.len() == slots.len()
            && self
                .order
                .iter()
                .zip(slots)
                .all(|(place, slot)| parameters.entries.get(*place).is_some_and(|entry| entry.name == slot.name));
        if !fits {
            self.order = parameters.places(&self.model.graph)?;
        }
        let views: Vec<MatRef<'_>> = self.order.iter().map(|place| parameters.entries[*place].view()).collect();
        self.executor.run(&views, &BatchFeed::new(batch, 0).feed(), &self.pool);
        Ok(Scores { logits: self.executor.value(self.logits).to_vec(), probabilities: self.executor.value(self.probabilities).to_vec() })
    }
}

/// A trained model that scores rows.
pub struct Predictor {
    /// The config it was trained from.
    pub pipeline: Pipeline,
    /// What turns rows into batches.
    pub features: FeatureSet,
    /// The variables.
    pub parameters: Parameters,
    /// Steps it was trained for.
    pub global_step: u64,
    scorer: Scorer,
}

impl Predictor {
    /// Loads a model directory (its newest checkpoint) or a bundle, and checks that its golden rows score as they did when it was
    /// written: the same bits by the same version on the same kind of processor, within 1e-6 otherwise.
    ///
    /// # Errors
    /// If the directory holds no model, a file is damaged, or a golden row scores differently.
    pub fn load(directory: &Path, pool: Arc<Pool>) -> Result<Predictor, BundleError> {
        let bundle = Bundle::open(directory)?;
        let features = FeatureSet::new(&bundle.pipeline).map_err(BundleError::Config)?;
        let scorer = Scorer::new(&bundle.pipeline, &features, pool).map_err(BundleError::Config)?;
        let Bundle { pipeline, parameters, manifest, path } = bundle;
        let mut predictor = Predictor { pipeline, features, parameters, global_step: manifest.global_step, scorer };
        manifest.verify(&mut predictor, &path)?;
        Ok(predictor)
    }

    /// Scores a batch.
    ///
    /// # Errors
    /// If the model lacks a variable.
    pub fn score(&mut self, batch: &FeatureBatch) -> Result<Scores, ParameterError> {
        self.scorer.score(&self.parameters, batch)
    }
}

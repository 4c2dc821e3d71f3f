//! Why a model gives a row its score: what each feature adds to it, and the masks of MaskNet by feature.
//!
//! Attributions are integrated gradients (Sundararajan, Taly, Yan 2017) along the straight way from a row without any feature, whose
//! embeddings and numbers are 0, to the row itself: `aᵢ = xᵢ·mean_α ∂f(αx)/∂xᵢ`, at the middles of equal steps of `α`, summed over the
//! columns of a feature and the groups it is in. They add up to the score less that of the row without features, up to the error of the
//! steps. What is explained is the logit, or the predicted value.
//!
//! A mask block multiplies its input column by column by a mask it makes of the whole row (EasyRec behaviour 31). Where that input is a
//! feature group, the mean of the mask over a feature's columns says how far the block lets the feature through: 1 is unchanged.

use std::sync::Arc;

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::reduce::OverRows;
use rankmill_graph::{Executor, GraphError, Value, Weights, gradients_of};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::scope::Builder;

use crate::dynamic::with_rows;
use crate::feed::{BatchFeed, BatchKeys};
use crate::model::{Model, Output, Purpose};
use crate::parameters::{ParameterError, Parameters};
use crate::predictor::Predictor;
use crate::tasks::Task;

/// The variable that all features are multiplied by.
const SHARE: &str = "explanation/share_of_features";

/// A feature in a group, in a graph that explains.
#[derive(Clone, Debug)]
pub struct ExplainedFeature {
    /// The group.
    pub group: String,
    /// The feature.
    pub name: String,
    /// Its columns in the row, `[B, N]`.
    value: Value,
    /// The same times the share of features that the run looks at.
    scaled: Value,
}

/// What only a graph that explains has.
#[derive(Clone, Debug, Default)]
pub struct Explaining {
    /// The features of all groups.
    features: Vec<ExplainedFeature>,
    /// The outputs that are explained, and the gradient of each in every feature.
    outputs: Vec<(usize, Vec<Option<Value>>)>,
}

impl Explaining {
    /// Takes the features of a group in, whose columns are `values`; gives what the model is to read instead.
    pub(crate) fn add_group(
        &mut self,
        builder: &mut Builder,
        group: &str,
        names: &[String],
        values: &[Value],
    ) -> Result<Vec<Value>, GraphError> {
        let share = builder.scope("").parameter(SHARE, &[], Initializer::Constant(1.0))?;
        let mut s = builder.scope(&format!("{group} (feature group)"));
        let mut scaled = Vec::with_capacity(values.len());
        for (name, value) in names.iter().zip(values) {
            scaled.push(s.add(Binary::Multiply, &[*value, share])?);
            let (group, name) = (group.to_owned(), name.clone());
            self.features.push(ExplainedFeature { group, name, value: *value, scaled: scaled[scaled.len() - 1] });
        }
        Ok(scaled)
    }

    /// Adds the gradients of what the tasks predict.
    pub(crate) fn differentiate(&mut self, builder: &mut Builder, tasks: &[Task], outputs: &[Output]) -> Result<(), GraphError> {
        let scaled: Vec<Value> = self.features.iter().map(|feature| feature.scaled).collect();
        for task in tasks {
            let narrow = |output: &usize| outputs[*output].width == 1;
            let Some(explained) = task.logits.filter(narrow).or(task.value).or(task.score).filter(narrow) else { continue };
            let sum = builder.scope("explanation").add(OverRows::Sum, &[outputs[explained].value])?;
            self.outputs.push((explained, gradients_of(&mut builder.graph, sum, &scaled)?));
        }
        Ok(())
    }
}

/// How the score of each row of a batch comes about.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Rows.
    pub rows: usize,
    /// The features, in the order of the groups.
    pub features: Vec<String>,
    /// What is explained.
    pub outputs: Vec<ExplainedOutput>,
    /// The masks of mask blocks on feature groups.
    pub masks: Vec<FeatureMask>,
}

/// A prediction and what it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedOutput {
    /// EasyRec's name: `logits`, `logits_ctr`, `y`.
    pub name: String,
    /// The prediction of each row.
    pub scores: Vec<f32>,
    /// What the model predicts for the row without any feature.
    pub base: Vec<f32>,
    /// What each feature adds, `[rows, features]`.
    pub attributions: Vec<f32>,
}

/// How far a mask block lets features through.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMask {
    /// The block.
    pub name: String,
    /// The mean of the mask over the columns of each feature, `[rows, features]`; NaN for features that are not in its group.
    pub values: Vec<f32>,
}

/// A mask over the columns of a group.
struct Mask {
    name: String,
    value: Value,
    /// For each feature of the group its place among all, first column and width.
    parts: Vec<MaskPart>,
}

/// Explains the scores of a model.
pub struct Explainer {
    executor: Executor,
    model: Model,
    explaining: Explaining,
    /// Names of features, each once.
    names: Vec<String>,
    /// For each feature of a group the place of its name.
    places: Vec<usize>,
    masks: Vec<Mask>,
    parameters: Arc<Parameters>,
    /// For each parameter of the graph its place among the variables; none for the share of features.
    sources: Vec<Option<usize>>,
    pool: Arc<Pool>,
}

impl Explainer {
    /// Explains what a predictor scores, with its variables.
    ///
    /// # Errors
    /// If an operation of the model has no gradient, with the config line.
    pub fn of(predictor: &Predictor, pool: Arc<Pool>) -> Result<Explainer, Diagnostics> {
        Explainer::new(&predictor.pipeline, &predictor.features, Arc::clone(predictor.shared_parameters()), pool)
    }

    /// Explains the model of a config with these variables.
    ///
    /// # Errors
    /// If the model can't be built or differentiated, or the variables do not fit.
    pub fn new(pipeline: &Pipeline, features: &FeatureSet, parameters: Arc<Parameters>, pool: Arc<Pool>) -> Result<Explainer, Diagnostics> {
        let model = Model::build(pipeline, features, Purpose::Explanation)?;
        let explaining = model.explaining.clone().unwrap_or_default();
        let mut names: Vec<String> = Vec::new();
        let mut places = Vec::new();
        for feature in &explaining.features {
            let place = names.iter().position(|name| *name == feature.name).unwrap_or(names.len());
            if place == names.len() {
                names.push(feature.name.clone());
            }
            places.push(place);
        }
        let masks = masks(&model, &explaining, &places);
        let mut read: Vec<Value> = explaining.features.iter().map(|feature| feature.value).collect();
        for (output, gradients) in &explaining.outputs {
            read.push(model.outputs[*output].value);
            read.extend(gradients.iter().flatten());
        }
        read.extend(masks.iter().map(|mask| mask.value));
        let executor = Executor::new(model.graph.clone(), &read, 0, Precision::F32);
        let sources: Result<Vec<Option<usize>>, ParameterError> = model
            .graph
            .parameters()
            .iter()
            .map(|slot| if slot.name == SHARE { Ok(None) } else { parameters.place(slot).map(Some) })
            .collect();
        let sources = sources.map_err(|error| pipeline.error("model_config", error.to_string()))?;
        Ok(Explainer { executor, model, explaining, names, places, masks, parameters, sources, pool })
    }

    /// The names of the features, in the order of [`Explanation::features`].
    pub fn features(&self) -> &[String] {
        &self.names
    }

    /// The names of the outputs that are explained.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.explaining.outputs.iter().map(|(output, _)| self.model.outputs[*output].name.as_str())
    }

    /// Explains the rows of a batch; gradients are taken at so many places along the way.
    ///
    /// # Panics
    /// If `steps` is 0.
    pub fn explain(&mut self, batch: &FeatureBatch, steps: usize) -> Explanation {
        assert!(steps > 0, "gradients are taken somewhere");
        let (rows, count) = (batch.rows, self.names.len());
        self.run(batch, 1.0);
        let scores = self.predictions();
        let masks = self.masks.iter().map(|mask| self.mask(mask, rows)).collect();
        self.run(batch, 0.0);
        let base = self.predictions();
        let mut sums = vec![vec![0.0_f64; rows * count]; scores.len()];
        for step in 0..steps {
            self.run(batch, (step as f32 + 0.5) / steps as f32);
            for (sums, (_, gradients)) in sums.iter_mut().zip(&self.explaining.outputs) {
                for ((feature, gradient), place) in self.explaining.features.iter().zip(gradients).zip(&self.places) {
                    let Some(gradient) = gradient.map(|gradient| self.executor.value(gradient)) else { continue };
                    let value = self.executor.value(feature.value);
                    for row in 0..rows {
                        let products = value.row(row).iter().zip(gradient.row(row)).map(|(x, g)| f64::from(*x) * f64::from(*g));
                        sums[row * count + place] += products.sum::<f64>();
                    }
                }
            }
        }
        let named = self.explaining.outputs.iter().map(|(output, _)| self.model.outputs[*output].name.clone());
        let outputs = named.zip(scores.into_iter().zip(base)).zip(sums).map(|((name, (scores, base)), sums)| ExplainedOutput {
            name,
            scores,
            base,
            attributions: sums.into_iter().map(|sum| (sum / steps as f64) as f32).collect(),
        });
        Explanation { rows, features: self.names.clone(), outputs: outputs.collect(), masks }
    }

    fn run(&mut self, batch: &FeatureBatch, share: f32) {
        let share = [share];
        let entries = &self.parameters.entries;
        let view = |source: &Option<usize>| source.map_or(MatRef::new(&share, 1, 1), |place| entries[place].view());
        let views: Vec<MatRef<'_>> = self.sources.iter().map(view).collect();
        let batch = &*with_rows(batch, &self.model.dynamic, |table, lists| {
            let keys = self.parameters.keys_of(&self.model.dynamic[table].name);
            let row = |key: &u64| keys.map_or(0, |keys| keys.row(*key));
            lists.iter().map(|list| list.iter().map(row).collect()).collect()
        });
        let keys = BatchKeys::new(&self.model.key_columns, batch);
        let sequences = self.model.feed.sequences(batch);
        self.executor.run(&views, Weights::Changed, &BatchFeed::new(batch, &keys, &sequences, 0).feed(), &self.pool);
    }

    fn predictions(&self) -> Vec<Vec<f32>> {
        let value = |(output, _): &(usize, _)| self.executor.value(self.model.outputs[*output].value).to_vec();
        self.explaining.outputs.iter().map(value).collect()
    }

    fn mask(&self, mask: &Mask, rows: usize) -> FeatureMask {
        let (value, count) = (self.executor.value(mask.value), self.names.len());
        let mut values = vec![f32::NAN; rows * count];
        for row in 0..rows {
            for (place, first, width) in &mask.parts {
                values[row * count + place] = value.row(row)[*first..first + width].iter().sum::<f32>() / (*width).max(1) as f32;
            }
        }
        FeatureMask { name: mask.name.clone(), values }
    }
}

/// A feature's place among all features, and the first and the number of its columns.
type MaskPart = (usize, usize, usize);

/// The masks that are as wide as a feature group, for the first group that is so wide.
fn masks(model: &Model, explaining: &Explaining, places: &[usize]) -> Vec<Mask> {
    let width = |value: Value| model.graph.shape(value).elements();
    let mut groups: Vec<(&str, Vec<MaskPart>)> = Vec::new();
    for (feature, place) in explaining.features.iter().zip(places) {
        if groups.last().is_none_or(|(group, _)| *group != feature.group) {
            groups.push((&feature.group, Vec::new()));
        }
        let Some((_, parts)) = groups.last_mut() else { continue };
        let first = parts.last().map_or(0, |(_, first, width)| first + width);
        parts.push((*place, first, width(feature.value)));
    }
    let of_group = |(name, value): &(String, Value)| {
        let name = name.strip_suffix("/mask")?;
        let fits = |parts: &&Vec<MaskPart>| parts.last().is_some_and(|(_, first, own)| first + own == width(*value));
        let parts = groups.iter().map(|(_, parts)| parts).find(fits)?;
        Some(Mask { name: name.to_owned(), value: *value, parts: parts.clone() })
    };
    model.taps.iter().filter_map(of_group).collect()
}

#[cfg(test)]
mod tests;

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
use rankmill_graph::{Executor, GraphError, ParameterSlot, Value, Weights, gradients_of};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::scope::Builder;

use crate::bundle::MappedVariables;
use crate::dynamic::with_rows;
use crate::feed::{BatchFeed, BatchKeys};
use crate::model::{Model, Output, Purpose};
use crate::parameters::{ParameterError, Parameters};
use crate::predictor::{Predictor, Source};
use crate::tasks::Task;

/// Places on the way where gradients are taken, if nobody asks for another number.
pub const EXPLANATION_STEPS: usize = 128;

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
    /// The features of its group, as their places among [`Explanation::features`].
    pub features: Vec<usize>,
    /// The mean of the mask over the columns of each of these features, `[rows, features]`.
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
    mapped: Arc<MappedVariables>,
    /// For each parameter of the graph its place among the variables; none for the share of features.
    sources: Vec<Option<Source>>,
    weights: Weights,
    pool: Arc<Pool>,
}

impl Explainer {
    /// Explains what a predictor scores, with its variables.
    ///
    /// # Errors
    /// If an operation of the model has no gradient, with the config line.
    pub fn of(predictor: &Predictor, pool: Arc<Pool>) -> Result<Explainer, Diagnostics> {
        let (parameters, mapped) = predictor.shared_variables();
        Explainer::new(&predictor.pipeline, &predictor.features, Arc::clone(parameters), Arc::clone(mapped), pool)
    }

    /// Explains the model of a config with these variables, of which some may be in a file.
    ///
    /// # Errors
    /// If the model can't be built or differentiated, or the variables do not fit.
    pub(crate) fn new(
        pipeline: &Pipeline,
        features: &FeatureSet,
        parameters: Arc<Parameters>,
        mapped: Arc<MappedVariables>,
        pool: Arc<Pool>,
    ) -> Result<Explainer, Diagnostics> {
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
        let source = |slot: &ParameterSlot| match slot.name == SHARE {
            true => Ok(None),
            false => parameters.place(slot).map(|place| Some(Source::new(&parameters, place))),
        };
        let sources: Result<Vec<Option<Source>>, ParameterError> = model.graph.parameters().iter().map(source).collect();
        let sources = sources.map_err(|error| pipeline.error("model_config", error.to_string()))?;
        let weights = Weights::Changed;
        Ok(Explainer { executor, model, explaining, names, places, masks, parameters, mapped, sources, weights, pool })
    }

    /// The names of the features, in the order of [`Explanation::features`].
    pub fn features(&self) -> &[String] {
        &self.names
    }

    /// The names of the outputs that are explained.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.explaining.outputs.iter().map(|(output, _)| self.model.outputs[*output].name.as_str())
    }

    /// Why there is nothing to explain, if that is so.
    pub fn objection(&self) -> Option<&'static str> {
        if self.explaining.outputs.is_empty() {
            return Some("the model predicts no single number that could be explained");
        }
        self.names.is_empty().then_some("the model reads no feature group column by column, so there is nothing to explain by")
    }

    /// The names of [`Explanation::columns`]: for each output its prediction (`logits`), that without features (`logits_base`) and what
    /// each feature adds (`logits:user_id`), then the masks by feature (`mask:backbone/net/block_0:user_id`).
    pub fn columns(&self) -> Vec<String> {
        let mut columns = Vec::new();
        for output in self.outputs() {
            columns.extend([output.to_owned(), format!("{output}_base")]);
            columns.extend(self.names.iter().map(|feature| format!("{output}:{feature}")));
        }
        for Mask { name, parts, .. } in &self.masks {
            columns.extend(parts.iter().map(|(feature, ..)| format!("mask:{name}:{}", self.names[*feature])));
        }
        columns
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
        let view = |source: &Option<Source>| match source {
            Some(source) => source.view(&self.parameters, &self.mapped),
            None => MatRef::new(&share, 1, 1),
        };
        let views: Vec<MatRef<'_>> = self.sources.iter().map(view).collect();
        let batch = &*with_rows(batch, &self.model.dynamic, |table, lists| {
            let keys = self.parameters.keys_of(&self.model.dynamic[table].name);
            let row = |key: &u64| keys.map_or(0, |keys| keys.row(*key));
            lists.iter().map(|list| list.iter().map(row).collect()).collect()
        });
        let keys = BatchKeys::new(&self.model.key_columns, batch);
        let sequences = self.model.feed.sequences(batch);
        // What is made of weights alone does not depend on the share.
        let weights = std::mem::replace(&mut self.weights, Weights::Unchanged);
        self.executor.run(&views, weights, &BatchFeed::new(batch, &keys, &sequences, 0).feed(), &self.pool);
    }

    fn predictions(&self) -> Vec<Vec<f32>> {
        let value = |(output, _): &(usize, _)| self.executor.value(self.model.outputs[*output].value).to_vec();
        self.explaining.outputs.iter().map(value).collect()
    }

    fn mask(&self, mask: &Mask, rows: usize) -> FeatureMask {
        let value = self.executor.value(mask.value);
        let mean =
            |row: usize, (_, first, width): &MaskPart| value.row(row)[*first..first + width].iter().sum::<f32>() / (*width).max(1) as f32;
        let values = (0..rows).flat_map(|row| mask.parts.iter().map(move |part| mean(row, part))).collect();
        FeatureMask { name: mask.name.clone(), features: mask.parts.iter().map(|(feature, ..)| *feature).collect(), values }
    }
}

impl Explanation {
    /// Its numbers as columns of one number for each row, in the order of [`Explainer::columns`].
    pub fn columns(&self) -> Vec<Vec<f32>> {
        let mut columns = Vec::new();
        for output in &self.outputs {
            columns.extend([output.scores.clone(), output.base.clone()]);
            columns.extend(transposed(&output.attributions, self.features.len()));
        }
        self.masks.iter().for_each(|mask| columns.extend(transposed(&mask.values, mask.features.len())));
        columns
    }
}

/// The columns of rows of this width.
fn transposed(rows: &[f32], width: usize) -> impl Iterator<Item = Vec<f32>> {
    (0..width).map(move |column| rows.iter().skip(column).step_by(width).copied().collect())
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

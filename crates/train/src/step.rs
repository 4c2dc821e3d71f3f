//! One training step: forward and backward through the graph, sparse gradients of the tables, clipping, the optimizer, moving
//! statistics.
//!
//! Every sum has a fixed order and every update is elementwise, so the bits do not depend on the number of threads.

use std::sync::Arc;

use rankmill_config::{Diagnostic, Diagnostics, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet};
use rankmill_graph::ops::lookup::Lookup;
use rankmill_graph::{Executor, OpProfile, Value, Weights};
use rankmill_kernels::elementwise::{add_scaled, scale};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;
use rankmill_model::{BatchFeed, Model, Parameter, ParameterError, Parameters, Training};
use rankmill_nn::layers::scope::{Mode, Moment};
use rankmill_nn::optim::clip::{clip_factor, global_norm};
use rankmill_nn::optim::{Gradient, Optimizer, StepRates};

/// Elements of a parameter that one task updates.
const TASK_ELEMENTS: usize = 1 << 16;

/// The figures of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLosses {
    /// The loss that is minimised.
    pub total: f32,
    /// Its part for the labels.
    pub cross_entropy: f32,
    /// Its regularisation.
    pub regularization: f32,
    /// The learning rate.
    pub learning_rate: f32,
}

/// The gradient of a table: unique rows, ascending, with their sums.
#[derive(Clone, Debug, Default)]
struct RowGradients {
    rows: Vec<u32>,
    values: Vec<f32>,
    /// For each row of the table its place in `rows`, valid where `stamps` says so.
    places: Vec<u32>,
    stamps: Vec<u32>,
    stamp: u32,
}

impl RowGradients {
    fn new(rows: usize) -> RowGradients {
        RowGradients { places: vec![0; rows], stamps: vec![0; rows], ..RowGradients::default() }
    }

    /// Collects the rows that occur in `ids`.
    fn start(&mut self, ids: &[&[u32]], width: usize) {
        if self.stamp == u32::MAX {
            self.stamps.fill(0);
            self.stamp = 0;
        }
        self.stamp += 1;
        self.rows.clear();
        for id in ids.iter().copied().flatten() {
            let stamp = &mut self.stamps[*id as usize];
            if *stamp != self.stamp {
                *stamp = self.stamp;
                self.rows.push(*id);
            }
        }
        self.rows.sort_unstable();
        for (place, row) in self.rows.iter().enumerate() {
            self.places[*row as usize] = place as u32;
        }
        self.values.clear();
        self.values.resize(self.rows.len() * width, 0.0);
    }

    fn row(&mut self, id: u32, width: usize) -> &mut [f32] {
        let place = self.places[id as usize] as usize;
        &mut self.values[place * width..(place + 1) * width]
    }

    /// Adds the gradient of a lookup's output, in the order of the batch.
    fn add_lookup(&mut self, lookup: &Lookup, column: &IdColumn, upstream: MatRef<'_>) {
        let width = upstream.cols();
        self.start(&[&column.ids], width);
        for row in 0..upstream.rows() {
            lookup.for_each_id(column, row, |_, id, factor| add_scaled(self.row(id, width), factor, upstream.row(row)));
        }
    }

    /// The sum of several gradients of one table.
    fn add_all(&mut self, parts: &[&RowGradients], width: usize) {
        let ids: Vec<&[u32]> = parts.iter().map(|part| part.rows.as_slice()).collect();
        self.start(&ids, width);
        for part in parts {
            for (i, id) in part.rows.iter().enumerate() {
                add_scaled(self.row(*id, width), 1.0, &part.values[i * width..(i + 1) * width]);
            }
        }
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Rows { rows: &self.rows, values: &self.values }
    }
}

/// A lookup in a table and its part of the table's gradient.
struct TableLookup {
    parameter: usize,
    lookup: Lookup,
    upstream: Value,
    gradients: RowGradients,
}

/// A model in training: its graph, its variables, its optimizer.
pub struct Trainer {
    executor: Executor,
    training: Training,
    logits: Value,
    lookups: Vec<TableLookup>,
    group_tensors: Vec<(String, Value)>,
    /// Sums for tables that several features share, by parameter.
    shared: Vec<(usize, RowGradients)>,
    optimizer: Optimizer,
    clip_norm: f32,
    embedding_multiplier: f32,
    seed: u64,
    pool: Arc<Pool>,
    /// The variables.
    pub parameters: Parameters,
    /// The optimizer's state: for each slot of the optimizer, for each variable (empty for those that are not trainable).
    pub slots: Vec<Vec<Vec<f32>>>,
    /// The optimizer's state that there is once.
    pub scalars: Vec<f32>,
    /// Steps done.
    pub global_step: u64,
}

/// Which tensors stay readable after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Losses and gradients alone.
    Needed,
    /// The feature groups' tensors, too.
    Everything,
}

impl Trainer {
    /// Builds the training graph of a config with fresh variables.
    ///
    /// # Errors
    /// What the config asks for and can't be built, with the config line.
    pub fn new(pipeline: &Pipeline, features: &FeatureSet, seed: u64, pool: Arc<Pool>, keep: Keep) -> Result<Trainer, Diagnostics> {
        let model = Model::build(pipeline, features, Mode::Training)?;
        let train_config = pipeline.proto.train_config.clone().unwrap_or_default();
        let (optimizer, multiplier) = optimizer(pipeline)?;
        let outputs = step_outputs(&model, keep);
        let parameters = Parameters::initialise(&model.graph, &model.initializers, seed);
        let Some(training) = model.training else {
            return Err(Diagnostics(vec![pipeline.error("model_config", "the model has no loss")]));
        };
        let lookups: Vec<TableLookup> = training
            .gradients
            .tables
            .iter()
            .filter_map(|table| {
                let lookup = *model.graph.lookup(table.lookup)?;
                let rows = parameters.entries[table.parameter].shape[0];
                Some(TableLookup { parameter: table.parameter, lookup, upstream: table.upstream, gradients: RowGradients::new(rows) })
            })
            .collect();
        let shared = lookups
            .iter()
            .enumerate()
            .filter(|(i, lookup)| {
                let same = |other: &&TableLookup| other.parameter == lookup.parameter;
                lookups[..*i].iter().all(|other| !same(&other)) && lookups.iter().filter(same).count() > 1
            })
            .map(|(_, lookup)| (lookup.parameter, RowGradients::new(parameters.entries[lookup.parameter].shape[0])))
            .collect();
        let batch_size = pipeline.proto.data_config.as_ref().map_or(32, |data| data.batch_size()) as usize;
        let executor = Executor::new(model.graph, &outputs, batch_size, Precision::F32);
        let slots = optimizer
            .slots()
            .iter()
            .map(|slot| {
                let fresh = |length: usize| vec![slot.initial; length];
                parameters.entries.iter().map(|entry| fresh(if entry.trainable { entry.values.len() } else { 0 })).collect()
            })
            .collect();
        let scalars = optimizer.scalars().into_iter().map(|(_, value)| value).collect();
        Ok(Trainer {
            executor,
            logits: model.logits,
            training,
            lookups,
            group_tensors: if keep == Keep::Everything { model.group_tensors } else { Vec::new() },
            shared,
            optimizer,
            clip_norm: train_config.gradient_clipping_by_norm(),
            embedding_multiplier: multiplier,
            seed,
            pool,
            parameters,
            slots,
            scalars,
            global_step: 0,
        })
    }

    /// The optimizer's state as named tensors: `<variable>/<slot>`, and what there is once.
    pub fn state_tensors(&self) -> Vec<(String, Vec<usize>, &[f32])> {
        let mut tensors = Vec::new();
        for (slot, all) in self.optimizer.slots().iter().zip(&self.slots) {
            for (entry, values) in self.parameters.entries.iter().zip(all) {
                if entry.trainable {
                    tensors.push((format!("{}/{}", entry.name, slot.suffix), entry.shape.clone(), values.as_slice()));
                }
            }
        }
        for ((name, _), value) in self.optimizer.scalars().iter().zip(&self.scalars) {
            tensors.push(((*name).to_owned(), Vec::new(), std::slice::from_ref(value)));
        }
        tensors
    }

    /// Sets variables and optimizer state from saved tensors.
    ///
    /// # Errors
    /// If one is missing or has another shape.
    pub fn restore(&mut self, saved: &Parameters, state: &[Parameter]) -> Result<(), ParameterError> {
        for entry in &mut self.parameters.entries {
            let found = saved.entries.iter().find(|other| other.name == entry.name);
            fill(&entry.name, &entry.shape, &mut entry.values, found)?;
        }
        for (slot, all) in self.optimizer.slots().iter().zip(&mut self.slots) {
            for (entry, values) in self.parameters.entries.iter().zip(all).filter(|(entry, _)| entry.trainable) {
                let name = format!("{}/{}", entry.name, slot.suffix);
                fill(&name, &entry.shape, values, state.iter().find(|other| other.name == name))?;
            }
        }
        for ((name, _), value) in self.optimizer.scalars().iter().zip(&mut self.scalars) {
            fill(name, &[], std::slice::from_mut(value), state.iter().find(|other| other.name == *name))?;
        }
        Ok(())
    }

    /// Takes the time of every operation from now on.
    pub fn start_profile(&mut self) {
        self.executor.start_profile();
    }

    /// What the operations of forward and backward pass took since [`Trainer::start_profile`].
    pub fn profile(&self) -> Vec<OpProfile> {
        self.executor.profile()
    }

    /// Seed of initial values and random layers.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Goes on with the random numbers of another seed.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Which of the batch's labels the loss uses.
    pub fn label(&self) -> usize {
        self.training.label
    }

    /// Trains on a batch.
    pub fn step(&mut self, batch: &FeatureBatch) -> StepLosses {
        self.backward(batch);
        let rates = self.apply();
        StepLosses { learning_rate: rates.learning_rate, ..self.losses() }
    }

    /// Computes losses and gradients of a batch.
    pub fn backward(&mut self, batch: &FeatureBatch) {
        let step_seed = self.seed ^ self.global_step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let feed = BatchFeed::new(batch, step_seed);
        let feed = feed.feed();
        self.executor.run(&self.parameters.views(), Weights::Changed, &feed, &self.pool);
        let executor = &self.executor;
        let multiplier = self.embedding_multiplier;
        self.pool.for_each(self.lookups.iter_mut().collect(), |table| {
            table.gradients.add_lookup(&table.lookup, feed.ids[table.lookup.slot], executor.value(table.upstream));
            if multiplier != 1.0 {
                let values = std::mem::take(&mut table.gradients.values);
                table.gradients.values.resize(values.len(), 0.0);
                scale(&mut table.gradients.values, multiplier, &values);
            }
        });
        for (parameter, sum) in &mut self.shared {
            let parts = self.lookups.iter().filter(|lookup| lookup.parameter == *parameter).map(|lookup| &lookup.gradients);
            sum.add_all(&parts.collect::<Vec<_>>(), self.parameters.entries[*parameter].width());
        }
    }

    /// The losses of the last [`Trainer::backward`]; the learning rate is that of the coming step.
    pub fn losses(&self) -> StepLosses {
        let value = |value: Value| self.executor.value(value).scalar();
        StepLosses {
            total: value(self.training.total_loss),
            cross_entropy: value(self.training.cross_entropy),
            regularization: self.training.regularization.map_or(0.0, value),
            learning_rate: self.optimizer.learning_rate(self.global_step),
        }
    }

    /// The logits of the last batch.
    pub fn logits(&self) -> Vec<f32> {
        self.executor.value(self.logits).to_vec()
    }

    /// The tensors of the feature groups in the last batch, if [`Keep::Everything`] was asked for.
    pub fn group_tensors(&self) -> Vec<(String, Vec<f32>)> {
        self.group_tensors.iter().map(|(name, value)| (name.clone(), self.executor.value(*value).to_vec())).collect()
    }

    /// The gradients of the last batch as dense tensors, with the variables' names, after clipping.
    pub fn dense_gradients(&self) -> Vec<(String, Vec<f32>)> {
        let factor = self.clip_factor();
        let mut out = Vec::new();
        for (index, entry) in self.parameters.entries.iter().enumerate() {
            let Some(gradient) = self.gradient(index) else { continue };
            let mut dense = vec![0.0; entry.values.len()];
            match gradient {
                Gradient::Dense(values) => scale(&mut dense, factor, values),
                Gradient::Rows { rows, values } => {
                    let width = entry.width();
                    for (i, row) in rows.iter().enumerate() {
                        let target = &mut dense[*row as usize * width..(*row as usize + 1) * width];
                        scale(target, factor, &values[i * width..(i + 1) * width]);
                    }
                }
            }
            out.push((entry.name.clone(), dense));
        }
        out
    }

    fn gradient(&self, parameter: usize) -> Option<Gradient<'_>> {
        if let Some((_, value)) = self.training.gradients.dense.iter().find(|(index, _)| *index == parameter) {
            return self.executor.value(*value).as_slice().map(Gradient::Dense);
        }
        if let Some((_, sum)) = self.shared.iter().find(|(index, _)| *index == parameter) {
            return Some(sum.gradient());
        }
        self.lookups.iter().find(|lookup| lookup.parameter == parameter).map(|lookup| lookup.gradients.gradient())
    }

    /// What all gradients are multiplied by (EasyRec behaviour 44).
    fn clip_factor(&self) -> f32 {
        if self.clip_norm <= 0.0 {
            return 1.0;
        }
        let dense = self.training.gradients.dense.iter().filter_map(|(_, value)| self.executor.value(*value).as_slice());
        let tables = self.lookups.iter().map(|lookup| lookup.gradients.gradient());
        let gradients: Vec<Gradient<'_>> = dense.map(Gradient::Dense).chain(tables).collect();
        clip_factor(global_norm(&gradients), self.clip_norm)
    }

    /// Updates the variables by the gradients of the last [`Trainer::backward`].
    pub fn apply(&mut self) -> StepRates {
        let rates = self.optimizer.begin_step(&self.scalars, self.global_step);
        let factor = self.clip_factor();
        let mut entries = std::mem::take(&mut self.parameters.entries);
        let mut slots = std::mem::take(&mut self.slots);
        let mut slots_of: Vec<Vec<&mut [f32]>> = entries.iter().map(|_| Vec::with_capacity(slots.len())).collect();
        for slot in &mut slots {
            for (parts, values) in slots_of.iter_mut().zip(slot) {
                parts.push(values);
            }
        }
        let mut tasks = Vec::new();
        for (index, (entry, slots)) in entries.iter_mut().zip(slots_of).enumerate() {
            if let Some(gradient) = self.gradient(index).filter(|_| entry.trainable) {
                let width = entry.width();
                cut(&mut tasks, &mut entry.values, slots, gradient, width);
            }
        }
        let optimizer = &self.optimizer;
        self.pool.for_each(tasks, |task| task.run(optimizer, &rates, factor));
        self.optimizer.end_step(&mut self.scalars);
        for update in &self.training.updates {
            let moments = self.executor.value(update.moments);
            let moving = &mut entries[update.parameter].values;
            let moments = moments.row(0);
            let batch = match update.moment {
                Moment::Mean => &moments[..moving.len()],
                Moment::Variance => &moments[moving.len()..],
            };
            let share = 1.0 - update.momentum;
            for (moving, batch) in moving.iter_mut().zip(batch) {
                *moving -= (*moving - batch) * share;
            }
        }
        self.parameters.entries = entries;
        self.slots = slots;
        self.global_step += 1;
        rates
    }
}

/// Copies saved values into a tensor of the same shape.
fn fill(name: &str, shape: &[usize], values: &mut [f32], saved: Option<&Parameter>) -> Result<(), ParameterError> {
    let saved = saved.ok_or_else(|| ParameterError::Missing { name: name.to_owned() })?;
    if saved.shape != shape {
        let (expected, found) = (shape.to_vec(), saved.shape.clone());
        return Err(ParameterError::Shape { name: name.to_owned(), expected, found });
    }
    values.copy_from_slice(&saved.values);
    Ok(())
}

/// The tensors of a training graph that a step reads after the run.
pub(crate) fn step_outputs(model: &Model, keep: Keep) -> Vec<Value> {
    let mut outputs = vec![model.logits];
    if let Some(training) = &model.training {
        outputs.extend([training.total_loss, training.cross_entropy]);
        outputs.extend(training.regularization);
        outputs.extend(training.gradients.dense.iter().map(|(_, value)| *value));
        outputs.extend(training.gradients.tables.iter().map(|table| table.upstream));
        outputs.extend(training.updates.iter().map(|update| update.moments));
    }
    if keep == Keep::Everything {
        outputs.extend(model.group_tensors.iter().map(|(_, value)| *value));
    }
    outputs
}

/// The optimizer of a config and the factor on the gradients of its tables.
pub(crate) fn optimizer(pipeline: &Pipeline) -> Result<(Optimizer, f32), Diagnostic> {
    let configs = pipeline.proto.train_config.as_ref().map(|train| train.optimizer_config.as_slice()).unwrap_or_default();
    let path = "train_config.optimizer_config";
    match configs {
        [] => Err(pipeline.error("train_config", "training needs an `optimizer_config`")),
        [only] => {
            let optimizer =
                Optimizer::from_config(only).map_err(|error| pipeline.error(&format!("{path}[0].{}", error.field), error.message))?;
            Ok((optimizer, only.embedding_learning_rate_multiplier.unwrap_or(1.0)))
        }
        _ => Err(pipeline.error(&format!("{path}[1]"), "several optimizers are not supported yet")),
    }
}

/// A part of a variable with its slots and gradient.
struct UpdateTask<'a> {
    weights: &'a mut [f32],
    slots: Vec<&'a mut [f32]>,
    gradient: Gradient<'a>,
    first_row: u32,
    width: usize,
}

impl UpdateTask<'_> {
    fn run(mut self, optimizer: &Optimizer, rates: &StepRates, factor: f32) {
        let (mut scaled, mut shifted) = (Vec::new(), Vec::new());
        let values = match self.gradient {
            Gradient::Dense(values) | Gradient::Rows { values, .. } => values,
        };
        if factor != 1.0 {
            scaled.resize(values.len(), 0.0);
            scale(&mut scaled, factor, values);
        }
        let values = if factor == 1.0 { values } else { &scaled };
        let gradient = match self.gradient {
            Gradient::Dense(_) => Gradient::Dense(values),
            Gradient::Rows { rows, .. } if self.first_row == 0 => Gradient::Rows { rows, values },
            Gradient::Rows { rows, .. } => {
                shifted.extend(rows.iter().map(|row| row - self.first_row));
                Gradient::Rows { rows: &shifted, values }
            }
        };
        optimizer.update(rates, self.weights, &mut self.slots, gradient, self.width);
    }
}

/// Cuts a variable into tasks of whole rows, at most about [`TASK_ELEMENTS`] elements each.
fn cut<'a>(
    tasks: &mut Vec<UpdateTask<'a>>,
    mut weights: &'a mut [f32],
    mut slots: Vec<&'a mut [f32]>,
    gradient: Gradient<'a>,
    width: usize,
) {
    let rows_each = (TASK_ELEMENTS / width.max(1)).max(1);
    let mut first_row = 0;
    let mut rest = gradient;
    while !weights.is_empty() {
        let length = (rows_each * width).min(weights.len());
        let (part, others) = weights.split_at_mut(length);
        weights = others;
        let mut parts = Vec::with_capacity(slots.len());
        for slot in &mut slots {
            let (part, others) = std::mem::take(slot).split_at_mut(length);
            parts.push(part);
            *slot = others;
        }
        let (own, later) = match rest {
            Gradient::Dense(values) => {
                let (own, later) = values.split_at(length);
                (Gradient::Dense(own), Gradient::Dense(later))
            }
            Gradient::Rows { rows, values } => {
                let end = rows.partition_point(|row| (*row as usize) < first_row + rows_each);
                let ((own, later), (own_values, later_values)) = (rows.split_at(end), values.split_at(end * width));
                (Gradient::Rows { rows: own, values: own_values }, Gradient::Rows { rows: later, values: later_values })
            }
        };
        tasks.push(UpdateTask { weights: part, slots: parts, gradient: own, first_row: first_row as u32, width });
        rest = later;
        first_row += rows_each;
    }
}

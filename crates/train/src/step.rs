//! One training step: forward and backward through the graph, gradients of the tables, clipping, the optimizer, moving statistics.
//!
//! Every sum has a fixed order and every update is elementwise, so the bits do not depend on the number of threads.

use std::sync::Arc;
use std::time::Instant;

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet};
use rankmill_graph::{Executor, OpProfile, Operations, Value, Weights};
use rankmill_kernels::elementwise::scale;
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::{
    BatchFeed, BatchKeys, BlockOutput, FeedPlan, KeyColumn, Model, Output, Parameter, ParameterError, Parameters, Purpose, Task, Training,
};
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::Moment;
use rankmill_nn::optim::clip::{clip_factor, global_norm};
use rankmill_nn::optim::{Gradient, StepRates};

pub use crate::dynamic::DynamicTableReport;
use crate::dynamic::{DynamicTables, State};
use crate::frozen::Frozen;
use crate::optimizers::Optimizers;
pub use crate::tables::IdleRows;
use crate::tables::Tables;
use crate::update::{Moving, cut};

/// The figures of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLosses {
    /// The loss that is minimised.
    pub total: f32,
    /// Its regularisation.
    pub regularization: f32,
    /// The learning rate; of several optimizers that of the last one, as EasyRec tells it.
    pub learning_rate: f32,
}

/// Name, shape and elements of a tensor of the optimizer's state.
pub type StateTensor<'a> = (String, Vec<usize>, &'a [f32]);

/// Time in the parts of a step besides the graph.
#[derive(Clone, Copy, Debug, Default)]
struct PartSeconds {
    catch_up: f64,
    table_gradients: f64,
    update: f64,
}

/// A model in training: its graph, its variables, its optimizer.
pub struct Trainer {
    executor: Executor,
    training: Training,
    losses: Vec<(String, Value)>,
    outputs: Vec<Output>,
    tasks: Vec<Task>,
    feed: FeedPlan,
    key_columns: Vec<KeyColumn>,
    tables: Tables,
    dynamic: DynamicTables,
    group_tensors: Vec<(String, Value)>,
    block_tensors: Vec<(String, Value)>,
    optimizers: Optimizers,
    /// Which of the optimizers trains each variable.
    group_of: Vec<usize>,
    clip_norm: f32,
    seed: u64,
    pool: Arc<Pool>,
    clock: Option<PartSeconds>,
    parameters: Parameters,
    /// The optimizers' state: for each slot, for each variable (empty for those that are not trained).
    slots: Vec<Vec<Vec<f32>>>,
    /// Steps done.
    pub global_step: u64,
}

/// What a tensor of a [`Trainer`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tensor {
    Variable,
    /// One of the optimizer's state.
    State,
}

/// How to train.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrainerOptions {
    /// Seed of initial values and random layers.
    pub seed: u64,
    /// How the factors of products are represented.
    pub precision: Precision,
    /// When rows move that the batch has not.
    pub idle_rows: IdleRows,
    /// Which tensors stay readable after a step.
    pub keep: Keep,
}

/// Which tensors stay readable after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Losses, gradients and the scores of the tasks alone.
    #[default]
    Needed,
    /// All that metrics read of the predictions, too.
    Metrics,
    /// The tensors of feature groups and blocks and all predictions, too.
    Everything,
}

impl Trainer {
    /// Builds the training graph of a config with fresh variables.
    ///
    /// # Errors
    /// What the config asks for and can't be built, with the config line.
    pub fn new(pipeline: &Pipeline, features: &FeatureSet, pool: Arc<Pool>, options: TrainerOptions) -> Result<Trainer, Diagnostics> {
        let TrainerOptions { seed, precision, idle_rows, keep } = options;
        let model = Model::build(pipeline, features, Purpose::Training)?;
        let train_config = pipeline.proto.train_config.clone().unwrap_or_default();
        let optimizers = Optimizers::new(pipeline)?;
        let mut parameters = Parameters::initialise(&model.graph, &model.initializers, seed, &pool);
        let Some(training) = &model.training else {
            return Err(Diagnostics(vec![pipeline.error("model_config", "the model has no loss")]));
        };
        let batch_size = pipeline.proto.data_config.as_ref().map_or(32, |data| data.batch_size()) as usize;
        // Rows wait where all variables have the same Adam.
        let idle_rows = if optimizers.groups.len() == 1 { idle_rows } else { IdleRows::EveryStep };
        let mut training = training.clone();
        Frozen::new(pipeline)?.freeze(&mut parameters, &mut training);
        let tables = Tables::new(&model, &training, &parameters, &optimizers.groups[0].optimizer, idle_rows, batch_size);
        let dynamic = DynamicTables::new(&model, &optimizers, u64::from(train_config.save_checkpoints_steps()));
        let outputs = step_outputs(&model, Some(&training), keep);
        let executor = Executor::new(model.graph, &outputs, batch_size, precision);
        let slots = optimizers.fresh_slots(&parameters, &pool);
        let group_of = parameters.entries.iter().map(|entry| optimizers.group_of(&entry.name)).collect();
        Ok(Trainer {
            executor,
            training,
            losses: model.losses,
            outputs: model.outputs,
            tasks: model.tasks,
            feed: model.feed,
            key_columns: model.key_columns,
            tables,
            dynamic,
            block_tensors: if keep == Keep::Everything { block_tensors(&model.blocks) } else { Vec::new() },
            group_tensors: if keep == Keep::Everything { model.group_tensors } else { Vec::new() },
            optimizers,
            group_of,
            clip_norm: train_config.gradient_clipping_by_norm(),
            seed,
            pool,
            clock: None,
            parameters,
            slots,
            global_step: 0,
        })
    }

    /// The variables.
    pub fn parameters(&mut self) -> &Parameters {
        self.settle();
        &self.parameters
    }

    /// The variables, to be set; all state of the optimizer stays.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        self.settle();
        &mut self.parameters
    }

    /// The variables, and the optimizer's state as named tensors: `<variable>/<slot>`, and what there is once.
    pub fn state(&mut self) -> (&Parameters, Vec<StateTensor<'_>>) {
        self.settle();
        (&self.parameters, self.state_tensors())
    }

    /// Moves the rows that wait: whoever reads a table finds it as if they had moved at every step.
    fn settle(&mut self) {
        self.tables.settle(&mut self.parameters, &mut self.slots, &self.pool);
    }

    fn state_tensors(&self) -> Vec<StateTensor<'_>> {
        let mut tensors = Vec::new();
        for (place, all) in self.slots.iter().enumerate() {
            for (entry, values) in self.parameters.entries.iter().zip(all).filter(|(entry, _)| entry.trainable) {
                let name = self.optimizers.slot_name(place, &entry.name);
                tensors.extend(name.map(|name| (name, entry.shape.clone(), values.as_slice())));
            }
        }
        for (names, group) in self.optimizers.scalar_names().into_iter().zip(&self.optimizers.groups) {
            tensors.extend(names.into_iter().zip(&group.scalars).map(|(name, value)| (name, Vec::new(), std::slice::from_ref(value))));
        }
        tensors
    }

    /// Sets variables and optimizer state from saved tensors.
    ///
    /// # Errors
    /// If one is missing or has another shape.
    pub fn restore(&mut self, saved: &Parameters, state: &[Parameter]) -> Result<(), ParameterError> {
        self.tables.forget();
        let grown = State { parameters: &mut self.parameters, slots: &mut self.slots, tables: &mut self.tables };
        self.dynamic.restore(saved, grown)?;
        for entry in &mut self.parameters.entries {
            let found = saved.entries.iter().find(|other| other.name == entry.name);
            fill(&entry.name, &entry.shape, &mut entry.values, found)?;
        }
        for (place, all) in self.slots.iter_mut().enumerate() {
            for (entry, values) in self.parameters.entries.iter().zip(all).filter(|(entry, _)| entry.trainable) {
                let Some(name) = self.optimizers.slot_name(place, &entry.name) else { continue };
                fill(&name, &entry.shape, values, state.iter().find(|other| other.name == name))?;
            }
        }
        for (names, group) in self.optimizers.scalar_names().into_iter().zip(&mut self.optimizers.groups) {
            for (name, value) in names.iter().zip(&mut group.scalars) {
                fill(name, &[], std::slice::from_mut(value), state.iter().find(|other| other.name == *name))?;
            }
        }
        Ok(())
    }

    /// Offers every variable and every tensor of the optimizer's state to `set`, by name and shape.
    pub(crate) fn set_each(&mut self, mut set: impl FnMut(Tensor, &str, &[usize], &mut [f32])) {
        self.tables.forget();
        for entry in &mut self.parameters.entries {
            set(Tensor::Variable, &entry.name, &entry.shape, &mut entry.values);
        }
        for (place, all) in self.slots.iter_mut().enumerate() {
            for (entry, values) in self.parameters.entries.iter().zip(all).filter(|(entry, _)| entry.trainable) {
                let Some(name) = self.optimizers.slot_name(place, &entry.name) else { continue };
                set(Tensor::State, &name, &entry.shape, values);
            }
        }
        for (names, group) in self.optimizers.scalar_names().into_iter().zip(&mut self.optimizers.groups) {
            for (name, value) in names.iter().zip(&mut group.scalars) {
                set(Tensor::State, name, &[], std::slice::from_mut(value));
            }
        }
    }

    /// Takes the time of every operation from now on.
    pub fn start_profile(&mut self) {
        self.executor.start_profile();
        self.clock = Some(PartSeconds::default());
    }

    /// What the operations of forward and backward pass, and the parts of a step besides them, took since [`Trainer::start_profile`].
    pub fn profile(&self) -> Vec<OpProfile> {
        let mut profile = self.executor.profile();
        if let Some(PartSeconds { catch_up, table_gradients, update }) = self.clock {
            let parts = [("rows of tables catch up", catch_up), ("gradients of tables", table_gradients), ("optimizer", update)];
            profile.extend(parts.map(|(op, seconds)| OpProfile {
                op,
                seconds: seconds * self.pool.threads() as f64,
                ..OpProfile::default()
            }));
        }
        profile
    }

    /// Seed of initial values and random layers.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Goes on with the random numbers of another seed.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// What is learnt.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// Names and capacities of the dynamic tables that have become full, each told once.
    pub fn newly_full_tables(&mut self) -> Vec<(&str, u64)> {
        self.dynamic.newly_full()
    }

    /// What the dynamic tables have come to.
    pub fn dynamic_tables(&self) -> Vec<DynamicTableReport> {
        self.dynamic.reports(&self.parameters)
    }

    /// Trains on a batch.
    pub fn step(&mut self, batch: &FeatureBatch) -> StepLosses {
        self.backward(batch);
        let learning_rate = self.apply().learning_rate;
        StepLosses { learning_rate, ..self.losses() }
    }

    /// The matrix products of a step on a batch and nothing else. Losses and gradients mean nothing then, and no variable changes.
    pub fn products(&mut self, batch: &FeatureBatch) {
        let keys = BatchKeys::new(&self.key_columns, batch);
        let sequences = self.feed.sequences(batch);
        self.executor.select(Operations::Products);
        self.executor.run(&self.parameters.views(), Weights::Changed, &BatchFeed::new(batch, &keys, &sequences, 0).feed(), &self.pool);
        self.executor.select(Operations::All);
    }

    /// Computes losses and gradients of a batch.
    pub fn backward(&mut self, batch: &FeatureBatch) {
        let step_seed = self.seed ^ self.global_step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let growing = State { parameters: &mut self.parameters, slots: &mut self.slots, tables: &mut self.tables };
        let batch = &*self.dynamic.admit(batch, self.global_step, self.seed, growing);
        let keys = BatchKeys::new(&self.key_columns, batch);
        let sequences = self.feed.sequences(batch);
        let feed = BatchFeed::new(batch, &keys, &sequences, step_seed);
        let feed = feed.feed();
        let start = Instant::now();
        self.tables.catch_up(feed.ids, &mut self.parameters, &mut self.slots, &self.pool);
        let caught_up = start.elapsed();
        self.executor.run(&self.parameters.views(), Weights::Changed, &feed, &self.pool);
        let start = Instant::now();
        let multiplier = |parameter: usize| self.optimizers.groups[self.group_of[parameter]].multiplier;
        self.tables.backward(&self.executor, feed.ids, multiplier, &self.parameters, &self.pool);
        if let Some(clock) = &mut self.clock {
            clock.catch_up += caught_up.as_secs_f64();
            clock.table_gradients += start.elapsed().as_secs_f64();
        }
    }

    /// The losses of the last [`Trainer::backward`]; the learning rate is that of the coming step.
    pub fn losses(&self) -> StepLosses {
        let value = |value: Value| self.executor.value(value).scalar();
        StepLosses {
            total: value(self.training.total_loss),
            regularization: self.training.regularization.map_or(0.0, value),
            learning_rate: self.optimizers.groups.last().map_or(0.0, |group| group.optimizer.learning_rate(self.global_step)),
        }
    }

    /// The losses of the labels in the last batch, by EasyRec's names.
    pub fn loss_terms(&self) -> impl Iterator<Item = (&str, f32)> {
        self.losses.iter().map(|(name, value)| (name.as_str(), self.executor.value(*value).scalar()))
    }

    /// The predictions, in the order of [`Trainer::prediction`].
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The values of a prediction in the last batch, if it is the score of a task or [`Keep::Everything`] was asked for.
    pub fn prediction(&self, output: usize) -> Vec<f32> {
        self.executor.value(self.outputs[output].value).to_vec()
    }

    /// The tensors of the feature groups in the last batch, if [`Keep::Everything`] was asked for.
    pub fn group_tensors(&self) -> Vec<(String, Vec<f32>)> {
        self.group_tensors.iter().map(|(name, value)| (name.clone(), self.executor.value(*value).to_vec())).collect()
    }

    /// What the blocks came out as in the last batch, if [`Keep::Everything`] was asked for: `package/block`, and for lists the place in
    /// them, `package/block/0`.
    pub fn block_tensors(&self) -> Vec<(String, Vec<f32>)> {
        self.block_tensors.iter().map(|(name, value)| (name.clone(), self.executor.value(*value).to_vec())).collect()
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
        self.tables.gradient(parameter)
    }

    /// What all gradients are multiplied by (EasyRec behaviour 44).
    fn clip_factor(&self) -> f32 {
        if self.clip_norm <= 0.0 {
            return 1.0;
        }
        let dense = self.training.gradients.dense.iter().filter_map(|(_, value)| self.executor.value(*value).as_slice());
        let gradients: Vec<Gradient<'_>> = dense.map(Gradient::Dense).chain(self.tables.gradients_of_lookups()).collect();
        clip_factor(global_norm(&gradients), self.clip_norm)
    }

    /// Updates the variables by the gradients of the last [`Trainer::backward`]; gives the rates of the first optimizer.
    pub fn apply(&mut self) -> StepRates {
        let start = Instant::now();
        let rates = self.optimizers.begin_step(self.global_step);
        let factor = self.clip_factor();
        let mut entries = std::mem::take(&mut self.parameters.entries);
        let mut slots = std::mem::take(&mut self.slots);
        let mut slots_of: Vec<Vec<&mut [f32]>> = entries.iter().map(|_| Vec::with_capacity(slots.len())).collect();
        for slot in &mut slots {
            for (parts, values) in slots_of.iter_mut().zip(slot).filter(|(_, values)| !values.is_empty()) {
                parts.push(values);
            }
        }
        let mut tasks = Vec::new();
        for (index, (entry, slots)) in entries.iter_mut().zip(slots_of).enumerate() {
            if let Some(gradient) = self.gradient(index).filter(|_| entry.trainable) {
                let width = entry.width();
                let moving = if self.tables.waits(index) { Moving::Touched } else { Moving::All };
                let mut own = Vec::new();
                cut(&mut own, &mut entry.values, slots, gradient, width, moving);
                tasks.extend(own.into_iter().map(|task| (self.group_of[index], task)));
            }
        }
        let groups = &self.optimizers.groups;
        self.pool.for_each(tasks, |(group, task)| task.run(&groups[group].optimizer, &rates[group], factor));
        self.optimizers.end_step();
        let rates = rates[0];
        self.move_statistics(&mut entries);
        self.parameters.entries = entries;
        self.slots = slots;
        self.global_step += 1;
        let forgets = self.dynamic.is_due(self.global_step);
        if self.tables.stepped(&rates) || forgets {
            self.settle();
        }
        if forgets {
            let shrinking = State { parameters: &mut self.parameters, slots: &mut self.slots, tables: &mut self.tables };
            self.dynamic.forget(self.global_step, shrinking);
        }
        if let Some(clock) = &mut self.clock {
            clock.update += start.elapsed().as_secs_f64();
        }
        rates
    }

    /// Moves the moving statistics towards the batch's. Where a batch norm ran several times, in a package that was called again, each run
    /// starts from the value before the step (EasyRec behaviour 113).
    fn move_statistics(&self, entries: &mut [Parameter]) {
        let updates = &self.training.updates;
        for (i, first) in updates.iter().enumerate() {
            if updates[..i].iter().any(|earlier| earlier.parameter == first.parameter) {
                continue;
            }
            let moving = &mut entries[first.parameter].values;
            let runs = updates[i..].iter().filter(|update| update.parameter == first.parameter);
            let before = (runs.clone().count() > 1).then(|| moving.clone());
            for update in runs {
                let moments = self.executor.value(update.moments).row(0);
                let batch = match update.moment {
                    Moment::Mean => &moments[..moving.len()],
                    Moment::Variance => &moments[moving.len()..],
                };
                let share = 1.0 - update.momentum;
                for (j, moving) in moving.iter_mut().enumerate() {
                    let from = before.as_ref().map_or(*moving, |before| before[j]);
                    *moving -= (from - batch[j]) * share;
                }
            }
        }
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

/// The tensors of all blocks by name.
fn block_tensors(blocks: &[BlockOutput]) -> Vec<(String, Value)> {
    fn named(out: &mut Vec<(String, Value)>, name: String, tensors: &Tensors) {
        match tensors {
            Tensors::One(value) => out.push((name, *value)),
            Tensors::List(parts) | Tensors::Tuple(parts) => {
                parts.iter().enumerate().for_each(|(i, part)| named(out, format!("{name}/{i}"), part));
            }
        }
    }
    let mut out = Vec::new();
    blocks.iter().for_each(|block| named(&mut out, format!("{}/{}", block.package, block.name), &block.output));
    out
}

/// The tensors of a training graph that a step reads after the run.
pub(crate) fn step_outputs(model: &Model, training: Option<&Training>, keep: Keep) -> Vec<Value> {
    let mut outputs = match keep {
        Keep::Everything => model.output_values(),
        Keep::Needed => model.tasks.iter().filter_map(|task| task.score).map(|score| model.outputs[score].value).collect(),
        Keep::Metrics => {
            let read = model.tasks.iter().flat_map(|task| [task.score, task.value, task.logits]).flatten();
            read.map(|output| model.outputs[output].value).collect()
        }
    };
    outputs.extend(model.losses.iter().map(|(_, value)| *value));
    if let Some(training) = training {
        outputs.push(training.total_loss);
        outputs.extend(training.regularization);
        outputs.extend(training.gradients.dense.iter().map(|(_, value)| *value));
        outputs.extend(training.gradients.tables.iter().map(|table| table.upstream));
        outputs.extend(training.updates.iter().map(|update| update.moments));
    }
    if keep == Keep::Everything {
        outputs.extend(model.group_tensors.iter().map(|(_, value)| *value));
        outputs.extend(model.blocks.iter().flat_map(|block| block.output.values()));
    }
    outputs
}

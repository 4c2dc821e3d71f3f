//! Optimizers: what one step does to the weights and to the state that the optimizer keeps beside them.
//!
//! One file per optimizer, each with its formula. The float32 operation order is that of TensorFlow's CPU kernels, which
//! differ in places between dense gradients and gradients of a few table rows (EasyRec behaviours 38 to 43):
//!
//! | config | dense gradient | rows of a table | slots | scalars |
//! |---|---|---|---|---|
//! | `adam_optimizer` | [`adam`] | every row of the table moves | `Adam` = m, `Adam_1` = v | `beta1_power`, `beta2_power` |
//! | `lazy_adam_optimizer` | as Adam | the batch's rows only ([`lazy_adam`]) | as Adam | as Adam |
//! | `adamw_optimizer` | [`weight_decay`], then Adam | decay of the batch's rows, then Adam | `AdamW`, `AdamW_1` | as Adam |
//! | `momentum_optimizer` | [`momentum`] | the batch's rows only | `Momentum` | |
//! | `momentumw_optimizer` | [`weight_decay`], then momentum | the batch's rows only | `MomentumW` | |
//! | `adagrad_optimizer` | [`adagrad`] | the batch's rows only | `Adagrad` | |
//! | `ftrl_optimizer` | [`ftrl`] | the batch's rows only | `Ftrl` = n, `Ftrl_1` = z | |
//! | `rms_prop_optimizer` | [`rmsprop`] | the batch's rows only | `RMSProp` = ms, `RMSProp_1` = mom | |
//!
//! A step is [`Optimizer::begin_step`], any number of [`Optimizer::update`]s in any order and cut, [`Optimizer::end_step`].
//! Updates are element by element, so a dense parameter may be cut anywhere and a table between rows: the bits are the same.

pub mod adagrad;
pub mod adam;
pub mod clip;
pub mod ftrl;
pub mod idle;
pub mod lazy_adam;
pub mod momentum;
pub mod rmsprop;
mod rows;
pub mod weight_decay;

use rankmill_config::proto;
use rankmill_config::proto::optimizer::Optimizer as Kind;

use crate::schedule::{Schedule, ScheduleError};
use adagrad::Adagrad;
use adam::Adam;
use ftrl::Ftrl;
use momentum::Momentum;
use rmsprop::RmsProp;

/// Gradient of one parameter, or of a range of it.
#[derive(Clone, Copy, Debug)]
pub enum Gradient<'a> {
    /// One value per weight.
    Dense(&'a [f32]),
    /// Some rows of a table.
    Rows {
        /// Row numbers, strictly ascending, relative to the first row of the weights passed.
        rows: &'a [u32],
        /// `rows.len()` times the width of a row.
        values: &'a [f32],
    },
}

/// State kept per weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// Last part of the variable's name: slot `Adam` of `output/kernel` is `output/kernel/Adam`.
    pub suffix: &'static str,
    /// Value before the first step.
    pub initial: f32,
}

/// The rates of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRates {
    /// The schedule's learning rate: what is logged.
    pub learning_rate: f32,
    /// The factor of the update: with Adam the bias-corrected rate, otherwise the learning rate.
    pub effective: f32,
}

/// A configuration that makes no optimizer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct OptimizerError {
    /// Path of the field below the `optimizer_config` entry, such as `adam_optimizer.learning_rate`.
    pub field: String,
    /// What is wrong and what is expected.
    pub message: String,
}

/// An optimizer with its learning-rate schedule. It holds settings only; all state is the caller's.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    schedule: Schedule,
    slots: Vec<Slot>,
    weight_decay: Option<f32>,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Adam(Adam),
    LazyAdam(Adam),
    Momentum(Momentum),
    Adagrad(Adagrad),
    Ftrl(Ftrl),
    RmsProp(RmsProp),
}

impl Optimizer {
    /// Reads one `optimizer_config` entry.
    ///
    /// `embedding_learning_rate_multiplier` is not part of the rule: it multiplies gradients (EasyRec behaviour 45) before
    /// they are clipped and come here.
    ///
    /// # Errors
    /// When no optimizer is set, the learning rate makes no schedule, a number is out of range, or the entry asks for what
    /// EasyRec itself cannot do on TensorFlow 2 (`adam_async_optimizer`, `adam_asyncw_optimizer`, `use_moving_average`:
    /// EasyRec behaviour 42).
    pub fn from_config(config: &proto::Optimizer) -> Result<Optimizer, OptimizerError> {
        if config.use_moving_average() {
            return Err(error(
                "use_moving_average",
                "needs tf.contrib, which TensorFlow 2 does not have, so EasyRec stops here too; remove the line",
            ));
        }
        let Some(kind) = &config.optimizer else {
            return Err(error(
                "optimizer",
                "no optimizer is set; expected adam_optimizer, lazy_adam_optimizer, adamw_optimizer, momentum_optimizer, \
                 momentumw_optimizer, adagrad_optimizer, ftrl_optimizer or rms_prop_optimizer",
            ));
        };
        match kind {
            Kind::AdamOptimizer(config) => {
                let adam = adam_rule("adam_optimizer", config.beta1(), config.beta2())?;
                build("adam_optimizer", &config.learning_rate, None, adam::slots("Adam", "Adam_1"), Rule::Adam(adam))
            }
            Kind::LazyAdamOptimizer(config) => {
                let adam = adam_rule("lazy_adam_optimizer", config.beta1(), config.beta2())?;
                let slots = adam::slots("Adam", "Adam_1");
                build("lazy_adam_optimizer", &config.learning_rate, None, slots, Rule::LazyAdam(adam))
            }
            Kind::AdamwOptimizer(config) => {
                let adam = adam_rule("adamw_optimizer", config.beta1(), config.beta2())?;
                let slots = adam::slots("AdamW", "AdamW_1");
                let decay = Some(config.weight_decay());
                build("adamw_optimizer", &config.learning_rate, decay, slots, Rule::Adam(adam))
            }
            Kind::MomentumOptimizer(config) => {
                let momentum = Momentum { momentum: config.momentum_optimizer_value() };
                let slots = momentum::slots("Momentum");
                build("momentum_optimizer", &config.learning_rate, None, slots, Rule::Momentum(momentum))
            }
            Kind::MomentumwOptimizer(config) => {
                let momentum = Momentum { momentum: config.momentum_optimizer_value() };
                let slots = momentum::slots("MomentumW");
                let decay = Some(config.weight_decay());
                build("momentumw_optimizer", &config.learning_rate, decay, slots, Rule::Momentum(momentum))
            }
            Kind::AdagradOptimizer(config) => {
                let initial = config.initial_accumulator_value();
                positive("adagrad_optimizer.initial_accumulator_value", initial)?;
                let slots = adagrad::slots(initial);
                build("adagrad_optimizer", &config.learning_rate, None, slots, Rule::Adagrad(Adagrad))
            }
            Kind::FtrlOptimizer(config) => {
                let ftrl = ftrl_rule(config)?;
                let slots = ftrl::slots(config.initial_accumulator_value());
                build("ftrl_optimizer", &config.learning_rate, None, slots, Rule::Ftrl(ftrl))
            }
            Kind::RmsPropOptimizer(config) => {
                let rule = RmsProp { decay: config.decay(), momentum: config.momentum_optimizer_value(), epsilon: config.epsilon() };
                build("rms_prop_optimizer", &config.learning_rate, None, rmsprop::slots(), Rule::RmsProp(rule))
            }
            Kind::AdamAsyncOptimizer(_) => Err(error("adam_async_optimizer", &absent("adam_optimizer"))),
            Kind::AdamAsyncwOptimizer(_) => Err(error("adam_asyncw_optimizer", &absent("adamw_optimizer"))),
        }
    }

    /// The state kept per weight, in the order in which [`Optimizer::update`] takes it.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// State kept once, with its names and values before the first step. It belongs in a checkpoint.
    pub fn scalars(&self) -> Vec<(&'static str, f32)> {
        match &self.rule {
            Rule::Adam(adam) | Rule::LazyAdam(adam) => vec![("beta1_power", adam.beta1), ("beta2_power", adam.beta2)],
            Rule::Momentum(_) | Rule::Adagrad(_) | Rule::Ftrl(_) | Rule::RmsProp(_) => Vec::new(),
        }
    }

    /// The learning rate of the step that begins when `global_step` steps are done.
    pub fn learning_rate(&self, global_step: u64) -> f32 {
        self.schedule.rate(global_step)
    }

    /// The rates of the step that begins when `global_step` steps are done.
    ///
    /// # Panics
    /// When `scalars` has not the length of [`Optimizer::scalars`].
    pub fn begin_step(&self, scalars: &[f32], global_step: u64) -> StepRates {
        let learning_rate = self.schedule.rate(global_step);
        let effective = match (&self.rule, scalars) {
            (Rule::Adam(_) | Rule::LazyAdam(_), [beta1_power, beta2_power]) => {
                adam::corrected_rate(learning_rate, *beta1_power, *beta2_power)
            }
            (Rule::Momentum(_) | Rule::Adagrad(_) | Rule::Ftrl(_) | Rule::RmsProp(_), []) => learning_rate,
            _ => panic!("the optimizer has {} scalars, {} were passed", self.scalars().len(), scalars.len()),
        };
        StepRates { learning_rate, effective }
    }

    /// Applies a gradient to weights and slots of equal length: a whole parameter, any range of a dense one, or any range of
    /// rows of a table (`width` values a row, row numbers relative to the range).
    ///
    /// A range of a table must be passed even when none of its rows has a gradient: Adam moves them all.
    ///
    /// # Panics
    /// When the number of slots, a length, or the rows (not strictly ascending, or outside the weights) are wrong.
    pub fn update(&self, rates: &StepRates, weights: &mut [f32], slots: &mut [&mut [f32]], gradient: Gradient<'_>, width: usize) {
        check_lengths(weights, slots, &gradient, width);
        if let Some(decay) = self.weight_decay {
            weight_decay::apply(decay, weights, &gradient, width);
        }
        let rate = rates.effective;
        match (&self.rule, slots) {
            (Rule::Adam(rule), [m, v]) => rule.update(rate, weights, m, v, gradient, width),
            (Rule::LazyAdam(rule), [m, v]) => lazy_adam::update(rule, rate, weights, m, v, gradient, width),
            (Rule::Momentum(rule), [accumulator]) => rule.update(rate, weights, accumulator, gradient, width),
            (Rule::Adagrad(rule), [accumulator]) => rule.update(rate, weights, accumulator, gradient, width),
            (Rule::Ftrl(rule), [accumulator, linear]) => rule.update(rate, weights, accumulator, linear, gradient, width),
            (Rule::RmsProp(rule), [square, momentum]) => rule.update(rate, weights, square, momentum, gradient, width),
            (_, slots) => panic!("the optimizer has {} slots, {} were passed", self.slots.len(), slots.len()),
        }
    }

    /// As [`Optimizer::update`] for some rows of a table, but leaves all other rows where they are, even where the optimizer would move
    /// them: [`idle::IdleSteps`] makes up for that.
    ///
    /// # Panics
    /// As there.
    pub fn update_rows(
        &self,
        rates: &StepRates,
        weights: &mut [f32],
        slots: &mut [&mut [f32]],
        rows: &[u32],
        values: &[f32],
        width: usize,
    ) {
        let gradient = Gradient::Rows { rows, values };
        match (&self.rule, slots) {
            (Rule::Adam(rule), slots @ [_, _]) => {
                check_lengths(weights, slots, &gradient, width);
                if let Some(decay) = self.weight_decay {
                    weight_decay::apply(decay, weights, &gradient, width);
                }
                let [m, v] = slots else { unreachable!("matched above") };
                lazy_adam::update(rule, rates.effective, weights, m, v, gradient, width);
            }
            (_, slots) => self.update(rates, weights, slots, gradient, width),
        }
    }

    /// Advances the scalars after all updates of a step.
    ///
    /// # Panics
    /// When `scalars` has not the length of [`Optimizer::scalars`].
    pub fn end_step(&self, scalars: &mut [f32]) {
        match (&self.rule, scalars) {
            (Rule::Adam(adam) | Rule::LazyAdam(adam), [beta1_power, beta2_power]) => {
                *beta1_power *= adam.beta1;
                *beta2_power *= adam.beta2;
            }
            (Rule::Momentum(_) | Rule::Adagrad(_) | Rule::Ftrl(_) | Rule::RmsProp(_), []) => {}
            (_, scalars) => panic!("the optimizer has {} scalars, {} were passed", self.scalars().len(), scalars.len()),
        }
    }
}

fn build(
    field: &str,
    learning_rate: &Option<proto::LearningRate>,
    weight_decay: Option<f32>,
    slots: Vec<Slot>,
    rule: Rule,
) -> Result<Optimizer, OptimizerError> {
    let schedule = Schedule::from_config(learning_rate.as_ref().unwrap_or(&proto::LearningRate::default()))
        .map_err(|ScheduleError { field: inner, message }| OptimizerError { field: format!("{field}.{inner}"), message })?;
    Ok(Optimizer { schedule, slots, weight_decay, rule })
}

fn adam_rule(field: &str, beta1: f32, beta2: f32) -> Result<Adam, OptimizerError> {
    for (name, beta) in [("beta1", beta1), ("beta2", beta2)] {
        // At 1 the bias correction divides zero by zero.
        if !(0.0..1.0).contains(&beta) {
            return Err(error(&format!("{field}.{name}"), &format!("is {beta}; expected at least 0 and less than 1")));
        }
    }
    Ok(Adam { beta1, beta2 })
}

fn ftrl_rule(config: &proto::FtrlOptimizer) -> Result<Ftrl, OptimizerError> {
    positive("ftrl_optimizer.initial_accumulator_value", config.initial_accumulator_value())?;
    let at_least_zero = [("l1_reg", config.l1_reg()), ("l2_reg", config.l2_reg()), ("l2_shrinkage_reg", config.l2_shrinkage_reg())];
    for (name, value) in at_least_zero {
        if value.is_nan() || value < 0.0 {
            return Err(error(&format!("ftrl_optimizer.{name}"), &format!("is {value}; expected at least 0")));
        }
    }
    let power = config.learning_rate_power();
    if power.is_nan() || power > 0.0 {
        return Err(error("ftrl_optimizer.learning_rate_power", &format!("is {power}; expected at most 0")));
    }
    Ok(Ftrl { power, l1: config.l1_reg(), l2: config.l2_reg(), l2_shrinkage: config.l2_shrinkage_reg() })
}

fn positive(field: &str, value: f32) -> Result<(), OptimizerError> {
    if value > 0.0 {
        return Ok(());
    }
    Err(error(field, &format!("is {value}; expected more than 0")))
}

fn absent(instead: &str) -> String {
    format!("does not exist in plain TensorFlow 2, so EasyRec stops here too; use {instead}")
}

fn error(field: &str, message: &str) -> OptimizerError {
    OptimizerError { field: field.to_owned(), message: message.to_owned() }
}

fn check_lengths(weights: &[f32], slots: &[&mut [f32]], gradient: &Gradient<'_>, width: usize) {
    for slot in slots {
        assert_eq!(slot.len(), weights.len(), "length of a slot");
    }
    match gradient {
        Gradient::Dense(values) => assert_eq!(values.len(), weights.len(), "length of a dense gradient"),
        Gradient::Rows { rows, values } => {
            assert!(width > 0 && weights.len().is_multiple_of(width), "{} weights in rows of {width}", weights.len());
            assert_eq!(values.len(), rows.len() * width, "length of the gradient of {} rows", rows.len());
            assert!(rows.is_sorted_by(|a, b| a < b), "rows must be strictly ascending");
            let table_rows = weights.len() / width;
            assert!(rows.last().is_none_or(|&row| (row as usize) < table_rows), "a row beyond the {table_rows} rows");
        }
    }
}

//! Learning-rate schedules (EasyRec behaviour 43), in the float32 arithmetic and operation order of TensorFlow's graph.
//!
//! With t the global step before the increment (the first step is t = 0), b the base rate:
//! ```text
//! constant     b
//! exponential  max(b·f^(floor?)((t - burnin)/decay_steps), minimum); for t < burnin a line from the burn-in rate to b
//!              (a burn-in rate of 0: constant b)
//! manual_step  the rate of the last boundary ≤ t; with warmup a line from the initial rate to the first boundary's
//! cosine       b/2·(1 + cos(π·(t - warmup - hold)/(total - warmup - hold))); before it a line from the warm-up rate, then b
//!              for `hold` steps; 0 for t > total
//! poly         (b - end)·(1 - min(t, total)/total)^power + end
//! transformer  b·hidden^-½·min((s·t + 1)·(s·warmup)^-1.5, (s·t + 1)^-½)          s = step_scaling_rate
//! ```
//! What TensorFlow computes once in Python, in double precision over the config's float32 values (slopes, warm-up lines of
//! manual_step, hidden^-½), is computed in f64 here and rounded at the same place. TensorFlow's graph optimizer turns a division
//! by a constant into a multiplication with its rounded reciprocal, moves π into that constant, and replaces powers such as 2
//! and -½; so do the curves below, and all measured rates are met to the last bit. One visible effect: floor(t·(1/decay_steps))
//! can reach its next integer a step late (first for decay_steps 41).
//!
//! Where EasyRec divides by zero: a burn-in rate with `burnin_steps: 0` never applies, and a cosine of length 0 stays at the
//! base rate until `total_steps`.

use std::f32::consts::PI;

use rankmill_config::proto;
use rankmill_config::proto::learning_rate::LearningRate as Kind;

/// A learning rate as a function of the global step.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    curve: Curve,
}

/// What is wrong with a `learning_rate` message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ScheduleError {
    /// Path of the field, beginning with `learning_rate`.
    pub field: String,
    /// What is wrong and what is expected.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Curve {
    Constant(f32),
    Exponential(Exponential),
    /// (first step, rate), the first step of the first entry being 0. `warmup` covers the steps before the second entry.
    ManualStep {
        rates: Vec<(u64, f32)>,
        warmup: Option<Warmup>,
    },
    Cosine(Cosine),
    Polynomial {
        base: f32,
        end: f32,
        total_steps: f32,
        exponent: f32,
    },
    Transformer {
        base: f32,
        factor: f32,
        warmup_power: f32,
        step_scaling: f32,
    },
}

#[derive(Clone, Debug, PartialEq)]
struct Exponential {
    base: f32,
    decays_per_step: f32,
    decay_factor: f32,
    staircase: bool,
    minimum: f32,
    burnin_steps: u64,
    /// Intercept and slope; `None` keeps the base rate.
    burnin: Option<(f32, f32)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Cosine {
    base: f32,
    half_base: f32,
    warmup_rate: f32,
    warmup_slope: f32,
    warmup_steps: u64,
    hold_steps: u64,
    total_steps: u64,
    radians_per_step: f32,
}

/// A line whose points are computed in double precision.
#[derive(Clone, Debug, PartialEq)]
struct Warmup {
    start: f64,
    slope: f64,
    steps: u64,
}

impl Schedule {
    /// Reads a `learning_rate` message.
    ///
    /// # Errors
    /// When no member is set or a member's values make no schedule; the error names the field.
    pub fn from_config(config: &proto::LearningRate) -> Result<Schedule, ScheduleError> {
        let Some(kind) = &config.learning_rate else {
            return Err(error(
                "",
                "no learning rate is set; expected constant_learning_rate, exponential_decay_learning_rate, \
                 manual_step_learning_rate, cosine_decay_learning_rate, poly_decay_learning_rate or transformer_learning_rate",
            ));
        };
        let curve = match kind {
            Kind::ConstantLearningRate(config) => Curve::Constant(config.learning_rate()),
            Kind::ExponentialDecayLearningRate(config) => exponential(config)?,
            Kind::ManualStepLearningRate(config) => manual_step(config)?,
            Kind::CosineDecayLearningRate(config) => cosine(config)?,
            Kind::PolyDecayLearningRate(config) => polynomial(config)?,
            Kind::TransformerLearningRate(config) => transformer(config)?,
        };
        Ok(Schedule { curve })
    }

    /// A schedule that never changes.
    pub fn constant(rate: f32) -> Schedule {
        Schedule { curve: Curve::Constant(rate) }
    }

    /// The rate of the step that begins when `global_step` steps are done.
    pub fn rate(&self, global_step: u64) -> f32 {
        match &self.curve {
            Curve::Constant(rate) => *rate,
            Curve::Exponential(curve) => curve.rate(global_step),
            Curve::ManualStep { rates, warmup } => match warmup {
                Some(line) if global_step < line.steps => (line.start + line.slope * global_step as f64) as f32,
                _ => {
                    let reached = rates.partition_point(|(first_step, _)| *first_step <= global_step);
                    // The first entry begins at step 0, so at least one is always reached.
                    rates[reached.max(1) - 1].1
                }
            },
            Curve::Cosine(curve) => curve.rate(global_step),
            Curve::Polynomial { base, end, total_steps, exponent } => {
                let progress = (global_step as f32).min(*total_steps) * (1.0 / total_steps);
                (base - end) * power(1.0 - progress, *exponent) + end
            }
            Curve::Transformer { base, factor, warmup_power, step_scaling } => {
                let step = global_step as f32 * step_scaling + 1.0;
                factor * (step * warmup_power).min(power(step, -0.5)) * base
            }
        }
    }
}

impl Exponential {
    fn rate(&self, global_step: u64) -> f32 {
        let rate = if global_step < self.burnin_steps {
            self.burnin.map_or(self.base, |(start, slope)| slope * global_step as f32 + start)
        } else {
            let periods = (global_step - self.burnin_steps) as f32 * self.decays_per_step;
            let periods = if self.staircase { periods.floor() } else { periods };
            self.base * self.decay_factor.powf(periods)
        };
        rate.max(self.minimum)
    }
}

impl Cosine {
    fn rate(&self, global_step: u64) -> f32 {
        if global_step > self.total_steps {
            return 0.0;
        }
        let step = global_step as f32;
        if global_step < self.warmup_steps {
            return self.warmup_slope * step + self.warmup_rate;
        }
        let held = self.hold_steps > 0 && global_step <= self.warmup_steps + self.hold_steps;
        if held || self.radians_per_step.is_infinite() {
            return self.base;
        }
        let angle = (step - self.warmup_steps as f32 - self.hold_steps as f32) * self.radians_per_step;
        self.half_base * (1.0 + angle.cos())
    }
}

fn exponential(config: &proto::ExponentialDecayLearningRate) -> Result<Curve, ScheduleError> {
    if config.decay_steps() == 0 {
        return Err(error("exponential_decay_learning_rate.decay_steps", "is 0; expected at least 1"));
    }
    let base = config.initial_learning_rate();
    let start = config.burnin_learning_rate();
    let burnin_steps = config.burnin_steps();
    let slope = (f64::from(base) - f64::from(start)) / f64::from(burnin_steps.max(1));
    Ok(Curve::Exponential(Exponential {
        base,
        decays_per_step: 1.0 / config.decay_steps() as f32,
        decay_factor: config.decay_factor(),
        staircase: config.staircase(),
        minimum: config.min_learning_rate(),
        burnin_steps: u64::from(burnin_steps),
        burnin: (start != 0.0).then_some((start, slope as f32)),
    }))
}

fn manual_step(config: &proto::ManualStepLearningRate) -> Result<Curve, ScheduleError> {
    let mut rates = vec![(0, config.initial_learning_rate())];
    for (position, entry) in config.schedule.iter().enumerate() {
        let step = u64::from(entry.step());
        let (previous, _) = rates[position];
        if step <= previous {
            let expected = if position == 0 { "at least 1".to_owned() } else { format!("more than the {previous} before it") };
            return Err(error(&format!("manual_step_learning_rate.schedule[{position}].step"), &format!("is {step}; expected {expected}")));
        }
        rates.push((step, entry.learning_rate()));
    }
    let [(_, start), (steps, target), ..] = rates[..] else {
        return Err(error("manual_step_learning_rate.schedule", "is empty; expected at least one step and rate"));
    };
    let warmup = config.warmup().then(|| {
        let start = f64::from(start);
        Warmup { start, slope: (f64::from(target) - start) / steps as f64, steps }
    });
    Ok(Curve::ManualStep { rates, warmup })
}

fn cosine(config: &proto::CosineDecayLearningRate) -> Result<Curve, ScheduleError> {
    let (base, warmup_rate) = (config.learning_rate_base(), config.warmup_learning_rate());
    let (total, warmup, hold) = (config.total_steps(), config.warmup_steps(), config.hold_base_rate_steps());
    if base < warmup_rate {
        return Err(error(
            "cosine_decay_learning_rate.warmup_learning_rate",
            &format!("is {warmup_rate}; expected at most learning_rate_base, {base}"),
        ));
    }
    if total < warmup {
        return Err(error("cosine_decay_learning_rate.total_steps", &format!("is {total}; expected at least warmup_steps, {warmup}")));
    }
    let slope = (f64::from(base) - f64::from(warmup_rate)) / f64::from(warmup.max(1));
    let length = (i64::from(total) - i64::from(warmup) - i64::from(hold)) as f32;
    Ok(Curve::Cosine(Cosine {
        base,
        half_base: (0.5 * f64::from(base)) as f32,
        warmup_rate,
        warmup_slope: slope as f32,
        warmup_steps: u64::from(warmup),
        hold_steps: u64::from(hold),
        total_steps: u64::from(total),
        radians_per_step: PI * (1.0 / length),
    }))
}

fn polynomial(config: &proto::PolyDecayLearningRate) -> Result<Curve, ScheduleError> {
    let total_steps = config.total_steps();
    if total_steps <= 0 {
        return Err(error("poly_decay_learning_rate.total_steps", &format!("is {total_steps}; expected at least 1")));
    }
    Ok(Curve::Polynomial {
        base: config.learning_rate_base(),
        end: config.end_learning_rate(),
        total_steps: total_steps as f32,
        exponent: config.power(),
    })
}

fn transformer(config: &proto::TransformerLearningRate) -> Result<Curve, ScheduleError> {
    let (hidden_size, warmup_steps) = (config.hidden_size(), config.warmup_steps());
    if hidden_size <= 0 {
        return Err(error("transformer_learning_rate.hidden_size", &format!("is {hidden_size}; expected at least 1")));
    }
    if warmup_steps < 0 {
        return Err(error("transformer_learning_rate.warmup_steps", &format!("is {warmup_steps}; expected at least 0")));
    }
    let step_scaling = config.step_scaling_rate();
    Ok(Curve::Transformer {
        base: config.learning_rate_base(),
        factor: f64::from(hidden_size).powf(-0.5) as f32,
        warmup_power: (warmup_steps as f32 * step_scaling).powf(-1.5),
        step_scaling,
    })
}

/// A power with a constant exponent, by the cheaper operations that TensorFlow's graph optimizer puts in its place.
fn power(base: f32, exponent: f32) -> f32 {
    if exponent == 2.0 {
        base * base
    } else if exponent == 3.0 {
        base * (base * base)
    } else if exponent == 0.5 {
        base.sqrt()
    } else if exponent == -0.5 {
        1.0 / base.sqrt()
    } else {
        base.powf(exponent)
    }
}

fn error(field: &str, message: &str) -> ScheduleError {
    let separator = if field.is_empty() { "" } else { "." };
    ScheduleError { field: format!("learning_rate{separator}{field}"), message: message.to_owned() }
}

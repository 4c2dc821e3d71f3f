//! Two models over the same rows: the figures of both with confidence intervals, and whether they differ by more than chance.
//!
//! | figure | interval and test |
//! |---|---|
//! | `auc_exact` | normal, with DeLong's variance and covariance (see `delong.rs`) |
//! | `gauc` | bootstrap by user (see `bootstrap.rs`) |
//! | `log_loss`, `mean_squared_error` | normal, with the variance of the rows' losses and of their differences |
//!
//! The difference is that of the second model to the first, both on the same rows: it is far better known than either figure.
//! All tests are two-sided.

mod bootstrap;
mod delong;
mod normal;

use rankmill_kernels::pool::Pool;

use crate::metrics::{Reduction, is_positive};

/// Probabilities are kept so far from 0 and 1, as by the metric `log_loss`.
const CLIP: f64 = 1e-7;

/// How sure intervals are to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Probability with which an interval holds the true figure, between 0 and 1.
    pub confidence: f64,
    /// Times that users are drawn anew.
    pub resamples: u32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { confidence: 0.95, resamples: 2000, seed: 1 }
    }
}

/// A figure with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure over the rows.
    pub value: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Estimate {
    fn normal(value: f64, variance: f64, z: f64, bounds: (f64, f64)) -> Estimate {
        let reach = z * deviation(variance);
        if reach.is_nan() {
            return Estimate { value, low: f64::NAN, high: f64::NAN };
        }
        Estimate { value, low: (value - reach).max(bounds.0), high: (value + reach).min(bounds.1) }
    }
}

/// A figure of two models.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The metric.
    pub name: String,
    /// How intervals and test were made.
    pub method: &'static str,
    /// Of the first model.
    pub a: Estimate,
    /// Of the second model.
    pub b: Estimate,
    /// Second minus first.
    pub difference: Estimate,
    /// How likely a difference at least so large is if the models are equally good; NaN where it can't be told.
    pub p_value: f64,
}

/// Labels and two models' scores of the same rows.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// One label a row.
    pub labels: &'a [f32],
    /// One score a row by each model: a probability, or a value.
    pub scores: [&'a [f32]; 2],
    /// A number for each row's user, and how users are averaged.
    pub users: Option<(&'a [u64], Reduction)>,
}

/// A comparison of two models.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The figures.
    pub figures: Vec<Figure>,
    /// Users that `gauc` is an average over.
    pub users: Option<u64>,
}

/// Compares probabilities of clicks.
///
/// # Panics
/// If columns have different lengths.
#[must_use]
pub fn compare_probabilities(rows: &Rows<'_>, settings: &Settings, pool: &Pool) -> Comparison {
    check(rows);
    let mut figures = vec![auc(rows, settings)];
    let resampled = rows.users.map(|(users, reduction)| bootstrap::gauc(rows.labels, rows.scores, users, reduction, settings, pool));
    let users = resampled.as_ref().map(|resampled| resampled.users);
    figures.extend(resampled.map(|resampled| resampled.figure));
    let entropy = |label: f32, probability: f32| {
        let probability = f64::from(probability).clamp(CLIP, 1.0 - CLIP);
        if is_positive(label) { -probability.ln() } else { -(-probability).ln_1p() }
    };
    figures.push(mean_loss("log_loss", rows, settings, entropy));
    Comparison { figures, users }
}

/// Compares predicted values.
///
/// # Panics
/// If columns have different lengths.
#[must_use]
pub fn compare_values(rows: &Rows<'_>, settings: &Settings) -> Comparison {
    check(rows);
    let square = |label: f32, value: f32| (f64::from(label) - f64::from(value)).powi(2);
    Comparison { figures: vec![mean_loss("mean_squared_error", rows, settings, square)], users: None }
}

fn check(rows: &Rows<'_>) {
    let lengths = rows.scores.iter().map(|scores| scores.len()).chain(rows.users.iter().map(|(users, _)| users.len()));
    assert!(lengths.into_iter().all(|length| length == rows.labels.len()), "every row has a label, two scores and a user");
}

fn auc(rows: &Rows<'_>, settings: &Settings) -> Figure {
    let delong::Aucs { values, variances: [a, b, covariance] } = delong::aucs(rows.labels, rows.scores);
    let z = normal::quantile(settings.confidence);
    let variance = a + b - 2.0 * covariance;
    Figure {
        name: "auc_exact".to_owned(),
        method: "DeLong",
        a: Estimate::normal(values[0], a, z, (0.0, 1.0)),
        b: Estimate::normal(values[1], b, z, (0.0, 1.0)),
        difference: Estimate::normal(values[1] - values[0], variance, z, (-1.0, 1.0)),
        p_value: p_value(values[1] - values[0], variance),
    }
}

/// The mean of a loss of rows.
fn mean_loss(name: &str, rows: &Rows<'_>, settings: &Settings, loss: impl Fn(f32, f32) -> f64) -> Figure {
    let of = |scores: &[f32]| -> Vec<f64> { rows.labels.iter().zip(scores).map(|(label, score)| loss(*label, *score)).collect() };
    let [a, b] = rows.scores.map(of);
    let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
    let z = normal::quantile(settings.confidence);
    let estimate = |values: &[f64], least: f64| {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let variance = squares / (count - 1.0) / count;
        (Estimate::normal(mean, variance, z, (least, f64::INFINITY)), p_value(mean, variance))
    };
    let (difference, p_value) = estimate(&differences, f64::NEG_INFINITY);
    Figure { name: name.to_owned(), method: "paired", a: estimate(&a, 0.0).0, b: estimate(&b, 0.0).0, difference, p_value }
}

/// The p-value of a difference with a normal error; equal figures of equal scores differ by chance alone.
fn p_value(difference: f64, variance: f64) -> f64 {
    if difference == 0.0 { 1.0 } else { normal::two_sided(difference / deviation(variance)) }
}

/// The root of a variance that rounding may have taken below 0; NaN where there is none.
fn deviation(variance: f64) -> f64 {
    if variance < 0.0 { 0.0 } else { variance.sqrt() }
}

#[cfg(test)]
mod tests;

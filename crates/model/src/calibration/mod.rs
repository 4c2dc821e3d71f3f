//! Calibration: from a model's probabilities to ones that are right on average, learned from rows that it was not trained on.
//!
//! A bundle may have a `calibration.json`, which `rankmill calibrate` writes. Each of its curves then gives an output of its own beside
//! the probability that it reads: `calibrated_probs` beside `probs`. No output of the model changes.

mod isotonic;
mod platt;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bundle::{BundleError, write_file};
use crate::model::Output;

/// The calibration of a bundle.
pub const CALIBRATION_FILE: &str = "calibration.json";
const FORMAT: u32 = 1;
/// Before the name of the probability.
const PREFIX: &str = "calibrated_";
/// Bins of equal width of the calibration error (Guo et al. 2017, arXiv 1706.04599, section 2).
const BINS: usize = 15;

/// A probability, whether it came true, and how much the row counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// What the model said.
    pub probability: f32,
    /// 0 or 1, or a share.
    pub label: f32,
    /// Not negative.
    pub weight: f32,
}

/// How a curve is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The rising curve with the least squared error; needs a thousand rows or more.
    Isotonic,
    /// A logistic function of the log odds: two numbers, for few rows.
    Platt,
}

/// From a probability to a calibrated one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "lowercase")]
pub enum Curve {
    /// Straight lines between points, and level beyond them.
    Isotonic {
        /// Probabilities of the model, in ascending order.
        x: Vec<f32>,
        /// What they become.
        y: Vec<f32>,
    },
    /// `1 / (1 + exp(slope · log odds + intercept))`.
    Platt {
        /// Below 0 for a model that ranks rightly.
        slope: f64,
        /// The rest.
        intercept: f64,
    },
}

impl Curve {
    /// Fits a curve; none if no row counts.
    #[must_use]
    pub fn fit(method: Method, samples: &[Sample]) -> Option<Curve> {
        if samples.iter().all(|sample| sample.weight <= 0.0) {
            return None;
        }
        Some(match method {
            Method::Isotonic => isotonic::fit(samples),
            Method::Platt => platt::fit(samples),
        })
    }

    /// The calibrated probability.
    #[must_use]
    pub fn apply(&self, probability: f32) -> f32 {
        match self {
            Curve::Isotonic { x, y } => isotonic::interpolate(x, y, probability),
            Curve::Platt { slope, intercept } => platt::logistic(slope * platt::log_odds(probability) + intercept) as f32,
        }
    }

    fn is_sound(&self) -> bool {
        match self {
            Curve::Isotonic { x, y } => {
                let rises = |numbers: &[f32]| numbers.windows(2).all(|pair| pair[0] <= pair[1]);
                !x.is_empty() && x.len() == y.len() && x.iter().chain(y).all(|number| number.is_finite()) && rises(x) && rises(y)
            }
            Curve::Platt { slope, intercept } => slope.is_finite() && intercept.is_finite(),
        }
    }
}

/// How right probabilities are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Expected calibration error: the mean distance between predicted and actual mean over 15 bins of equal width.
    pub ece: f64,
    /// Mean log loss, probabilities kept 1e-7 away from 0 and 1.
    pub log_loss: f64,
}

impl Quality {
    /// That of `probability` of each sample.
    pub fn of(samples: &[Sample], probability: impl Fn(&Sample) -> f32) -> Quality {
        let mut bins = [(0.0_f64, 0.0_f64, 0.0_f64); BINS];
        let (mut loss, mut total) = (0.0, 0.0);
        for sample in samples {
            let (p, label, weight) = (f64::from(probability(sample)), f64::from(sample.label), f64::from(sample.weight));
            let bin = &mut bins[((p * BINS as f64) as usize).min(BINS - 1)];
            *bin = (bin.0 + weight * p, bin.1 + weight * label, bin.2 + weight);
            let p = p.clamp(platt::LEAST, 1.0 - platt::LEAST);
            loss -= weight * (label * p.ln() + (1.0 - label) * (1.0 - p).ln());
            total += weight;
        }
        let ece = bins.iter().map(|(predicted, actual, _)| (predicted - actual).abs()).sum::<f64>();
        Quality { ece: ece / total, log_loss: loss / total }
    }
}

/// A calibrated probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibratedOutput {
    /// The output that is read: `probs`, `probs_ctr`.
    pub source: String,
    /// How.
    pub curve: Curve,
    /// Rows that it was fitted to.
    pub rows: u64,
    /// Before.
    pub before: Quality,
    /// After, on each half of the rows by the curve of the other half.
    pub after: Quality,
}

impl CalibratedOutput {
    /// Fits the curve of an output and measures it; none if no row counts.
    #[must_use]
    pub fn fit(source: &str, method: Method, samples: &[Sample]) -> Option<CalibratedOutput> {
        let curve = Curve::fit(method, samples)?;
        let half = |rest: usize| -> Vec<Sample> { samples.iter().skip(rest).step_by(2).copied().collect() };
        let halves = [half(0), half(1)];
        let mut judged = Vec::with_capacity(samples.len());
        for (own, other) in [(0, 1), (1, 0)] {
            let other = Curve::fit(method, &halves[other]);
            let calibrate = |sample: &Sample| other.as_ref().unwrap_or(&curve).apply(sample.probability);
            judged.extend(halves[own].iter().map(|sample| Sample { probability: calibrate(sample), ..*sample }));
        }
        let [before, after] = [samples, &judged].map(|samples| Quality::of(samples, |sample| sample.probability));
        Some(CalibratedOutput { source: source.to_owned(), curve, rows: samples.len() as u64, before, after })
    }

    /// The name of the calibrated probability.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{PREFIX}{}", self.source)
    }
}

/// All calibrated probabilities of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    format: u32,
    /// One for each probability.
    pub outputs: Vec<CalibratedOutput>,
}

impl Calibration {
    /// The calibration of these outputs.
    #[must_use]
    pub fn new(outputs: Vec<CalibratedOutput>) -> Calibration {
        Calibration { format: FORMAT, outputs }
    }

    /// Writes it into a bundle's directory, in place of the one that is there.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn write(&self, bundle: &Path) -> Result<(), BundleError> {
        let (file, aside) = (bundle.join(CALIBRATION_FILE), bundle.join(format!(".{CALIBRATION_FILE}.new")));
        let text = serde_json::to_string_pretty(self).map_err(|error| BundleError::damaged(&file, error))?;
        write_file(&aside, text.as_bytes())?;
        std::fs::rename(&aside, &file).map_err(BundleError::io(&file))
    }

    /// Reads what [`Calibration::write`] wrote, for a model with these outputs; `file` is for messages.
    pub(crate) fn read(text: &str, file: &Path, outputs: &[Output]) -> Result<Calibration, BundleError> {
        let calibration: Calibration = serde_json::from_str(text).map_err(|error| BundleError::damaged(file, error))?;
        if calibration.format != FORMAT {
            return Err(BundleError::damaged(file, format!("format {}; this version reads {FORMAT}", calibration.format)));
        }
        for output in &calibration.outputs {
            if !outputs.iter().any(|known| known.name == output.source && known.width == 1) {
                return Err(BundleError::damaged(file, format!("the model has no probability `{}`", output.source)));
            }
            if !output.curve.is_sound() {
                return Err(BundleError::damaged(file, format!("the curve of `{}` does not rise from point to point", output.source)));
            }
        }
        Ok(calibration)
    }
}

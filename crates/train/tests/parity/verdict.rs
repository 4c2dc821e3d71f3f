//! How far numbers are apart, as shares of what is allowed.

use std::collections::BTreeMap;
use std::fmt;

/// What lets a number of a trace differ by more than the plain tolerances: see the crate's header for each one's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// As far apart as the run is from itself with the rows of its batches in other orders.
    Spread,
    /// EasyRec's number is farther from the exact one.
    NearerToExact,
    /// Nothing is compared after a step that rounding decides.
    Kink,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Spread => "spread",
            Rule::NearerToExact => "nearer to exact values",
            Rule::Kink => "kink",
        })
    }
}

/// The worst error seen in a case, as a share of its tolerance.
pub(crate) struct Verdict {
    pub(crate) worst: f64,
    pub(crate) tensor: String,
    pub(crate) compared: usize,
    /// How many tensors are to be compared at least.
    pub(crate) least: usize,
    /// The rules without which the case fails, and the tensor that is the farthest from its plain tolerance, in units of it.
    pub(crate) rules: BTreeMap<Rule, (f64, String)>,
}

/// An error as a share of the plain tolerance, and of what a rule allows.
#[derive(Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) plain: f64,
    pub(crate) ruled: f64,
}

impl Verdict {
    pub(crate) fn new(least: usize) -> Verdict {
        Verdict { worst: 0.0, tensor: "-".to_owned(), compared: 0, least, rules: BTreeMap::new() }
    }

    pub(crate) fn passes(&self) -> bool {
        self.worst <= 1.0 && self.compared > self.least
    }

    pub(crate) fn note(&mut self, tensor: String, share: f64) {
        self.compared += 1;
        if share.is_nan() || share > self.worst {
            (self.worst, self.tensor) = (if share.is_nan() { f64::INFINITY } else { share }, tensor);
        }
    }

    /// The plain share if it is small enough, else that by the rule, which is then needed.
    pub(crate) fn note_by(&mut self, rule: Rule, tensor: String, shares: Shares) {
        if shares.plain <= 1.0 {
            return self.note(tensor, shares.plain);
        }
        let farthest = self.rules.entry(rule).or_insert((0.0, String::new()));
        if shares.plain > farthest.0 {
            *farthest = (shares.plain, tensor.clone());
        }
        self.note(tensor, shares.ruled);
    }
}

/// The largest difference; infinite where the lengths differ, and not a number where there is one.
pub(crate) fn largest_difference(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let differences = found.iter().zip(expected).map(|(x, y)| f64::from((x - y).abs()));
    differences.fold(0.0, |a, d| if d.is_nan() || d > a { d } else { a })
}

/// The largest magnitude. Zeros must be met to rounding of numbers of order 1e-3.
pub(crate) fn magnitude(values: &[f32]) -> f64 {
    values.iter().fold(1e-5_f64, |a, x| a.max(f64::from(x.abs())))
}

/// Largest difference, as a share of `tolerance` times the largest magnitude.
pub(crate) fn share_of_magnitude(found: &[f32], expected: &[f32], tolerance: f64) -> f64 {
    largest_difference(found, expected) / (tolerance * magnitude(expected))
}

/// The L2 norm of a difference; infinite where the lengths differ.
pub(crate) fn distance(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    found.iter().zip(expected).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt()
}

/// The L2 norm of a difference, as a share of `tolerance` times that of what is expected.
pub(crate) fn share_of_norm(found: &[f32], expected: &[f32], tolerance: f64) -> f64 {
    let total = expected.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    distance(found, expected) / (tolerance * total.max(1e-6))
}

/// The error of `found` as a share of that of `traced`, both against exact values.
pub(crate) fn share_of_traced_error(found: &[f32], traced: &[f32], exact: &[f64]) -> f64 {
    let error = |values: &[f32]| values.iter().zip(exact).fold(0.0_f64, |a, (x, e)| a.max((f64::from(*x) - e).abs()));
    if found.len() == exact.len() && traced.len() == exact.len() { error(found) / error(traced) } else { f64::INFINITY }
}

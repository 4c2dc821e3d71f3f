//! Platt's calibration (1999): a logistic function of the log odds, fitted by Newton's method as Lin, Lin and Weng (2007) do it. Labels are
//! drawn in a little, towards `(n₊ + 1) / (n₊ + 2)` and `1 / (n₋ + 2)`, as Platt has it, and scikit-learn.

use super::{Curve, Sample};

/// Probabilities are kept this far away from 0 and 1.
pub(super) const LEAST: f64 = 1e-7;
const MOST_STEPS: usize = 100;
/// Where the gradient of the mean loss counts as zero.
const FLAT: f64 = 1e-10;

/// `ln(p / (1 - p))`.
pub(super) fn log_odds(probability: f32) -> f64 {
    let p = f64::from(probability).clamp(LEAST, 1.0 - LEAST);
    (p / (1.0 - p)).ln()
}

/// `1 / (1 + exp(z))`, Platt's sign.
pub(super) fn logistic(z: f64) -> f64 {
    if z >= 0.0 { (-z).exp() / (1.0 + (-z).exp()) } else { 1.0 / (1.0 + z.exp()) }
}

/// Log odds, target and weight of a sample.
struct Point {
    x: f64,
    target: f64,
    weight: f64,
}

/// Mean loss at a slope and an intercept.
fn loss(points: &[Point], slope: f64, intercept: f64) -> f64 {
    let of_point = |point: &Point| {
        let z = slope * point.x + intercept;
        // ln(1 + exp(-|z|)) does not overflow.
        let tail = (-z.abs()).exp().ln_1p();
        point.weight * if z >= 0.0 { point.target * z + tail } else { (point.target - 1.0) * z + tail }
    };
    points.iter().map(of_point).sum()
}

/// Fits the curve to samples of which at least one counts.
pub(super) fn fit(samples: &[Sample]) -> Curve {
    let count = |is_positive: bool| -> f64 {
        samples.iter().filter(|sample| (sample.label > 0.0) == is_positive).map(|sample| f64::from(sample.weight)).sum()
    };
    let (positive, negative) = (count(true), count(false));
    let total = positive + negative;
    let point = |sample: &Sample| {
        let target = if sample.label > 0.0 { (positive + 1.0) / (positive + 2.0) } else { 1.0 / (negative + 2.0) };
        Point { x: log_odds(sample.probability), target, weight: f64::from(sample.weight) / total }
    };
    let points: Vec<Point> = samples.iter().map(point).collect();
    let (mut slope, mut intercept) = (0.0, ((negative + 1.0) / (positive + 1.0)).ln());
    let mut now = loss(&points, slope, intercept);
    for _ in 0..MOST_STEPS {
        let (mut g1, mut g2, mut h11, mut h12, mut h22) = (0.0, 0.0, 1e-12, 0.0, 1e-12);
        for Point { x, target, weight } in &points {
            let p = logistic(slope * x + intercept);
            let (first, second) = (weight * (target - p), weight * p * (1.0 - p));
            g1 += first * x;
            g2 += first;
            h11 += second * x * x;
            h12 += second * x;
            h22 += second;
        }
        if g1.abs() < FLAT && g2.abs() < FLAT {
            break;
        }
        let determinant = h11 * h22 - h12 * h12;
        let (d1, d2) = (-(h22 * g1 - h12 * g2) / determinant, -(h11 * g2 - h12 * g1) / determinant);
        // Halves the step until the loss falls enough.
        let falls = |step: f64| loss(&points, slope + step * d1, intercept + step * d2) < now + 1e-4 * step * (g1 * d1 + g2 * d2);
        let Some(step) = (0..40).map(|halvings| 0.5_f64.powi(halvings)).find(|step| falls(*step)) else { break };
        slope += step * d1;
        intercept += step * d2;
        now = loss(&points, slope, intercept);
    }
    Curve::Platt { slope, intercept }
}

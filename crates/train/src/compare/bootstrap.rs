//! GAUC of two models with intervals by resampling users (Efron 1979): rows of one user depend on each other, users do not.
//!
//! In each resample as many users are drawn with replacement as there are, and both models are judged by the same users. The interval has
//! the percentiles of the resampled figures as bounds, and the p-value is twice the share of resamples in which the difference has the
//! other sign, `2·(1 + min(#≤0, #≥0)) / (1 + resamples)`, at most 1. A draw is a function of seed, resample and place.

use rankmill_kernels::pool::Pool;

use super::{Estimate, Figure, Settings};
use crate::metrics::{GroupAuc, Reduction, group_aucs};

/// Resamples that one task draws.
const TASK: usize = 16;

/// A user's AUC by both models, and how much it counts.
struct User {
    aucs: [f64; 2],
    weight: f64,
}

/// What resampling users says.
pub(super) struct Resampled {
    pub(super) figure: Figure,
    /// Users with rows of both kinds.
    pub(super) users: u64,
}

pub(super) fn gauc(
    labels: &[f32],
    scores: [&[f32]; 2],
    users: &[u64],
    reduction: Reduction,
    settings: &Settings,
    pool: &Pool,
) -> Resampled {
    let [first, second] = scores.map(|scores| group_aucs(users, labels, scores));
    let user = |(a, b): (&GroupAuc, &GroupAuc)| User { aucs: [a.auc, b.auc], weight: reduction.weight(a) };
    let users: Vec<User> = first.iter().zip(&second).map(user).collect();
    let values = mean(users.iter());
    let mut samples = vec![[0.0; 2]; if users.is_empty() { 0 } else { settings.resamples as usize }];
    pool.for_each(samples.chunks_mut(TASK).enumerate().collect(), |(task, part)| {
        for (i, sample) in part.iter_mut().enumerate() {
            let key = mix(settings.seed ^ mix((task * TASK + i) as u64));
            let draw = |place: u64| ((u128::from(mix(key.wrapping_add(place))) * users.len() as u128) >> 64) as usize;
            *sample = mean((0..users.len() as u64).map(|place| &users[draw(place)]));
        }
    });
    let interval = |value: f64, figure: &dyn Fn(&[f64; 2]) -> f64| -> Estimate {
        let mut sorted: Vec<f64> = samples.iter().map(figure).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let tail = 0.5 * (1.0 - settings.confidence);
        Estimate { value, low: percentile(&sorted, tail), high: percentile(&sorted, 1.0 - tail) }
    };
    let difference = |sample: &[f64; 2]| sample[1] - sample[0];
    let count = |holds: &dyn Fn(f64) -> bool| samples.iter().filter(|sample| holds(difference(sample))).count();
    let other_side = count(&|d| d <= 0.0).min(count(&|d| d >= 0.0));
    let p_value = (2.0 * (1 + other_side) as f64 / (1 + samples.len()) as f64).min(1.0);
    Resampled {
        figure: Figure {
            name: "gauc".to_owned(),
            method: "bootstrap by user",
            a: interval(values[0], &|sample| sample[0]),
            b: interval(values[1], &|sample| sample[1]),
            difference: interval(difference(&values), &difference),
            p_value: if samples.is_empty() { f64::NAN } else { p_value },
        },
        users: users.len() as u64,
    }
}

/// The weighted mean of users' AUCs by both models.
fn mean<'a>(drawn: impl Iterator<Item = &'a User>) -> [f64; 2] {
    let (mut sums, mut weights) = ([0.0; 2], 0.0);
    for user in drawn {
        weights += user.weight;
        sums[0] += user.weight * user.aucs[0];
        sums[1] += user.weight * user.aucs[1];
    }
    sums.map(|sum| sum / weights)
}

/// The percentile of sorted numbers, between two of them in proportion; NaN of none.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let below = place.floor() as usize;
    let above = sorted[(below + 1).min(last)];
    sorted[below] + (place - below as f64) * (above - sorted[below])
}

/// A well-mixed 64-bit number for each input (the finaliser of SplitMix64, Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

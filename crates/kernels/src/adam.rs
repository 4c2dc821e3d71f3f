//! Adam's updates in TensorFlow's order of operations (`rankmill_nn::optim::adam` has the formulas).
//!
//! Moments below the smallest normal float become 0 (see there).

use crate::dispatch::multiversion;

/// Added to the root of the second moment.
const EPSILON: f32 = 1e-8;

#[inline(always)]
fn flushed(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE { 0.0 } else { value }
}

multiversion! {
    /// A step of dense weights: `m += (g - m)·(1 - β₁)`, `v += (g² - v)·(1 - β₂)`, `w -= (m·rate)/(sqrt(v) + ε)`.
    pub fn dense(weights: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32], rate: f32, betas: [f32; 2]) {
        let [gain1, gain2] = betas.map(|beta| 1.0 - beta);
        for (((weight, m), v), &g) in weights.iter_mut().zip(m).zip(v).zip(gradient) {
            *m = flushed(*m + (g - *m) * gain1);
            *v = flushed(*v + (g * g - *v) * gain2);
            *weight -= (*m * rate) / (v.sqrt() + EPSILON);
        }
    }
}

multiversion! {
    /// A step of a table's row with a gradient: `m = m·β₁ + g·(1 - β₁)`, `v = v·β₂ + g²·(1 - β₂)`, `w -= (rate·m)/(sqrt(v) + ε)`.
    pub fn row(weights: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32], rate: f32, betas: [f32; 2]) {
        let [gain1, gain2] = betas.map(|beta| 1.0 - beta);
        for (((weight, m), v), &g) in weights.iter_mut().zip(m).zip(v).zip(gradient) {
            *m = flushed(*m * betas[0] + g * gain1);
            *v = flushed(*v * betas[1] + g * g * gain2);
            *weight -= (rate * *m) / (v.sqrt() + EPSILON);
        }
    }
}

/// One step without a gradient.
#[inline(always)]
fn step_idle(weights: &mut [f32], m: &mut [f32], v: &mut [f32], rate: f32, betas: [f32; 2]) {
    for ((weight, m), v) in weights.iter_mut().zip(m).zip(v) {
        *m = flushed(*m * betas[0]);
        *v = flushed(*v * betas[1]);
        *weight -= (rate * *m) / (v.sqrt() + EPSILON);
    }
}

multiversion! {
    /// A step of rows without a gradient: [`row`] with a gradient of 0.
    pub fn idle_step(weights: &mut [f32], m: &mut [f32], v: &mut [f32], rate: f32, betas: [f32; 2]) {
        step_idle(weights, m, v, rate, betas);
    }
}

multiversion! {
    /// Steps of rows without a gradient, one for each rate: the bits of [`idle_step`], again and again.
    ///
    /// The movement must fade from step to step (β₁ well below sqrt(β₂)). Once the largest of the rates would not move a weight by half
    /// a unit of its last place, no later step moves it, and only the moments go on.
    pub fn idle(weights: &mut [f32], m: &mut [f32], v: &mut [f32], rates: &[f32], betas: [f32; 2]) {
        let most = rates.iter().fold(0.0_f32, |most, rate| most.max(rate.abs()));
        let (weights, m, v) = idle_blocks::<64>(weights, m, v, rates, most, betas);
        let (weights, m, v) = idle_blocks::<16>(weights, m, v, rates, most, betas);
        let (weights, m, v) = idle_blocks::<4>(weights, m, v, rates, most, betas);
        idle_blocks::<1>(weights, m, v, rates, most, betas);
    }
}

/// Steps between two looks whether weights still move, and between two flushes of moments that fade.
const LOOK_EVERY: usize = 8;
const FLUSH_EVERY: usize = 64;

/// Takes all whole blocks of `N` weights through the steps and gives the rest.
#[inline(always)]
fn idle_blocks<'a, const N: usize>(
    weights: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    rates: &[f32],
    most: f32,
    betas: [f32; 2],
) -> (&'a mut [f32], &'a mut [f32], &'a mut [f32]) {
    let (weights, weights_rest) = weights.as_chunks_mut::<N>();
    let (m, m_rest) = m.as_chunks_mut::<N>();
    let (v, v_rest) = v.as_chunks_mut::<N>();
    for ((weights, m), v) in weights.iter_mut().zip(m).zip(v) {
        // Copies stay in registers through the steps.
        let (mut w, mut first, mut second) = (*weights, *m, *v);
        let mut left = rates;
        while !left.is_empty() && moves(&w, &first, &second, most) {
            let (now, later) = left.split_at(left.len().min(LOOK_EVERY));
            for rate in now {
                step_idle(&mut w, &mut first, &mut second, *rate, betas);
            }
            left = later;
        }
        fade(&mut first, betas[0], left.len());
        fade(&mut second, betas[1], left.len());
        (*weights, *m, *v) = (w, first, second);
    }
    (weights_rest, m_rest, v_rest)
}

/// Whether a step at that rate moves any of the weights.
#[inline(always)]
fn moves<const N: usize>(weights: &[f32; N], m: &[f32; N], v: &[f32; N], rate: f32) -> bool {
    let mut moving = [false; N];
    for lane in 0..N {
        // Away from zero the steps between numbers are as wide or wider, towards zero they may be half as wide: both must stay.
        let by = (rate * m[lane]).abs() / (v[lane].sqrt() + EPSILON);
        moving[lane] = weights[lane] - by != weights[lane] || weights[lane] + by != weights[lane];
    }
    moving.iter().fold(false, |any, moving| any | moving)
}

/// A moment through steps that multiply it, flushed at last: what was flushed once stays 0.
#[inline(always)]
fn fade<const N: usize>(moment: &mut [f32; N], beta: f32, steps: usize) {
    let mut left = steps;
    while left > 0 && moment.iter().any(|value| *value != 0.0) {
        let now = left.min(FLUSH_EVERY);
        for _ in 0..now {
            moment.iter_mut().for_each(|value| *value *= beta);
        }
        moment.iter_mut().for_each(|value| *value = flushed(*value));
        left -= now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BETAS: [f32; 2] = [0.9, 0.999];

    fn numbers(count: usize, seed: f32, scale: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.73 + seed).sin() * scale).collect()
    }

    /// One weight by the formula of a table's row.
    fn twin(weight: f32, m: f32, v: f32, g: f32, rate: f32) -> [f32; 3] {
        let m = flushed(m * BETAS[0] + g * (1.0 - BETAS[0]));
        let v = flushed(v * BETAS[1] + g * g * (1.0 - BETAS[1]));
        [weight - (rate * m) / (v.sqrt() + EPSILON), m, v]
    }

    #[test]
    fn all_tails_equal_one_weight_after_the_other() {
        for length in 0..70 {
            let start = [numbers(length, 0.1, 1.0), numbers(length, 0.2, 0.1), numbers(length, 0.3, 0.1).iter().map(|v| v * v).collect()];
            let gradient = numbers(length, 0.4, 1e-20);
            let [mut w, mut m, mut v] = start.clone();
            row(&mut w, &mut m, &mut v, &gradient, 0.01, BETAS);
            for i in 0..length {
                let expected = twin(start[0][i], start[1][i], start[2][i], gradient[i], 0.01);
                assert_eq!([w[i], m[i], v[i]], expected, "weight {i} of {length}");
            }
            let [mut w, mut m, mut v] = start.clone();
            dense(&mut w, &mut m, &mut v, &gradient, 0.01, BETAS);
            for i in 0..length {
                let first = flushed(start[1][i] + (gradient[i] - start[1][i]) * (1.0 - BETAS[0]));
                let second = flushed(start[2][i] + (gradient[i] * gradient[i] - start[2][i]) * (1.0 - BETAS[1]));
                assert_eq!([w[i], m[i], v[i]], [start[0][i] - (first * 0.01) / (second.sqrt() + EPSILON), first, second]);
            }
        }
    }

    #[test]
    fn an_idle_step_is_exact_whether_movement_fades_or_grows() {
        // With these factors a step moves more than the one before would have: it counts even where that would have been lost.
        for betas in [BETAS, [0.999, 0.9]] {
            let edge = f32::EPSILON / 4.0;
            let mut w = vec![1.0; 200];
            let mut m: Vec<f32> = (0..200).map(|i| edge * (0.9 + i as f32 * 1e-3)).collect();
            let mut v = vec![1.0; 200];
            let (mut expected_w, mut expected_m, mut expected_v) = (w.clone(), m.clone(), v.clone());
            row(&mut expected_w, &mut expected_m, &mut expected_v, &[0.0; 200], 1.0, betas);
            idle_step(&mut w, &mut m, &mut v, 1.0, betas);
            assert_eq!((&w, &m, &v), (&expected_w, &expected_m, &expected_v));
            assert!(betas == BETAS || w.iter().any(|w| *w != 1.0), "the case is at the edge");
        }
    }

    #[test]
    fn many_idle_steps_have_the_bits_of_one_after_the_other() {
        // Weights of all sizes, zero and infinity among them, rates that grow again, and moments that vanish on the way.
        for length in [1, 3, 4, 16, 21, 64, 100, 130] {
            let mut w = numbers(length, 0.1, 1.0);
            w.iter_mut().enumerate().for_each(|(i, w)| *w *= [1.0, 1e-6, 0.0, 1e20, f32::INFINITY, -1e-30][i % 6]);
            let mut m = numbers(length, 0.2, 0.1);
            m.iter_mut().enumerate().for_each(|(i, m)| *m *= [1.0, 1e-20, 0.0][i / 7 % 3]);
            let mut v: Vec<f32> = m.iter().map(|m| m * m).collect();
            v.iter_mut().step_by(5).for_each(|v| *v = 0.0);
            for steps in [0, 1, 7, 9, 300, 3000] {
                let rates: Vec<f32> = (0..steps).map(|i| if i % 400 < 200 { 1e-4 } else { 1e-2 }).collect();
                let (mut expected_w, mut expected_m, mut expected_v) = (w.clone(), m.clone(), v.clone());
                for rate in &rates {
                    row(&mut expected_w, &mut expected_m, &mut expected_v, &vec![0.0; length], *rate, BETAS);
                }
                idle(&mut w, &mut m, &mut v, &rates, BETAS);
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&w), bits(&expected_w), "weights after {steps} more steps, {length} of them");
                assert_eq!((m.clone(), v.clone()), (expected_m, expected_v), "moments after {steps} more steps, {length} of them");
            }
        }
    }
}

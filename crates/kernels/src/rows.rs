//! Kernels over all rows of a matrix: normalisation and its gradients, each in as few passes over a row as it needs.

use crate::dispatch::multiversion;
use crate::reduce::{sum_by, sum_by_pairs};
use crate::view::{MatMut, MatRef};

multiversion! {
    /// `out = x * scale + shift`, or its positive part; `scale` and `shift` have one element for each column.
    ///
    /// # Panics
    /// If there are fewer rows in `x` than in `out`.
    pub fn affine(out: MatMut<'_>, x: MatRef<'_>, scale: &[f32], shift: &[f32], relu: bool) {
        let mut out = out;
        for i in 0..out.rows() {
            let columns = out.row(i).iter_mut().zip(x.row(i)).zip(scale).zip(shift);
            if relu {
                columns.for_each(|(((o, x), s), t)| *o = (x * s + t).max(0.0));
            } else {
                columns.for_each(|(((o, x), s), t)| *o = x * s + t);
            }
        }
    }
}

/// Runs `$body` for every column of a row, with the gradient `$d`: that of `$dy`, or 0 where there is a gate that is not positive.
macro_rules! gated {
    ($columns:expr, $dy:expr, $gate:expr, |$column:pat_param, $d:ident| $body:expr) => {
        match $gate {
            None => $columns.zip($dy).for_each(|($column, d)| {
                let $d = *d;
                $body
            }),
            Some(gate) => $columns.zip($dy.iter().zip(gate)).for_each(|($column, (d, g))| {
                let $d = if *g > 0.0 { *d } else { 0.0 };
                $body
            }),
        }
    };
}

/// Mean and `1 / sqrt(variance + epsilon)` of a row, in two passes.
#[inline(always)]
fn statistics(x: &[f32], epsilon: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = sum_by(x, |value| value) / count;
    let variance = sum_by(x, |value| (value - mean) * (value - mean)) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

multiversion! {
    /// Layer norm of each row: `out = (x - mean) / sqrt(variance + epsilon) * gamma + beta`, or its positive part.
    ///
    /// # Panics
    /// If there are fewer rows in `x` than in `out`.
    pub fn layer_norm(out: MatMut<'_>, x: MatRef<'_>, gamma: &[f32], beta: &[f32], epsilon: f32, relu: bool) {
        let mut out = out;
        for i in 0..out.rows() {
            let x = x.row(i);
            let (mean, scale) = statistics(x, epsilon);
            let columns = out.row(i).iter_mut().zip(x).zip(gamma).zip(beta);
            if relu {
                columns.for_each(|(((o, x), g), b)| *o = ((x - mean) * scale * g + b).max(0.0));
            } else {
                columns.for_each(|(((o, x), g), b)| *o = (x - mean) * scale * g + b);
            }
        }
    }
}

multiversion! {
    /// The gradient of [`layer_norm`] with respect to `x`, from that with respect to its output; `gate` is the output after a ReLU.
    ///
    /// # Panics
    /// If there are fewer rows in `x`, `dy` or the gate than in `dx`, or more columns in `dy` than in `dx`.
    pub fn layer_norm_gradient(dx: MatMut<'_>, x: MatRef<'_>, gamma: &[f32], dy: MatRef<'_>, gate: Option<MatRef<'_>>, epsilon: f32) {
        let mut dx = dx;
        let width = gamma.len() as f32;
        for i in 0..dx.rows() {
            let (x, dy, dx) = (x.row(i), dy.row(i), dx.row(i));
            let (mean, scale) = statistics(x, epsilon);
            // `dx` holds dy ⊙ γ until its sums are known.
            gated!(dx.iter_mut().zip(gamma), dy, gate.map(|gate| gate.row(i)), |(o, g), d| *o = d * g);
            let average = sum_by(dx, |value| value) / width;
            let projection = sum_by_pairs(x, dx, |x, g| (x - mean) * scale * g) / width;
            dx.iter_mut().zip(x).for_each(|(o, x)| *o = scale * (*o - average - (x - mean) * scale * projection));
        }
    }
}

multiversion! {
    /// Adds the gradients of [`layer_norm`] with respect to γ and β, summed over the rows; `gate` is its output after a ReLU.
    ///
    /// # Panics
    /// If `dy` or the gate has fewer rows than `x`.
    pub fn layer_norm_parameter_sums(
        d_gamma: &mut [f32],
        d_beta: &mut [f32],
        x: MatRef<'_>,
        dy: MatRef<'_>,
        gate: Option<MatRef<'_>>,
        epsilon: f32,
    ) {
        for i in 0..x.rows() {
            let (x, dy) = (x.row(i), dy.row(i));
            let (mean, scale) = statistics(x, epsilon);
            let columns = d_gamma.iter_mut().zip(d_beta.iter_mut()).zip(x);
            gated!(columns, dy, gate.map(|gate| gate.row(i)), |((g, b), x), d| {
                *g += (x - mean) * scale * d;
                *b += d;
            });
        }
    }
}

multiversion! {
    /// Mean and sum of squared deviations of each column over the rows.
    pub fn column_moments(mean: &mut [f32], deviations: &mut [f32], x: MatRef<'_>) {
        mean.fill(0.0);
        deviations.fill(0.0);
        for i in 0..x.rows() {
            mean.iter_mut().zip(x.row(i)).for_each(|(m, x)| *m += x);
        }
        let rows = x.rows() as f32;
        mean.iter_mut().for_each(|m| *m /= rows);
        for i in 0..x.rows() {
            for ((d, m), x) in deviations.iter_mut().zip(mean.iter()).zip(x.row(i)) {
                *d += (x - m) * (x - m);
            }
        }
    }
}

multiversion! {
    /// Adds `(x - mean) ⊙ dy` and `dy`, summed over the rows: what the parameters of a batch norm need. `gate` is its output after a
    /// ReLU.
    ///
    /// # Panics
    /// If `dy` or the gate has fewer rows than `x`.
    pub fn batch_norm_sums(
        centred: &mut [f32],
        plain: &mut [f32],
        x: MatRef<'_>,
        mean: &[f32],
        dy: MatRef<'_>,
        gate: Option<MatRef<'_>>,
    ) {
        for i in 0..x.rows() {
            let columns = centred.iter_mut().zip(plain.iter_mut()).zip(x.row(i)).zip(mean);
            gated!(columns, dy.row(i), gate.map(|gate| gate.row(i)), |(((c, p), x), m), d| {
                *c += (x - m) * d;
                *p += d;
            });
        }
    }
}

multiversion! {
    /// `dx = (x - mean) ⊙ b + c + dy ⊙ a`, with one `mean`, `a`, `b`, `c` for each column. `gate` is the output of the batch norm
    /// after a ReLU.
    ///
    /// # Panics
    /// If there are fewer rows in `x`, `dy` or the gate than in `dx`.
    pub fn batch_norm_gradient(
        dx: MatMut<'_>,
        x: MatRef<'_>,
        dy: MatRef<'_>,
        gate: Option<MatRef<'_>>,
        mean: &[f32],
        abc: [&[f32]; 3],
    ) {
        let mut dx = dx;
        let [a, b, c] = abc;
        for i in 0..dx.rows() {
            let columns = dx.row(i).iter_mut().zip(x.row(i)).zip(mean).zip(a).zip(b).zip(c);
            gated!(columns, dy.row(i), gate.map(|gate| gate.row(i)), |(((((o, x), m), a), b), c), d| {
                *o = (x - m) * b + c + d * a;
            });
        }
    }
}

multiversion! {
    /// `dx = dy` where the output `y` of a ReLU is positive, else 0.
    ///
    /// # Panics
    /// If there are fewer rows in `y` or `dy` than in `dx`.
    pub fn relu_gradient(dx: MatMut<'_>, y: MatRef<'_>, dy: MatRef<'_>) {
        let mut dx = dx;
        for i in 0..dx.rows() {
            for ((o, y), d) in dx.row(i).iter_mut().zip(y.row(i)).zip(dy.row(i)) {
                *o = if *y > 0.0 { *d } else { 0.0 };
            }
        }
    }
}

multiversion! {
    /// Dice: `out = p·x + (x - p·x)·α`, `α` having one element for each column.
    ///
    /// # Panics
    /// If there are fewer rows in `x` or `p` than in `out`.
    pub fn dice(out: MatMut<'_>, x: MatRef<'_>, p: MatRef<'_>, alpha: &[f32]) {
        let mut out = out;
        for i in 0..out.rows() {
            for (((o, x), p), alpha) in out.row(i).iter_mut().zip(x.row(i)).zip(p.row(i)).zip(alpha) {
                let kept = p * x;
                *o = kept + (x - kept) * alpha;
            }
        }
    }
}

multiversion! {
    /// The gradient of [`dice`] with respect to `x`, from that with respect to its output.
    ///
    /// # Panics
    /// If there are fewer rows in `p` or `dy` than in `dx`.
    pub fn dice_input_gradient(dx: MatMut<'_>, p: MatRef<'_>, alpha: &[f32], dy: MatRef<'_>) {
        let mut dx = dx;
        for i in 0..dx.rows() {
            for (((o, p), alpha), d) in dx.row(i).iter_mut().zip(p.row(i)).zip(alpha).zip(dy.row(i)) {
                let rest = d * alpha;
                *o = (d - rest) * p + rest;
            }
        }
    }
}

multiversion! {
    /// The gradient of [`dice`] with respect to `p`.
    ///
    /// # Panics
    /// If there are fewer rows in `x` or `dy` than in `dp`.
    pub fn dice_share_gradient(dp: MatMut<'_>, x: MatRef<'_>, alpha: &[f32], dy: MatRef<'_>) {
        let mut dp = dp;
        for i in 0..dp.rows() {
            for (((o, x), alpha), d) in dp.row(i).iter_mut().zip(x.row(i)).zip(alpha).zip(dy.row(i)) {
                *o = (d - d * alpha) * x;
            }
        }
    }
}

multiversion! {
    /// The gradient of [`dice`] with respect to `α`, row by row.
    ///
    /// # Panics
    /// If there are fewer rows in `x`, `p` or `dy` than in `out`.
    pub fn dice_alpha_gradient(out: MatMut<'_>, x: MatRef<'_>, p: MatRef<'_>, dy: MatRef<'_>) {
        let mut out = out;
        for i in 0..out.rows() {
            for (((o, x), p), d) in out.row(i).iter_mut().zip(x.row(i)).zip(p.row(i)).zip(dy.row(i)) {
                *o = (x - p * x) * d;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.73 + seed).sin() * 2.0 + 0.3).collect()
    }

    /// `dy` where the gate is positive, else 0.
    fn gated(dy: &[f32], gate: &[f32]) -> Vec<f32> {
        dy.iter().zip(gate).map(|(d, g)| if *g > 0.0 { *d } else { 0.0 }).collect()
    }

    /// A plain loop in `f64`: layer norm, its gradient with respect to `x`, and the sums for γ and β.
    fn layer_norm_twin(x: &[f32], gamma: &[f32], beta: &[f32], dy: &[f32], epsilon: f64) -> [Vec<f64>; 4] {
        let n = x.len() as f64;
        let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let scale = 1.0 / (variance + epsilon).sqrt();
        let hat: Vec<f64> = x.iter().map(|v| (v - mean) * scale).collect();
        let columns = || gamma.iter().zip(beta).zip(dy).map(|((g, b), d)| (f64::from(*g), f64::from(*b), f64::from(*d)));
        let y = hat.iter().zip(columns()).map(|(h, (g, b, _))| h * g + b).collect();
        let average = columns().map(|(g, _, d)| g * d).sum::<f64>() / n;
        let projection = hat.iter().zip(columns()).map(|(h, (g, _, d))| h * g * d).sum::<f64>() / n;
        let dx = hat.iter().zip(columns()).map(|(h, (g, _, d))| scale * (g * d - average - h * projection)).collect();
        let d_gamma = hat.iter().zip(columns()).map(|(h, (_, _, d))| h * d).collect();
        let d_beta = columns().map(|(_, _, d)| d).collect();
        [y, dx, d_gamma, d_beta]
    }

    #[track_caller]
    fn close(got: &[f32], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            // Numbers of a few units after some additions of up to 130 terms.
            assert!((f64::from(*got) - want).abs() < 2e-5, "{got} {want}");
        }
    }

    #[test]
    fn layer_norm_and_its_gradients_equal_a_plain_loop_for_all_tails() {
        for width in 1..130 {
            let (x, dy) = (numbers(width, 0.1), numbers(width, 0.5));
            let (gamma, beta, gate) = (numbers(width, 0.9), numbers(width, 1.3), numbers(width, 1.7));
            let ungated = dy.clone();
            let dy = gated(&dy, &gate);
            let [y, dx, d_gamma, d_beta] = layer_norm_twin(&x, &gamma, &beta, &dy, 1e-2);
            let view = |values| MatRef::new(values, 1, width);
            let mut out = vec![f32::NAN; width];
            layer_norm(MatMut::new(&mut out, 1, width), view(&x), &gamma, &beta, 1e-2, false);
            close(&out, &y);
            layer_norm(MatMut::new(&mut out, 1, width), view(&x), &gamma, &beta, 1e-2, true);
            close(&out, &y.iter().map(|v| v.max(0.0)).collect::<Vec<_>>());
            layer_norm_gradient(MatMut::new(&mut out, 1, width), view(&x), &gamma, view(&dy), None, 1e-2);
            close(&out, &dx);
            layer_norm_gradient(MatMut::new(&mut out, 1, width), view(&x), &gamma, view(&ungated), Some(view(&gate)), 1e-2);
            close(&out, &dx);
            for (dy, gate) in [(&dy, None), (&ungated, Some(view(&gate)))] {
                let mut sums = [vec![0.0; width], vec![0.0; width]];
                let [sum_gamma, sum_beta] = &mut sums;
                layer_norm_parameter_sums(sum_gamma, sum_beta, view(&x), view(dy), gate, 1e-2);
                close(&sums[0], &d_gamma);
                close(&sums[1], &d_beta);
            }
        }
    }

    #[test]
    fn column_kernels_equal_a_plain_loop_for_all_tails() {
        for width in 1..70 {
            let rows = 3;
            let (x, dy) = (numbers(rows * width, 0.2), numbers(rows * width, 0.4));
            let gate = numbers(rows * width, 1.1);
            let ungated = dy.clone();
            let dy = gated(&dy, &gate);
            let [mean, a, b, c] = [0.6, 0.7, 0.8, 0.9].map(|seed| numbers(width, seed));
            let at = |values: &[f32], i: usize, j: usize| f64::from(values[i * width + j]);
            let each = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> { (0..rows * width).map(|k| f(k / width, k % width)).collect() };
            let column = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> { (0..width).map(|j| (0..rows).map(|i| f(i, j)).sum()).collect() };
            let view = |values| MatRef::new(values, rows, width);
            let mut out = vec![f32::NAN; rows * width];
            affine(MatMut::new(&mut out, rows, width), view(&x), &a, &b, false);
            let expected = each(&|i, j| at(&x, i, j) * at(&a, 0, j) + at(&b, 0, j));
            close(&out, &expected);
            affine(MatMut::new(&mut out, rows, width), view(&x), &a, &b, true);
            close(&out, &expected.iter().map(|v| v.max(0.0)).collect::<Vec<_>>());
            for (from, gate) in [(&dy, None), (&ungated, Some(view(&gate)))] {
                batch_norm_gradient(MatMut::new(&mut out, rows, width), view(&x), view(from), gate, &mean, [&a, &b, &c]);
                close(&out, &each(&|i, j| (at(&x, i, j) - at(&mean, 0, j)) * at(&b, 0, j) + at(&c, 0, j) + at(&dy, i, j) * at(&a, 0, j)));
            }
            relu_gradient(MatMut::new(&mut out, rows, width), view(&x), view(&dy));
            close(&out, &each(&|i, j| if at(&x, i, j) > 0.0 { at(&dy, i, j) } else { 0.0 }));
            let mut sums = [vec![0.0; width], vec![0.0; width]];
            for (from, gate) in [(&dy, None), (&ungated, Some(view(&gate)))] {
                sums.iter_mut().for_each(|sum| sum.fill(0.0));
                let [centred, plain] = &mut sums;
                batch_norm_sums(centred, plain, view(&x), &mean, view(from), gate);
                close(&sums[0], &column(&|i, j| (at(&x, i, j) - at(&mean, 0, j)) * at(&dy, i, j)));
                close(&sums[1], &column(&|i, j| at(&dy, i, j)));
            }
            let [average, deviations] = &mut sums;
            column_moments(average, deviations, view(&x));
            let expected = column(&|i, j| at(&x, i, j) / rows as f64);
            close(&sums[0], &expected);
            close(&sums[1], &column(&|i, j| (at(&x, i, j) - expected[j]).powi(2)));
        }
    }
}

//! Kernels over rows that hold several fields side by side: products with weights of each field, and weighted products of pairs of fields.
//!
//! Fields are narrow, so one call goes through all rows: a choice of the instruction set for each field would cost more than its work.

use crate::dispatch::multiversion;
use crate::view::{MatMut, MatRef};

/// `out += factor * x`, inlined into the kernels that use it.
#[inline(always)]
fn add_scaled(out: &mut [f32], factor: f32, x: &[f32]) {
    for (o, x) in out.iter_mut().zip(x) {
        *o += factor * x;
    }
}

multiversion! {
    /// `y_f = x_f·W_f` in every row: `x [B, n·K]`, weights of n·K·N elements, field by field `[K, N]` → `out [B, n·N]`.
    ///
    /// # Panics
    /// If there are fewer rows in `x` than in `out`.
    pub fn products(out: MatMut<'_>, x: MatRef<'_>, weights: &[f32], units: usize) {
        let mut out = out;
        let inner = x.cols() * units / out.cols().max(1);
        for r in 0..out.rows() {
            let fields = x.row(r).chunks_exact(inner).zip(weights.chunks_exact(inner * units));
            for (y, (x, w)) in out.row(r).chunks_exact_mut(units).zip(fields) {
                y.fill(0.0);
                x.iter().zip(w.chunks_exact(units)).for_each(|(x, w)| add_scaled(y, *x, w));
            }
        }
    }
}

multiversion! {
    /// Adds `Σ a_fᵀ·b_f` over the rows, for the fields of width K from column `a_first` and of width N from column `b_first`:
    /// `dw [K·N]`.
    ///
    /// # Panics
    /// If a field lies outside of the rows, or `b` has fewer rows than `a`.
    pub fn outer_sums(dw: &mut [f32], a: MatRef<'_>, a_first: usize, b: MatRef<'_>, b_first: usize, units: usize) {
        let inner = dw.len() / units;
        for r in 0..a.rows() {
            let (x, dy) = (&a.row(r)[a_first..a_first + inner], &b.row(r)[b_first..b_first + units]);
            x.iter().zip(dw.chunks_exact_mut(units)).for_each(|(x, dw)| add_scaled(dw, *x, dy));
        }
    }
}

/// `out = Σ wⱼ·fieldⱼ`.
#[inline(always)]
fn weighted_sum(out: &mut [f32], weights: &[f32], fields: &[f32]) {
    out.fill(0.0);
    for (w, field) in weights.iter().zip(fields.chunks_exact(out.len())) {
        add_scaled(out, *w, field);
    }
}

/// `K_{h,i}` of a kernel `[H, m·n]`.
#[inline(always)]
fn pair_weights<'a>(kernel: &MatRef<'a>, h: usize, i: usize, n: usize) -> &'a [f32] {
    &kernel.row(h)[i * n..(i + 1) * n]
}

multiversion! {
    /// `z_{h,d} = Σ_{i,j} K_{h,i,j}·x_{i,d}·s_{j,d} + b_h` in every row: `x [B, m·D]`, `s [B, n·D]`, `K [H, m·n]` → `out [B, H·D]`;
    /// `scratch [D]`.
    ///
    /// # Panics
    /// If there are fewer rows in `x` or `s` than in `out`, or fewer than H in the kernel.
    pub fn interaction(out: MatMut<'_>, x: MatRef<'_>, start: MatRef<'_>, kernel: MatRef<'_>, bias: &[f32], scratch: &mut [f32]) {
        let mut out = out;
        let width = scratch.len();
        let n = start.cols() / width;
        for r in 0..out.rows() {
            let (x, start) = (x.row(r), start.row(r));
            for (h, z) in out.row(r).chunks_exact_mut(width).enumerate() {
                z.fill(bias[h]);
                for (i, x) in x.chunks_exact(width).enumerate() {
                    weighted_sum(scratch, pair_weights(&kernel, h, i, n), start);
                    z.iter_mut().zip(scratch.iter()).zip(x).for_each(|((z, w), x)| *z += w * x);
                }
            }
        }
    }
}

multiversion! {
    /// The gradient of [`interaction`] with respect to `x`.
    ///
    /// # Panics
    /// As there.
    pub fn interaction_gradient(dx: MatMut<'_>, start: MatRef<'_>, kernel: MatRef<'_>, dz: MatRef<'_>, scratch: &mut [f32]) {
        let mut dx = dx;
        let width = scratch.len();
        let n = start.cols() / width;
        for r in 0..dx.rows() {
            let (start, dz, dx) = (start.row(r), dz.row(r), dx.row(r));
            dx.fill(0.0);
            for (h, dz) in dz.chunks_exact(width).enumerate() {
                for (i, dx) in dx.chunks_exact_mut(width).enumerate() {
                    weighted_sum(scratch, pair_weights(&kernel, h, i, n), start);
                    dx.iter_mut().zip(scratch.iter()).zip(dz).for_each(|((dx, w), dz)| *dx += w * dz);
                }
            }
        }
    }
}

multiversion! {
    /// The gradient of [`interaction`] with respect to `s`.
    ///
    /// # Panics
    /// As there.
    pub fn interaction_start_gradient(ds: MatMut<'_>, x: MatRef<'_>, kernel: MatRef<'_>, dz: MatRef<'_>, scratch: &mut [f32]) {
        let mut ds = ds;
        let width = scratch.len();
        let n = ds.cols() / width;
        for r in 0..ds.rows() {
            let (x, dz, ds) = (x.row(r), dz.row(r), ds.row(r));
            ds.fill(0.0);
            for (h, dz) in dz.chunks_exact(width).enumerate() {
                for (i, x) in x.chunks_exact(width).enumerate() {
                    scratch.iter_mut().zip(dz).zip(x).for_each(|((p, dz), x)| *p = dz * x);
                    let fields = ds.chunks_exact_mut(width).zip(pair_weights(&kernel, h, i, n));
                    fields.for_each(|(ds, w)| add_scaled(ds, *w, scratch));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.73 + seed).sin()).collect()
    }

    #[track_caller]
    fn close(found: &[f32], expected: impl Iterator<Item = f64>) {
        let expected: Vec<f64> = expected.collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            // Sums of some hundred products of numbers below 1.
            assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    #[test]
    fn products_and_their_weight_gradients_equal_plain_loops_for_all_tails() {
        let (rows, n, k) = (3, 2, 3);
        for units in 1..70 {
            let (x, w, dy) = (numbers(rows * n * k, 0.1), numbers(n * k * units, 0.4), numbers(rows * n * units, 0.9));
            let mut out = vec![f32::NAN; rows * n * units];
            products(MatMut::new(&mut out, rows, n * units), MatRef::new(&x, rows, n * k), &w, units);
            let at = |r: usize, f: usize, u: usize| -> f64 {
                (0..k).map(|i| f64::from(x[(r * n + f) * k + i]) * f64::from(w[(f * k + i) * units + u])).sum()
            };
            close(&out, (0..rows * n * units).map(|e| at(e / (n * units), e / units % n, e % units)));
            let mut dw = vec![0.0; k * units];
            outer_sums(&mut dw, MatRef::new(&x, rows, n * k), k, MatRef::new(&dy, rows, n * units), units, units);
            let sum = |i: usize, u: usize| -> f64 {
                (0..rows).map(|r| f64::from(x[(r * n + 1) * k + i]) * f64::from(dy[(r * n + 1) * units + u])).sum()
            };
            close(&dw, (0..k * units).map(|e| sum(e / units, e % units)));
        }
    }

    #[test]
    fn interactions_and_their_gradients_equal_plain_loops_for_all_tails() {
        let (rows, m, n, maps) = (2, 3, 4, 2);
        for width in 1..70 {
            let (x, s) = (numbers(rows * m * width, 0.1), numbers(rows * n * width, 0.4));
            let (kernel, bias, dz) = (numbers(maps * m * n, 0.7), numbers(maps, 0.2), numbers(rows * maps * width, 0.9));
            let views = [MatRef::new(&x, rows, m * width), MatRef::new(&s, rows, n * width), MatRef::new(&kernel, maps, m * n)];
            let [x_view, s_view, k_view] = views;
            let dz_view = MatRef::new(&dz, rows, maps * width);
            let mut scratch = vec![f32::NAN; width];
            let x = |r: usize, i: usize, d: usize| f64::from(x[(r * m + i) * width + d]);
            let s = |r: usize, j: usize, d: usize| f64::from(s[(r * n + j) * width + d]);
            let dz = |r: usize, h: usize, d: usize| f64::from(dz[(r * maps + h) * width + d]);
            let k = |h: usize, i: usize, j: usize| f64::from(kernel[(h * m + i) * n + j]);
            let pairs = || (0..m).flat_map(|i| (0..n).map(move |j| (i, j)));

            let mut out = vec![f32::NAN; rows * maps * width];
            interaction(MatMut::new(&mut out, rows, maps * width), x_view, s_view, k_view, &bias, &mut scratch);
            let z = |r, h, d| pairs().map(|(i, j)| k(h, i, j) * x(r, i, d) * s(r, j, d)).sum::<f64>() + f64::from(bias[h]);
            close(&out, (0..out.len()).map(|e| z(e / (maps * width), e / width % maps, e % width)));

            let mut dx = vec![f32::NAN; rows * m * width];
            interaction_gradient(MatMut::new(&mut dx, rows, m * width), s_view, k_view, dz_view, &mut scratch);
            let sum = |r, i, d| -> f64 {
                (0..maps).flat_map(|h| (0..n).map(move |j| (h, j))).map(|(h, j)| k(h, i, j) * s(r, j, d) * dz(r, h, d)).sum()
            };
            close(&dx, (0..dx.len()).map(|e| sum(e / (m * width), e / width % m, e % width)));

            let mut ds = vec![f32::NAN; rows * n * width];
            interaction_start_gradient(MatMut::new(&mut ds, rows, n * width), x_view, k_view, dz_view, &mut scratch);
            let sum = |r, j, d| -> f64 {
                (0..maps).flat_map(|h| (0..m).map(move |i| (h, i))).map(|(h, i)| k(h, i, j) * x(r, i, d) * dz(r, h, d)).sum()
            };
            close(&ds, (0..ds.len()).map(|e| sum(e / (n * width), e / width % n, e % width)));
        }
    }
}

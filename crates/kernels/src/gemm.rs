//! Matrix products: `out = [out +] op(a) · op(b)` in `f32`, row-major, one thread.
//!
//! The work is done by the `gemm` crate's kernels, with two guarantees on top, both of which the tests check:
//! - the bits of an output row do not depend on how many rows are computed with it, so a batch may be cut anywhere;
//! - a long inner dimension is summed in pieces of 512, always at the same places.
//!
//! Vectors (one output column, one output row, very small outputs) have own loops, because the library switches to other summation
//! orders there.

use crate::dispatch::multiversion;
use crate::view::{MatMut, MatRef};

/// Length of the pieces in which the inner dimension is summed: the smallest depth at which the library would cut by itself.
const DEPTH: usize = 512;

/// Whether an operand is used as it is or transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// As stored.
    Plain,
    /// Rows and columns exchanged.
    Transposed,
}

use Orientation::{Plain, Transposed};

/// What happens to the previous content of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The product replaces it.
    Overwrite,
    /// The product is added to it.
    Accumulate,
}

/// `out = op(a) · op(b)`, or `out += op(a) · op(b)`.
///
/// # Shapes
/// `out` [M, N]; `op(a)` [M, K]; `op(b)` [K, N].
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm(mut out: MatMut<'_>, output: Output, a: MatRef<'_>, a_is: Orientation, b: MatRef<'_>, b_is: Orientation) {
    let (m, k) = oriented(a, a_is);
    let (k_of_b, n) = oriented(b, b_is);
    assert_eq!(k, k_of_b, "inner dimensions differ: {k} and {k_of_b}");
    assert_eq!((out.rows(), out.cols()), (m, n), "output shape");
    if m == 0 || n == 0 {
        return;
    }
    if output == Output::Overwrite && (k == 0 || uses_own_loops(m, n, k)) {
        out.fill(0.0);
    }
    match (a_is, b_is) {
        _ if k == 0 => {}
        (Plain, Plain) if n == 1 => matrix_vector(out, a, b),
        (Plain, Transposed) if n == 1 => rows_dot(out, a, b),
        _ if uses_own_loops(m, n, k) => small(out, a, a_is, b, b_is),
        _ => blocked(out, output, a, a_is, b, b_is),
    }
}

fn oriented(x: MatRef<'_>, orientation: Orientation) -> (usize, usize) {
    match orientation {
        Plain => (x.rows(), x.cols()),
        Transposed => (x.cols(), x.rows()),
    }
}

fn uses_own_loops(m: usize, n: usize, k: usize) -> bool {
    n == 1 || m == 1 || m * n <= 256 || k <= 2
}

/// The library's path, the inner dimension cut into pieces of `DEPTH`.
fn blocked(mut out: MatMut<'_>, output: Output, a: MatRef<'_>, a_is: Orientation, b: MatRef<'_>, b_is: Orientation) {
    let (m, k) = oriented(a, a_is);
    let (_, n) = oriented(b, b_is);
    let strides = |x: MatRef<'_>, is: Orientation| match is {
        Plain => (1_isize, x.stride() as isize),
        Transposed => (x.stride() as isize, 1_isize),
    };
    let (a_cs, a_rs) = strides(a, a_is);
    let (b_cs, b_rs) = strides(b, b_is);
    let out_stride = out.stride() as isize;
    let kernel = gemm_f32::gemm::f32::get_gemm_fn();
    let mut first = 0;
    while first < k {
        let depth = DEPTH.min(k - first);
        let accumulate = first > 0 || output == Output::Accumulate;
        // SAFETY: `first < k` keeps both offsets inside the operands; the views guarantee that every element of the operands is
        // readable and every element of `out` is ours alone; the strides are the views' own.
        unsafe {
            // The library works on columns: a row-major product is its transpose, opᵀ(b) · opᵀ(a). Asked for the rows of a
            // row-major output it would store element by element, at half the speed or less.
            kernel(
                n,
                m,
                depth,
                out.as_mut_ptr(),
                out_stride,
                1,
                accumulate,
                b.as_ptr().offset(first as isize * b_rs),
                b_rs,
                b_cs,
                a.as_ptr().offset(first as isize * a_cs),
                a_rs,
                a_cs,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm_common::Parallelism::None,
            );
        }
        first += depth;
    }
}

/// One output column, `b` stored as a column `[K, 1]`.
fn matrix_vector(out: MatMut<'_>, a: MatRef<'_>, b: MatRef<'_>) {
    let column: Vec<f32>;
    let vector = match b.as_slice() {
        Some(slice) => slice,
        None => {
            column = b.to_vec();
            &column
        }
    };
    dot_rows(out, a, vector);
}

/// One output column, `b` stored as a row `[1, K]`.
fn rows_dot(out: MatMut<'_>, a: MatRef<'_>, b: MatRef<'_>) {
    dot_rows(out, a, b.row(0));
}

fn dot_rows(mut out: MatMut<'_>, a: MatRef<'_>, vector: &[f32]) {
    for i in 0..a.rows() {
        out.row(i)[0] += dot(a.row(i), vector);
    }
}

multiversion! {
    /// Inner product with 32 running sums, added pairwise at the end.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let mut sums = [0.0_f32; 32];
        let (a_blocks, a_rest) = a.as_chunks::<32>();
        let (b_blocks, b_rest) = b.as_chunks::<32>();
        for (x, y) in a_blocks.iter().zip(b_blocks) {
            for lane in 0..32 {
                sums[lane] += x[lane] * y[lane];
            }
        }
        for (lane, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
            sums[lane] += x * y;
        }
        let mut width = 16;
        while width > 0 {
            for lane in 0..width {
                sums[lane] += sums[lane + width];
            }
            width /= 2;
        }
        sums[0]
    }
}

/// Few outputs: every output is one chain of multiply-adds over the inner dimension, as in the library's kernels, so that a row
/// has the same bits here and there.
fn small(mut out: MatMut<'_>, a: MatRef<'_>, a_is: Orientation, b: MatRef<'_>, b_is: Orientation) {
    let (m, k) = oriented(a, a_is);
    let (_, n) = oriented(b, b_is);
    if n == 1 {
        return combine_rows(out, a, b, b_is);
    }
    let packed: Vec<f32>;
    let b = match b_is {
        Plain => b,
        Transposed => {
            packed = transposed(b);
            MatRef::new(&packed, k, n)
        }
    };
    let mut sums = vec![0.0_f32; n];
    for i in 0..m {
        let mut first = 0;
        while first < k {
            let depth = DEPTH.min(k - first);
            sums.fill(0.0);
            for p in first..first + depth {
                let x = if a_is == Plain { a.row(i)[p] } else { a.row(p)[i] };
                multiply_add(&mut sums, x, b.row(p));
            }
            for (o, s) in out.row(i).iter_mut().zip(&sums) {
                *o += s;
            }
            first += depth;
        }
    }
}

/// One output column with `a` transposed: the rows of `a` added up, each times an element of `b`.
fn combine_rows(mut out: MatMut<'_>, a: MatRef<'_>, b: MatRef<'_>, b_is: Orientation) {
    let mut sums = vec![0.0_f32; a.cols()];
    for p in 0..a.rows() {
        let x = if b_is == Plain { b.row(p)[0] } else { b.row(0)[p] };
        multiply_add(&mut sums, x, a.row(p));
    }
    for (i, s) in sums.iter().enumerate() {
        out.row(i)[0] += s;
    }
}

fn transposed(x: MatRef<'_>) -> Vec<f32> {
    let mut out = vec![0.0; x.rows() * x.cols()];
    for i in 0..x.rows() {
        for (j, value) in x.row(i).iter().enumerate() {
            out[j * x.rows() + i] = *value;
        }
    }
    out
}

/// `sums += x * row`, rounded once where the library's kernels round once.
fn multiply_add(sums: &mut [f32], x: f32, row: &[f32]) {
    if crate::dispatch::library_fuses() {
        multiply_add_fused(sums, x, row);
    } else {
        for (s, y) in sums.iter_mut().zip(row) {
            *s += x * y;
        }
    }
}

multiversion! {
    /// `sums[j] = fma(x, row[j], sums[j])`.
    pub fn multiply_add_fused(sums: &mut [f32], x: f32, row: &[f32]) {
        for (s, y) in sums.iter_mut().zip(row) {
            *s = x.mul_add(*y, *s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect()
    }

    fn reference(a: MatRef<'_>, a_is: Orientation, b: MatRef<'_>, b_is: Orientation) -> Vec<f64> {
        let (m, k) = oriented(a, a_is);
        let (_, n) = oriented(b, b_is);
        let get = |x: MatRef<'_>, is, i: usize, j: usize| f64::from(if is == Plain { x.row(i)[j] } else { x.row(j)[i] });
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|p| get(a, a_is, i, p) * get(b, b_is, p, j)).sum();
            }
        }
        out
    }

    #[track_caller]
    fn check(m: usize, n: usize, k: usize, a_is: Orientation, b_is: Orientation) {
        let a = numbers(m * k, 1);
        let b = numbers(k * n, 2);
        let a = if a_is == Plain { MatRef::new(&a, m, k) } else { MatRef::new(&a, k, m) };
        let b = if b_is == Plain { MatRef::new(&b, k, n) } else { MatRef::new(&b, n, k) };
        let expected = reference(a, a_is, b, b_is);
        let mut out = vec![7.0; m * n];
        gemm(MatMut::new(&mut out, m, n), Output::Overwrite, a, a_is, b, b_is);
        // Rounding of a sum of k products of numbers up to 1/4: far below k * 1e-6.
        let tolerance = 1e-6 * (k as f64).max(1.0);
        for (got, want) in out.iter().zip(&expected) {
            assert!((f64::from(*got) - want).abs() <= tolerance, "{m}x{n}x{k} {a_is:?} {b_is:?}: {got} {want}");
        }
        gemm(MatMut::new(&mut out, m, n), Output::Accumulate, a, a_is, b, b_is);
        for (got, want) in out.iter().zip(&expected) {
            assert!((f64::from(*got) - 2.0 * want).abs() <= 2.0 * tolerance, "accumulate");
        }
    }

    #[test]
    fn equals_the_definition_for_all_orientations_and_odd_sizes() {
        for &(m, n, k) in
            &[(1, 1, 1), (1, 33, 7), (3, 1, 130), (17, 19, 23), (64, 64, 600), (130, 5, 1), (40, 70, 0), (97, 129, 1030), (5, 3, 2)]
        {
            for a_is in [Plain, Transposed] {
                for b_is in [Plain, Transposed] {
                    check(m, n, k, a_is, b_is);
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_company() {
        for &(n, k) in &[(1, 70), (8, 112), (16, 56), (64, 600), (112, 512), (256, 112), (512, 768)] {
            let rows = 130;
            let a = numbers(rows * k, 3);
            let a = MatRef::new(&a, rows, k);
            for b_is in [Plain, Transposed] {
                let b = numbers(k * n, 4);
                let b = if b_is == Plain { MatRef::new(&b, k, n) } else { MatRef::new(&b, n, k) };
                let mut whole = vec![0.0; rows * n];
                gemm(MatMut::new(&mut whole, rows, n), Output::Overwrite, a, Plain, b, b_is);
                for count in [1, 2, 3, 7, 15, 16, 31, 33, 63, 64, 65, 100, 129] {
                    for first in [0, rows - count] {
                        let mut part = vec![0.0; count * n];
                        gemm(MatMut::new(&mut part, count, n), Output::Overwrite, a.rows_range(first, count), Plain, b, b_is);
                        assert!(part == whole[first * n..(first + count) * n], "n {n} k {k} {b_is:?}: {count} rows from {first}");
                    }
                }
            }
        }
    }
}

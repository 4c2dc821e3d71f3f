//! Matrix products: a batch of rows times a packed weight matrix, and the gradient of the weights. One thread, row-major.
//!
//! - [`pack`] cuts a weight matrix into panels of [`PANEL`] columns, once for all products that use it;
//! - [`product`] computes `x · W` with bias and ReLU in the same pass;
//! - [`weight_gradient`] computes `xᵀ · dy`;
//! - [`product_with_column`] is `x · w` for a single output column.
//!
//! The bits of an output row do not depend on how many rows are computed with it, so a batch may be cut anywhere. A long inner
//! dimension is summed in pieces of 512, always at the same places. With [`Precision::Bf16`] the factors are rounded to bfloat16 and
//! the sums are `f32`.

mod bf16;
mod lanes;
mod pack;
mod tile;

use std::cell::RefCell;

use crate::dispatch::multiversion;
use crate::view::{MatMut, MatRef};
use lanes::Portable;
#[cfg(target_arch = "x86_64")]
use lanes::x86::{Avx2, Avx512};
pub use pack::{Packed, PackedShape, pack};
use tile::{Extent, Finish, Left, Right, Target};

/// Columns of a panel.
pub const PANEL: usize = 32;

/// Length of the pieces in which the inner dimension is summed: a strip of the left operand and a panel of the right one stay in
/// the first two levels of cache.
const DEPTH: usize = 512;

/// Whether an operand is used as it is or transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// As stored.
    Plain,
    /// Rows and columns exchanged.
    Transposed,
}

/// How the factors of products are represented; sums are always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bfloat16, on processors with AVX-512 BF16.
    Bf16,
}

impl Precision {
    /// Its name in commands and records.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Whether this processor computes it (`RANKMILL_SIMD` can take bfloat16 away).
    pub fn is_supported(self) -> bool {
        self == Precision::F32 || bf16::supported()
    }
}

/// What happens to a product before it is stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Whether the product is added to what is there.
    pub accumulate: bool,
    /// Added to each row, `[N]`.
    pub bias: Option<&'a [f32]>,
    /// Whether negative results become 0.
    pub relu: bool,
    /// Results become 0 where this is not positive, [M, N]: the gradient of a ReLU whose output it is.
    pub gate: Option<MatRef<'a>>,
}

impl Epilogue<'_> {
    /// The product replaces what is there.
    pub const NONE: Epilogue<'static> = Epilogue { accumulate: false, bias: None, relu: false, gate: None };
}

/// `out = gate(relu(out + x · W + bias))`, as far as the epilogue asks for it.
///
/// # Shapes
/// `out` [M, N]; `x` [M, K]; `W` [K, N].
///
/// # Panics
/// If the shapes do not fit, or the weights are packed for bfloat16 and the processor lacks it.
pub fn product(out: MatMut<'_>, x: MatRef<'_>, weights: Packed<'_>, epilogue: Epilogue<'_>) {
    let whole = Factor { weights, first: 0, depth: weights.shape.k };
    multiply_rows(out, x, whole, None, epilogue);
}

/// The sums of a product over the first columns of `x` alone: what [`product_rest`] starts from.
///
/// # Shapes
/// `out` [M, N]; `x` [M, P], P at most [`LONGEST_START`]; `W` [K, N].
///
/// # Panics
/// If the shapes do not fit, or the weights are packed for bfloat16.
pub fn product_start(out: MatMut<'_>, x: MatRef<'_>, weights: Packed<'_>) {
    multiply_rows(out, x, Factor::part(weights, 0, x.cols()), None, Epilogue::NONE);
}

/// The rest of a product of which [`product_start`] computed the sums over the first columns, which are the same in all rows: `out` has the
/// bits that [`product`] would give it.
///
/// # Shapes
/// `out` `[M, N]`; `x` `[M, K - P]`; `W` `[K, N]`; `start` `[N]`.
///
/// # Panics
/// As for [`product_start`].
pub fn product_rest(out: MatMut<'_>, x: MatRef<'_>, weights: Packed<'_>, start: &[f32], epilogue: Epilogue<'_>) {
    assert_eq!(start.len(), weights.shape.n, "length of the start");
    assert!(x.cols() <= weights.shape.k, "columns of the left operand");
    let first = weights.shape.k - x.cols();
    multiply_rows(out, x, Factor::part(weights, first, x.cols()), Some(start), epilogue);
}

/// Most columns of [`product_start`]: sums over more are stored in between.
pub const LONGEST_START: usize = DEPTH - 1;

/// Rows of packed weights.
struct Factor<'a> {
    weights: Packed<'a>,
    first: usize,
    depth: usize,
}

impl<'a> Factor<'a> {
    fn part(weights: Packed<'a>, first: usize, depth: usize) -> Factor<'a> {
        let PackedShape { k, precision, .. } = weights.shape;
        assert!(precision == Precision::F32, "pairs of bfloat16 are not parted");
        assert!(first <= LONGEST_START && first + depth <= k, "rows {first}..{} of {k}", first + depth);
        assert!(first > 0 || depth <= LONGEST_START, "the start has {depth} of {k} rows");
        Factor { weights, first, depth }
    }
}

fn multiply_rows(mut out: MatMut<'_>, x: MatRef<'_>, factor: Factor<'_>, start: Option<&[f32]>, epilogue: Epilogue<'_>) {
    let Factor { weights, first, depth } = factor;
    let PackedShape { n, precision, .. } = weights.shape;
    assert_eq!((x.rows(), x.cols()), (out.rows(), depth), "rows of the left operand");
    assert_eq!(out.cols(), n, "columns of the output");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == n), "length of the bias");
    assert!(epilogue.gate.is_none_or(|gate| (gate.rows(), gate.cols()) == (out.rows(), n)), "shape of the gate");
    let extent = Extent { rows: out.rows(), cols: n, depth, before: first };
    let finish = Finish {
        accumulate: epilogue.accumulate,
        bias: epilogue.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        relu: epilogue.relu,
        gate: epilogue.gate.map_or(std::ptr::null(), |gate| gate.as_ptr()),
        gate_stride: epilogue.gate.map_or(0, |gate| gate.stride()),
    };
    let start = start.map_or(std::ptr::null(), <[f32]>::as_ptr);
    let target = Target { stride: out.stride(), data: out.as_mut_ptr(), start, finish };
    match precision {
        Precision::F32 => {
            let left = Left { data: x.as_ptr(), row: x.stride(), step: 1 };
            let right = Right { data: weights.data.as_ptr().wrapping_add(first * PANEL), panel: weights.shape.panel_elements() };
            // SAFETY: the shapes were compared above, and `Packed` holds whole panels, of which those rows are a part.
            unsafe { multiply(extent, left, right, target) }
        }
        Precision::Bf16 => bf16::product(extent, x, weights, target),
    }
}

/// `out = xᵀ · dy`.
///
/// # Shapes
/// `out` [K, N]; `x` [B, K]; `dy` [B, N].
///
/// # Panics
/// If the shapes do not fit, or bfloat16 is asked for and the processor lacks it.
pub fn weight_gradient(mut out: MatMut<'_>, x: MatRef<'_>, dy: MatRef<'_>, precision: Precision) {
    assert_eq!(x.rows(), dy.rows(), "rows of the operands");
    assert_eq!((out.rows(), out.cols()), (x.cols(), dy.cols()), "shape of the output");
    if dy.rows() == 0 {
        return out.fill(0.0);
    }
    if dy.cols() == 1 {
        return combine_rows(out, x, dy);
    }
    if precision == Precision::Bf16 {
        return bf16::weight_gradient(out, x, dy);
    }
    // The right operand is packed piece by piece; a piece is then multiplied by all columns of `x`.
    with_scratch(|scratch: &mut Vec<f32>| {
        let panels = dy.cols().div_ceil(PANEL);
        let mut first = 0;
        while first < dy.rows() {
            let depth = DEPTH.min(dy.rows() - first);
            pack::panels_of_rows(scratch, dy.rows_range(first, depth));
            let extent = Extent { rows: out.rows(), cols: out.cols(), depth, before: 0 };
            debug_assert_eq!(scratch.len(), panels * depth * PANEL);
            let piece = x.rows_range(first, depth);
            let left = Left { data: piece.as_ptr(), row: 1, step: x.stride() };
            let right = Right { data: scratch.as_ptr(), panel: depth * PANEL };
            let finish = Finish { accumulate: first > 0, ..Finish::NONE };
            let target = Target { stride: out.stride(), data: out.as_mut_ptr(), start: std::ptr::null(), finish };
            // SAFETY: the shapes were compared above, and `scratch` holds whole panels of this piece.
            unsafe { multiply_transposed(extent, left, right, target) }
            first += depth;
        }
    });
}

/// Defines a function that calls the one of the same name in `tile` for this processor.
macro_rules! for_this_processor {
    ($name:ident) => {
        /// The function of this name in [`tile`], for this processor.
        ///
        /// # Safety
        /// Its promises on operands and target.
        unsafe fn $name(extent: Extent, left: Left, right: Right, target: Target) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                unsafe fn avx512(extent: Extent, left: Left, right: Right, target: Target) {
                    // SAFETY: the caller's promises.
                    unsafe { tile::$name::<Avx512>(extent, left, right, target) }
                }
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2(extent: Extent, left: Left, right: Right, target: Target) {
                    // SAFETY: the caller's promises.
                    unsafe { tile::$name::<Avx2>(extent, left, right, target) }
                }
                match crate::dispatch::level() {
                    // SAFETY: `level` saw these features; the rest is promised by the caller.
                    crate::dispatch::Level::Avx512 => return unsafe { avx512(extent, left, right, target) },
                    // SAFETY: as above.
                    crate::dispatch::Level::Avx2 => return unsafe { avx2(extent, left, right, target) },
                    crate::dispatch::Level::Portable => {}
                }
            }
            // SAFETY: every target has what `Portable` needs; the rest is promised by the caller.
            unsafe { tile::$name::<Portable>(extent, left, right, target) }
        }
    };
}
for_this_processor!(multiply);
for_this_processor!(multiply_transposed);

thread_local! {
    /// Panels of the right operand of weight gradients.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

fn with_scratch(work: impl FnOnce(&mut Vec<f32>)) {
    SCRATCH.with_borrow_mut(work);
}

/// `out = gate(relu(out + x · w + bias))` for one output column; every output is [`dot`] of a row with the weights.
///
/// # Shapes
/// `out` [M, 1]; `x` [M, K]; `weights` of K elements.
///
/// # Panics
/// If the shapes do not fit.
pub fn product_with_column(mut out: MatMut<'_>, x: MatRef<'_>, weights: &[f32], epilogue: Epilogue<'_>) {
    assert_eq!((out.rows(), out.cols()), (x.rows(), 1), "shape of the output");
    for i in 0..x.rows() {
        let y = &mut out.row(i)[0];
        let mut sum = dot(x.row(i), weights);
        if epilogue.accumulate {
            sum += *y;
        }
        if let Some(bias) = epilogue.bias {
            sum += bias[0];
        }
        sum = if epilogue.relu { sum.max(0.0) } else { sum };
        *y = if epilogue.gate.is_none_or(|gate| gate.row(i)[0] > 0.0) { sum } else { 0.0 };
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

/// One output column with `a` transposed: the rows of `x` added up, each times an element of `dy`.
fn combine_rows(mut out: MatMut<'_>, x: MatRef<'_>, dy: MatRef<'_>) {
    let mut sums = vec![0.0_f32; x.cols()];
    for p in 0..x.rows() {
        multiply_add(&mut sums, dy.row(p)[0], x.row(p));
    }
    for (i, sum) in sums.iter().enumerate() {
        out.row(i)[0] = *sum;
    }
}

/// `sums += x * row`, rounded once where the processor can.
fn multiply_add(sums: &mut [f32], x: f32, row: &[f32]) {
    if crate::dispatch::fuses() {
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
    use super::Orientation::{Plain, Transposed};
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
        let at = |x: MatRef<'_>, is, i: usize, j: usize| f64::from(if is == Plain { x.row(i)[j] } else { x.row(j)[i] });
        let (m, k) = if a_is == Plain { (a.rows(), a.cols()) } else { (a.cols(), a.rows()) };
        let n = if b_is == Plain { b.cols() } else { b.rows() };
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|p| at(a, a_is, i, p) * at(b, b_is, p, j)).sum();
            }
        }
        out
    }

    fn packed(shape: PackedShape, w: MatRef<'_>, w_is: Orientation) -> Vec<f32> {
        let mut data = vec![f32::NAN; shape.panels() * shape.panel_elements()];
        pack(MatMut::new(&mut data, shape.panels(), shape.panel_elements()), 0, shape, w, w_is);
        data
    }

    fn precisions() -> impl Iterator<Item = Precision> {
        [Precision::F32, Precision::Bf16].into_iter().filter(|precision| precision.is_supported())
    }

    /// The numbers that a product at this precision sees.
    fn seen(values: &[f32], precision: Precision) -> Vec<f32> {
        let round = |x: &f32| f32::from_bits(u32::from(bf16::round(*x)) << 16);
        if precision == Precision::Bf16 { values.iter().map(round).collect() } else { values.to_vec() }
    }

    /// Rounding of a sum of k products of numbers up to 1/4, one after the other: far below k * 1e-6.
    fn tolerance(k: usize) -> f64 {
        1e-6 * (k as f64).max(1.0)
    }

    #[track_caller]
    fn check_product(m: usize, n: usize, k: usize, precision: Precision, w_is: Orientation) {
        let (x, w, bias) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
        let view = |values| if w_is == Plain { MatRef::new(values, k, n) } else { MatRef::new(values, n, k) };
        let (seen_x, seen_w) = (seen(&x, precision), seen(&w, precision));
        let expected = reference(MatRef::new(&seen_x, m, k), Plain, view(&seen_w), w_is);
        let shape = PackedShape { k, n, precision };
        let data = packed(shape, view(&w), w_is);
        let weights = Packed::new(MatRef::new(&data, shape.panels(), shape.panel_elements()), shape);
        let gates = numbers(m * n, 4);
        let cases = [(false, false, false, false), (true, false, false, false), (false, true, true, false), (true, true, false, true)];
        for (accumulate, with_bias, relu, with_gate) in cases {
            // Every other column of a wider output, to see that the neighbours stay.
            let mut wide = vec![7.0; m * (n + 3)];
            let mut out = MatMut::new(&mut wide, m, n + 3);
            let gate = with_gate.then_some(MatRef::new(&gates, m, n));
            let epilogue = Epilogue { accumulate, bias: with_bias.then_some(&bias), relu, gate };
            product(out.cols_range(1, n), MatRef::new(&x, m, k), weights, epilogue);
            for i in 0..m {
                let row = out.row(i);
                assert_eq!((row[0], row[n + 1], row[n + 2]), (7.0, 7.0, 7.0), "columns beside the output");
                for j in 0..n {
                    let mut want = expected[i * n + j] + if accumulate { 7.0 } else { 0.0 };
                    want += if with_bias { f64::from(bias[j]) } else { 0.0 };
                    want = if relu { want.max(0.0) } else { want };
                    want = if with_gate && gates[i * n + j] <= 0.0 { 0.0 } else { want };
                    let got = f64::from(row[j + 1]);
                    assert!((got - want).abs() <= tolerance(k) + 1e-6, "{m}x{n}x{k} {precision:?} {w_is:?} {epilogue:?}: {got} {want}");
                }
            }
        }
    }

    const SIZES: [(usize, usize, usize); 12] = [
        (1, 1, 1),
        (1, 33, 7),
        (3, 1, 130),
        (17, 19, 23),
        (2, 200, 40),
        (1, 300, 513),
        (64, 64, 600),
        (130, 5, 1),
        (40, 70, 0),
        (97, 129, 1030),
        (5, 3, 2),
        (9, 48, 33),
    ];

    #[test]
    fn products_equal_the_definition() {
        for precision in precisions() {
            for w_is in [Plain, Transposed] {
                for (m, n, k) in SIZES {
                    check_product(m, n, k, precision, w_is);
                }
                for n in 0..130 {
                    check_product(n % 9 + 1, n, 5, precision, w_is);
                }
            }
        }
    }

    #[test]
    fn weight_gradients_equal_the_definition() {
        for precision in precisions() {
            for (m, n, k) in SIZES.into_iter().chain((1..70).map(|n| (n % 11 + 1, n, n % 5 + 1))) {
                let (x, dy) = (numbers(k * m, 1), numbers(k * n, 2));
                let mut out = vec![7.0; m * n];
                weight_gradient(MatMut::new(&mut out, m, n), MatRef::new(&x, k, m), MatRef::new(&dy, k, n), precision);
                // A single column is not rounded.
                let precision = if n == 1 { Precision::F32 } else { precision };
                let (x, dy) = (seen(&x, precision), seen(&dy, precision));
                let expected = reference(MatRef::new(&x, k, m), Transposed, MatRef::new(&dy, k, n), Plain);
                for (got, want) in out.iter().zip(&expected) {
                    assert!((f64::from(*got) - want).abs() <= tolerance(k), "{m}x{n}x{k} {precision:?}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_company() {
        for precision in precisions() {
            for (n, k) in [(8, 112), (16, 56), (64, 600), (112, 512), (256, 112), (512, 768), (130, 31)] {
                let rows = 130;
                let (x, w) = (numbers(rows * k, 3), numbers(k * n, 4));
                let x = MatRef::new(&x, rows, k);
                let shape = PackedShape { k, n, precision };
                let data = packed(shape, MatRef::new(&w, k, n), Plain);
                let weights = Packed::new(MatRef::new(&data, shape.panels(), shape.panel_elements()), shape);
                let mut whole = vec![0.0; rows * n];
                product(MatMut::new(&mut whole, rows, n), x, weights, Epilogue::NONE);
                for count in [1, 2, 3, 7, 15, 16, 31, 33, 63, 64, 65, 100, 129] {
                    for first in [0, rows - count] {
                        let mut part = vec![0.0; count * n];
                        product(MatMut::new(&mut part, count, n), x.rows_range(first, count), weights, Epilogue::NONE);
                        assert!(part == whole[first * n..(first + count) * n], "n {n} k {k} {precision:?}: {count} rows from {first}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_product_in_two_parts_has_the_bits_of_the_whole() {
        for (n, k) in [(2, 5), (16, 56), (64, 600), (112, 512), (130, 31), (40, 1100)] {
            let rows = 37;
            let (w, bias) = (numbers(k * n, 4), numbers(n, 5));
            let shape = PackedShape { k, n, precision: Precision::F32 };
            let data = packed(shape, MatRef::new(&w, k, n), Plain);
            let weights = Packed::new(MatRef::new(&data, shape.panels(), shape.panel_elements()), shape);
            for first in [1, 2, 16, k / 2, k - 1, LONGEST_START].into_iter().filter(|first| *first < k && *first <= LONGEST_START) {
                let shared = numbers(first, 6);
                let mut x = numbers(rows * k, 7);
                x.chunks_exact_mut(k).for_each(|row| row[..first].copy_from_slice(&shared));
                let x = MatRef::new(&x, rows, k);
                let mut start = vec![7.0; n];
                product_start(MatMut::new(&mut start, 1, n), MatRef::new(&shared, 1, first), weights);
                for count in [1, 2, 8, 37] {
                    let x = x.rows_range(0, count);
                    let epilogue = Epilogue { bias: Some(&bias), relu: true, ..Epilogue::NONE };
                    let (mut whole, mut parts) = (vec![0.0; count * n], vec![7.0; count * n]);
                    product(MatMut::new(&mut whole, count, n), x, weights, epilogue);
                    let rest = x.cols_range(first, k - first);
                    product_rest(MatMut::new(&mut parts, count, n), rest, weights, &start, epilogue);
                    assert!(whole == parts, "n {n} k {k}: {first} columns first, {count} rows");
                }
            }
        }
    }

    #[test]
    fn a_weight_gradient_has_the_same_bits_column_by_column() {
        for precision in precisions() {
            let (rows, m, n) = (600, 40, 160);
            let (x, dy) = (numbers(rows * m, 5), numbers(rows * n, 6));
            let (x, dy) = (MatRef::new(&x, rows, m), MatRef::new(&dy, rows, n));
            let mut whole = vec![0.0; m * n];
            weight_gradient(MatMut::new(&mut whole, m, n), x, dy, precision);
            let mut parts = vec![0.0; m * n];
            let mut out = MatMut::new(&mut parts, m, n);
            for (first, count) in [(0, 32), (32, 64), (96, 64)] {
                weight_gradient(out.cols_range(first, count), x, dy.cols_range(first, count), precision);
            }
            assert!(whole == parts, "{precision:?}");
        }
    }

    #[test]
    fn pairs_equal_their_scalar_twin_for_all_tails() {
        if !bf16::supported() {
            return;
        }
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1.0 + f32::EPSILON, 1.003_906_3, 1.011_718_8, 3.4e38, 1e-40];
        for length in 0..130 {
            let values: Vec<f32> = special.into_iter().chain(numbers(2 * length, 7)).take(2 * length).collect();
            let (low, high) = values.split_at(length);
            let rows = MatRef::new(&values, 2, length);
            let mut panel = vec![0; PANEL];
            for first in (0..length).step_by(PANEL) {
                let cols = (length - first).min(PANEL);
                bf16::pair_rows(&mut panel, rows.cols_range(first, cols));
                let expected: Vec<u32> = (first..first + cols).map(|j| bf16::pair(low[j], high[j])).collect();
                assert_eq!(panel[..cols], expected, "{length}");
                assert!(panel[cols..].iter().all(|word| *word == 0));
            }
        }
    }
}

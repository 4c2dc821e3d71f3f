//! Products of numbers rounded to bfloat16, summed in `f32` (AVX-512 BF16): twice the multiply-adds of a processor's `f32` path.
//!
//! Two neighbours along the inner dimension form a pair, one 32-bit word: the first in the lower half. An odd inner dimension is
//! filled up by a zero. The instruction adds a pair's two products one after the other, each rounded, denormals flushed.

#[cfg(target_arch = "x86_64")]
use std::cell::RefCell;

#[cfg(target_arch = "x86_64")]
use super::DEPTH;
#[cfg(target_arch = "x86_64")]
use super::tile::Finish;
use super::tile::{Extent, Target};
use super::{PANEL, Packed};
use crate::view::{MatMut, MatRef};

#[cfg(target_arch = "x86_64")]
thread_local! {
    /// Rounded operands.
    static ROUNDED: RefCell<[Vec<u32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Rounds to the nearest bfloat16, ties to even; what the conversion instruction does with normal numbers and infinities.
pub(super) fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    if value.abs() < f32::MIN_POSITIVE {
        return (bits >> 16) as u16 & 0x8000;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The pair of two numbers.
pub(super) fn pair(first: f32, second: f32) -> u32 {
    u32::from(round(first)) | u32::from(round(second)) << 16
}

/// Whether this processor has the instructions, and `RANKMILL_SIMD` allows them.
pub(super) fn supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        crate::dispatch::level() == crate::dispatch::Level::Avx512 && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `x · W` from weights packed in pairs.
///
/// # Panics
/// If the processor lacks the instructions.
pub(super) fn product(extent: Extent, x: MatRef<'_>, weights: Packed<'_>, target: Target) {
    assert!(supported(), "bfloat16 products need a processor with AVX-512 BF16");
    #[cfg(target_arch = "x86_64")]
    ROUNDED.with_borrow_mut(|[rounded, _]| {
        let width = extent.depth.div_ceil(2);
        rounded.resize(extent.rows * width, 0);
        for (i, pairs) in rounded.chunks_exact_mut(width.max(1)).enumerate() {
            // SAFETY: `supported` saw the instructions.
            unsafe { x86::pair_row(pairs, x.row(i)) };
        }
        let left = x86::Left { data: rounded.as_ptr(), row: width, step: 1 };
        let right = weights.data.as_ptr().cast();
        // SAFETY: `supported` saw the instructions; `gemm::product` compared the shapes, and `Packed` holds whole panels.
        unsafe { x86::multiply(extent, left, right, weights.shape.panel_elements(), target) };
    });
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (extent, x, weights, target);
}

/// `xᵀ · dy`.
///
/// # Panics
/// If the processor lacks the instructions.
pub(super) fn weight_gradient(mut out: MatMut<'_>, x: MatRef<'_>, dy: MatRef<'_>) {
    assert!(supported(), "bfloat16 products need a processor with AVX-512 BF16");
    #[cfg(target_arch = "x86_64")]
    ROUNDED.with_borrow_mut(|[left, right]| {
        let mut first = 0;
        while first < x.rows() {
            let depth = DEPTH.min(x.rows() - first);
            let (x, dy) = (x.rows_range(first, depth), dy.rows_range(first, depth));
            let pairs = depth.div_ceil(2);
            left.resize(pairs * x.cols(), 0);
            for (p, row) in left.chunks_exact_mut(x.cols().max(1)).enumerate() {
                pair_two_rows(row, x, 2 * p);
            }
            let panels = dy.cols().div_ceil(PANEL);
            right.resize(panels * pairs * PANEL, 0);
            for (i, panel) in right.chunks_exact_mut(pairs * PANEL).enumerate() {
                let col = i * PANEL;
                pair_rows(panel, dy.cols_range(col, (dy.cols() - col).min(PANEL)));
            }
            let extent = Extent { rows: out.rows(), cols: out.cols(), depth, before: 0 };
            let operand = x86::Left { data: left.as_ptr(), row: 1, step: x.cols() };
            let finish = Finish { accumulate: first > 0, ..Finish::NONE };
            let target = Target { stride: out.stride(), data: out.as_mut_ptr(), start: std::ptr::null(), finish };
            // SAFETY: `supported` saw the instructions; `gemm::weight_gradient` compared the shapes, and both operands were filled
            // for this piece.
            unsafe { x86::multiply(extent, operand, right.as_ptr(), pairs * PANEL, target) };
            first += depth;
        }
    });
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, dy, &mut out);
}

/// A panel of pairs from a matrix whose rows are the inner dimension: rows `2p` and `2p + 1` make the pairs of row `p`.
pub(super) fn pair_rows(panel: &mut [u32], b: MatRef<'_>) {
    let (rows, _) = panel.as_chunks_mut::<PANEL>();
    for (p, row) in rows.iter_mut().enumerate() {
        let (used, padding) = row.split_at_mut(b.cols());
        pair_two_rows(used, b, 2 * p);
        padding.fill(0);
    }
}

/// The pairs of rows `first` and `first + 1` of `b`, the latter zero if there is none.
fn pair_two_rows(out: &mut [u32], b: MatRef<'_>, first: usize) {
    let low = b.row(first);
    if first + 1 == b.rows() {
        return out.iter_mut().zip(low).for_each(|(out, low)| *out = pair(*low, 0.0));
    }
    let high = b.row(first + 1);
    #[cfg(target_arch = "x86_64")]
    if supported() {
        // SAFETY: `supported` saw the instructions.
        return unsafe { x86::interleave(out, low, high) };
    }
    out.iter_mut().zip(low).zip(high).for_each(|((out, low), high)| *out = pair(*low, *high));
}

/// A panel of pairs from a matrix whose columns are the inner dimension.
pub(super) fn pair_columns(panel: &mut [u32], w: MatRef<'_>) {
    let (rows, _) = panel.as_chunks_mut::<PANEL>();
    for j in 0..PANEL {
        let source = if j < w.rows() { w.row(j) } else { &[] };
        let (pairs, rest) = source.as_chunks::<2>();
        for (row, [low, high]) in rows.iter_mut().zip(pairs) {
            row[j] = pair(*low, *high);
        }
        for row in rows.iter_mut().skip(pairs.len()) {
            row[j] = rest.first().map_or(0, |last| pair(*last, 0.0));
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::{
        __m256bh, __m256i, __m512bh, __m512i, _mm256_storeu_si256, _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_dpbf16_ps,
        _mm512_loadu_ps, _mm512_loadu_si512, _mm512_or_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
        _mm512_slli_epi32, _mm512_storeu_si512,
    };

    use crate::gemm::lanes::Lanes;
    use crate::gemm::lanes::x86::Avx512;
    use crate::gemm::tile::{Ahead, Extent, PER_LINE, Target, store};
    use crate::gemm::{DEPTH, PANEL};

    const WIDTH: usize = Avx512::WIDTH;
    /// Rows of the largest tile.
    const ROWS: usize = 8;

    /// `out[j] = pair(first[j], second[j])`.
    ///
    /// # Safety
    /// The processor has AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(in super::super) unsafe fn interleave(out: &mut [u32], first: &[f32], second: &[f32]) {
        let whole = out.len() / WIDTH * WIDTH;
        assert!(first.len() == out.len() && second.len() == out.len());
        for j in (0..whole).step_by(WIDTH) {
            // SAFETY: a whole vector lies before `whole`.
            unsafe {
                let low = words(_mm512_cvtneps_pbh(_mm512_loadu_ps(first.as_ptr().add(j))));
                let high = words(_mm512_cvtneps_pbh(_mm512_loadu_ps(second.as_ptr().add(j))));
                let pairs = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
                _mm512_storeu_si512(out.as_mut_ptr().add(j).cast(), pairs);
            }
        }
        for j in whole..out.len() {
            out[j] = super::pair(first[j], second[j]);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn words(halves: __m256bh) -> __m512i {
        // SAFETY: both are 32 bytes without invalid values.
        _mm512_cvtepu16_epi32(unsafe { std::mem::transmute::<__m256bh, __m256i>(halves) })
    }

    /// The pairs of a row; an odd last element is paired with zero.
    ///
    /// # Safety
    /// The processor has AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(in super::super) unsafe fn pair_row(out: &mut [u32], row: &[f32]) {
        assert_eq!(out.len(), row.len().div_ceil(2));
        let whole = row.len() / WIDTH * WIDTH;
        for p in (0..whole).step_by(WIDTH) {
            // SAFETY: a whole vector lies before `whole`, and its 8 pairs before `whole / 2`.
            unsafe {
                let halves = _mm512_cvtneps_pbh(_mm512_loadu_ps(row.as_ptr().add(p)));
                let halves = std::mem::transmute::<__m256bh, __m256i>(halves);
                _mm256_storeu_si256(out.as_mut_ptr().add(p / 2).cast(), halves);
            }
        }
        for p in (whole..row.len()).step_by(2) {
            out[p / 2] = super::pair(row[p], row.get(p + 1).copied().unwrap_or(0.0));
        }
    }

    /// The left operand: the pairs of element row `i` lie at `data + i * row + pair * step`.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Left {
        pub(in super::super) data: *const u32,
        pub(in super::super) row: usize,
        pub(in super::super) step: usize,
    }

    /// As [`crate::gemm::tile::multiply`], on pairs: `extent.depth` and the pieces count elements, panels hold pairs.
    ///
    /// # Safety
    /// As there; the processor has AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(in super::super) unsafe fn multiply(extent: Extent, left: Left, right: *const u32, panel: usize, target: Target) {
        let pairs = extent.depth.div_ceil(2);
        for col in (0..extent.cols).step_by(PANEL) {
            let cols = (extent.cols - col).min(PANEL);
            let mut first = 0;
            // An empty inner dimension has one piece, too: sums of nothing are stored.
            loop {
                let depth = (DEPTH / 2).min(pairs - first);
                let last = first + depth == pairs;
                for row in (0..extent.rows).step_by(ROWS) {
                    // SAFETY: pieces, rows and columns stay inside the operands.
                    unsafe {
                        let left = Left { data: left.data.add(row * left.row + first * left.step), ..left };
                        let right = right.add(col / PANEL * panel + first * PANEL);
                        let ahead = Ahead::of_panel(right.wrapping_add(panel).cast(), depth, row / ROWS);
                        let target = target.from(row, col).of_piece(first == 0, last);
                        match (extent.rows - row).min(ROWS) {
                            1 => tile::<1>(depth, left, right, target, cols, ahead),
                            2 => tile::<2>(depth, left, right, target, cols, ahead),
                            3 => tile::<3>(depth, left, right, target, cols, ahead),
                            4 => tile::<4>(depth, left, right, target, cols, ahead),
                            5 => tile::<5>(depth, left, right, target, cols, ahead),
                            6 => tile::<6>(depth, left, right, target, cols, ahead),
                            7 => tile::<7>(depth, left, right, target, cols, ahead),
                            _ => tile::<8>(depth, left, right, target, cols, ahead),
                        }
                    }
                }
                if last {
                    break;
                }
                first += depth;
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn tile<const R: usize>(pairs: usize, left: Left, right: *const u32, target: Target, cols: usize, ahead: Ahead) {
        // SAFETY: the caller's promises.
        unsafe {
            if cols > WIDTH {
                columns::<R, 2>(pairs, left, right, target, cols, ahead);
            } else {
                columns::<R, 1>(pairs, left, right, target, cols, ahead);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn columns<const R: usize, const C: usize>(
        pairs: usize,
        left: Left,
        right: *const u32,
        target: Target,
        cols: usize,
        ahead: Ahead,
    ) {
        let mut sums = [[_mm512_setzero_ps(); C]; R];
        let (mut a, mut b) = (left.data, right);
        for p in 0..pairs {
            if p % PER_LINE == 0 {
                ahead.fetch(p / PER_LINE);
            }
            let mut columns = [_mm512_setzero_si512(); C];
            // SAFETY: the panel holds `C` vectors for each pair.
            unsafe {
                for (c, column) in columns.iter_mut().enumerate() {
                    *column = _mm512_loadu_si512(b.add(c * WIDTH).cast());
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32(*a.add(r * left.row) as i32);
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_dpbf16_ps(*sum, pairs_of(x), pairs_of(column));
                    }
                }
            }
            a = a.wrapping_add(left.step);
            b = b.wrapping_add(PANEL);
        }
        // SAFETY: the caller's promises.
        unsafe { store::<Avx512, R, C>(&sums, target, cols) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn pairs_of(words: __m512i) -> __m512bh {
        // SAFETY: both are 64 bytes without invalid values.
        unsafe { std::mem::transmute(words) }
    }
}

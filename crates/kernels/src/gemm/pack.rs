//! Weight matrices cut into panels.

use std::ops::Range;

use super::Orientation::{self, Plain, Transposed};
use super::{PANEL, Precision, bf16};
use crate::view::{MatMut, MatRef};

/// A packed matrix `[K, N]`: panels of [`PANEL`] columns, each with its rows one after the other, filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedShape {
    /// Rows.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// How its elements are stored: as they are, or two of a column in one 32-bit word.
    pub precision: Precision,
}

impl PackedShape {
    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// 32-bit words of a panel.
    pub fn panel_elements(&self) -> usize {
        let rows = match self.precision {
            Precision::F32 => self.k,
            Precision::Bf16 => self.k.div_ceil(2),
        };
        rows * PANEL
    }
}

/// A packed matrix, `[panels, panel_elements]`; words that hold pairs of bfloat16 lie in it as if they were `f32`s.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    pub(super) data: MatRef<'a>,
    pub(super) shape: PackedShape,
}

impl<'a> Packed<'a> {
    /// A view of what [`pack`] wrote for `shape`.
    ///
    /// # Panics
    /// If the view has another shape, or gaps between its rows.
    pub fn new(data: MatRef<'a>, shape: PackedShape) -> Packed<'a> {
        assert_eq!((data.rows(), data.cols()), (shape.panels(), shape.panel_elements()), "panels of a packed matrix");
        assert!(data.as_slice().is_some(), "packed panels follow each other");
        Packed { data, shape }
    }

    /// Columns of it.
    ///
    /// # Panics
    /// If they don't begin with a panel and end with one or with the matrix.
    pub fn columns(self, columns: Range<usize>) -> Packed<'a> {
        let Range { start, end } = columns;
        assert!(start.is_multiple_of(PANEL) && (end.is_multiple_of(PANEL) || end == self.shape.n), "columns {start}..{end} are panels");
        let shape = PackedShape { n: end - start, ..self.shape };
        Packed { data: self.data.rows_range(start / PANEL, shape.panels()), shape }
    }
}

/// Packs panels `first_panel ..` of `op(w)`, as many as `out` has rows.
///
/// # Shapes
/// `op(w)` [K, N] as in `shape`; `out` [panels, panel_elements].
///
/// # Panics
/// If the shapes do not fit.
pub fn pack(mut out: MatMut<'_>, first_panel: usize, shape: PackedShape, w: MatRef<'_>, w_is: Orientation) {
    let (k, n) = if w_is == Plain { (w.rows(), w.cols()) } else { (w.cols(), w.rows()) };
    assert_eq!((k, n), (shape.k, shape.n), "shape of the weights");
    assert_eq!(out.cols(), shape.panel_elements(), "elements of a panel");
    for i in 0..out.rows() {
        let first = (first_panel + i) * PANEL;
        let cols = (n - first).min(PANEL);
        let panel = out.row(i);
        match (w_is, shape.precision) {
            (Plain, Precision::F32) => copy_rows(panel, w.cols_range(first, cols)),
            (Transposed, Precision::F32) => transpose(panel, w.rows_range(first, cols)),
            (Plain, Precision::Bf16) => bf16::pair_rows(words(panel), w.cols_range(first, cols)),
            (Transposed, Precision::Bf16) => bf16::pair_columns(words(panel), w.rows_range(first, cols)),
        }
    }
}

/// The same memory as integers.
fn words(panel: &mut [f32]) -> &mut [u32] {
    // SAFETY: both have the same size and alignment, and every bit pattern is a valid value of either.
    unsafe { std::slice::from_raw_parts_mut(panel.as_mut_ptr().cast(), panel.len()) }
}

/// All panels of a matrix whose rows are the inner dimension.
pub(super) fn panels_of_rows(out: &mut Vec<f32>, b: MatRef<'_>) {
    let panels = b.cols().div_ceil(PANEL);
    out.resize(panels * b.rows() * PANEL, 0.0);
    for (i, panel) in out.chunks_exact_mut(b.rows() * PANEL).enumerate() {
        let first = i * PANEL;
        copy_rows(panel, b.cols_range(first, (b.cols() - first).min(PANEL)));
    }
}

fn copy_rows(panel: &mut [f32], b: MatRef<'_>) {
    let (rows, _) = panel.as_chunks_mut::<PANEL>();
    for (p, row) in rows.iter_mut().enumerate() {
        match b.row(p).first_chunk::<PANEL>() {
            Some(whole) => *row = *whole,
            None => {
                row[..b.cols()].copy_from_slice(b.row(p));
                row[b.cols()..].fill(0.0);
            }
        }
    }
}

/// Floats of a cache line, and sides of the squares that are transposed in registers.
const LINE: usize = 16;

/// Rows of `w` become columns of the panel.
fn transpose(panel: &mut [f32], w: MatRef<'_>) {
    let (rows, _) = panel.as_chunks_mut::<PANEL>();
    for (line, rows) in rows.chunks_mut(LINE).enumerate() {
        #[cfg(target_arch = "x86_64")]
        if rows.len() == LINE && w.rows() == PANEL && crate::dispatch::level() == crate::dispatch::Level::Avx512 {
            for half in (0..PANEL).step_by(LINE) {
                // SAFETY: `level` saw the instructions; 16 rows of the panel and 16 elements of 16 rows of `w` are there.
                unsafe {
                    let from = w.rows_range(half, LINE).cols_range(line * LINE, LINE);
                    x86::transpose_square(rows.as_mut_ptr().cast::<f32>().add(half), PANEL, from.as_ptr(), from.stride());
                }
            }
            continue;
        }
        for j in 0..PANEL {
            if j < w.rows() {
                let source = &w.row(j)[line * LINE..][..rows.len()];
                rows.iter_mut().zip(source).for_each(|(row, value)| row[j] = *value);
            } else {
                rows.iter_mut().for_each(|row| row[j] = 0.0);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, __m512d, _mm512_castpd_ps, _mm512_castps_pd, _mm512_loadu_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps,
        _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
    };

    use super::LINE;

    /// Writes 16 columns of 16 elements as rows.
    ///
    /// # Safety
    /// The processor has AVX-512; 16 elements of 16 rows are readable and writable at the given strides.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn transpose_square(to: *mut f32, to_stride: usize, from: *const f32, from_stride: usize) {
        let mut rows = [_mm512_setzero_ps(); LINE];
        for (i, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *row = unsafe { _mm512_loadu_ps(from.add(i * from_stride)) };
        }
        // Pairs of elements, then pairs of pairs: afterwards `quads[4g + c]` holds, in its four quarters q, the elements of column
        // 4q + c of the rows 4g to 4g + 3.
        let mut quads = [_mm512_setzero_ps(); LINE];
        for g in 0..4 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| rows[4 * g + i]);
            let (low, high) = ([_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d)], [_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d)]);
            for (i, [first, second]) in [low, high].into_iter().enumerate() {
                let (first, second): (__m512d, __m512d) = (_mm512_castps_pd(first), _mm512_castps_pd(second));
                quads[4 * g + 2 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(first, second));
                quads[4 * g + 2 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(first, second));
            }
        }
        for c in 0..4 {
            let [a, b, d, e]: [__m512; 4] = [0, 1, 2, 3].map(|g| quads[4 * g + c]);
            // Quarters 0 and 2, and 1 and 3, of two groups of rows each.
            let (even_low, odd_low) = (_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
            let (even_high, odd_high) = (_mm512_shuffle_f32x4::<0b10_00_10_00>(d, e), _mm512_shuffle_f32x4::<0b11_01_11_01>(d, e));
            let columns = [
                _mm512_shuffle_f32x4::<0b10_00_10_00>(even_low, even_high),
                _mm512_shuffle_f32x4::<0b10_00_10_00>(odd_low, odd_high),
                _mm512_shuffle_f32x4::<0b11_01_11_01>(even_low, even_high),
                _mm512_shuffle_f32x4::<0b11_01_11_01>(odd_low, odd_high),
            ];
            for (q, column) in columns.into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { _mm512_storeu_ps(to.add((4 * q + c) * to_stride), column) };
            }
        }
    }
}

//! Strided views of row-major `f32` matrices.
//!
//! A view is `rows × cols` with a row stride; the columns of a row are contiguous. Views of different column ranges of one buffer
//! may be alive at once, so a view holds a pointer and not a slice over the whole range; rows are handed out as slices.

use std::marker::PhantomData;

use smallvec::SmallVec;

/// A read-only view, `[rows, cols]`.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    data: *const f32,
    rows: usize,
    cols: usize,
    stride: usize,
    lifetime: PhantomData<&'a [f32]>,
}

/// A writable view, `[rows, cols]`.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

/// Floats of a cache line.
pub(crate) const LINE: usize = 16;

/// Brings a line into the first-level cache; the address need not be valid.
#[inline(always)]
pub(crate) fn prefetch(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing; any address will do.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

// SAFETY: a `MatRef` is a shared borrow of `f32`s, which are `Sync`.
unsafe impl Send for MatRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for MatRef<'_> {}
// SAFETY: a `MatMut` is an exclusive borrow of `f32`s, which are `Send`.
unsafe impl Send for MatMut<'_> {}

impl<'a> MatRef<'a> {
    /// A view of a whole slice of `rows * cols` elements.
    ///
    /// # Panics
    /// If the slice has another length.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a view needs rows * cols elements");
        MatRef { data: data.as_ptr(), rows, cols, stride: cols, lifetime: PhantomData }
    }

    /// One row as if it stood there `rows` times.
    pub fn repeated(row: &'a [f32], rows: usize) -> Self {
        MatRef { data: row.as_ptr(), rows, cols: row.len(), stride: 0, lifetime: PhantomData }
    }

    /// # Safety
    /// For every row `i < rows` the `cols` elements from `data + i * stride` are initialised, readable for `'a`, and not written during `'a`.
    pub(crate) unsafe fn from_raw(data: *const f32, rows: usize, cols: usize, stride: usize) -> Self {
        MatRef { data, rows, cols, stride, lifetime: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance between the starts of two rows, in elements.
    pub fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.data
    }

    /// Row `i`, `[cols]`.
    pub fn row(&self, i: usize) -> &'a [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: by construction the `cols` elements of row `i` are readable for `'a`.
        unsafe { std::slice::from_raw_parts(self.data.add(i * self.stride), self.cols) }
    }

    /// Asks for row `i` to be brought into cache, for it is read soon; nothing happens if there is no such row.
    pub fn prefetch_row(&self, i: usize) {
        if i >= self.rows {
            return;
        }
        for col in (0..self.cols).step_by(LINE) {
            prefetch(self.data.wrapping_add(i * self.stride + col));
        }
    }

    /// The element of a `[1, 1]` view, or generally the first one.
    pub fn scalar(&self) -> f32 {
        self.row(0)[0]
    }

    /// Rows `[first, first + count)`.
    pub fn rows_range(&self, first: usize, count: usize) -> MatRef<'a> {
        assert!(first + count <= self.rows);
        // SAFETY: a part of a valid view; `first <= rows`, so the pointer stays in the buffer or one past it.
        unsafe { Self::from_raw(self.data.add(first * self.stride), count, self.cols, self.stride) }
    }

    /// Columns `[first, first + count)`.
    pub fn cols_range(&self, first: usize, count: usize) -> MatRef<'a> {
        assert!(first + count <= self.cols);
        // SAFETY: a part of a valid view.
        unsafe { Self::from_raw(self.data.add(first), self.rows, count, self.stride) }
    }

    /// The same elements as `[1, rows * cols]`, where they are contiguous.
    pub fn as_slice(&self) -> Option<&'a [f32]> {
        if self.stride == self.cols || self.rows <= 1 {
            // SAFETY: the rows follow each other without gaps.
            return Some(unsafe { std::slice::from_raw_parts(self.data, self.rows * self.cols) });
        }
        None
    }

    /// Copies the view into a new contiguous vector.
    pub fn to_vec(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.rows * self.cols);
        for i in 0..self.rows {
            out.extend_from_slice(self.row(i));
        }
        out
    }
}

impl<'a> MatMut<'a> {
    /// A view of a whole slice of `rows * cols` elements.
    ///
    /// # Panics
    /// If the slice has another length.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a view needs rows * cols elements");
        MatMut { data: data.as_mut_ptr(), rows, cols, stride: cols, lifetime: PhantomData }
    }

    /// # Safety
    /// For every row `i < rows` the `cols` elements from `data + i * stride` are initialised and accessed through this view alone during `'a`.
    pub(crate) unsafe fn from_raw(data: *mut f32, rows: usize, cols: usize, stride: usize) -> Self {
        MatMut { data, rows, cols, stride, lifetime: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance between the starts of two rows, in elements.
    pub fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.data
    }

    /// Row `i`, `[cols]`.
    pub fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: by construction the row's elements belong to this view alone, and `&mut self` is held.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.stride), self.cols) }
    }

    /// All elements as one slice, where they are contiguous.
    pub fn as_mut_slice(&mut self) -> Option<&mut [f32]> {
        if self.stride == self.cols || self.rows <= 1 {
            // SAFETY: the rows follow each other without gaps and belong to this view.
            return Some(unsafe { std::slice::from_raw_parts_mut(self.data, self.rows * self.cols) });
        }
        None
    }

    /// A shared view of the same elements.
    pub fn as_ref(&self) -> MatRef<'_> {
        // SAFETY: `&self` is held as long as the result.
        unsafe { MatRef::from_raw(self.data, self.rows, self.cols, self.stride) }
    }

    /// A shorter borrow of the same view.
    pub fn reborrow(&mut self) -> MatMut<'_> {
        // SAFETY: `&mut self` is held as long as the result.
        unsafe { MatMut::from_raw(self.data, self.rows, self.cols, self.stride) }
    }

    /// Rows `[first, first + count)`.
    pub fn rows_range(&mut self, first: usize, count: usize) -> MatMut<'_> {
        assert!(first + count <= self.rows);
        // SAFETY: a part of this view, borrowed from it.
        unsafe { MatMut::from_raw(self.data.add(first * self.stride), count, self.cols, self.stride) }
    }

    /// Columns `[first, first + count)`.
    pub fn cols_range(&mut self, first: usize, count: usize) -> MatMut<'_> {
        assert!(first + count <= self.cols);
        // SAFETY: a part of this view, borrowed from it.
        unsafe { MatMut::from_raw(self.data.add(first), self.rows, count, self.stride) }
    }

    /// Sets every element.
    pub fn fill(&mut self, value: f32) {
        for i in 0..self.rows {
            self.row(i).fill(value);
        }
    }
}

/// The same elements in views of one row each, where all have the same shape and no gaps between their rows: what works element by
/// element then has long rows. Otherwise the views as they are.
pub fn as_one_row<'a, 'b>(inputs: &[MatRef<'a>], output: MatMut<'b>) -> (SmallVec<[MatRef<'a>; 6]>, MatMut<'b>) {
    let (rows, cols) = (output.rows, output.cols);
    let fits = |input: &MatRef<'_>| input.rows == rows && input.cols == cols && input.stride == cols;
    if output.stride != cols || !inputs.iter().all(fits) {
        return (inputs.into(), output);
    }
    let (rows, cols) = (rows.min(1), rows * cols);
    let inputs = inputs.iter().map(|input| MatRef { rows, cols, stride: cols, ..*input }).collect();
    (inputs, MatMut { rows, cols, stride: cols, ..output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_rows_agree_with_the_slice() {
        let data: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let view = MatRef::new(&data, 3, 4);
        assert_eq!(view.row(1), &[4.0, 5.0, 6.0, 7.0]);
        let part = view.rows_range(1, 2).cols_range(1, 2);
        assert_eq!(part.to_vec(), [5.0, 6.0, 9.0, 10.0]);
        assert!(part.as_slice().is_none());
        assert_eq!(view.as_slice().expect("contiguous").len(), 12);
    }

    #[test]
    fn rows_become_one_only_where_all_views_allow() {
        let data: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut out = vec![0.0; 12];
        let view = MatRef::new(&data, 3, 4);
        let (inputs, output) = as_one_row(&[view, view], MatMut::new(&mut out, 3, 4));
        assert_eq!((inputs[1].row(0), output.rows(), output.cols()), (data.as_slice(), 1, 12));
        for other in [view.rows_range(0, 1), MatRef::new(&data[..3], 3, 1)] {
            let (inputs, output) = as_one_row(&[view, other], MatMut::new(&mut out, 3, 4));
            assert_eq!((inputs[0].rows(), inputs[1].cols(), output.rows()), (3, other.cols(), 3));
        }
        let (inputs, output) = as_one_row(&[view.cols_range(1, 2)], MatMut::new(&mut out[..6], 3, 2));
        assert_eq!((inputs[0].row(1), output.rows()), ([5.0, 6.0].as_slice(), 3));
        let (inputs, mut output) = as_one_row(&[view.rows_range(0, 0)], MatMut::new(&mut out[..0], 0, 4));
        assert_eq!((inputs[0].rows(), output.rows()), (0, 0));
        output.fill(1.0);
    }
}

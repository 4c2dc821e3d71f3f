//! Large buffers on large pages. A step of training touches tens of megabytes in strides of a few kilobytes; with pages of 4 KB the
//! processor would look up a page's address for almost every row.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::pool::Pool;

/// Size of a large page on x86-64 and, with 4 KB base pages, on aarch64.
const LARGE_PAGE: usize = 2 << 20;
/// Size of a cache line.
const LINE: usize = 64;

/// Zeroed memory for numbers, aligned to a cache line, on large pages where there is enough of it and the system has them.
pub(crate) struct Pages {
    data: NonNull<f32>,
    layout: Layout,
    length: usize,
}

// SAFETY: a `Pages` owns its memory, as a `Vec` would.
unsafe impl Send for Pages {}
// SAFETY: as above; shared access is reading.
unsafe impl Sync for Pages {}

impl Pages {
    /// Memory for `length` numbers.
    pub(crate) fn zeroed(length: usize) -> Pages {
        let bytes = (length * size_of::<f32>()).max(LINE);
        let alignment = if bytes >= LARGE_PAGE { LARGE_PAGE } else { LINE };
        let layout = Layout::from_size_align(bytes, alignment).expect("sizes of buffers are far below the address space");
        // SAFETY: the size is not zero.
        let Some(data) = NonNull::new(unsafe { alloc(layout) }.cast::<f32>()) else { handle_alloc_error(layout) };
        advise(data.as_ptr().cast(), bytes);
        // SAFETY: the memory was just allocated with this size. It is written after the advice, which concerns untouched pages.
        unsafe { data.cast::<u8>().write_bytes(0, bytes) };
        Pages { data, layout, length }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: the memory is this one's, initialised, and `length` numbers long.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.length) }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.data.as_ptr()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nobody can use it any more.
        unsafe { dealloc(self.data.as_ptr().cast(), self.layout) };
    }
}

/// Zeros, as far as possible on large pages: for tables and their optimizer state, which are read and written a row here and a row there.
/// Large ones take memory as they are written.
pub fn zeros(length: usize) -> Vec<f32> {
    let mut values = vec![0.0; length];
    advise(values.as_mut_ptr().cast(), length * size_of::<f32>());
    values
}

/// Numbers that a task writes.
const TASK: usize = 1 << 16;

/// As [`zeros`], of another number.
pub fn filled(length: usize, value: f32, pool: &Pool) -> Vec<f32> {
    let mut values = zeros(length);
    if value != 0.0 {
        pool.for_each(values.chunks_mut(TASK).collect(), |part| part.fill(value));
    }
    values
}

/// Asks the system for large pages in that range; where it has none, nothing changes.
fn advise(start: *mut u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        let first = (start as usize).next_multiple_of(LARGE_PAGE);
        let end = (start as usize + bytes) / LARGE_PAGE * LARGE_PAGE;
        if first < end {
            // SAFETY: the range lies in memory that the caller owns; the advice does not change what it holds. A refusal is no loss.
            unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zero_and_aligned_whatever_its_size() {
        let pool = Pool::new(2).expect("threads");
        for length in [0, 1, 15, 16, 17, (2 << 20) / 4, (5 << 20) / 4 + 3] {
            let mut pages = Pages::zeroed(length);
            assert_eq!(pages.as_mut_ptr() as usize % LINE, 0);
            assert_eq!(pages.as_slice().len(), length);
            assert!(pages.as_slice().iter().all(|value| *value == 0.0));
            assert_eq!(zeros(length), vec![0.0; length]);
            assert_eq!(filled(length, 1.5, &pool), vec![1.5; length]);
        }
    }
}

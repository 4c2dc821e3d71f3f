//! The inner loops: a tile of the output held in registers while the inner dimension runs by.
//!
//! Every output element is one chain of multiply-adds over a piece of the inner dimension, in ascending order, whatever the tile:
//! its bits do not depend on the instruction set's width or on the rows computed with it.

use std::mem::MaybeUninit;

use super::lanes::Lanes;
use super::{DEPTH, PANEL};
use crate::view::{LINE, prefetch};

/// The left operand: element `(i, p)` lies at `data + i * row + p * step`.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) data: *const f32,
    pub(super) row: usize,
    pub(super) step: usize,
}

/// The right operand, cut into panels of [`PANEL`] columns: element `(p, j)` lies at `data + j / PANEL * panel + p * PANEL + j % PANEL`.
#[derive(Clone, Copy)]
pub(super) struct Right {
    pub(super) data: *const f32,
    pub(super) panel: usize,
}

/// The output and what happens to the sums on the way there.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) data: *mut f32,
    pub(super) stride: usize,
    /// What the sums of each row start from; null for zeros.
    pub(super) start: *const f32,
    pub(super) finish: Finish,
}

impl Target {
    /// The target from a row and a column on.
    ///
    /// # Safety
    /// The row and the column are inside it or one past it.
    #[inline(always)]
    pub(super) unsafe fn from(self, row: usize, col: usize) -> Target {
        // SAFETY: the caller's promise, for all four.
        unsafe {
            let finish = self.finish;
            Target {
                data: self.data.add(row * self.stride + col),
                stride: self.stride,
                start: if self.start.is_null() { self.start } else { self.start.add(col) },
                finish: Finish {
                    bias: if finish.bias.is_null() { finish.bias } else { finish.bias.add(col) },
                    gate: if finish.gate.is_null() { finish.gate } else { finish.gate.add(row * finish.gate_stride + col) },
                    ..finish
                },
            }
        }
    }

    /// What is left to do for a piece of the inner dimension.
    #[inline(always)]
    pub(super) fn of_piece(self, first: bool, last: bool) -> Target {
        let before_last = Finish { accumulate: true, ..Finish::NONE };
        let finish = if last { self.finish } else { before_last };
        let start = if first { self.start } else { std::ptr::null() };
        Target { start, finish: Finish { accumulate: self.finish.accumulate || !first, ..finish }, ..self }
    }
}

/// A rectangle of the output: all of it, or a part.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) depth: usize,
    /// Steps along the inner dimension that lie before it, in what the sums start from.
    pub(super) before: usize,
}

/// What happens to sums before they are stored.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    /// They are added to what is there.
    pub(super) accumulate: bool,
    /// Added to them; null for none.
    pub(super) bias: *const f32,
    /// Whether negative results become 0.
    pub(super) relu: bool,
    /// Where this is not positive results become 0; null for none.
    pub(super) gate: *const f32,
    /// Distance between its rows.
    pub(super) gate_stride: usize,
}

impl Finish {
    /// They replace what is there.
    pub(super) const NONE: Finish =
        Finish { accumulate: false, bias: std::ptr::null(), relu: false, gate: std::ptr::null(), gate_stride: 0 };
}

/// What is brought into the second-level cache while a tile is computed: a line for every [`PER_LINE`] steps, so that the memory
/// traffic of the next panel or strip hides behind the arithmetic of this one. Addresses need not be valid.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub(super) data: *const f32,
    pub(super) step: usize,
}

/// Steps along the inner dimension for each line brought in.
pub(super) const PER_LINE: usize = 8;

impl Ahead {
    /// Asks for line `number`.
    #[inline(always)]
    pub(super) fn fetch(self, number: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            let line = self.data.wrapping_add(number * self.step);
            // SAFETY: a prefetch reads nothing; any address will do.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (self.data, self.step, number);
    }

    /// The lines of the panel at `next` that belong to strip `number` of the panel before it.
    #[inline(always)]
    pub(super) fn of_panel(next: *const f32, depth: usize, number: usize) -> Ahead {
        let offset = (number * depth.div_ceil(PER_LINE) * LINE).min(depth * PANEL);
        Ahead { data: next.wrapping_add(offset), step: LINE }
    }
}

/// `out = left · right` for a left operand whose rows lie one after the other, as those of a batch do.
///
/// # Safety
/// The operands are readable and the target writable over `extent` (the right one in whole panels), the bias and the start over its
/// columns; fewer than [`DEPTH`] steps lie before it; the processor has the instruction set of `L` and the caller is compiled for it.
#[inline(always)]
pub(super) unsafe fn multiply<L: Lanes>(extent: Extent, left: Left, right: Right, target: Target) {
    // Few rows: several panels at once, so that enough chains run side by side to hide the latency of an addition.
    let width = if extent.rows <= 2 { 4 * PANEL } else { PANEL };
    let mut col = 0;
    while col < extent.cols {
        let cols = (extent.cols - col).min(width);
        let mut first = 0;
        // An empty inner dimension has one piece, too: sums of nothing are stored.
        loop {
            // A piece ends where it would if all sums began at the first step.
            let depth = (DEPTH - (first + extent.before) % DEPTH).min(extent.depth - first);
            let last = first + depth == extent.depth;
            // SAFETY: `first` and `col` stay inside the operands, and `col` is the start of a panel.
            unsafe {
                let target = target.from(0, col).of_piece(first == 0, last);
                let left = Left { data: left.data.add(first * left.step), ..left };
                let right = Right { data: right.data.add(col / PANEL * right.panel + first * PANEL), ..right };
                let next = right.data.wrapping_add(right.panel);
                let part = Extent { rows: extent.rows, cols, depth, before: 0 };
                let ahead = |strip: usize, _: usize| Ahead::of_panel(next, depth, strip);
                strips::<L>(part, left, right, target, None, ahead);
            }
            if last {
                break;
            }
            first += depth;
        }
        col += cols;
    }
}

/// `out = left · right` for a left operand whose columns lie one after the other, as those of a transposed batch do, and a right one
/// that stays in cache: every strip of the left one meets all panels before the next strip comes.
///
/// # Safety
/// As for [`multiply`]; `extent.depth` is at most [`DEPTH`].
#[inline(always)]
pub(super) unsafe fn multiply_transposed<L: Lanes>(extent: Extent, left: Left, right: Right, target: Target) {
    let lines = extent.depth.div_ceil(PER_LINE);
    let tiles = extent.cols.div_ceil(PANEL);
    // A cache line holds a few strips side by side; while these are computed, the lines beside them are fetched, one for each step.
    let ahead = |strip: usize, tile: usize| {
        let strips = (LINE / L::ROWS).max(1);
        let first = (strip % strips * tiles + tile) * lines % extent.depth.max(1);
        let next = (strip / strips + 1) * LINE;
        Ahead { data: left.data.wrapping_add(next + first * left.step), step: left.step }
    };
    // The lines of a strip lie far apart, often so that they displace each other from the first-level cache; side by side they stay.
    let mut gathered = Gathered::uninit();
    let gathered = (extent.cols > PANEL).then(|| gathered.as_mut_ptr().cast());
    // SAFETY: the caller's promises.
    unsafe { strips::<L>(extent, left, right, target, gathered, ahead) }
}

/// Rows of the largest tile of any instruction set.
const MOST_ROWS: usize = 8;
/// Room for a strip of so many rows.
type Gathered = MaybeUninit<[f32; DEPTH * MOST_ROWS]>;

/// All strips of rows, each brought together first if there is room for it. `ahead` says what to bring in while a tile of a strip is
/// computed.
#[inline(always)]
unsafe fn strips<L: Lanes>(
    extent: Extent,
    left: Left,
    right: Right,
    target: Target,
    gathered: Option<*mut f32>,
    ahead: impl Fn(usize, usize) -> Ahead,
) {
    const { assert!(L::ROWS <= MOST_ROWS) };
    let mut row = 0;
    while row < extent.rows {
        let rows = (extent.rows - row).min(L::ROWS);
        // SAFETY: the rows lie inside the operands.
        unsafe {
            let left = Left { data: left.data.add(row * left.row), ..left };
            let target = target.from(row, 0);
            let part = Extent { rows, ..extent };
            let ahead = |tile| ahead(row / L::ROWS, tile);
            match rows {
                1 => strip::<L, 1>(part, left, right, target, gathered, ahead),
                2 => strip::<L, 2>(part, left, right, target, gathered, ahead),
                3 => strip::<L, 3>(part, left, right, target, gathered, ahead),
                4 => strip::<L, 4>(part, left, right, target, gathered, ahead),
                5 => strip::<L, 5>(part, left, right, target, gathered, ahead),
                6 => strip::<L, 6>(part, left, right, target, gathered, ahead),
                7 => strip::<L, 7>(part, left, right, target, gathered, ahead),
                _ => strip::<L, 8>(part, left, right, target, gathered, ahead),
            }
        }
        row += rows;
    }
}

/// The strip of `R` rows in `room`, step after step, or where it is.
///
/// # Safety
/// The strip's rows are neighbours if there is room, for at least `depth` steps.
#[inline(always)]
unsafe fn gather<const R: usize>(left: Left, depth: usize, room: Option<*mut f32>) -> Left {
    let Some(room) = room else { return left };
    for p in 0..depth {
        // SAFETY: the caller's promises.
        unsafe { room.add(p * R).cast::<[f32; R]>().write(left.data.add(p * left.step).cast::<[f32; R]>().read()) };
    }
    Left { data: room, row: 1, step: R }
}

/// The columns of a strip of `R` rows, as wide a tile at a time as registers allow.
#[inline(always)]
unsafe fn strip<L: Lanes, const R: usize>(
    extent: Extent,
    left: Left,
    right: Right,
    target: Target,
    gathered: Option<*mut f32>,
    ahead: impl Fn(usize) -> Ahead,
) {
    // SAFETY: the caller's promises; where there is room, it is for `DEPTH` steps of at least `R` rows.
    let left = unsafe { gather::<R>(left, extent.depth, gathered) };
    let mut col = 0;
    while col < extent.cols {
        let rest = extent.cols - col;
        // SAFETY: the columns lie inside the operands; a tile that is wider than what is left reads the panel's padding only, and
        // stores what is left.
        unsafe {
            let right = Right { data: right.data.add(col / PANEL * right.panel + col % PANEL), ..right };
            let target = target.from(0, col);
            let ahead = ahead(col / PANEL);
            col += if R == 1 && rest >= 8 * L::WIDTH {
                tile::<L, R, 8>(extent.depth, left, right, target, 8 * L::WIDTH, ahead)
            } else if R == 2 && rest >= 4 * L::WIDTH {
                tile::<L, R, 4>(extent.depth, left, right, target, 4 * L::WIDTH, ahead)
            } else if rest > L::WIDTH {
                tile::<L, R, 2>(extent.depth, left, right, target, rest.min(2 * L::WIDTH), ahead)
            } else {
                tile::<L, R, 1>(extent.depth, left, right, target, rest.min(L::WIDTH), ahead)
            };
        }
    }
}

/// `R` rows and `C` vectors of columns, `cols` of which are stored; gives `cols`.
#[inline(always)]
unsafe fn tile<L: Lanes, const R: usize, const C: usize>(
    depth: usize,
    left: Left,
    right: Right,
    target: Target,
    cols: usize,
    ahead: Ahead,
) -> usize {
    let per_panel = PANEL / L::WIDTH;
    let offset = |c: usize| c / per_panel * right.panel + c % per_panel * L::WIDTH;
    // SAFETY: the caller's promises; the tile starts at a column from which `C` vectors stay inside the panels.
    unsafe {
        expect::<R>(target, C * L::WIDTH);
        let mut sums = [start::<L, C>(target, cols); R];
        let (mut a, mut b) = (left.data, right.data);
        for p in 0..depth {
            if p % PER_LINE == 0 {
                ahead.fetch(p / PER_LINE);
            }
            let mut columns = [L::zero(); C];
            for (c, column) in columns.iter_mut().enumerate() {
                *column = L::load(b.add(offset(c)));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = L::splat(*a.add(r * left.row));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = L::multiply_add(x, column, *sum);
                }
            }
            a = a.wrapping_add(left.step);
            b = b.wrapping_add(PANEL);
        }
        store::<L, R, C>(&sums, target, cols);
    }
    cols
}

/// What the sums of every row of a tile start from.
///
/// # Safety
/// The target's start is readable over `cols` columns, and the instruction set is there.
#[inline(always)]
unsafe fn start<L: Lanes, const C: usize>(target: Target, cols: usize) -> [L::Vector; C] {
    // SAFETY: the caller's promises; incomplete vectors go through an array.
    unsafe {
        let mut vectors = [L::zero(); C];
        if target.start.is_null() {
            return vectors;
        }
        for (c, vector) in vectors.iter_mut().enumerate() {
            let first = c * L::WIDTH;
            let count = cols.saturating_sub(first).min(L::WIDTH);
            let mut part = [0.0_f32; PANEL];
            std::ptr::copy_nonoverlapping(target.start.wrapping_add(first), part.as_mut_ptr(), count);
            *vector = L::load(part.as_ptr());
        }
        vectors
    }
}

/// Brings the lines of the output, and of the gate, into the first-level cache while the sums are formed: they were last touched long
/// ago, and a short inner dimension leaves too little time for them once the sums are there.
#[inline(always)]
pub(super) fn expect<const R: usize>(target: Target, cols: usize) {
    for r in 0..R {
        for col in (0..cols).step_by(LINE) {
            prefetch(target.data.wrapping_add(r * target.stride + col));
            if !target.finish.gate.is_null() {
                prefetch(target.finish.gate.wrapping_add(r * target.finish.gate_stride + col));
            }
        }
    }
}

/// Brings sums of a tile to the output.
///
/// # Safety
/// The target is writable over `R` rows of `cols` columns, its bias and gate readable there, and the instruction set is there.
#[inline(always)]
pub(super) unsafe fn store<L: Lanes, const R: usize, const C: usize>(sums: &[[L::Vector; C]; R], target: Target, cols: usize) {
    for (r, sums) in sums.iter().enumerate() {
        for (c, sum) in sums.iter().enumerate() {
            let first = c * L::WIDTH;
            if first >= cols {
                break;
            }
            let count = (cols - first).min(L::WIDTH);
            // SAFETY: `first + count <= cols`; incomplete vectors go through arrays.
            unsafe {
                let target = target.from(r, first);
                if count == L::WIDTH {
                    L::store(target.data, finished::<L>(*sum, target.data, target.finish));
                    continue;
                }
                let mut part = [0.0_f32; PANEL];
                let [mut bias, mut gate] = [[0.0_f32; PANEL]; 2];
                let mut finish = target.finish;
                if finish.accumulate {
                    std::ptr::copy_nonoverlapping(target.data, part.as_mut_ptr(), count);
                }
                for (from, whole) in [(&mut finish.bias, &mut bias), (&mut finish.gate, &mut gate)] {
                    if !from.is_null() {
                        std::ptr::copy_nonoverlapping(*from, whole.as_mut_ptr(), count);
                        *from = whole.as_ptr();
                    }
                }
                let vector = finished::<L>(*sum, part.as_ptr(), finish);
                L::store(part.as_mut_ptr(), vector);
                std::ptr::copy_nonoverlapping(part.as_ptr(), target.data, count);
            }
        }
    }
}

#[inline(always)]
unsafe fn finished<L: Lanes>(sum: L::Vector, before: *const f32, finish: Finish) -> L::Vector {
    let mut vector = sum;
    // SAFETY: all are readable for a whole vector where they are used.
    unsafe {
        if finish.accumulate {
            vector = L::add(L::load(before), vector);
        }
        if !finish.bias.is_null() {
            vector = L::add(vector, L::load(finish.bias));
        }
        if finish.relu {
            vector = L::positive(vector);
        }
        if !finish.gate.is_null() {
            vector = L::gated(vector, L::load(finish.gate));
        }
    }
    vector
}

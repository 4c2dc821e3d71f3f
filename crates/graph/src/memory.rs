//! Where batch tensors lie.
//!
//! A tensor takes a [`Slab`] of the buffer of its axis. Two tensors may share memory when one is done before the other is made:
//! - between row steps, if they are equally wide and take the very same slab: a row of the one is then the same row of the other, and
//!   tiles don't meet;
//! - between phases, whatever their widths.
//!
//! Tensors are placed one after the other, each where the buffer need not grow, if there is such a place; of these, in the slab of a
//! tensor of the same phase, which is still in cache, else as far in front as possible.

use rankmill_kernels::substrate::{BatchBuffer, Slab};

/// A batch tensor that has memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub(crate) width: usize,
    pub(crate) axis: Option<usize>,
    pub(crate) made: Moment,
    pub(crate) last_use: Moment,
}

/// A phase, and a place in the order of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) phase: usize,
    pub(crate) step: usize,
}

impl Moment {
    pub(crate) const START: Moment = Moment { phase: 0, step: 0 };
    /// After the run.
    pub(crate) const NEVER: Moment = Moment { phase: usize::MAX, step: usize::MAX };
    /// When the serial and block steps of a phase run.
    pub(crate) fn end_of(phase: usize) -> Moment {
        Moment { phase, step: usize::MAX }
    }
}

/// Wide tensors begin on a cache line.
const LINE: usize = 16;

impl Tensor {
    fn apart(&self, other: &Tensor, comes_before: impl Fn(Moment, Moment) -> bool) -> bool {
        comes_before(self.last_use, other.made) || comes_before(other.last_use, self.made)
    }

    /// Whether the two may have the same slab.
    fn shares_slab(&self, other: &Tensor) -> bool {
        self.width == other.width && self.apart(other, |a, b| a < b)
    }

    /// Whether a barrier lies between the two.
    fn shares_memory(&self, other: &Tensor) -> bool {
        self.apart(other, |a, b| a.phase < b.phase)
    }

    /// Whether the two lie next to each other in the way of a tile through a phase.
    fn meets(&self, other: &Tensor) -> bool {
        self.made.phase == other.last_use.phase || other.made.phase == self.last_use.phase
    }
}

/// The buffers, and the slab of each tensor.
pub(crate) fn place(tensors: &[Tensor]) -> (Vec<BatchBuffer>, Vec<Slab>) {
    let mut axes: Vec<Option<usize>> = tensors.iter().map(|tensor| tensor.axis).collect();
    axes.sort_unstable();
    axes.dedup();
    let mut slabs = vec![Slab { buffer: 0, start: 0, width: 0 }; tensors.len()];
    let mut buffers = Vec::with_capacity(axes.len());
    for (buffer, axis) in axes.into_iter().enumerate() {
        let mut by_time: Vec<usize> = (0..tensors.len()).filter(|i| tensors[*i].axis == axis).collect();
        by_time.sort_by_key(|i| tensors[*i].made);
        let mut by_width = by_time.clone();
        by_width.sort_by_key(|i| std::cmp::Reverse(tensors[*i].width));
        let (cols, starts) = [by_time, by_width].map(|order| place_in_order(tensors, order)).into_iter().min().unwrap_or_default();
        for (tensor, start) in starts {
            slabs[tensor] = Slab { buffer, start, width: tensors[tensor].width };
        }
        buffers.push(BatchBuffer { cols, axis });
    }
    (buffers, slabs)
}

/// The columns that are needed, and where each tensor starts.
fn place_in_order(tensors: &[Tensor], order: Vec<usize>) -> (usize, Vec<(usize, usize)>) {
    let mut cols = 0;
    let mut placed: Vec<(usize, usize)> = Vec::with_capacity(order.len());
    for number in order {
        let tensor = &tensors[number];
        let align = |start: usize| if tensor.width < LINE { start } else { start.next_multiple_of(LINE) };
        let alive: Vec<(&Tensor, usize)> =
            placed.iter().map(|(other, start)| (&tensors[*other], *start)).filter(|(other, _)| !other.shares_memory(tensor)).collect();
        let fits = |start: usize| {
            alive.iter().all(|(other, at)| {
                let beside = start + tensor.width <= *at || at + other.width <= start;
                beside || (start == *at && other.shares_slab(tensor))
            })
        };
        let is_cold = |start| !alive.iter().any(|(other, at)| start == *at && other.shares_slab(tensor) && other.meets(tensor));
        let starts = alive.iter().flat_map(|(other, at)| [*at, align(at + other.width)]).chain([0]);
        let best = starts.filter(|start| fits(*start)).min_by_key(|start| (cols.max(start + tensor.width), is_cold(*start), *start));
        let start = best.expect("behind all others there is room");
        cols = cols.max(start + tensor.width);
        placed.push((number, start));
    }
    (cols, placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(width: usize, made: (usize, usize), last_use: (usize, usize)) -> Tensor {
        let moment = |(phase, step)| Moment { phase, step };
        Tensor { width, axis: None, made: moment(made), last_use: moment(last_use) }
    }

    #[track_caller]
    fn check(tensors: &[Tensor], cols: usize, starts: &[usize]) {
        let (buffers, slabs) = place(tensors);
        assert_eq!(buffers, [BatchBuffer { cols, axis: None }]);
        assert_eq!(slabs.iter().map(|slab| slab.start).collect::<Vec<_>>(), starts);
    }

    #[test]
    fn widths_share_memory_between_phases_and_slabs_within_one() {
        let wide = tensor(64, (0, 0), (0, 5));
        check(&[wide, tensor(64, (0, 6), (1, 0))], 64, &[0, 0]);
        check(&[wide, tensor(64, (0, 5), (1, 0))], 128, &[0, 64]);
        check(&[wide, tensor(32, (0, 6), (1, 0))], 96, &[0, 64]);
        check(&[wide, tensor(32, (1, 0), (2, 0)), tensor(20, (1, 1), (2, 0))], 64, &[0, 0, 32]);
        check(&[tensor(3, (0, 0), (1, 0)), tensor(16, (0, 0), (1, 0)), tensor(2, (0, 1), (1, 0))], 21, &[16, 0, 19]);
    }

    #[test]
    fn tensors_that_live_together_lie_apart() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..50 {
            let tensors: Vec<Tensor> = (0..40)
                .map(|_| {
                    let made = Moment { phase: random(6) as usize, step: random(20) as usize };
                    let last_use = match random(5) {
                        0 => Moment::end_of(made.phase),
                        1 => Moment { phase: made.phase + random(3) as usize + 1, step: random(20) as usize },
                        2 => Moment::NEVER,
                        _ => Moment { step: made.step + random(8) as usize, ..made },
                    };
                    let axis = [None, None, Some(0)][random(3) as usize];
                    Tensor { width: [1, 8, 16, 48, 112][random(5) as usize], axis, made, last_use }
                })
                .collect();
            let (buffers, slabs) = place(&tensors);
            for (i, (a, x)) in tensors.iter().zip(&slabs).enumerate() {
                assert_eq!((buffers[x.buffer].axis, x.width), (a.axis, a.width));
                assert!(x.start + x.width <= buffers[x.buffer].cols);
                for (b, y) in tensors[..i].iter().zip(&slabs) {
                    let beside = x.buffer != y.buffer || x.start + x.width <= y.start || y.start + y.width <= x.start;
                    let fine = a.last_use < b.made || b.last_use < a.made;
                    let coarse = a.last_use.phase < b.made.phase || b.last_use.phase < a.made.phase;
                    assert!(beside || coarse || (x == y && fine), "{a:?} {x:?} {b:?} {y:?}");
                }
            }
        }
    }
}

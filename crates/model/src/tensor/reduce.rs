//! Sums, means, maxima and minima over dimensions.

use rankmill_graph::ops::axis::SumAlong;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::fill::FillLike;
use rankmill_graph::ops::segments::{ReduceRuns, Reduction, SumFields};
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::ops::windows::MaxOfWindows;
use rankmill_graph::{Shape, Value};
use rankmill_nn::layers::scope::Scope;

use super::view::View;
use super::{Dimension, dimension, text, with_dims};

/// How elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduce {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// `x` reduced over the dimensions with these numbers; with `keep` they stay, of length 1.
pub(crate) fn reduce(s: &mut Scope<'_>, x: Value, kind: Reduce, axes: &[i64], keep: bool) -> Result<Value, String> {
    let shape = s.shape(x).clone();
    let mut gone = vec![false; shape.dims.len()];
    let mut along = false;
    for axis in axes {
        match dimension(&shape, *axis)? {
            Dimension::Batch => return Err(format!("dimension {axis} is the batch, whose rows stay apart; reduce over others")),
            Dimension::Along => along = true,
            Dimension::Inner(at) => gone[at] = true,
        }
    }
    if kind == Reduce::Min {
        let negative = s.add(Unary::Scale(-1.0), &[x]).map_err(text)?;
        let largest = reduce(s, negative, Reduce::Max, axes, keep)?;
        return s.add(Unary::Scale(-1.0), &[largest]).map_err(text);
    }
    let mut reduced = inside(s, x, kind, &shape, &gone)?;
    if along {
        reduced = match kind {
            Reduce::Sum => s.add(SumAlong, &[reduced]).map_err(text)?,
            Reduce::Max => {
                let axis = shape.axis.ok_or("there are no positions")?;
                s.add(MaxOfWindows { axis, size: 1 }, &[reduced]).map_err(text)?
            }
            // As in TensorFlow, the positions that rows are filled up with count.
            Reduce::Mean => {
                let ones = s.add(FillLike { value: 1.0 }, &[reduced]).map_err(text)?;
                let sum = s.add(SumAlong, &[reduced]).map_err(text)?;
                let count = s.add(SumAlong, &[ones]).map_err(text)?;
                s.add(Binary::Divide, &[sum, count]).map_err(text)?
            }
            Reduce::Min => unreachable!("a minimum is a maximum of negatives"),
        };
    }
    let mut dims: Vec<usize> = if keep && along { vec![1] } else { Vec::new() };
    for (at, size) in shape.dims.iter().enumerate() {
        if !gone[at] {
            dims.push(*size);
        } else if keep {
            dims.push(1);
        }
    }
    with_dims(s, reduced, &dims)
}

/// Reduces over dimensions of the rows; those that are gone are left out of the result.
fn inside(s: &mut Scope<'_>, x: Value, kind: Reduce, shape: &Shape, gone: &[bool]) -> Result<Value, String> {
    let (kept, reduced): (Vec<usize>, Vec<usize>) = (0..gone.len()).partition(|at| !gone[*at]);
    if reduced.is_empty() {
        return Ok(x);
    }
    let sizes = |of: &[usize]| of.iter().map(|at| shape.dims[*at]).collect::<Vec<usize>>();
    let width: usize = sizes(&reduced).iter().product();
    if width == 0 {
        return Err(format!("a tensor {shape} has nothing to reduce"));
    }
    // Leading dimensions are added row by row.
    if shape.axis.is_none() && matches!(kind, Reduce::Sum | Reduce::Mean) && !kept.is_empty() && reduced.iter().all(|at| *at < kept[0]) {
        let inner: usize = sizes(&kept).iter().product();
        let fields = with_dims(s, x, &[width, inner])?;
        let sum = s.add(SumFields, &[fields]).map_err(text)?;
        let sum = if kind == Reduce::Mean { s.add(Unary::Scale(1.0 / width as f32), &[sum]).map_err(text)? } else { sum };
        return with_dims(s, sum, &sizes(&kept));
    }
    let order: Vec<usize> = kept.iter().chain(&reduced).copied().collect();
    let ordered = View::of(shape, x).permuted(&order).value(s)?;
    let reduction = match kind {
        Reduce::Sum => Reduction::Sum,
        Reduce::Mean => Reduction::Mean,
        Reduce::Max | Reduce::Min => Reduction::Max,
    };
    let runs = s.add(ReduceRuns { width, reduction }, &[ordered]).map_err(text)?;
    with_dims(s, runs, &sizes(&kept))
}

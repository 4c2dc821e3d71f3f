//! `value[...]`: elements and slices of lists and of tensors.

use rankmill_nn::layers::scope::Scope;

use super::Term;
use crate::tensor::rank;
use crate::tensor::view::View;

/// What stands between brackets, worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Index {
    At(i64),
    Slice { start: Option<i64>, stop: Option<i64>, step: i64 },
    NewDimension,
    Ellipsis,
}

const ALL: Index = Index::Slice { start: None, stop: None, step: 1 };

pub(super) fn index(s: &mut Scope<'_>, value: &Term, indices: &[Index]) -> Result<Term, String> {
    if let Term::Tensor(tensor) = value {
        return tensor_index(s, *tensor, indices).map(Term::Tensor);
    }
    let (Some(parts), [index]) = (value.elements(), indices) else {
        return Err(match value.elements() {
            Some(_) => format!("{} has one index, not {}", value.kind(), indices.len()),
            None => format!("{} can't be indexed", value.kind()),
        });
    };
    match index {
        Index::At(number) => match position(*number, parts.len()) {
            Some(at) => Ok(parts[at].clone()),
            None => Err(format!("index {number} is out of range: {} has {} elements", value.kind(), parts.len())),
        },
        Index::Slice { start, stop, step } => {
            let (first, count) = slice(*start, *stop, *step, parts.len())?;
            let chosen = (0..count).map(|i| parts[(first as i64 + i as i64 * step) as usize].clone()).collect();
            Ok(match value {
                Term::Tuple(_) => Term::Tuple(chosen),
                Term::Shape(_) => Term::Shape(chosen),
                _ => Term::List(chosen),
            })
        }
        Index::NewDimension | Index::Ellipsis => Err(format!("{} has no further dimensions; stack it to a tensor first", value.kind())),
    }
}

fn position(number: i64, length: usize) -> Option<usize> {
    let at = if number < 0 { number.checked_add(length as i64)? } else { number };
    usize::try_from(at).ok().filter(|at| *at < length)
}

/// The first element of a slice and how many there are, by Python's rules.
fn slice(start: Option<i64>, stop: Option<i64>, step: i64, length: usize) -> Result<(usize, usize), String> {
    if step == 0 {
        return Err("a slice of step 0 has no end".to_owned());
    }
    let length = length as i64;
    let (least, most) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |bound: Option<i64>, otherwise: i64| match bound {
        None => otherwise,
        Some(number) if number < 0 => number.saturating_add(length).clamp(least, most),
        Some(number) => number.clamp(least, most),
    };
    let (first, end) = if step > 0 { (bound(start, 0), bound(stop, length)) } else { (bound(start, length - 1), bound(stop, -1)) };
    let distance = if step > 0 { end - first } else { first - end };
    let count = if distance <= 0 { 0 } else { (distance - 1) / step.saturating_abs() + 1 };
    Ok((first.max(0) as usize, count as usize))
}

fn tensor_index(s: &mut Scope<'_>, tensor: rankmill_graph::Value, indices: &[Index]) -> Result<rankmill_graph::Value, String> {
    let shape = s.shape(tensor).clone();
    let rank = rank(&shape);
    let outer = rank - shape.dims.len();
    let used = indices.iter().filter(|index| !matches!(index, Index::NewDimension | Index::Ellipsis)).count();
    if used > rank {
        return Err(format!("{used} indices are too many for a tensor {shape}"));
    }
    let ellipses = indices.iter().filter(|index| **index == Index::Ellipsis).count();
    if ellipses > 1 {
        return Err("`...` can stand only once".to_owned());
    }
    let rest = vec![ALL; rank - used];
    let mut full: Vec<Index> = Vec::with_capacity(rank + indices.len());
    for index in indices {
        if *index == Index::Ellipsis { full.extend(rest.iter().cloned()) } else { full.push(index.clone()) }
    }
    if ellipses == 0 {
        full.extend(rest);
    }
    let mut view = View::of(&shape, tensor);
    // The dimension of the tensor that comes next, and its place in the view.
    let (mut dimension, mut at) = (0, 0);
    for index in full {
        if dimension < outer {
            if index != ALL {
                let what = if dimension == 0 { "rows of the batch" } else { "positions" };
                return Err(format!("{what} can't be chosen: begin with `{}`", [":, ", ":, :, "][outer.min(2) - 1]));
            }
            dimension += 1;
            continue;
        }
        match index {
            Index::NewDimension => {
                view = view.insert(at);
                at += 1;
                continue;
            }
            Index::At(number) => {
                let length = view.dims[at].size;
                let Some(i) = position(number, length) else {
                    return Err(format!("index {number} is out of range: dimension {dimension} of {shape} has {length} elements"));
                };
                view = view.pick(at, i);
            }
            Index::Slice { start, stop, step } => {
                let (first, count) = slice(start, stop, step, view.dims[at].size)?;
                let step = isize::try_from(step).map_err(|_| "the step is too large".to_owned())?;
                view = view.strided(at, first, count, step);
                at += 1;
            }
            Index::Ellipsis => {}
        }
        dimension += 1;
    }
    view.value(s)
}

//! Functions that move elements, and those on shapes and lists.

use rankmill_graph::ops::axis::PositionMask;

use super::call::Call;
use super::{LambdaError, Term, evaluate};
use crate::tensor::view::View;
use crate::tensor::{self, Dimension};

type Outcome = Result<Term, LambdaError>;

/// Elements that a `range` may have.
const MOST_ELEMENTS: usize = 10_000;

fn list_of(values: Vec<rankmill_graph::Value>) -> Term {
    Term::List(values.into_iter().map(Term::Tensor).collect())
}

fn axis(call: &Call<'_, '_>, i: usize) -> Result<i64, LambdaError> {
    call.integer(i)?.ok_or_else(|| call.wrong(i, "a whole number"))
}

pub(super) fn concat(call: &mut Call<'_, '_>) -> Outcome {
    let values = call.tensors(0)?;
    let axis = axis(call, 1)?;
    let joined = tensor::concat(call.s, &values, axis);
    call.finish(joined.map(Term::Tensor))
}

pub(super) fn stack(call: &mut Call<'_, '_>) -> Outcome {
    let values = call.tensors(0)?;
    let axis = call.integer(1)?.unwrap_or(0);
    let stacked = tensor::stack(call.s, &values, axis);
    call.finish(stacked.map(Term::Tensor))
}

pub(super) fn unstack(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let axis = call.integer(2)?.unwrap_or(0);
    let parts = tensor::unstack(call.s, x, axis);
    let parts = call.finish(parts)?;
    match call.integer(1)? {
        Some(count) if count != parts.len() as i64 => Err(call.error(format!("there are {} parts, not {count}", parts.len()))),
        _ => Ok(list_of(parts)),
    }
}

pub(super) fn split(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let number = call.integer(2)?.unwrap_or(0);
    let shape = call.s.shape(x).clone();
    let at = tensor::inner(&shape, number);
    let at = call.finish(at)?;
    let length = shape.dims[at];
    let lengths: Vec<usize> = match call.argument(1) {
        Some(Term::Integer(count)) => match usize::try_from(*count) {
            Ok(count) if count > 0 && length.is_multiple_of(count) => vec![length / count; count],
            _ => return Err(call.error(format!("{length} elements can't be cut into {count} equal parts"))),
        },
        _ => {
            let sizes = call.integers(1)?.unwrap_or_default();
            let known: i64 = sizes.iter().filter(|size| **size >= 0).fold(0, |a, size| a.saturating_add(*size));
            let open = sizes.iter().filter(|size| **size < 0).count();
            let rest = length as i64 - known;
            if rest < 0 || open > 1 || (open == 0 && rest != 0) {
                return Err(call.error(format!("the sizes {sizes:?} don't make up {length} elements")));
            }
            sizes.iter().map(|size| if *size < 0 { rest as usize } else { *size as usize }).collect()
        }
    };
    let parts = tensor::split(call.s, x, &lengths, number);
    call.finish(parts.map(list_of))
}

/// `tf.reshape`: the rows stay apart, so the first dimension is that of the batch (-1 or `tf.shape(x)[0]`).
pub(super) fn reshape(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let shape = call.s.shape(x).clone();
    let wanted = call.argument(1).and_then(Term::elements).map(<[Term]>::to_vec);
    let Some(mut wanted) = wanted else { return Err(call.wrong(1, "a list of whole numbers")) };
    let elements = shape.elements();
    let mut rest = wanted.split_off(usize::from(!wanted.is_empty()));
    let batch_is_open = matches!(wanted.first(), Some(Term::Integer(-1)));
    if !batch_is_open && !matches!(wanted.first(), Some(Term::Length(Dimension::Batch))) {
        return Err(call.error("the first dimension stays that of the batch; write -1 or tf.shape(x)[0]"));
    }
    if shape.axis.is_some() {
        match rest.first() {
            Some(Term::Length(Dimension::Along)) => _ = rest.remove(0),
            _ => return Err(call.error("the second dimension stays that of the positions; write tf.shape(x)[1]")),
        }
    }
    let mut sizes = Vec::with_capacity(rest.len());
    for part in &rest {
        match part.integer() {
            Some(size) if size >= -1 => sizes.push(size),
            _ => return Err(call.wrong(1, "a list of whole numbers")),
        }
    }
    let known = sizes.iter().filter(|size| **size >= 0).try_fold(1_usize, |a, size| a.checked_mul(*size as usize)).unwrap_or(usize::MAX);
    let open = sizes.iter().filter(|size| **size < 0).count();
    let fits = match open {
        0 => known == elements,
        1 => !batch_is_open && known > 0 && elements.is_multiple_of(known),
        _ => false,
    };
    if !fits {
        let reason = if open > 0 && batch_is_open { "only one dimension can be -1" } else { "rows keep their elements" };
        return Err(call.error(format!("rows of {shape} don't become rows of {sizes:?}; {reason}")));
    }
    let dims: Vec<usize> = sizes.iter().map(|size| if *size < 0 { elements / known } else { *size as usize }).collect();
    let reshaped = tensor::with_dims(call.s, x, &dims);
    call.finish(reshaped.map(Term::Tensor))
}

pub(super) fn transpose(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let Some(order) = call.integers(1)? else {
        return Err(call.error("without `perm` the batch becomes the last dimension; give one that begins with 0"));
    };
    let result = tensor::transpose(call.s, x, &order);
    call.finish(result.map(Term::Tensor))
}

pub(super) fn expand_dims(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let axis = axis(call, 1)?;
    let result = tensor::expand_dims(call.s, x, axis);
    call.finish(result.map(Term::Tensor))
}

pub(super) fn squeeze(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let axes = call.integers(1)?;
    let result = tensor::squeeze(call.s, x, axes.as_deref());
    call.finish(result.map(Term::Tensor))
}

pub(super) fn tile(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let multiples = call.integers(1)?.unwrap_or_default();
    let shape = call.s.shape(x).clone();
    let outer = tensor::rank(&shape) - shape.dims.len();
    if multiples.len() != tensor::rank(&shape) || multiples.iter().any(|multiple| *multiple < 1) {
        return Err(call.error(format!("a tensor {shape} needs a positive number for each of its dimensions, not {multiples:?}")));
    }
    if multiples[..outer].iter().any(|multiple| *multiple != 1) {
        return Err(call.error("rows of the batch can't be repeated; begin with 1"));
    }
    let mut result = Ok(x);
    for (at, multiple) in multiples.iter().enumerate().skip(outer) {
        let copies = usize::try_from(*multiple).unwrap_or(usize::MAX).min(tensor::view::MOST_ELEMENTS + 1);
        if copies.saturating_mul(shape.elements()) > tensor::view::MOST_ELEMENTS {
            return Err(call.error("the rows become too large"));
        }
        result = result.and_then(|x| tensor::concat(call.s, &vec![x; copies], at as i64));
    }
    call.finish(result.map(Term::Tensor))
}

pub(super) fn gather(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let number = call.integer(3)?.unwrap_or(0);
    let single = call.argument(1).and_then(Term::integer).is_some();
    let indices = call.integers(1)?.unwrap_or_default();
    let shape = call.s.shape(x).clone();
    let at = tensor::inner(&shape, number);
    let at = call.finish(at)?;
    let length = shape.dims[at];
    if indices.is_empty() || indices.iter().any(|index| *index < 0 || *index >= length as i64) {
        return Err(call.error(format!("the indices {indices:?} are not all among {length} elements")));
    }
    let mut parts = Vec::with_capacity(indices.len());
    for index in indices {
        let view = View::of(&shape, x);
        let view = if single { view.pick(at, index as usize) } else { view.range(at, index as usize, 1) };
        let part = view.value(call.s);
        parts.push(call.finish(part)?);
    }
    let joined = if single { Ok(parts[0]) } else { tensor::concat(call.s, &parts, number) };
    call.finish(joined.map(Term::Tensor))
}

pub(super) fn reverse(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let shape = call.s.shape(x).clone();
    let mut view = View::of(&shape, x);
    for number in call.integers(1)?.unwrap_or_default() {
        let at = tensor::inner(&shape, number);
        let at = call.finish(at)?;
        let size = shape.dims[at];
        view = view.strided(at, size.saturating_sub(1), size, -1);
    }
    let reversed = view.value(call.s);
    call.finish(reversed.map(Term::Tensor))
}

pub(super) fn flatten(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let shape = call.s.shape(x).clone();
    if shape.axis.is_some() {
        return Err(call.error("positions, of which each batch has as many as it needs, can't become columns"));
    }
    let flat = tensor::with_dims(call.s, x, &[shape.elements()]);
    call.finish(flat.map(Term::Tensor))
}

/// 1 at the positions that rows have, 0 behind them: `[B, L]`. The lengths are those of a sequence from an input layer.
pub(super) fn sequence_mask(call: &mut Call<'_, '_>) -> Outcome {
    let lengths = call.tensor(0)?;
    let Some(axis) = call.s.axis_of_lengths(lengths) else {
        return Err(call.error("only the lengths that an input layer gives beside a sequence have a mask"));
    };
    if call.argument(1).is_some() {
        return Err(call.error("`maxlen` is that of the batch and can't be set"));
    }
    let column = tensor::with_dims(call.s, lengths, &[1]);
    let column = call.finish(column)?;
    let mask = call.s.add(PositionMask { axis }, &[column]).map_err(|error| error.to_string());
    let mask = mask.and_then(|mask| tensor::with_dims(call.s, mask, &[]));
    call.finish(mask.map(Term::Tensor))
}

pub(super) fn matmul(call: &mut Call<'_, '_>) -> Outcome {
    let mut factors = [call.tensor(0)?, call.tensor(1)?];
    for (i, factor) in factors.iter_mut().enumerate() {
        let shape = call.s.shape(*factor).clone();
        if call.flag(2 + i)? && shape.dims.len() == 2 {
            let turned = View::of(&shape, *factor).permuted(&[1, 0]).value(call.s);
            *factor = call.finish(turned)?;
        }
    }
    let product = tensor::matmul(call.s, factors[0], factors[1]);
    call.finish(product.map(Term::Tensor))
}

pub(super) fn shape(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    Ok(evaluate::shape(call.s, x))
}

pub(super) fn rank(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    Ok(Term::Integer(tensor::rank(call.s.shape(x)) as i64))
}

pub(super) fn length(call: &mut Call<'_, '_>) -> Outcome {
    match call.argument(0).and_then(Term::elements) {
        Some(parts) => Ok(Term::Integer(parts.len() as i64)),
        None => Err(call.wrong(0, "a list")),
    }
}

pub(super) fn list(call: &mut Call<'_, '_>) -> Outcome {
    match call.argument(0).and_then(Term::elements) {
        Some(parts) => Ok(Term::List(parts.to_vec())),
        None => Err(call.wrong(0, "a list")),
    }
}

pub(super) fn tuple(call: &mut Call<'_, '_>) -> Outcome {
    match call.argument(0).and_then(Term::elements) {
        Some(parts) => Ok(Term::Tuple(parts.to_vec())),
        None => Err(call.wrong(0, "a list")),
    }
}

pub(super) fn range(call: &mut Call<'_, '_>) -> Outcome {
    let first = axis(call, 0)?;
    let (start, stop) = match call.integer(1)? {
        Some(stop) => (first, stop),
        None => (0, first),
    };
    let step = call.integer(2)?.unwrap_or(1);
    if step == 0 {
        return Err(call.error("the step is 0"));
    }
    let mut numbers = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        if numbers.len() == MOST_ELEMENTS {
            return Err(call.error(format!("more than {MOST_ELEMENTS} numbers are too many")));
        }
        numbers.push(Term::Integer(at));
        at = at.saturating_add(step);
    }
    Ok(Term::List(numbers))
}

//! Tensor operations as TensorFlow has them, in terms of the graph's: dimensions by number, from the front or from the back, the batch
//! being number 0.
//!
//! Everything here works inside of the rows of a batch. The dimensions of a row are known, so that whatever only moves elements becomes
//! one gather of columns, or nothing at all ([`view`]).

mod reduce;
pub(crate) mod view;

use rankmill_graph::ops::axis::{ConcatAlong, RepeatAlong};
use rankmill_graph::ops::concat::Concat;
use rankmill_graph::ops::dots::Dots;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{Graph, Length, Shape, Value};
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::Scope;

pub(crate) use self::reduce::{Reduce, reduce};
use self::view::View;

/// One of the dimensions of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    /// That of the batch.
    Batch,
    /// The axis of a length that each batch brings.
    Along,
    /// A dimension of the rows, by number.
    Inner(usize),
}

/// Number of dimensions, that of the batch among them.
pub(crate) fn rank(shape: &Shape) -> usize {
    usize::from(shape.batch) + usize::from(shape.axis.is_some()) + shape.dims.len()
}

/// The dimension with a number; negative ones count from the back.
pub(crate) fn dimension(shape: &Shape, number: i64) -> Result<Dimension, String> {
    let rank = rank(shape) as i64;
    let at = if number < 0 { number + rank } else { number };
    if at < 0 || at >= rank {
        return Err(format!("a tensor {shape} has no dimension {number}"));
    }
    let outer = usize::from(shape.batch) + usize::from(shape.axis.is_some());
    Ok(match at as usize {
        0 if shape.batch => Dimension::Batch,
        1 if shape.axis.is_some() => Dimension::Along,
        at => Dimension::Inner(at - outer),
    })
}

pub(crate) fn text(error: impl ToString) -> String {
    error.to_string()
}

/// The shapes of tensors, lists in brackets and tuples in parentheses.
pub(crate) fn shown(graph: &Graph, tensors: &Tensors) -> String {
    let list = |parts: &[Tensors]| parts.iter().map(|part| shown(graph, part)).collect::<Vec<_>>().join(", ");
    match tensors {
        Tensors::One(value) => graph.shape(*value).to_string(),
        Tensors::List(parts) => format!("a list ({})", list(parts)),
        Tensors::Tuple(parts) => format!("a tuple ({})", list(parts)),
        Tensors::Text(_) => "a text".to_owned(),
    }
}

/// The rows of `x` with other dimensions.
pub(crate) fn with_dims(s: &mut Scope<'_>, x: Value, dims: &[usize]) -> Result<Value, String> {
    let shape = s.shape(x).with_dims(dims);
    if *s.shape(x) == shape { Ok(x) } else { s.add(Reshape { shape }, &[x]).map_err(text) }
}

/// Inputs of a block as one (EasyRec behaviour 107): one alone stays as it is, lists are joined, a tensor beside a list becomes an element
/// of it, tensors are put side by side along `axis`.
pub(crate) fn merge(s: &mut Scope<'_>, mut inputs: Vec<Tensors>, axis: i64) -> Result<Tensors, String> {
    if inputs.len() <= 1 {
        return inputs.pop().ok_or_else(|| "there are none".to_owned());
    }
    if inputs.iter().any(|input| matches!(input, Tensors::List(_))) {
        let parts = inputs.into_iter().flat_map(|input| match input {
            Tensors::List(parts) => parts,
            other => vec![other],
        });
        return Ok(Tensors::List(parts.collect()));
    }
    if inputs.iter().all(|input| matches!(input, Tensors::Text(_))) {
        return Ok(Tensors::List(inputs));
    }
    if inputs.iter().any(|input| matches!(input, Tensors::Text(_))) {
        return Err("texts and numbers are no one tensor".to_owned());
    }
    let values: Option<Vec<Value>> = inputs.iter().map(Tensors::as_one).collect();
    let values = values.ok_or("a tuple must be cut by `input_slice` or `input_fn` first")?;
    concat(s, &values, axis).map(Tensors::One)
}

/// The tensors one after the other along a dimension; all others must agree.
pub(crate) fn concat(s: &mut Scope<'_>, values: &[Value], axis: i64) -> Result<Value, String> {
    let shapes: Vec<Shape> = values.iter().map(|value| s.shape(*value).clone()).collect();
    let [first, rest @ ..] = shapes.as_slice() else { return Err("there is nothing to put side by side".to_owned()) };
    if let Some(other) = rest.iter().find(|shape| rank(shape) != rank(first)) {
        return Err(format!("{first} and {other} have different numbers of dimensions"));
    }
    let along = dimension(shapes.iter().find(|shape| shape.axis.is_some()).unwrap_or(first), axis)?;
    if values.len() == 1 {
        return Ok(values[0]);
    }
    let at = match along {
        Dimension::Inner(at) => at,
        Dimension::Along => return concat_positions(s, values, &shapes),
        Dimension::Batch => return Err("tensors can't be put one after the other along the batch".to_owned()),
    };
    for shape in rest {
        let fits = |(i, (a, b)): (usize, (&usize, &usize))| i == at || a == b;
        let same_rows = shape.batch == first.batch && shape.axis == first.axis && shape.dims.len() == first.dims.len();
        if !same_rows || !first.dims.iter().zip(&shape.dims).enumerate().all(fits) {
            return Err(format!("{first} and {shape} differ in more than dimension {axis}"));
        }
    }
    let mut dims = first.dims.clone();
    dims[at] = shapes.iter().map(|shape| shape.dims[at]).sum();
    let flat = values.iter().map(|value| with_dims(s, *value, &[s.width(*value)])).collect::<Result<Vec<_>, _>>()?;
    let joined = s.add(Concat, &flat).map_err(text)?;
    let outer: usize = dims[..at].iter().product();
    if outer == 1 {
        return with_dims(s, joined, &dims);
    }
    let inner: usize = dims[at + 1..].iter().product();
    let mut columns = Vec::with_capacity(dims.iter().product());
    for row in 0..outer {
        let mut start = 0;
        for shape in &shapes {
            let run = shape.dims[at] * inner;
            columns.extend((start + row * run)..(start + (row + 1) * run));
            start += outer * run;
        }
    }
    view::gather(s, joined, columns, &dims)
}

/// Tensors one after the other along the axis whose length each batch brings; a tensor `[B, 1, d]` is one position.
fn concat_positions(s: &mut Scope<'_>, values: &[Value], shapes: &[Shape]) -> Result<Value, String> {
    let Some(model) = shapes.iter().find(|shape| shape.axis.is_some()) else { return Err("there are no positions".to_owned()) };
    let mut parts = Vec::with_capacity(values.len());
    for (value, shape) in values.iter().zip(shapes) {
        let inner = if shape.axis.is_none() { shape.dims.strip_prefix(&[1]) } else { Some(shape.dims.as_slice()) };
        if inner != Some(&model.dims) {
            return Err(format!("{model} and {shape} can't be put one after the other"));
        }
        parts.push(with_dims(s, *value, &model.dims)?);
    }
    let axis = s.axis(Length::Joined(shapes.iter().map(|shape| shape.axis).collect()));
    s.add(ConcatAlong { axis }, &parts).map_err(text)
}

/// A dimension of length 1 more, before number `axis`.
pub(crate) fn expand_dims(s: &mut Scope<'_>, x: Value, axis: i64) -> Result<Value, String> {
    let shape = s.shape(x).clone();
    let rank = rank(&shape) as i64;
    let at = if axis < 0 { axis + rank + 1 } else { axis };
    let outer = rank - shape.dims.len() as i64;
    if at < 0 || at > rank {
        return Err(format!("a tensor {shape} has no place {axis} for another dimension"));
    }
    if at < outer {
        return Err("a dimension before that of the batch or of positions is not supported".to_owned());
    }
    let mut dims = shape.dims;
    dims.insert((at - outer) as usize, 1);
    with_dims(s, x, &dims)
}

/// The tensors as elements of a new dimension.
pub(crate) fn stack(s: &mut Scope<'_>, values: &[Value], axis: i64) -> Result<Value, String> {
    let expanded = values.iter().map(|value| expand_dims(s, *value, axis)).collect::<Result<Vec<_>, _>>()?;
    concat(s, &expanded, axis)
}

/// The elements along a dimension, one by one, without that dimension.
pub(crate) fn unstack(s: &mut Scope<'_>, x: Value, axis: i64) -> Result<Vec<Value>, String> {
    let view = View::of(s.shape(x), x);
    let at = inner(s.shape(x), axis)?;
    (0..view.dims[at].size).map(|i| view.clone().pick(at, i).value(s)).collect()
}

/// Parts of these lengths along a dimension.
pub(crate) fn split(s: &mut Scope<'_>, x: Value, lengths: &[usize], axis: i64) -> Result<Vec<Value>, String> {
    let view = View::of(s.shape(x), x);
    let at = inner(s.shape(x), axis)?;
    let mut first = 0;
    let mut parts = Vec::with_capacity(lengths.len());
    for length in lengths {
        parts.push(view.clone().range(at, first, *length).value(s)?);
        first += length;
    }
    Ok(parts)
}

/// Dimensions of length 1 left out: those with the given numbers, or all.
pub(crate) fn squeeze(s: &mut Scope<'_>, x: Value, axes: Option<&[i64]>) -> Result<Value, String> {
    let shape = s.shape(x).clone();
    let mut removed = vec![false; shape.dims.len()];
    match axes {
        None => (0..removed.len()).for_each(|i| removed[i] = shape.dims[i] == 1),
        Some(axes) => {
            for axis in axes {
                let at = inner(&shape, *axis)?;
                if shape.dims[at] != 1 {
                    return Err(format!("dimension {axis} of {shape} has more than one element"));
                }
                removed[at] = true;
            }
        }
    }
    let dims: Vec<usize> = (0..removed.len()).filter(|i| !removed[*i]).map(|i| shape.dims[i]).collect();
    with_dims(s, x, &dims)
}

/// The dimensions in another order.
pub(crate) fn transpose(s: &mut Scope<'_>, x: Value, order: &[i64]) -> Result<Value, String> {
    let shape = s.shape(x).clone();
    let outer = rank(&shape) - shape.dims.len();
    let wanted = order.iter().map(|number| dimension(&shape, *number)).collect::<Result<Vec<_>, _>>()?;
    let distinct = (0..wanted.len()).all(|i| !wanted[..i].contains(&wanted[i]));
    if wanted.len() != rank(&shape) || !distinct {
        return Err(format!("{order:?} is no order of the dimensions of {shape}"));
    }
    let inner: Vec<usize> = wanted[outer..]
        .iter()
        .filter_map(|dimension| match dimension {
            Dimension::Inner(at) => Some(*at),
            _ => None,
        })
        .collect();
    if inner.len() != shape.dims.len() || (outer == 2 && wanted[0] != Dimension::Batch) {
        return Err("the dimensions of the batch and of positions stay where they are".to_owned());
    }
    View::of(&shape, x).permuted(&inner).value(s)
}

/// A dimension of the rows, by number.
pub(crate) fn inner(shape: &Shape, axis: i64) -> Result<usize, String> {
    match dimension(shape, axis)? {
        Dimension::Inner(at) => Ok(at),
        Dimension::Batch => Err("the rows of a batch can't be taken apart".to_owned()),
        Dimension::Along => Err("positions, of which each batch has as many as it needs, can't be taken apart".to_owned()),
    }
}

/// Both tensors repeated, where one has a dimension of length 1, so that their shapes agree.
pub(crate) fn broadcast(s: &mut Scope<'_>, a: Value, b: Value) -> Result<(Value, Value), String> {
    let (first, second) = (s.shape(a).clone(), s.shape(b).clone());
    if first == second {
        return Ok((a, b));
    }
    let refused = || format!("{first} and {second} can't be repeated to the same shape");
    // One without batch rows is repeated by the operations themselves.
    if !first.batch || !second.batch {
        let (row, whole) = if first.batch { (&second, &first) } else { (&first, &second) };
        let fits = row.elements() == 1 || row.dims == whole.dims;
        return if fits { Ok((a, b)) } else { Err(refused()) };
    }
    // A tensor [B, 1, d] meets positions [B, L, d].
    let (a, b) = match (first.axis, second.axis) {
        (Some(axis), None) if second.dims.first() == Some(&1) && second.dims.len() == first.dims.len() + 1 => (a, along(s, b, axis)?),
        (None, Some(axis)) if first.dims.first() == Some(&1) && first.dims.len() == second.dims.len() + 1 => (along(s, a, axis)?, b),
        (x, y) if x == y && first.dims.len() == second.dims.len() => (a, b),
        _ => return Err(refused()),
    };
    let (left, right) = (s.shape(a).dims.clone(), s.shape(b).dims.clone());
    let mut dims = Vec::with_capacity(left.len());
    for (x, y) in left.iter().zip(&right) {
        match (*x, *y) {
            (x, y) if x == y => dims.push(x),
            (1, other) | (other, 1) => dims.push(other),
            _ => return Err(refused()),
        }
    }
    Ok((repeated(s, a, &dims)?, repeated(s, b, &dims)?))
}

/// `[B, 1, d]` as `[B, L, d]`.
fn along(s: &mut Scope<'_>, x: Value, axis: rankmill_graph::Axis) -> Result<Value, String> {
    let dims = s.shape(x).dims[1..].to_vec();
    let x = with_dims(s, x, &dims)?;
    s.add(RepeatAlong { axis }, &[x]).map_err(text)
}

/// Dimensions of length 1 repeated to those of `dims`.
pub(crate) fn repeated(s: &mut Scope<'_>, x: Value, dims: &[usize]) -> Result<Value, String> {
    if s.shape(x).dims == dims {
        return Ok(x);
    }
    let mut view = View::of(s.shape(x), x);
    for (dim, size) in view.dims.iter_mut().zip(dims) {
        if dim.size != *size {
            (dim.size, dim.stride) = (*size, 0);
        }
    }
    view.value(s)
}

/// Matrix products inside of rows: `[B, n, k]`, `[B, k, m]` → `[B, n, m]`.
pub(crate) fn matmul(s: &mut Scope<'_>, a: Value, b: Value) -> Result<Value, String> {
    let (first, second) = (s.shape(a).clone(), s.shape(b).clone());
    let (&[n, k], &[inner, m]) = (first.dims.as_slice(), second.dims.as_slice()) else {
        return Err(format!("matrices [B, n, k] and [B, k, m] are multiplied, not {first} and {second}"));
    };
    if k != inner || !first.batch || first.axis.is_some() || first.axis != second.axis || !second.batch {
        return Err(format!("matrices {first} and {second} can't be multiplied"));
    }
    if n * m > view::MOST_ELEMENTS {
        return Err(format!("the product of {first} and {second} is too large"));
    }
    let transposed = View::of(&second, b).permuted(&[1, 0]).value(s)?;
    let pairs = (0..n as u32).flat_map(|i| (0..m as u32).map(move |j| (i, j))).collect();
    let products = s.add(Dots { pairs, width: k }, &[a, transposed]).map_err(text)?;
    with_dims(s, products, &[n, m])
}

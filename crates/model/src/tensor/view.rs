//! Elements of rows seen in another order: sizes and strides, made a tensor at the end.

use std::sync::Arc;

use rankmill_graph::ops::concat::Columns;
use rankmill_graph::ops::gather::Gather;
use rankmill_graph::{Shape, Value};
use rankmill_nn::layers::scope::Scope;

use super::{text, with_dims};

/// Elements that a row may have after all repetitions.
pub(crate) const MOST_ELEMENTS: usize = 1 << 22;

/// A dimension of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Its length.
    pub(crate) size: usize,
    /// Distance of neighbours in the row; 0 where one element is repeated.
    pub(crate) stride: isize,
}

/// A tensor whose rows are seen through sizes and strides.
#[derive(Clone, Debug)]
pub(crate) struct View {
    x: Value,
    first: isize,
    pub(crate) dims: Vec<Extent>,
}

impl View {
    /// All elements in their order.
    pub(crate) fn of(shape: &Shape, x: Value) -> View {
        let mut stride = 1;
        let mut dims: Vec<Extent> = Vec::with_capacity(shape.dims.len());
        for size in shape.dims.iter().rev() {
            dims.push(Extent { size: *size, stride });
            stride *= *size as isize;
        }
        dims.reverse();
        View { x, first: 0, dims }
    }

    /// The dimensions in another order.
    pub(crate) fn permuted(mut self, order: &[usize]) -> View {
        self.dims = order.iter().map(|at| self.dims[*at]).collect();
        self
    }

    /// Element `i` of a dimension, without the dimension.
    pub(crate) fn pick(mut self, at: usize, i: usize) -> View {
        self.first += i as isize * self.dims[at].stride;
        self.dims.remove(at);
        self
    }

    /// Elements `first ..` of a dimension.
    pub(crate) fn range(mut self, at: usize, first: usize, size: usize) -> View {
        self.first += first as isize * self.dims[at].stride;
        self.dims[at].size = size;
        self
    }

    /// Every `step`-th element of a dimension, `size` of them, from `first` on; a negative step goes backwards.
    pub(crate) fn strided(mut self, at: usize, first: usize, size: usize, step: isize) -> View {
        self = self.range(at, first, size);
        self.dims[at].stride *= step;
        self
    }

    /// A dimension of length 1 before dimension `at`.
    pub(crate) fn insert(mut self, at: usize) -> View {
        self.dims.insert(at, Extent { size: 1, stride: 0 });
        self
    }

    /// The view as a tensor.
    pub(crate) fn value(&self, s: &mut Scope<'_>) -> Result<Value, String> {
        let dims: Vec<usize> = self.dims.iter().map(|dim| dim.size).collect();
        let count = dims.iter().try_fold(1_usize, |a, size| a.checked_mul(*size)).filter(|count| *count <= MOST_ELEMENTS);
        let Some(count) = count else { return Err(format!("rows of {dims:?} elements are too large")) };
        let mut columns = Vec::with_capacity(count);
        let mut index = vec![0; dims.len()];
        for _ in 0..count {
            let offset: isize = index.iter().zip(&self.dims).map(|(i, dim): (&usize, &Extent)| *i as isize * dim.stride).sum();
            columns.push((self.first + offset) as usize);
            for at in (0..dims.len()).rev() {
                index[at] += 1;
                if index[at] < dims[at] {
                    break;
                }
                index[at] = 0;
            }
        }
        gather(s, self.x, columns, &dims)
    }
}

/// The columns of `x`, in this order, as rows of these dimensions; without work if they are neighbours.
pub(crate) fn gather(s: &mut Scope<'_>, x: Value, columns: Vec<usize>, dims: &[usize]) -> Result<Value, String> {
    let shape = s.shape(x).clone();
    let (Some(first), width) = (columns.first().copied(), columns.len()) else {
        return Err("nothing is left of the tensor".to_owned());
    };
    if !shape.batch {
        return Err("only tensors with a row for each row of the batch can be taken apart".to_owned());
    }
    let neighbours = columns.iter().enumerate().all(|(i, column)| *column == first + i);
    if neighbours && width == shape.elements() {
        return with_dims(s, x, dims);
    }
    if neighbours {
        let part = s.add(Columns { first, width }, &[x]).map_err(text)?;
        return with_dims(s, part, dims);
    }
    let columns: Arc<[u32]> = columns.into_iter().map(|column| column as u32).collect();
    s.add(Gather { columns, dims: dims.to_vec() }, &[x]).map_err(text)
}

//! Shapes with a symbolic batch size.

use std::fmt;

/// A dimension after that of the batch whose length is known when a graph runs, such as the positions of a sequence. A graph has its axes
/// by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Axis(pub(crate) usize);

/// How long an axis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Length {
    /// As the feed says at this place: what the batch needs.
    Fed(usize),
    /// Always the same.
    Fixed(usize),
    /// As these axes one after the other; none counts one.
    Joined(Vec<Option<Axis>>),
}

/// The shape of a tensor: with or without batch rows, perhaps along an axis, and the sizes that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whether the tensor has a row for each row of the batch, or several along an axis.
    pub batch: bool,
    /// The axis between the batch and the other dimensions: each row of the batch then has as many rows of the tensor as it is long.
    pub axis: Option<Axis>,
    /// The other dimensions.
    pub dims: Vec<usize>,
}

impl Shape {
    /// `[B, dims...]`.
    pub fn batch(dims: &[usize]) -> Shape {
        Shape { batch: true, axis: None, dims: dims.to_vec() }
    }

    /// `[B, L, dims...]`, L the length of `axis`.
    pub fn along(axis: Axis, dims: &[usize]) -> Shape {
        Shape { batch: true, axis: Some(axis), dims: dims.to_vec() }
    }

    /// Rows as this shape has them, of other dimensions.
    pub fn with_dims(&self, dims: &[usize]) -> Shape {
        Shape { dims: dims.to_vec(), ..*self }
    }

    /// `[dims...]`, no batch rows.
    pub fn fixed(dims: &[usize]) -> Shape {
        Shape { batch: false, axis: None, dims: dims.to_vec() }
    }

    /// Whether values of both shapes can be combined element by element: they are equal, or both one element without batch rows.
    pub fn matches(&self, other: &Shape) -> bool {
        let is_scalar = |shape: &Shape| !shape.batch && shape.elements() == 1;
        self == other || is_scalar(self) && is_scalar(other)
    }

    /// Elements of one row, or of the whole where there are no batch rows.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Last dimension; 1 for a scalar.
    pub fn width(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// A tensor without batch rows as a matrix `(rows, cols)`: the first of at least two dimensions counts rows.
    pub fn as_matrix(&self) -> (usize, usize) {
        match self.dims.as_slice() {
            [] => (1, 1),
            [n] => (1, *n),
            [m, rest @ ..] => (*m, rest.iter().product()),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = self.batch.then(|| "B".to_owned());
        let axis = self.axis.map(|axis| format!("L{}", axis.0));
        let parts: Vec<String> = batch.into_iter().chain(axis).chain(self.dims.iter().map(usize::to_string)).collect();
        write!(f, "[{}]", parts.join(", "))
    }
}

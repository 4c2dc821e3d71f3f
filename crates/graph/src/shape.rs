//! Shapes with a symbolic batch size.

use std::fmt;

/// The shape of a tensor: with or without batch rows, and the sizes that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whether the tensor has a row for each row of the batch.
    pub batch: bool,
    /// The other dimensions.
    pub dims: Vec<usize>,
}

impl Shape {
    /// `[B, dims...]`.
    pub fn batch(dims: &[usize]) -> Shape {
        Shape { batch: true, dims: dims.to_vec() }
    }

    /// `[dims...]`, no batch rows.
    pub fn fixed(dims: &[usize]) -> Shape {
        Shape { batch: false, dims: dims.to_vec() }
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
        let parts: Vec<String> = batch.into_iter().chain(self.dims.iter().map(usize::to_string)).collect();
        write!(f, "[{}]", parts.join(", "))
    }
}

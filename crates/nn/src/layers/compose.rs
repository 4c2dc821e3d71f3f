//! Small compositions that many components share: fields and lists of tensors, sums, parts.
//!
//! Fields are tensors `[B, n, D]`, n vectors in one row.

use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::concat::{Columns, Concat};
use rankmill_graph::ops::reshape::{Reshape, StopGradient};
use rankmill_graph::ops::sum::Sum;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};

use super::scope::Scope;
use super::{LayerError, Tensors};

impl Scope<'_> {
    /// The same rows with other dimensions.
    ///
    /// # Errors
    /// If the numbers of elements differ.
    pub fn reshape(&mut self, x: Value, dims: &[usize]) -> Result<Value, GraphError> {
        if self.shape(x).dims == dims {
            return Ok(x);
        }
        let shape = self.shape(x).with_dims(dims);
        self.add(Reshape { shape }, &[x])
    }

    /// Each row as one run of numbers: `[B, n, D]` → `[B, n·D]`.
    ///
    /// # Errors
    /// Never for a value with batch rows.
    pub fn flat(&mut self, x: Value) -> Result<Value, GraphError> {
        let width = self.width(x);
        self.reshape(x, &[width])
    }

    /// Columns `first ..  first + width` of each row.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn columns(&mut self, x: Value, first: usize, width: usize) -> Result<Value, GraphError> {
        if first == 0 && width == self.width(x) {
            return self.flat(x);
        }
        self.add(Columns { first, width }, &[x])
    }

    /// Field `i`: `[B, n, D]` → `[B, D]`.
    ///
    /// # Errors
    /// If there is no such field.
    pub fn field(&mut self, x: Value, i: usize) -> Result<Value, GraphError> {
        let width = self.shape(x).width();
        self.columns(x, i * width, width)
    }

    /// The fields of a tensor, one by one.
    ///
    /// # Errors
    /// Never for a tensor of fields.
    pub fn split(&mut self, x: Value) -> Result<Vec<Value>, GraphError> {
        match self.shape(x).dims[..] {
            [n, _] => (0..n).map(|i| self.field(x, i)).collect(),
            _ => Ok(vec![x]),
        }
    }

    /// Vectors of one width as fields: `[B, D]` each → `[B, n, D]`.
    ///
    /// # Errors
    /// If the widths differ.
    pub fn stack(&mut self, values: &[Value]) -> Result<Value, GraphError> {
        let joined = self.add(Concat, values)?;
        let width = values.first().map_or(0, |value| self.width(*value));
        self.reshape(joined, &[values.len(), width])
    }

    /// What a component gets as fields: a tensor `[B, n, D]`, or a list of vectors of one width.
    ///
    /// # Errors
    /// If it is something else.
    pub fn fields(&mut self, inputs: &Tensors) -> Result<Value, LayerError> {
        if let Tensors::One(x) = inputs
            && self.shape(*x).dims.len() == 2
        {
            return Ok(*x);
        }
        let values = self.vectors(inputs)?;
        let width = self.width(values[0]);
        if let Some(other) = values.iter().map(|value| self.width(*value)).find(|other| *other != width) {
            let message = format!("the fields need one width, but there are widths {width} and {other}");
            return Err(LayerError::message(message));
        }
        Ok(self.stack(&values)?)
    }

    /// What a component gets as a list of vectors of any width.
    ///
    /// # Errors
    /// If it is a single vector or nothing.
    pub fn vectors(&mut self, inputs: &Tensors) -> Result<Vec<Value>, LayerError> {
        const FIELDS: &str =
            "a list of features is needed; set only_output_feature_list (or only_output_3d_tensor) in the input_layer block";
        match inputs {
            Tensors::One(x) if self.shape(*x).dims.len() == 2 => Ok(self.split(*x)?),
            Tensors::One(_) => Err(LayerError::message(FIELDS)),
            several => match several.values() {
                values if values.is_empty() => Err(LayerError::message(FIELDS)),
                values => Ok(values),
            },
        }
    }

    /// `map` of each field, `[B, D]`, stacked again; of a tensor without fields that of its rows.
    ///
    /// # Errors
    /// What `map` refuses.
    pub fn each_field(
        &mut self,
        x: Value,
        mut map: impl FnMut(&mut Self, Value) -> Result<Value, GraphError>,
    ) -> Result<Value, GraphError> {
        if self.shape(x).dims.len() < 2 {
            return map(self, x);
        }
        let mut mapped = Vec::new();
        for field in self.split(x)? {
            mapped.push(map(self, field)?);
        }
        self.stack(&mapped)
    }

    /// The sum of tensors of one shape.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn sum(&mut self, values: &[Value]) -> Result<Value, GraphError> {
        match values {
            [only] => Ok(*only),
            _ => self.add(Sum, values),
        }
    }

    /// `a + b`.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn plus(&mut self, a: Value, b: Value) -> Result<Value, GraphError> {
        self.add(Binary::Add, &[a, b])
    }

    /// `a - b`.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn minus(&mut self, a: Value, b: Value) -> Result<Value, GraphError> {
        self.add(Binary::Subtract, &[a, b])
    }

    /// `factor · x`.
    ///
    /// # Errors
    /// Never for a value of this graph.
    pub fn scale(&mut self, x: Value, factor: f32) -> Result<Value, GraphError> {
        if factor == 1.0 { Ok(x) } else { self.add(Unary::Scale(factor), &[x]) }
    }

    /// `x`, through which no gradient flows.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn stop_gradient(&mut self, x: Value) -> Result<Value, GraphError> {
        self.add(StopGradient, &[x])
    }

    /// `Σ w_j·x_j`, `w [B, n]`, one column for each of the values.
    ///
    /// # Errors
    /// If the numbers or shapes don't fit.
    pub fn weighted_sum(&mut self, weights: Value, values: &[Value]) -> Result<Value, GraphError> {
        let mut terms = Vec::with_capacity(values.len());
        for (j, value) in values.iter().enumerate() {
            let weight = self.columns(weights, j, 1)?;
            terms.push(self.multiply(*value, weight)?);
        }
        self.sum(&terms)
    }
}

//! Columns in any order and number, as a transposition inside of rows needs them.

use std::sync::Arc;

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor, leading};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// `yⱼ = x` at column `columns[j]`; a column may be taken more than once.
#[derive(Clone, Debug)]
pub struct Gather {
    /// For each output element, row by row, the input's.
    pub columns: Arc<[u32]>,
    /// The dimensions of the output.
    pub dims: Vec<usize>,
}

impl Gather {
    /// `[B, n, m]` → `[B, m, n]`.
    pub fn transposed(n: usize, m: usize) -> Gather {
        let columns = (0..m).flat_map(|j| (0..n).map(move |i| (i * m + j) as u32)).collect();
        Gather { columns, dims: vec![m, n] }
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather columns"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let elements = inputs[0].elements();
        let inside = self.columns.iter().all(|column| (*column as usize) < elements);
        let output = inputs[0].with_dims(&self.dims);
        if !output.batch || !inside || output.elements() != self.columns.len() {
            return Err(format!("{} columns for an output {output} do not come from it", self.columns.len()));
        }
        Ok(output)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let x = inputs[0].row(i);
            output.row(i).iter_mut().zip(&*self.columns).for_each(|(y, column)| *y = x[*column as usize]);
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let dims = backward.shape(inputs[0]).dims.clone();
        Ok(vec![Some(backward.add(Scatter { columns: self.columns.clone(), dims }, &[upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let x = emit.flat(inputs[0], shapes[0]);
        let columns: Vec<i64> = self.columns.iter().map(|column| i64::from(*column)).collect();
        let columns = emit.ints(&columns);
        let taken = emit.node_with("Gather", &[x, columns], &[("axis", Attribute::Int(-1))]);
        Ok(emit.reshape(taken, &output.with_dims(&[output.elements()]), &output.dims))
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// `x` at column `columns[j]` is the sum of all `yⱼ` that go there, and 0 where none does.
#[derive(Clone, Debug)]
pub struct Scatter {
    /// For each input element, row by row, the output's.
    pub columns: Arc<[u32]>,
    /// The dimensions of the output.
    pub dims: Vec<usize>,
}

impl Op for Scatter {
    fn name(&self) -> &'static str {
        "scatter columns"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let output = inputs[0].with_dims(&self.dims);
        let elements = output.elements();
        let inside = self.columns.iter().all(|column| (*column as usize) < elements);
        if !output.batch || !inside || inputs[0].elements() != self.columns.len() {
            return Err(format!("{} columns do not go to an output {output}", self.columns.len()));
        }
        Ok(output)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let x = output.row(i);
            x.fill(0.0);
            inputs[0].row(i).iter().zip(&*self.columns).for_each(|(y, column)| x[*column as usize] += y);
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let dims = backward.shape(inputs[0]).dims.clone();
        Ok(vec![Some(backward.add(Gather { columns: self.columns.clone(), dims }, &[upstream])?)])
    }

    /// It has a form where no two columns go to one.
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        // Where nothing goes, the column of zeros is taken that is put behind the input.
        let count = self.columns.len();
        let mut sources = vec![count as i64; output.elements()];
        for (source, column) in self.columns.iter().enumerate() {
            if std::mem::replace(&mut sources[*column as usize], source as i64) != count as i64 {
                return Err(NoForm);
            }
        }
        let x = emit.flat(inputs[0], shapes[0]);
        let rows = vec![0; leading(shapes[0])];
        let pads = emit.ints(&[rows.as_slice(), &[0], &rows, &[1]].concat());
        let with_zeros = emit.node("Pad", &[x, pads]);
        let sources = emit.ints(&sources);
        let spread = emit.node_with("Gather", &[with_zeros, sources], &[("axis", Attribute::Int(-1))]);
        Ok(emit.reshape(spread, &output.with_dims(&[output.elements()]), &output.dims))
    }
}

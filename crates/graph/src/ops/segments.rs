//! Sums, means and maxima inside of a row: over the last dimension, or over the one before it.

use rankmill_kernels::elementwise;
use rankmill_kernels::reduce::sum;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor, leading};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// How the elements of a run become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest; its gradient is shared equally among several largest ones, as in TensorFlow.
    Max,
}

/// Runs of `width` neighbouring columns: `[B, .., N]` → `[B, elements / width]`.
#[derive(Clone, Copy, Debug)]
pub struct ReduceRuns {
    /// Columns of a run.
    pub width: usize,
    /// What becomes of a run.
    pub reduction: Reduction,
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(f32::NEG_INFINITY, |a, x| a.max(*x))
}

impl Op for ReduceRuns {
    fn name(&self) -> &'static str {
        match self.reduction {
            Reduction::Sum => "sum of runs",
            Reduction::Mean => "mean of runs",
            Reduction::Max => "maximum of runs",
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let elements = inputs[0].elements();
        if !inputs[0].batch || self.width == 0 || !elements.is_multiple_of(self.width) {
            return Err(format!("rows are not made of runs of {} columns", self.width));
        }
        Ok(inputs[0].with_dims(&[elements / self.width]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            for (y, x) in output.row(i).iter_mut().zip(inputs[0].row(i).chunks_exact(self.width)) {
                *y = match self.reduction {
                    Reduction::Sum => sum(x),
                    Reduction::Mean => sum(x) / self.width as f32,
                    Reduction::Max => largest(x),
                };
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(ReduceRunsGradient(*self), &[inputs[0], upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let runs = emit.reshape(inputs[0], shapes[0], &[output.elements(), self.width]);
        let settings = [("axes", Attribute::Ints(vec![-1])), ("keepdims", Attribute::Int(0))];
        Ok(match self.reduction {
            Reduction::Sum => emit.sum(runs, -1),
            Reduction::Mean => emit.node_with("ReduceMean", &[runs], &settings),
            Reduction::Max => emit.node_with("ReduceMax", &[runs], &settings),
        })
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: inputs[0].elements() as f64 }
    }
}

/// `dx` of [`ReduceRuns`] from `x` and `dy`.
#[derive(Clone, Copy, Debug)]
pub struct ReduceRunsGradient(pub ReduceRuns);

impl Op for ReduceRunsGradient {
    fn name(&self) -> &'static str {
        "gradient of runs"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let width = self.0.width;
        for i in 0..output.rows() {
            let runs = output.row(i).chunks_exact_mut(width).zip(inputs[0].row(i).chunks_exact(width));
            for ((dx, x), dy) in runs.zip(inputs[1].row(i)) {
                match self.0.reduction {
                    Reduction::Sum => dx.fill(*dy),
                    Reduction::Mean => dx.fill(dy / width as f32),
                    Reduction::Max => {
                        let most = largest(x);
                        let share = dy / x.iter().filter(|x| **x == most).count().max(1) as f32;
                        dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = if *x == most { share } else { 0.0 });
                    }
                }
            }
        }
    }
}

/// The sum of the rows of each matrix: `[B, n, D]` → `[B, D]`.
#[derive(Clone, Copy, Debug)]
pub struct SumFields;

impl Op for SumFields {
    fn name(&self) -> &'static str {
        "sum of fields"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        match (inputs[0].batch, inputs[0].dims.as_slice()) {
            (true, [_, width]) => Ok(inputs[0].with_dims(&[*width])),
            _ => Err("fields of one width are added".to_owned()),
        }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let y = output.row(i);
            y.fill(0.0);
            for x in inputs[0].row(i).chunks_exact(y.len()) {
                elementwise::add_assign(y, x);
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let fields = backward.shape(inputs[0]).dims[0];
        Ok(vec![Some(backward.add(RepeatFields(fields), &[upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        Ok(emit.sum(inputs[0], -2))
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: inputs[0].elements() as f64 }
    }
}

/// The same row for each of n fields: `[B, D]` → `[B, n, D]`.
#[derive(Clone, Copy, Debug)]
pub struct RepeatFields(pub usize);

impl Op for RepeatFields {
    fn name(&self) -> &'static str {
        "repeat fields"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        match (inputs[0].batch, inputs[0].dims.as_slice()) {
            (true, [width]) => Ok(inputs[0].with_dims(&[self.0, *width])),
            _ => Err("a matrix with batch rows is repeated".to_owned()),
        }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let x = inputs[0].row(i);
            output.row(i).chunks_exact_mut(x.len()).for_each(|y| y.copy_from_slice(x));
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(SumFields, &[upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let x = emit.unsqueeze(inputs[0], -2);
        let dims = output.dims.iter().map(|size| *size as i64);
        let sizes: Vec<i64> = vec![1; leading(output)].into_iter().chain(dims).collect();
        let sizes = emit.ints(&sizes);
        Ok(emit.node("Expand", &[x, sizes]))
    }
}

//! Windows over the positions in a row, from which a convolution is a product: `[B, N]` → `[B, L, width]`.

use rankmill_kernels::elementwise::add_assign;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::{Axis, Shape};

/// Columns `p·step .. p·step + width` of each row for each `p` below `count`: `[B, (count - 1)·step + width]` → `[B, L, width]`.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// The axis of the windows, of the fixed length `count`.
    pub axis: Axis,
    /// How many windows.
    pub count: usize,
    /// Columns of a window.
    pub width: usize,
    /// Columns from a window to the next.
    pub step: usize,
}

impl Op for Windows {
    fn name(&self) -> &'static str {
        "windows"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let columns = (self.count.max(1) - 1) * self.step + self.width;
        if self.count == 0 || *inputs[0] != Shape::batch(&[columns]) {
            return Err(format!("{} windows of {} columns need {columns} columns", self.count, self.width));
        }
        Ok(Shape::along(self.axis, &[self.width]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..inputs[0].rows() {
            let x = inputs[0].row(i);
            for p in 0..self.count {
                let first = p * self.step;
                output.row(i * self.count + p).copy_from_slice(&x[first..first + self.width]);
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(WindowSums(*self), &[upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let mut windows = Vec::with_capacity(self.count);
        for first in (0..self.count).map(|p| p * self.step) {
            let window = emit.slice(inputs[0], -1, first as i64, (first + self.width) as i64);
            windows.push(emit.unsqueeze(window, 1));
        }
        Ok(emit.node_with("Concat", &windows, &[("axis", Attribute::Int(1))]))
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// The gradient of [`Windows`]: each column's sum over the windows that show it, `[B, L, width]` → `[B, (count - 1)·step + width]`.
#[derive(Clone, Copy, Debug)]
pub struct WindowSums(pub Windows);

impl Op for WindowSums {
    fn name(&self) -> &'static str {
        "sums of windows"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let Windows { axis, count, width, step } = self.0;
        if *inputs[0] != Shape::along(axis, &[width]) {
            return Err("these are not the windows".to_owned());
        }
        Ok(Shape::batch(&[(count - 1) * step + width]))
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let Windows { count, width, step, .. } = self.0;
        for i in 0..output.rows() {
            let dx = output.row(i);
            dx.fill(0.0);
            for p in 0..count {
                add_assign(&mut dx[p * step..p * step + width], inputs[0].row(i * count + p));
            }
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: self.0.count as f64 * inputs[0].elements() as f64 }
    }
}

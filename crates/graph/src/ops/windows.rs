//! Windows along an axis, of which convolutions are made: a convolution is a product of each window with the kernel.

use rankmill_kernels::elementwise::add_assign;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::{Axis, Shape};

/// Each position and the `size - 1` behind it side by side, zeros behind the end: `[B, L, N]` → `[B, L, size·N]`.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// The axis.
    pub axis: Axis,
    /// Positions of a window.
    pub size: usize,
}

impl Op for Windows {
    fn name(&self) -> &'static str {
        "windows"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].axis != Some(self.axis) || inputs[0].dims.len() != 1 || self.size == 0 {
            return Err(format!("windows of {} positions need vectors along their axis", self.size));
        }
        Ok(inputs[0].with_dims(&[self.size * inputs[0].width()]))
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.axis));
        for i in 0..output.rows() {
            let behind = length - i % length;
            for (j, y) in output.row(i).chunks_exact_mut(inputs[0].cols()).enumerate() {
                if j < behind { y.copy_from_slice(inputs[0].row(i + j)) } else { y.fill(0.0) }
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(WindowsGradient { windows: *self }, &[upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let length = emit.length(self.axis)?;
        let mut shifted = Vec::with_capacity(self.size);
        for first in 0..self.size {
            let behind = emit.slice(inputs[0], 1, first as i64, i64::MAX);
            shifted.push(emit.resize(behind, 3, 1, length));
        }
        Ok(emit.node_with("Concat", &shifted, &[("axis", Attribute::Int(-1))]))
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// The gradient of [`Windows`]: the sum over the windows that a position stands in.
#[derive(Clone, Copy, Debug)]
pub struct WindowsGradient {
    /// The windows.
    pub windows: Windows,
}

impl Op for WindowsGradient {
    fn name(&self) -> &'static str {
        "windows gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].with_dims(&[inputs[0].width() / self.windows.size]))
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.windows.axis));
        let width = output.cols();
        for i in 0..output.rows() {
            let dx = output.row(i);
            dx.fill(0.0);
            for j in 0..self.windows.size.min(i % length + 1) {
                add_assign(dx, &inputs[0].row(i - j)[j * width..(j + 1) * width]);
            }
        }
    }
}

/// The maximum over the positions that begin a whole window of `size` positions (at least the first one): `[B, L, N]` → `[B, N]`. With
/// windows of one position it is the maximum along the axis. Equal maxima share the gradient, as in TensorFlow's `reduce_max`.
#[derive(Clone, Copy, Debug)]
pub struct MaxOfWindows {
    /// The axis.
    pub axis: Axis,
    /// Positions of a window.
    pub size: usize,
}

impl MaxOfWindows {
    fn count(&self, length: usize) -> usize {
        (length + 1).saturating_sub(self.size).max(1)
    }
}

impl Op for MaxOfWindows {
    fn name(&self) -> &'static str {
        "maximum of windows"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].axis != Some(self.axis) {
            return Err("a maximum of windows needs their axis".to_owned());
        }
        Ok(Shape::batch(&inputs[0].dims))
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.axis));
        for i in 0..output.rows() {
            let y = output.row(i);
            y.fill(f32::NEG_INFINITY);
            for j in 0..self.count(length) {
                y.iter_mut().zip(inputs[0].row(i * length + j)).for_each(|(y, x)| *y = y.max(*x));
            }
        }
    }

    fn gradient(
        &self,
        backward: &mut Backward<'_>,
        inputs: &[Value],
        output: Value,
        upstream: Value,
    ) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(MaxOfWindowsGradient { of: *self }, &[inputs[0], output, upstream])?)])
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], _: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        // The first position twice does not change the maximum, and is there if no window is whole.
        let first = emit.slice(inputs[0], 1, 0, 1);
        let end = if self.size > 1 { 1 - self.size as i64 } else { i64::MAX };
        let whole = emit.slice(inputs[0], 1, 0, end);
        let all = emit.node_with("Concat", &[first, whole], &[("axis", Attribute::Int(1))]);
        Ok(emit.node_with("ReduceMax", &[all], &[("axes", Attribute::Ints(vec![1])), ("keepdims", Attribute::Int(0))]))
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: inputs[0].elements() as f64 }
    }
}

/// The gradient of [`MaxOfWindows`] from `x [B, L, N]`, `y [B, N]` and `dy [B, N]`.
#[derive(Clone, Copy, Debug)]
pub struct MaxOfWindowsGradient {
    /// What was computed.
    pub of: MaxOfWindows,
}

impl Op for MaxOfWindowsGradient {
    fn name(&self) -> &'static str {
        "maximum of windows gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.of.axis));
        output.fill(0.0);
        for i in 0..inputs[1].rows() {
            let (y, dy) = (inputs[1].row(i), inputs[2].row(i));
            let rows = i * length..i * length + self.of.count(length);
            for col in 0..y.len() {
                let is_largest = |row: &usize| inputs[0].row(*row)[col] == y[col];
                let share = dy[col] / rows.clone().filter(is_largest).count() as f32;
                rows.clone().filter(is_largest).for_each(|row| output.row(row)[col] = share);
            }
        }
    }
}

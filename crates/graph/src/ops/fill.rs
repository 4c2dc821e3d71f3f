//! A constant tensor without batch rows.

use rankmill_kernels::view::{MatMut, MatRef};

use crate::op::{Context, Op};
use crate::shape::Shape;

/// Every element is `value`.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Shape of the tensor.
    pub shape: Shape,
    /// The value.
    pub value: f32,
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }
    fn infer(&self, _: &[&Shape]) -> Result<Shape, String> {
        Ok(self.shape.clone())
    }
    fn forward(&self, _: &Context<'_>, _: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        output.fill(self.value);
    }
}

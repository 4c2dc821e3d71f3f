//! Dropout with inverted scaling (Srivastava et al. 2014): each element is kept with probability `1 - rate` and then divided by it.
//!
//! Whether an element is kept depends on the step's seed, the layer's salt and the element's place in the batch alone, so the
//! backward pass draws the same mask again and the number of threads does not matter.

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, InputGradients, Op};
use crate::shape::Shape;

/// `x [B, N]` → `[B, N]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Share of elements that are dropped, in `[0, 1)`.
    pub rate: f32,
    /// Tells layers apart.
    pub salt: u64,
}

/// A well-mixed 64-bit number for each input (the finaliser of SplitMix64, Steele, Lea, Flood 2014).
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dropout {
    /// What element `place` of the batch is multiplied by in the step of that seed.
    pub(crate) fn factor(&self, seed: u64, place: u64) -> f32 {
        let key = mix(seed ^ mix(self.salt));
        if mix(key.wrapping_add(place)) >= threshold(self.rate) { 1.0 / (1.0 - self.rate) } else { 0.0 }
    }
}

pub(crate) fn checked_rate(rate: f32) -> Result<(), String> {
    if (0.0..1.0).contains(&rate) { Ok(()) } else { Err(format!("a dropout rate lies in [0, 1), not {rate}")) }
}

/// Drawn numbers below this drop an element.
fn threshold(rate: f32) -> u64 {
    (f64::from(rate) * 2.0_f64.powi(64)) as u64
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        checked_rate(self.rate)?;
        Ok(inputs[0].clone())
    }

    fn depends_on_place(&self) -> bool {
        true
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let kept = 1.0 / (1.0 - self.rate);
        let threshold = threshold(self.rate);
        let key = mix(context.seed ^ mix(self.salt));
        let cols = output.cols() as u64;
        for i in 0..output.rows() {
            let start = (first_row + i) as u64 * cols;
            for (j, (y, x)) in output.row(i).iter_mut().zip(inputs[0].row(i)).enumerate() {
                let drawn = mix(key.wrapping_add(start + j as u64));
                *y = if drawn >= threshold { x * kept } else { 0.0 };
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(*self, &[upstream])?)])
    }
}

/// Dropout of a tensor as a whole: `[B, N]` → `[B, N]`, for all rows of a step the same.
#[derive(Clone, Copy, Debug)]
pub struct DropWhole {
    /// How often it is dropped, in `[0, 1)`.
    pub rate: f32,
    /// Tells tensors apart.
    pub salt: u64,
}

impl Op for DropWhole {
    fn name(&self) -> &'static str {
        "dropout of a whole"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        checked_rate(self.rate)?;
        Ok(inputs[0].clone())
    }

    fn depends_on_place(&self) -> bool {
        true
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let is_kept = mix(context.seed ^ mix(self.salt)) >= threshold(self.rate);
        let factor = if is_kept { 1.0 / (1.0 - self.rate) } else { 0.0 };
        for i in 0..output.rows() {
            output.row(i).iter_mut().zip(inputs[0].row(i)).for_each(|(y, x)| *y = factor * x);
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(*self, &[upstream])?)])
    }
}

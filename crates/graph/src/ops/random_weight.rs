//! A weight drawn anew for every step: one of the softmax of `count` normal numbers (EasyRec behaviour 178, strategy `Random`).

use rankmill_kernels::view::{MatMut, MatRef};

use crate::op::{Context, Op};
use crate::ops::dropout::mix;
use crate::shape::Shape;

/// A scalar without inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomWeight {
    /// Which of the weights.
    pub index: usize,
    /// How many there are; they add up to 1.
    pub count: usize,
}

/// A standard normal number (Box and Muller 1958).
fn normal(seed: u64, index: u64) -> f64 {
    let uniform = |salt: u64| (mix(mix(seed ^ salt).wrapping_add(index)) >> 11) as f64 / (1_u64 << 53) as f64;
    (-2.0 * (1.0 - uniform(1)).ln()).sqrt() * (std::f64::consts::TAU * uniform(2)).cos()
}

impl Op for RandomWeight {
    fn name(&self) -> &'static str {
        "random weight"
    }

    fn infer(&self, _: &[&Shape]) -> Result<Shape, String> {
        if self.index < self.count { Ok(Shape::fixed(&[])) } else { Err(format!("there are {} weights", self.count)) }
    }

    fn depends_on_place(&self) -> bool {
        true
    }

    fn forward(&self, context: &Context<'_>, _: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let exponentials: Vec<f64> = (0..self.count).map(|i| normal(context.seed, i as u64).exp()).collect();
        output.fill((exponentials[self.index] / exponentials.iter().sum::<f64>()) as f32);
    }
}

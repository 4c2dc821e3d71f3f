//! Dropout whose rates are learnt (concrete dropout: Maddison, Mnih, Teh 2017; Gal, Hron, Kendall 2017): the share of each element that is
//! kept is a smooth function of its rate and of a random number, so that the loss has a gradient in the rate (EasyRec behaviour 163).
//!
//! With `p = σ(x)`, `u` uniform in [0, 1) and ε the spacing of 64-bit numbers at 1,
//! `y = 1 - σ((ln(p + ε) - ln(1 - p + ε) + ln(u + ε) - ln(1 - u + ε)) / 0.1)`.
//! As in [`Dropout`](super::dropout::Dropout), `u` depends on the step's seed, the salt and the element's place alone.

use rankmill_kernels::elementwise::sigmoid;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, InputGradients, Op};
use crate::ops::dropout::mix;
use crate::shape::Shape;

const TEMPERATURE: f32 = 0.1;
const EPSILON: f32 = f64::EPSILON as f32;

/// Log odds of dropping `x [B, N]` → the shares that are kept, `[B, N]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcreteKeep {
    /// Tells layers apart.
    pub salt: u64,
}

impl ConcreteKeep {
    /// What element `place` of the batch keeps in the step of that seed, and the slope of it in `x`.
    fn draw(&self, seed: u64, place: u64, x: f32) -> (f32, f32) {
        let drawn = mix(mix(seed ^ mix(self.salt)).wrapping_add(place));
        let u = (drawn >> 40) as f32 / (1_u32 << 24) as f32;
        let p = sigmoid(x);
        let (odds, noise) = (log_odds(p), log_odds(u));
        let keep = 1.0 - sigmoid((odds + noise) / TEMPERATURE);
        let slope_of_odds = p * (1.0 - p) * (1.0 / (p + EPSILON) + 1.0 / (1.0 - p + EPSILON));
        (keep, -keep * (1.0 - keep) / TEMPERATURE * slope_of_odds)
    }
}

fn log_odds(p: f32) -> f32 {
    (p + EPSILON).ln() - (1.0 - p + EPSILON).ln()
}

impl Op for ConcreteKeep {
    fn name(&self) -> &'static str {
        "concrete dropout"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let cols = output.cols();
        for i in 0..output.rows() {
            let start = ((first_row + i) * cols) as u64;
            for (j, (y, x)) in output.row(i).iter_mut().zip(inputs[0].row(i)).enumerate() {
                *y = self.draw(context.seed, start + j as u64, *x).0;
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(ConcreteKeepGradient(*self), &[inputs[0], upstream])?)])
    }
}

/// `dx` of [`ConcreteKeep`]: `x` and the upstream gradient, both `[B, N]` → `[B, N]`. It draws the same numbers again.
#[derive(Clone, Copy, Debug)]
pub struct ConcreteKeepGradient(pub ConcreteKeep);

impl Op for ConcreteKeepGradient {
    fn name(&self) -> &'static str {
        "concrete dropout gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if inputs[0].matches(inputs[1]) { Ok(inputs[0].clone()) } else { Err("the shapes differ".to_owned()) }
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let cols = output.cols();
        for i in 0..output.rows() {
            let start = ((first_row + i) * cols) as u64;
            let rows = inputs[0].row(i).iter().zip(inputs[1].row(i));
            for (j, (dx, (x, dy))) in output.row(i).iter_mut().zip(rows).enumerate() {
                *dx = dy * self.0.draw(context.seed, start + j as u64, *x).1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_kept_has_the_mean_of_the_rate_and_its_slope_is_that_of_a_quotient() {
        let op = ConcreteKeep { salt: 3 };
        for x in [-2.0_f32, -0.3, 0.0, 1.4] {
            let count = 20_000;
            let mean = (0..count).map(|place| f64::from(op.draw(7, place, x).0)).sum::<f64>() / count as f64;
            // The concrete distribution at this temperature is close to that of dropping whole elements.
            assert!((mean - f64::from(1.0 - sigmoid(x))).abs() < 0.015, "{x}: {mean}");
            for place in 0..50 {
                let h = 1e-2;
                let quotient = (op.draw(7, place, x + h).0 - op.draw(7, place, x - h).0) / (2.0 * h);
                let (_, slope) = op.draw(7, place, x);
                assert!((quotient - slope).abs() < 2e-2 * slope.abs().max(0.1), "{x} {place}: {slope} not {quotient}");
            }
        }
        assert_ne!(op.draw(7, 0, 0.0), op.draw(8, 0, 0.0));
        assert!(op.draw(7, 0, 200.0).0 == 0.0 && op.draw(7, 0, -200.0).0 == 1.0, "rates of 0 and 1 are met");
    }
}

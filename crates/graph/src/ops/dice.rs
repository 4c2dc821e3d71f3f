//! What Dice makes of its input and the share of each element that stays (Zhou et al. 2018, "Deep interest network for click-through rate
//! prediction", section 5.3): `y = p·x + (1 - p)·α·x`, in one pass over rows instead of four, and one for each gradient.

use rankmill_kernels::rows::{dice, dice_alpha_gradient, dice_input_gradient, dice_share_gradient};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::ops::reduce::OverRows;
use crate::shape::Shape;

/// `x`, `p`: `[B, .., N]`, `α`: `[N]` → `[B, .., N]`.
#[derive(Clone, Copy, Debug)]
pub struct Dice;

fn checked(inputs: &[&Shape]) -> Result<Shape, String> {
    let [x, p, alpha, rest @ ..] = inputs else { return Err("input, shares and slopes are needed".to_owned()) };
    if [p].into_iter().chain(rest).any(|other| !other.matches(x)) || alpha.batch || alpha.elements() != x.elements() {
        return Err(format!("shares and slopes do not fit an input of {x}"));
    }
    Ok((*x).clone())
}

impl Op for Dice {
    fn name(&self) -> &'static str {
        "dice"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        checked(inputs)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        dice(output, inputs[0], inputs[1], inputs[2].row(0));
    }

    fn gradient(
        &self,
        backward: &mut Backward<'_>,
        inputs: &[Value],
        _output: Value,
        upstream: Value,
    ) -> Result<InputGradients, GraphError> {
        let mut gradients = Vec::with_capacity(3);
        for (operand, input) in [Operand::Input, Operand::Share, Operand::Slope].into_iter().zip(inputs) {
            if !backward.wants(*input) {
                gradients.push(None);
                continue;
            }
            let gradient = backward.add(DiceGradient { operand }, &[inputs[0], inputs[1], inputs[2], upstream])?;
            gradients.push(Some(if operand == Operand::Slope { backward.add(OverRows::Sum, &[gradient])? } else { gradient }));
        }
        Ok(gradients)
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let [x, p] = [inputs[0], inputs[1]];
        let alpha = emit.repeatable(inputs[2], shapes[2], output);
        let kept = emit.node("Mul", &[p, x]);
        let rest = emit.node("Sub", &[x, kept]);
        let scaled = emit.node("Mul", &[rest, alpha]);
        Ok(emit.node("Add", &[kept, scaled]))
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 4.0 * output.elements() as f64 }
    }
}

/// What a gradient is taken with respect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Input,
    Share,
    /// Row by row, before the sum over rows.
    Slope,
}

/// The gradient of [`Dice`] from `x`, `p`, `α` and the upstream gradient.
#[derive(Clone, Copy, Debug)]
struct DiceGradient {
    operand: Operand,
}

impl Op for DiceGradient {
    fn name(&self) -> &'static str {
        match self.operand {
            Operand::Input => "dice gradient (input)",
            Operand::Share => "dice gradient (share)",
            Operand::Slope => "dice gradient (slope)",
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        checked(inputs)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        let (x, p, alpha, dy) = (inputs[0], inputs[1], inputs[2].row(0), inputs[3]);
        match self.operand {
            Operand::Input => dice_input_gradient(output, p, alpha, dy),
            Operand::Share => dice_share_gradient(output, x, alpha, dy),
            Operand::Slope => dice_alpha_gradient(output, x, p, dy),
        }
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: 3.0 * output.elements() as f64 }
    }
}

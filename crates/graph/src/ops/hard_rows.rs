//! Online hard example mining over rows (Shrivastava, Gupta, Girshick 2016): only the rows of the largest losses count.
//!
//! Rows that tie at the threshold count by the same share, as in [`super::pairs`]; a row without a loss never counts.

use std::ops::Range;

use rankmill_kernels::substrate::{Blocks, Cut};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::ops::pairs::{Selection, hardest};
use crate::shape::Shape;

/// The threshold of the hardest rows, of which `ratio` are to count, and the share by which those at the threshold count: losses
/// `[B, 1]` → `[2]`.
#[derive(Clone, Copy, Debug)]
pub struct HardRows {
    /// Share of the rows, between 0 and 1.
    pub ratio: f32,
}

impl Op for HardRows {
    fn name(&self) -> &'static str {
        "hard rows"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if *inputs[0] == Shape::batch(&[1]) { Ok(Shape::fixed(&[2])) } else { Err("one loss a row is needed".to_owned()) }
    }

    fn execution(&self) -> Execution {
        Execution::Blocks
    }

    fn blocks(&self, _: &Shape) -> Blocks {
        Blocks { cut: Cut::Rows, unit: 1, count: 1 }
    }

    fn block(&self, inputs: &[MatRef<'_>], _: Range<usize>, mut output: MatMut<'_>) {
        let losses = (0..inputs[0].rows()).map(|i| inputs[0].row(i)[0]).collect();
        output.row(0).copy_from_slice(&hardest(losses, self.ratio));
    }

    fn gradient(&self, _: &mut Backward<'_>, _: &[Value], _: Value, _: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None])
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// How much each row counts: losses `[B, 1]` and their [`HardRows`] → `[B, 1]`. It has no gradient.
#[derive(Clone, Copy, Debug)]
pub struct HardShares;

impl Op for HardShares {
    fn name(&self) -> &'static str {
        "shares of hard rows"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let fits = *inputs[0] == Shape::batch(&[1]) && *inputs[1] == Shape::fixed(&[2]);
        if fits { Ok(inputs[0].clone()) } else { Err("one loss a row and a threshold are needed".to_owned()) }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let selection = Selection::new(inputs.get(1));
        for i in 0..output.rows() {
            output.row(i)[0] = selection.share(inputs[0].row(i)[0], 1.0);
        }
    }

    fn gradient(&self, _: &mut Backward<'_>, _: &[Value], _: Value, _: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None, None])
    }
}

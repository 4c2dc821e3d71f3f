//! The relevance of a rank, `ln(1 + n) - ln(clip(rank, 1, n))` (EasyRec behaviour 177). It has no gradient: ranks are labels.

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, InputGradients, Op};
use crate::shape::Shape;

/// Elementwise.
#[derive(Clone, Copy, Debug)]
pub struct RankRelevance {
    /// The largest rank that is told from others, `n`.
    pub most: f32,
}

impl Op for RankRelevance {
    fn name(&self) -> &'static str {
        "relevance of a rank"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if self.most >= 1.0 { Ok(inputs[0].clone()) } else { Err(format!("the largest rank is {}; expected at least 1", self.most)) }
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            for (y, rank) in output.row(i).iter_mut().zip(inputs[0].row(i)) {
                *y = self.most.ln_1p() - rank.max(1.0).min(self.most).ln();
            }
        }
    }

    fn gradient(&self, _: &mut Backward<'_>, _: &[Value], _: Value, _: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None])
    }
}

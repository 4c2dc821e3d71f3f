//! Additive attention (Bahdanau, Cho, Bengio 2015, in Keras' form) within each row of the batch, without its `[B, M, L, D]` tensors:
//! `S_mj = Σ_d tanh(Q_md + K_jd)`, `P = softmax(w·S)` over the keys, `Y = P·V`, `w` a scalar.
//!
//! Backward, everything being computed again: `dV = Pᵀ·dY`, `dP = dY·Vᵀ`, `dA = P ⊙ (dP - Σ P ⊙ dP)` with respect to `w·S`, `dw = Σ dA ⊙ S`,
//! and `dQ_md = Σⱼ w·dA_mj·(1 - tanh²(Q_md + K_jd))`, `dK_jd` the same summed over `m`.

use rankmill_kernels::elementwise::{add_scaled, tanh};
use rankmill_kernels::gemm::dot;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::ops::attention::positions;
use crate::ops::softmax::softmax;
use crate::shape::{Axis, Shape};

/// `Q [B, M, D]`, `K [B, L, D]`, `V [B, L, E]`, `w []` → `[B, M, E]`. Tensors without an axis are one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdditiveAttention {
    /// The axis of the queries.
    pub queries: Option<Axis>,
    /// The axis of keys and values.
    pub keys: Option<Axis>,
    /// Each query sees keys up to its own position only.
    pub causal: bool,
}

/// What a hidden key's score is lowered by, as in Keras.
const PENALTY: f32 = -1e9;

/// One row of the batch.
struct Row<'a> {
    q: MatRef<'a>,
    k: MatRef<'a>,
    v: MatRef<'a>,
    w: f32,
}

impl AdditiveAttention {
    fn row<'a>(&self, context: &Context<'_>, inputs: &[MatRef<'a>], i: usize) -> Row<'a> {
        let (m, l) = (context.length(self.queries), context.length(self.keys));
        Row {
            q: inputs[0].rows_range(i * m, m),
            k: inputs[1].rows_range(i * l, l),
            v: inputs[2].rows_range(i * l, l),
            w: inputs[3].scalar(),
        }
    }

    /// `S` and `P` of query `m`.
    fn probabilities(&self, row: &Row<'_>, m: usize, s: &mut [f32], p: &mut [f32]) {
        let q = row.q.row(m);
        for j in 0..s.len() {
            s[j] = q.iter().zip(row.k.row(j)).map(|(q, k)| tanh(q + k)).sum();
            p[j] = row.w * s[j] + if self.causal && j > m { PENALTY } else { 0.0 };
        }
        softmax(p);
    }

    /// `dA` of a query in place of its probabilities.
    fn score_gradient(row: &Row<'_>, dy: &[f32], p: &mut [f32]) {
        let dp: Vec<f32> = (0..p.len()).map(|j| dot(dy, row.v.row(j))).collect();
        let common = dot(p, &dp);
        p.iter_mut().zip(&dp).for_each(|(p, dp)| *p *= dp - common);
    }

    fn check(&self, inputs: &[&Shape]) -> Result<(), String> {
        let [q, k, v, w, ..] = inputs else { return Err("queries, keys, values and a factor are needed".to_owned()) };
        if [q, k, v].iter().any(|shape| !shape.batch || shape.dims.len() != 1) || q.width() != k.width() {
            return Err("queries and keys need one width".to_owned());
        }
        if q.axis != self.queries || k.axis != self.keys || v.axis != self.keys || w.batch || w.elements() != 1 {
            return Err("queries, keys and values need the positions they were announced with".to_owned());
        }
        Ok(())
    }
}

impl Op for AdditiveAttention {
    fn name(&self) -> &'static str {
        "additive attention"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        self.check(inputs)?;
        Ok(inputs[0].with_dims(&inputs[2].dims))
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let (m, l) = (context.length(self.queries), context.length(self.keys));
        let (mut s, mut p) = (vec![0.0; l], vec![0.0; l]);
        for i in 0..output.rows() / m {
            let row = self.row(context, inputs, i);
            for at in 0..m {
                self.probabilities(&row, at, &mut s, &mut p);
                let y = output.row(i * m + at);
                y.fill(0.0);
                p.iter().enumerate().for_each(|(j, p)| add_scaled(y, *p, row.v.row(j)));
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let with_upstream: Vec<Value> = inputs.iter().copied().chain([upstream]).collect();
        let mut gradients = vec![None; inputs.len()];
        for (i, of) in [Operand::Queries, Operand::Keys, Operand::Values].into_iter().enumerate() {
            if backward.wants(inputs[i]) {
                gradients[i] = Some(backward.add(AdditiveAttentionGradient { attention: *self, of }, &with_upstream)?);
            }
        }
        if backward.wants(inputs[3]) {
            // The first input of a sum over rows says which rows there are.
            let mut inputs = with_upstream;
            inputs.swap(0, 4);
            let shape = backward.shape(inputs[3]).clone();
            gradients[3] = Some(backward.add(FactorGradient { attention: *self, shape }, &inputs)?);
        }
        Ok(gradients)
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let axes = [self.queries, self.keys, self.keys];
        let [q, k, v] = [0, 1, 2].map(|i| if axes[i].is_some() { inputs[i] } else { emit.unsqueeze(inputs[i], 1) });
        let (q, k) = (emit.unsqueeze(q, 2), emit.unsqueeze(k, 1));
        let sums = emit.node("Add", &[q, k]);
        let bent = emit.node("Tanh", &[sums]);
        let scores = emit.sum(bent, -1);
        let factor = emit.repeatable(inputs[3], shapes[3], output);
        let mut scores = emit.node("Mul", &[scores, factor]);
        if self.causal {
            let [queries, keys] = [self.queries, self.keys].map(|axis| positions(emit, axis));
            let queries = emit.unsqueeze(queries?, -1);
            let later = emit.node("Less", &[queries, keys?]);
            let [penalty, none] = [PENALTY, 0.0].map(|number| emit.scalar(number));
            let penalties = emit.node("Where", &[later, penalty, none]);
            scores = emit.node("Add", &[scores, penalties]);
        }
        let probabilities = emit.node_with("Softmax", &[scores], &[("axis", Attribute::Int(-1))]);
        let y = emit.node("MatMul", &[probabilities, v]);
        Ok(if self.queries.is_some() { y } else { emit.squeeze(y, 1) })
    }

    /// Of one key for each query: how many there are is not known here.
    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 8.0 * inputs[0].width() as f64 }
    }
}

/// What a gradient is with respect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Q.
    Queries,
    /// K.
    Keys,
    /// V.
    Values,
}

/// A gradient of [`AdditiveAttention`]: its inputs, then the upstream gradient.
#[derive(Clone, Copy, Debug)]
pub struct AdditiveAttentionGradient {
    /// The attention.
    pub attention: AdditiveAttention,
    /// With respect to what.
    pub of: Operand,
}

impl Op for AdditiveAttentionGradient {
    fn name(&self) -> &'static str {
        "additive attention gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        self.attention.check(inputs)?;
        Ok(inputs[self.of as usize].clone())
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let attention = &self.attention;
        let (m, l) = (context.length(attention.queries), context.length(attention.keys));
        let own = if self.of == Operand::Queries { m } else { l };
        let (mut s, mut p) = (vec![0.0; l], vec![0.0; l]);
        output.fill(0.0);
        for i in 0..output.rows() / own {
            let row = attention.row(context, inputs, i);
            for at in 0..m {
                let dy = inputs[4].row(i * m + at);
                attention.probabilities(&row, at, &mut s, &mut p);
                if self.of == Operand::Values {
                    p.iter().enumerate().for_each(|(j, p)| add_scaled(output.row(i * l + j), *p, dy));
                    continue;
                }
                AdditiveAttention::score_gradient(&row, dy, &mut p);
                for (j, da) in p.iter().enumerate() {
                    let to = if self.of == Operand::Queries { i * m + at } else { i * l + j };
                    for ((dx, q), k) in output.row(to).iter_mut().zip(row.q.row(at)).zip(row.k.row(j)) {
                        let t = tanh(q + k);
                        *dx += row.w * da * (1.0 - t * t);
                    }
                }
            }
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 16.0 * inputs[0].width() as f64 }
    }
}

/// `dw` of [`AdditiveAttention`]: `dY`, K, V, `w`, Q.
#[derive(Clone, Debug)]
pub struct FactorGradient {
    /// The attention.
    pub attention: AdditiveAttention,
    /// The shape of `w`.
    pub shape: Shape,
}

impl Op for FactorGradient {
    fn name(&self) -> &'static str {
        "additive attention factor gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        self.attention.check(&[inputs[4], inputs[1], inputs[2], inputs[3]])?;
        Ok(self.shape.clone())
    }

    fn execution(&self) -> Execution {
        Execution::Reduce
    }

    fn partial_width(&self, _: &[&Shape]) -> usize {
        1
    }

    fn partial(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, output: &mut [f32]) {
        let attention = &self.attention;
        let (m, l) = (context.length(attention.queries), context.length(attention.keys));
        let (mut s, mut p) = (vec![0.0; l], vec![0.0; l]);
        output[0] = 0.0;
        let in_order = [inputs[4], inputs[1], inputs[2], inputs[3]];
        for i in 0..inputs[0].rows() / m {
            let row = attention.row(context, &in_order, i);
            for at in 0..m {
                attention.probabilities(&row, at, &mut s, &mut p);
                AdditiveAttention::score_gradient(&row, inputs[0].row(i * m + at), &mut p);
                output[0] += dot(&p, &s);
            }
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 8.0 * inputs[1].width() as f64 }
    }
}

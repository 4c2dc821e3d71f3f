//! Scaled dot-product attention of several heads (Vaswani et al. 2017) within each row of the batch, without its `[B, L, L]` tensors.
//!
//! For each head `S = scale·Q·Kᵀ + penalties`, `P = softmax(S)` over the keys, `Y = P·V`. The penalties are added numbers, as in TensorFlow,
//! not minus infinity: a query all of whose keys are hidden attends to all of them, evenly if rounding takes its scores away.
//!
//! Backward, `P` being computed again: `dV = Pᵀ·dY`, `dP = dY·Vᵀ`, `dS = P ⊙ (dP - Σ P ⊙ dP)`, `dQ = scale·dS·K`, `dK = scale·dSᵀ·Q`.

use rankmill_kernels::elementwise::add_scaled;
use rankmill_kernels::gemm::dot;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, NoForm, Tensor};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::ops::dropout::{Dropout, checked_rate};
use crate::ops::softmax::softmax;
use crate::shape::{Axis, Shape};

/// What is hidden from whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// A column for the keys, 0 where one is hidden.
    pub keys: bool,
    /// A column for the queries: where it is 0, all keys are hidden from the query.
    pub queries: bool,
    /// Each query sees keys up to its own position only.
    pub causal: bool,
}

/// Attention: `Q [B, M, H·k]`, `K [B, L, H·k]`, `V [B, L, H·v]`, then the columns of the masks, keys first → `[B, M, H·v]`. Tensors without
/// an axis are one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// H.
    pub heads: usize,
    /// The axis of the queries.
    pub queries: Option<Axis>,
    /// The axis of keys and values.
    pub keys: Option<Axis>,
    /// Factor on the products.
    pub scale: f32,
    /// What is hidden.
    pub masks: Masks,
    /// What hiding adds to a score, such as -10⁴.
    pub penalty: f32,
    /// Dropout of the probabilities.
    pub dropout: Option<Dropout>,
}

/// The tensors of one row of the batch.
struct Row<'a> {
    q: MatRef<'a>,
    k: MatRef<'a>,
    v: MatRef<'a>,
    key_mask: Option<MatRef<'a>>,
    query_mask: Option<MatRef<'a>>,
}

/// How many positions a row of the batch has.
#[derive(Clone, Copy)]
struct Lengths {
    queries: usize,
    keys: usize,
}

impl Attention {
    fn row<'a>(&self, inputs: &[MatRef<'a>], i: usize, lengths: Lengths) -> Row<'a> {
        let queries = |input: &MatRef<'a>| input.rows_range(i * lengths.queries, lengths.queries);
        let keys = |input: &MatRef<'a>| input.rows_range(i * lengths.keys, lengths.keys);
        let query_mask = 3 + usize::from(self.masks.keys);
        Row {
            q: queries(&inputs[0]),
            k: keys(&inputs[1]),
            v: keys(&inputs[2]),
            key_mask: self.masks.keys.then(|| keys(&inputs[3])),
            query_mask: self.masks.queries.then(|| queries(&inputs[query_mask])),
        }
    }

    /// The probabilities of one head: `p [M, L]`, row by row.
    fn probabilities(&self, row: &Row<'_>, head: usize, p: &mut [f32]) {
        let keys = row.k.rows();
        let columns = head * (row.q.cols() / self.heads)..(head + 1) * (row.q.cols() / self.heads);
        for (i, scores) in p.chunks_exact_mut(keys).enumerate() {
            let q = &row.q.row(i)[columns.clone()];
            let all_hidden = row.query_mask.is_some_and(|mask| mask.row(i)[0] == 0.0);
            for (j, score) in scores.iter_mut().enumerate() {
                let hidden = all_hidden || row.key_mask.is_some_and(|mask| mask.row(j)[0] == 0.0) || (self.masks.causal && j > i);
                let penalty = if hidden { self.penalty } else { 0.0 };
                *score = self.scale * dot(q, &row.k.row(j)[columns.clone()]) + penalty;
            }
            softmax(scores);
        }
    }

    /// `[B, M, H·w]` as ONNX's `[B, H, M, w]`.
    fn heads_apart(&self, emit: &mut Emitter<'_>, x: Tensor, shape: &Shape) -> Tensor {
        let x = if shape.axis.is_some() { x } else { emit.unsqueeze(x, 1) };
        let sizes = emit.ints(&[0, 0, self.heads as i64, (shape.width() / self.heads) as i64]);
        let apart = emit.node("Reshape", &[x, sizes]);
        emit.node_with("Transpose", &[apart], &[("perm", Attribute::Ints(vec![0, 2, 1, 3]))])
    }

    /// What is hidden, as a truth value that ONNX repeats over `[B, H, M, L]`.
    fn hidden(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape]) -> Result<Option<Tensor>, NoForm> {
        let mut hidden = None;
        // Keys lie along the last dimension, queries along the one before.
        let masks = [(self.masks.keys, [0, 1, 1, -1]), (self.masks.queries, [0, 1, -1, 1])];
        for (i, (_, sizes)) in masks.iter().filter(|(is_set, _)| *is_set).enumerate() {
            let mask = if shapes[3 + i].axis.is_some() { inputs[3 + i] } else { emit.unsqueeze(inputs[3 + i], 1) };
            let sizes = emit.ints(sizes);
            let mask = emit.node("Reshape", &[mask, sizes]);
            let zero = emit.scalar(0.0);
            let own = emit.node("Equal", &[mask, zero]);
            hidden = Some(either(emit, hidden, own));
        }
        if self.masks.causal {
            let [queries, keys] = [self.queries, self.keys].map(|axis| positions(emit, axis));
            let queries = emit.unsqueeze(queries?, -1);
            let later = emit.node("Less", &[queries, keys?]);
            hidden = Some(either(emit, hidden, later));
        }
        Ok(hidden)
    }

    /// Drops probabilities of one head, `p [M, L]`, of row `row` of the batch, or what goes back through them.
    fn drop(&self, context: &Context<'_>, row: usize, head: usize, p: &mut [f32]) {
        let Some(dropout) = self.dropout else { return };
        let start = ((row * self.heads + head) * p.len()) as u64;
        p.iter_mut().enumerate().for_each(|(i, p)| *p *= dropout.factor(context.seed, start + i as u64));
    }

    fn lengths(&self, context: &Context<'_>) -> Lengths {
        Lengths { queries: context.length(self.queries), keys: context.length(self.keys) }
    }

    fn check(&self, inputs: &[&Shape]) -> Result<(), String> {
        let count = 3 + usize::from(self.masks.keys) + usize::from(self.masks.queries);
        let [q, k, v, masks @ ..] = inputs else { return Err("attention needs queries, keys and values".to_owned()) };
        if inputs.len() < count || inputs.iter().any(|shape| !shape.batch || shape.dims.len() != 1) {
            return Err("attention needs queries, keys, values and its masks, each a row of numbers for each position".to_owned());
        }
        if q.width() != k.width() || q.width() % self.heads != 0 || v.width() % self.heads != 0 {
            return Err(format!("queries and keys need one width, and all widths are divided among {} heads", self.heads));
        }
        self.dropout.map_or(Ok(()), |dropout| checked_rate(dropout.rate))?;
        if q.axis != self.queries || k.axis != self.keys || v.axis != self.keys {
            return Err("queries, keys and values need the positions they were announced with".to_owned());
        }
        let owners = [(self.masks.keys, k), (self.masks.queries, q)];
        let owners = owners.iter().filter(|(is_set, _)| *is_set).map(|(_, owner)| owner.with_dims(&[1]));
        if owners.zip(masks).any(|(wanted, mask)| wanted != **mask) {
            return Err("a mask is a column with a number for each position".to_owned());
        }
        Ok(())
    }
}

/// True where one of two is.
fn either(emit: &mut Emitter<'_>, a: Option<Tensor>, b: Tensor) -> Tensor {
    a.map_or(b, |a| emit.node("Or", &[a, b]))
}

/// 0, 1, … up to the length of an axis; without one, 0.
pub(crate) fn positions(emit: &mut Emitter<'_>, axis: Option<Axis>) -> Result<Tensor, NoForm> {
    let length = emit.lengths(&[axis])?;
    let [first, step] = [0, 1].map(|number| emit.int(number));
    let end = emit.squeeze(length, 0);
    Ok(emit.node("Range", &[first, end, step]))
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        self.check(inputs)?;
        Ok(inputs[0].with_dims(&inputs[2].dims))
    }

    fn depends_on_place(&self) -> bool {
        self.dropout.is_some()
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        output.fill(0.0);
        let lengths = self.lengths(context);
        let first = first_row / lengths.queries;
        let mut p = vec![0.0; lengths.queries * lengths.keys];
        let width = inputs[2].cols() / self.heads;
        for i in 0..output.rows() / lengths.queries {
            let row = self.row(inputs, i, lengths);
            let mut y = output.rows_range(i * lengths.queries, lengths.queries);
            for head in 0..self.heads {
                let columns = head * width..(head + 1) * width;
                self.probabilities(&row, head, &mut p);
                self.drop(context, first + i, head, &mut p);
                for (m, p) in p.chunks_exact(lengths.keys).enumerate() {
                    let y = &mut y.row(m)[columns.clone()];
                    p.iter().enumerate().for_each(|(j, p)| add_scaled(y, *p, &row.v.row(j)[columns.clone()]));
                }
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let mut gradients = vec![None; inputs.len()];
        for (i, of) in [Operand::Queries, Operand::Keys, Operand::Values].into_iter().enumerate() {
            if backward.wants(inputs[i]) {
                let inputs: Vec<Value> = inputs.iter().copied().chain([upstream]).collect();
                gradients[i] = Some(backward.add(AttentionGradient { attention: *self, of }, &inputs)?);
            }
        }
        Ok(gradients)
    }

    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], output: &Shape) -> Result<Tensor, NoForm> {
        let [q, k, v] = [0, 1, 2].map(|i| self.heads_apart(emit, inputs[i], shapes[i]));
        let k = emit.node_with("Transpose", &[k], &[("perm", Attribute::Ints(vec![0, 1, 3, 2]))]);
        let scale = emit.scalar(self.scale);
        let products = emit.node("MatMul", &[q, k]);
        let mut scores = emit.node("Mul", &[products, scale]);
        if let Some(hidden) = self.hidden(emit, inputs, shapes)? {
            let [penalty, none] = [self.penalty, 0.0].map(|number| emit.scalar(number));
            let penalties = emit.node("Where", &[hidden, penalty, none]);
            scores = emit.node("Add", &[scores, penalties]);
        }
        let probabilities = emit.node_with("Softmax", &[scores], &[("axis", Attribute::Int(-1))]);
        let y = emit.node("MatMul", &[probabilities, v]);
        let y = emit.node_with("Transpose", &[y], &[("perm", Attribute::Ints(vec![0, 2, 1, 3]))]);
        let positions = if self.queries.is_some() { vec![0] } else { Vec::new() };
        let sizes: Vec<i64> = [0].into_iter().chain(positions).chain([output.elements() as i64]).collect();
        let sizes = emit.ints(&sizes);
        // Without an axis the one position is dropped together with the heads.
        let y = if self.queries.is_some() { y } else { emit.squeeze(y, 1) };
        Ok(emit.node("Reshape", &[y, sizes]))
    }

    /// Of one key for each query: how many there are is not known here.
    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * (inputs[0].width() + inputs[2].width()) as f64 }
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

/// A gradient of [`Attention`]: its inputs, then the upstream gradient.
#[derive(Clone, Copy, Debug)]
pub struct AttentionGradient {
    /// The attention.
    pub attention: Attention,
    /// With respect to what.
    pub of: Operand,
}

impl AttentionGradient {
    /// The gradient of the probabilities of one head, `dp [M, L]`, as if none were dropped.
    fn products(&self, row: &Row<'_>, dy: &MatRef<'_>, head: usize, dp: &mut [f32]) {
        let width = row.v.cols() / self.attention.heads;
        let columns = head * width..(head + 1) * width;
        for (m, dp) in dp.chunks_exact_mut(row.v.rows()).enumerate() {
            let dy = &dy.row(m)[columns.clone()];
            dp.iter_mut().enumerate().for_each(|(j, dp)| *dp = dot(dy, &row.v.row(j)[columns.clone()]));
        }
    }

    /// `scale·dS` in place of probabilities `p [M, L]`, from their gradient.
    fn scores(&self, keys: usize, p: &mut [f32], dp: &[f32]) {
        for (p, dp) in p.chunks_exact_mut(keys).zip(dp.chunks_exact(keys)) {
            let common = dot(p, dp);
            p.iter_mut().zip(dp).for_each(|(p, dp)| *p *= self.attention.scale * (dp - common));
        }
    }
}

impl Op for AttentionGradient {
    fn name(&self) -> &'static str {
        match self.of {
            Operand::Queries => "attention gradient (queries)",
            Operand::Keys => "attention gradient (keys)",
            Operand::Values => "attention gradient (values)",
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        self.attention.check(inputs)?;
        Ok(inputs[self.of as usize].clone())
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        output.fill(0.0);
        let attention = &self.attention;
        let lengths = attention.lengths(context);
        let mut p = vec![0.0; lengths.queries * lengths.keys];
        let mut dp = vec![0.0; lengths.queries * lengths.keys];
        let upstream = inputs.last().expect("inferred before");
        let own = if self.of == Operand::Queries { lengths.queries } else { lengths.keys };
        let width = output.cols() / attention.heads;
        let first = first_row / own;
        for i in 0..output.rows() / own {
            let row = attention.row(inputs, i, lengths);
            let dy = upstream.rows_range(i * lengths.queries, lengths.queries);
            let mut dx = output.rows_range(i * own, own);
            for head in 0..attention.heads {
                let columns = head * width..(head + 1) * width;
                attention.probabilities(&row, head, &mut p);
                if self.of == Operand::Values {
                    attention.drop(context, first + i, head, &mut p);
                } else {
                    self.products(&row, &dy, head, &mut dp);
                    attention.drop(context, first + i, head, &mut dp);
                    self.scores(lengths.keys, &mut p, &dp);
                }
                for (m, p) in p.chunks_exact(lengths.keys).enumerate() {
                    for (j, p) in p.iter().enumerate() {
                        let (to, from) = match self.of {
                            Operand::Queries => (m, row.k.row(j)),
                            Operand::Keys => (j, row.q.row(m)),
                            Operand::Values => (j, dy.row(m)),
                        };
                        add_scaled(&mut dx.row(to)[columns.clone()], *p, &from[columns.clone()]);
                    }
                }
            }
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * (2 * inputs[0].width() + inputs[2].width()) as f64 }
    }
}

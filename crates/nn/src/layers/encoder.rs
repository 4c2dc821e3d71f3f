//! The layers of BERT's encoder (Devlin et al. 2019, arXiv 1810.04805) and the cross-modal ones of CMBF (Chen et al. 2021, Sensors 21:5275;
//! EasyRec behaviours 133 and 184).
//!
//! A layer of the encoder is `x ← LN(x + dense(attention(x, x)))`, then `x ← LN(x + dense(act(dense(x))))`. A cross-modal one first attends
//! to the other side, `c = attention(x, y)`, goes on with `x ← LN(c + attention(c, c))`, and ends like the other.

use rankmill_graph::ops::attention::{Attention, Masks};
use rankmill_graph::{Axis, GraphError, Value};

use super::activation::Activation;
use super::scope::Scope;
use crate::init::Initializer;

/// Epsilon of the layer norms.
pub const EPSILON: f32 = 1e-12;

/// What is added to the scores of hidden positions.
const PENALTY: f32 = -10_000.0;

/// What all layers of an encoder have in common.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// Width of what a layer gives, a multiple of `heads`.
    pub width: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Width between the last two dense layers.
    pub intermediate: usize,
    /// The activation there.
    pub activation: Activation,
    /// Dropout rate behind dense layers.
    pub dropout: f32,
    /// Dropout rate of the attention's probabilities.
    pub attention_dropout: f32,
    /// How kernels start; biases start at 0.
    pub initializer: Initializer,
}

/// Vectors that attend or are attended to.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// `[B, L, D]`, or `[B, D]` for a single one.
    pub value: Value,
    /// Their axis, if there is one.
    pub axis: Option<Axis>,
    /// 0 where one is hidden, `[B, L, 1]`; without it all are seen.
    pub mask: Option<Value>,
}

/// A layer of the encoder: `[B, L, width]` → `[B, L, width]`, with variables below `attention/`, `intermediate/` and `output/`.
///
/// # Errors
/// If the tokens have another width.
pub fn encoder_layer(s: &mut Scope<'_>, encoder: &Encoder, x: Tokens) -> Result<Value, GraphError> {
    let mut part = s.child("attention");
    let attended = attention(&mut part.child("self"), encoder, x, x)?;
    let mut output = part.child("output");
    let attended = encoder.dense(&mut output, "dense", attended, encoder.width)?;
    let x = encoder.added(&mut output, attended, x.value)?;
    feed_forward(s, encoder, x)
}

/// A cross-modal layer: `x [B, L, D]` attends to `other [B, M, D']` → `[B, L, width]`.
///
/// # Errors
/// If a tensor does not lie along its axis.
pub fn cross_layer(s: &mut Scope<'_>, encoder: &Encoder, x: Tokens, other: Tokens) -> Result<Value, GraphError> {
    let mut part = s.child("attention");
    let crossed = attention(&mut part.child("cross"), encoder, x, other)?;
    let tokens = Tokens { value: crossed, ..x };
    let attended = attention(&mut part.child("self"), encoder, tokens, tokens)?;
    let x = encoder.added(&mut part.child("output"), attended, crossed)?;
    feed_forward(s, encoder, x)
}

/// `LN(x + dense(act(dense(x))))`.
fn feed_forward(s: &mut Scope<'_>, encoder: &Encoder, x: Value) -> Result<Value, GraphError> {
    let widened = encoder.dense(&mut s.child("intermediate"), "dense", x, encoder.intermediate)?;
    let widened = s.activate(widened, encoder.activation)?;
    let mut output = s.child("output");
    let narrowed = encoder.dense(&mut output, "dense", widened, encoder.width)?;
    encoder.added(&mut output, narrowed, x)
}

/// Attention of several heads: queries from `x`, keys and values from `to`.
fn attention(s: &mut Scope<'_>, encoder: &Encoder, x: Tokens, to: Tokens) -> Result<Value, GraphError> {
    let mut inputs = Vec::with_capacity(4);
    for (name, from) in [("query", x), ("key", to), ("value", to)] {
        inputs.push(encoder.dense(s, name, from.value, encoder.width)?);
    }
    inputs.extend(to.mask);
    let op = Attention {
        heads: encoder.heads,
        queries: x.axis,
        keys: to.axis,
        scale: 1.0 / ((encoder.width / encoder.heads) as f32).sqrt(),
        masks: Masks { keys: to.mask.is_some(), ..Masks::default() },
        penalty: PENALTY,
        dropout: s.attention_dropout(encoder.attention_dropout),
    };
    s.add(op, &inputs)
}

impl Encoder {
    fn dense(&self, s: &mut Scope<'_>, name: &str, x: Value, units: usize) -> Result<Value, GraphError> {
        s.child(name).dense_with(x, units, self.initializer.clone(), Some(Initializer::Constant(0.0)))
    }

    /// `LN(x + dropout(y))`.
    fn added(&self, s: &mut Scope<'_>, y: Value, x: Value) -> Result<Value, GraphError> {
        let y = s.dropout("dropout", y, self.dropout)?;
        let sum = s.plus(y, x)?;
        s.layer_norm("LayerNorm", sum, EPSILON)
    }
}

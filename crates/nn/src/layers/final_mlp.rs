//! Two-stream MLP (FinalMLP, Mao et al. 2023, arXiv 2304.00902), which EasyRec does not have. Each stream sees the features through a gate
//! of its own, `x ⊙ 2σ(MLP(context))`, and what the streams make is fused bilinearly (equation 9, heads as in section 3.3):
//! `y = o₁·w₁ + o₂·w₂ + b + Σ_h o₁ₕᵀ·W_h·o₂ₕ`.

use std::sync::Arc;

use rankmill_config::Settings;
use rankmill_graph::ops::broadcast::{RepeatRow, Scaling};
use rankmill_graph::ops::dots::Dots;
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::per_field::PerField;
use rankmill_graph::ops::segments::SumFields;
use rankmill_graph::{GraphError, Value};
use rankmill_kernels::gemm::Orientation;

use super::activation::Activation;
use super::dropout::rate;
use super::mlp::{Mlp, mlp};
use super::scope::{Bias, Scope};
use super::{LayerError, Tensors};
use crate::init::Initializer;

pub(super) const SETTINGS: &[&str] = &[
    "stream1_units",
    "stream2_units",
    "activation",
    "use_bn",
    "dropout",
    "use_gates",
    "gate_units",
    "context_dim",
    "num_heads",
    "output_dim",
];

/// `x [B, D]`, or a list `[x, context₁, context₂]` → `[B, output_dim]`. Without contexts each gate has a learnt one.
///
/// # Errors
/// If the widths of the streams are not divided among the heads, or a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let (x, contexts) = match inputs.values()[..] {
        [x] => (x, [None, None]),
        [x, first, second] => (x, [Some(first), Some(second)]),
        _ => return Err(LayerError::message("FinalMLP takes one tensor, or a list [x, context of stream 1, context of stream 2]")),
    };
    let gates = settings.flag("use_gates", true)?;
    let mut streams = Vec::with_capacity(2);
    for (number, context) in (1..).zip(contexts) {
        let seen = if gates { gated(s, settings, number, x, context)? } else { x };
        let layers = stream(settings, &format!("stream{number}_units"))?;
        streams.push(mlp(&mut s.child(&format!("stream_{number}")), &layers, seen)?);
    }
    let heads = settings.count("num_heads", 1)?;
    if heads == 0 || streams.iter().any(|stream| !s.width(*stream).is_multiple_of(heads)) {
        return Err(settings.error("num_heads", format!("the streams are not divided among {heads} heads")).into());
    }
    let units = settings.count("output_dim", 1)?.max(1);
    Ok(Tensors::One(fused(&mut s.child("fusion"), streams[0], streams[1], heads, units)?))
}

fn stream(settings: &Settings, name: &str) -> Result<Mlp, LayerError> {
    let units = settings.counts(name)?;
    if units.is_empty() || units.contains(&0) {
        return Err(settings.error(name, format!("`{name}` needs layers of at least one unit each")).into());
    }
    let activation = Activation::from_name(&settings.text("activation", "relu")?);
    let activation = activation.map_err(|message| settings.error("activation", message))?;
    let dropout = rate(settings, "dropout", Some(0.0))?;
    let normalised = settings.flag("use_bn", false)?;
    Ok(Mlp {
        dropout: vec![dropout; units.len()],
        hidden_units: units,
        activation,
        final_activation: activation,
        batch_norm: normalised,
        final_batch_norm: normalised,
        bias: Bias::Zeros,
        final_bias: Bias::Zeros,
        activation_first: false,
        initializer: Initializer::GlorotUniform,
    })
}

/// `x ⊙ 2σ(MLP(context))`, the MLP's hidden layers with a ReLU.
fn gated(s: &mut Scope<'_>, settings: &Settings, number: usize, x: Value, context: Option<Value>) -> Result<Value, LayerError> {
    let mut hidden_units = settings.counts("gate_units")?;
    if hidden_units.is_empty() {
        hidden_units = vec![64];
    }
    hidden_units.push(s.width(x));
    let layers = Mlp {
        hidden_units,
        dropout: Vec::new(),
        activation: Activation::Relu,
        final_activation: Activation::Sigmoid,
        batch_norm: false,
        final_batch_norm: false,
        bias: Bias::Zeros,
        final_bias: Bias::Zeros,
        activation_first: false,
        initializer: Initializer::GlorotUniform,
    };
    let mut s = s.child(&format!("gate_{number}"));
    let context = match context {
        Some(context) => context,
        None => {
            let width = settings.count("context_dim", 16)?.max(1);
            let learnt = s.parameter("context", &[width], Initializer::Constant(0.0))?;
            s.add(RepeatRow { scaling: Scaling::One, axis: None }, &[learnt])?
        }
    };
    let gate = mlp(&mut s, &layers, context)?;
    let gate = s.scale(gate, 2.0)?;
    Ok(s.multiply(x, gate)?)
}

/// The bilinear fusion: `product [H, a, units·b]` holds `W` of each head and unit.
fn fused(s: &mut Scope<'_>, first: Value, second: Value, heads: usize, units: usize) -> Result<Value, GraphError> {
    let (a, b) = (s.width(first) / heads, s.width(second) / heads);
    let weights = s.parameter("first", &[heads * a, units], Initializer::GlorotUniform)?;
    let of_first = s.add(MatMul::PLAIN, &[first, weights])?;
    let weights = s.parameter("second", &[heads * b, units], Initializer::GlorotUniform)?;
    let of_second = s.add(MatMul::PLAIN, &[second, weights])?;
    let product = s.parameter("product", &[heads, a, units * b], Initializer::GlorotUniform)?;
    let bias = s.parameter("bias", &[units], Initializer::Constant(0.0))?;
    let left = s.reshape(first, &[heads, a])?;
    let left = s.add(PerField { units: units * b, weights: Orientation::Plain }, &[left, product])?;
    let left = s.reshape(left, &[heads * units, b])?;
    let right = s.reshape(second, &[heads, b])?;
    let pairs: Arc<[(u32, u32)]> = (0..heads as u32).flat_map(|h| (0..units as u32).map(move |u| (h * units as u32 + u, h))).collect();
    let dots = s.add(Dots { pairs, width: b }, &[left, right])?;
    let by_head = s.reshape(dots, &[heads, units])?;
    let bilinear = s.add(SumFields, &[by_head])?;
    let sum = s.sum(&[of_first, of_second, bilinear])?;
    s.plus(sum, bias)
}

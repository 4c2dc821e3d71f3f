//! Behaviour sequence transformer (Chen et al. 2019, arXiv 1905.06874; EasyRec behaviour 133): BERT's encoder (Devlin et al. 2019) over a
//! sequence and its target.
//!
//! EasyRec fails with some of the settings that it offers, for a mask is longer or shorter than the sequence; here they do what they say:
//! a target with `output_all_token_embeddings: false`, and all tokens without a target while its position is reserved.

use rankmill_config::Settings;
use rankmill_graph::ops::axis::{ConcatAlong, FromAxis};
use rankmill_graph::ops::broadcast::{RepeatRow, Scaling};
use rankmill_graph::ops::fill::Fill;
use rankmill_graph::ops::positions::{LastPosition, PositionRows};
use rankmill_graph::{Axis, GraphError, Length, Shape, Value};

use super::activation::Activation;
use super::dropout::rate;
use super::encoder::{EPSILON, Encoder, Tokens, encoder_layer};
use super::positions::{FIRST_POSITION, Sequence};
use super::scope::Scope;
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// Where the target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetPosition {
    Head,
    Tail,
    Ignored,
}

/// The encoder and what goes into it.
#[derive(Clone, Debug)]
struct Bst {
    encoder: Encoder,
    layers: usize,
    max_positions: usize,
    all_tokens: bool,
    target: TargetPosition,
}

impl Bst {
    fn read(settings: &Settings) -> Result<Bst, LayerError> {
        let width = settings.required_count("hidden_size")?;
        let heads = settings.required_count("num_attention_heads")?;
        if width % heads != 0 {
            return Err(settings.error("num_attention_heads", format!("{width} columns are not divided among {heads} heads")).into());
        }
        let activation = Activation::from_name(&settings.text("hidden_act", "gelu")?);
        let target = match settings.text("target_item_position", "head")?.as_str() {
            "head" => TargetPosition::Head,
            "tail" => TargetPosition::Tail,
            "ignore" => TargetPosition::Ignored,
            other => {
                let message = format!("`{other}` is none of head, tail, ignore");
                return Err(settings.error("target_item_position", message).into());
            }
        };
        let encoder = Encoder {
            width,
            heads,
            intermediate: settings.required_count("intermediate_size")?,
            activation: activation.map_err(|message| settings.error("hidden_act", message))?,
            dropout: rate(settings, "hidden_dropout_prob", Some(0.1))?,
            attention_dropout: rate(settings, "attention_probs_dropout_prob", Some(0.1))?,
            initializer: Initializer::TruncatedNormal { mean: 0.0, deviation: settings.number("initializer_range", 0.02)? },
        };
        Ok(Bst {
            encoder,
            layers: settings.required_count("num_hidden_layers")?,
            max_positions: settings.count("max_position_embeddings", 512)?,
            all_tokens: settings.flag("output_all_token_embeddings", true)?,
            target,
        })
    }
}

/// A sequence `[B, L, D]`, its lengths, perhaps a target `[B, D]` → all tokens side by side, `[B, (max_position_embeddings + 1)·hidden_size]`
/// (without a target one token less), or with `output_all_token_embeddings: false` the first one if `target_item_position` is head, be there
/// a target or not, else that of the last position of the batch's longest row, `[B, hidden_size]`.
///
/// # Errors
/// If a setting is wrong, or the target's width is another one.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let bst = Bst::read(settings)?;
    let sequence = Sequence::of(s, inputs)?;
    let target = sequence.target.filter(|_| bst.target != TargetPosition::Ignored);
    if let Some(target) = target
        && s.width(target) != s.width(sequence.value)
    {
        let message = format!("the target has width {}, the sequence {}", s.width(target), s.width(sequence.value));
        return Err(LayerError::message(message));
    }
    let (mut x, mut axis) = match bst.all_tokens {
        true => s.with_length(sequence.value, bst.max_positions)?,
        false => (sequence.value, sequence.axis),
    };
    x = projected(s, &bst, "seq_project", x)?;
    let mut mask = s.position_mask(sequence.lengths, axis)?;
    if let Some(target) = target {
        let target = projected(s, &bst, "target_project", target)?;
        (x, mask, axis) = with_target(s, bst.target, x, mask, axis, target)?;
    }
    let reserved = usize::from(target.is_some() || settings.flag("reserve_target_position", true)?);
    if settings.flag("use_position_embeddings", true)? {
        let name = s.block_name();
        let shape = [bst.max_positions + reserved, bst.encoder.width];
        let table = s.root("position_embedding").parameter(&name, &shape, bst.encoder.initializer.clone())?;
        let rows = s.add(PositionRows { axis }, &[table])?;
        x = s.plus(x, rows)?;
    }
    // Alone of the encoder's variables these are not shared by the calls of a package, in EasyRec as here.
    let norm = s.fresh("LayerNorm");
    x = s.root("").layer_norm(&norm, x, EPSILON)?;
    x = s.dropout("dropout", x, bst.encoder.dropout)?;
    let block = s.block_name();
    for i in 0..bst.layers {
        let tokens = Tokens { value: x, axis: Some(axis), mask: Some(mask) };
        x = encoder_layer(&mut s.root(&format!("{block}/transformer_layer_{i}")), &bst.encoder, tokens)?;
    }
    let output = if bst.all_tokens {
        let tokens = bst.max_positions + usize::from(target.is_some());
        s.add(FromAxis { dims: vec![tokens * bst.encoder.width] }, &[x])?
    } else if bst.target == TargetPosition::Head {
        s.add(FIRST_POSITION, &[x])?
    } else {
        s.add(LastPosition, &[x])?
    };
    Ok(Tensors::One(output))
}

/// `relu(x·W + b)`, if `x` is not as wide as the encoder; the penalty on kernels acts here.
fn projected(s: &mut Scope<'_>, bst: &Bst, name: &str, x: Value) -> Result<Value, GraphError> {
    if s.width(x) == bst.encoder.width {
        return Ok(x);
    }
    let block = s.block_name();
    let penalty = s.kernel_penalty();
    let y = s.root(&block).penalised_dense(name, x, bst.encoder.width, penalty)?;
    s.activate(y, Activation::Relu)
}

/// The target before or behind the sequence; no row's mask hides it.
fn with_target(
    s: &mut Scope<'_>,
    position: TargetPosition,
    x: Value,
    mask: Value,
    axis: Axis,
    target: Value,
) -> Result<(Value, Value, Axis), GraphError> {
    let one = s.add(Fill { shape: Shape::fixed(&[1]), value: 1.0 }, &[])?;
    let one = s.add(RepeatRow { scaling: Scaling::One, axis: None }, &[one])?;
    let (parts, masks, axes) = match position {
        TargetPosition::Tail => ([x, target], [mask, one], vec![Some(axis), None]),
        TargetPosition::Head | TargetPosition::Ignored => ([target, x], [one, mask], vec![None, Some(axis)]),
    };
    let axis = s.axis(Length::Joined(axes));
    let joined = s.add(ConcatAlong { axis }, &parts)?;
    let mask = s.add(ConcatAlong { axis }, &masks)?;
    Ok((joined, mask, axis))
}

//! Instance-guided mask block, MaskNet (Wang, She, Zhang 2021, arXiv 2102.07619, section 3.3), in EasyRec's form (behaviour 31):
//!
//! `mask = W₂·relu(W₁·[P·]mask_input + b₁) + b₂`, `out = relu(LN(W₃·([LN](net) ⊙ mask)))`; without `output_size`, `out = net ⊙ mask`.
//!
//! Differences from the paper: the aggregation width is given directly or by `reduction_factor`, an optional projection `P` makes
//! the aggregation low-rank, `W₃` has no bias.

use rankmill_config::proto;
use rankmill_graph::Value;

use super::scope::{Activation, Bias, LAYER_NORM_EPSILON, Scope};
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// `net [B, D]`, `mask_input [B, M]` → `[B, output_size]`, or `[B, D]` without `output_size`.
///
/// # Errors
/// If neither `reduction_factor` nor `aggregation_size` gives the aggregation a width.
pub fn mask_block(s: &mut Scope<'_>, config: &proto::MaskBlock, net: Value, mask_input: Value) -> Result<Value, LayerError> {
    let net = if config.input_layer_norm() { s.layer_norm("input_ln", net, LAYER_NORM_EPSILON)? } else { net };
    let aggregation_size = aggregation_size(config, s.width(mask_input))?;
    let projected = match config.projection_dim {
        Some(dim) if dim > 0 => s.dense("project", mask_input, dim as usize, Initializer::GlorotUniform, Bias::None)?,
        _ => mask_input,
    };
    let aggregated = s.dense("aggregation", projected, aggregation_size, Initializer::HeUniform, Bias::Zeros)?;
    let aggregated = s.activate(aggregated, Activation::Relu)?;
    let mask = s.dense("weights", aggregated, s.width(net), Initializer::GlorotUniform, Bias::Zeros)?;
    let mask = s.tap("mask", mask);
    let masked = s.multiply(net, mask)?;
    let Some(output_size) = config.output_size.filter(|size| *size > 0) else { return Ok(masked) };
    let output = s.dense("output", masked, output_size as usize, Initializer::GlorotUniform, Bias::None)?;
    let output = s.layer_norm("output_ln", output, LAYER_NORM_EPSILON)?;
    Ok(s.activate(output, Activation::Relu)?)
}

/// `int(width · reduction_factor)` if there is a factor, else `aggregation_size`.
fn aggregation_size(config: &proto::MaskBlock, width: usize) -> Result<usize, LayerError> {
    let size = match config.reduction_factor {
        Some(factor) => (width as f64 * f64::from(factor)) as usize,
        None => config.aggregation_size() as usize,
    };
    if size > 0 {
        return Ok(size);
    }
    let field = if config.reduction_factor.is_some() { "reduction_factor" } else { "aggregation_size" };
    Err(LayerError::field(field, "a mask block needs a positive aggregation_size or reduction_factor"))
}

/// The `MaskBlock` component: a list of two inputs, `[net, mask_input]`.
///
/// # Errors
/// If there are not two inputs.
pub(super) fn component(s: &mut Scope<'_>, config: &proto::MaskBlock, inputs: &Tensors) -> Result<Value, LayerError> {
    match inputs {
        Tensors::List(parts) => match parts.as_slice() {
            [Tensors::One(net), Tensors::One(mask_input)] => mask_block(s, config, *net, *mask_input),
            _ => Err(LayerError::message(TWO_INPUTS)),
        },
        _ => Err(LayerError::message(TWO_INPUTS)),
    }
}

const TWO_INPUTS: &str = "MaskBlock takes a list of two inputs, [net, mask_input]; set merge_inputs_into_list";

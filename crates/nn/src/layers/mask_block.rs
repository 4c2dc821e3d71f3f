//! Instance-guided mask block, MaskNet (Wang, She, Zhang 2021, arXiv 2102.07619, section 3.3), in EasyRec's form (behaviour 31):
//!
//! `mask = W₂·relu(W₁·[P·]mask_input + b₁) + b₂`, `out = relu(LN(W₃·([LN](net) ⊙ mask)))`; without `output_size`, `out = net ⊙ mask`.
//!
//! Differences from the paper: the aggregation width is given directly or by `reduction_factor`, an optional projection `P` makes
//! the aggregation low-rank, `W₃` has no bias.

use rankmill_config::Settings;
use rankmill_graph::Value;

use super::scope::{Activation, Bias, LAYER_NORM_EPSILON, Scope};
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// `net [B, D]`, `mask_input [B, M]` → `[B, output_size]`, or `[B, D]` without `output_size`.
///
/// # Errors
/// If neither `reduction_factor` nor `aggregation_size` gives the aggregation a width.
pub fn mask_block(s: &mut Scope<'_>, settings: &Settings, net: Value, mask_input: Value) -> Result<Value, LayerError> {
    let net = if settings.flag("input_layer_norm", false)? { s.layer_norm("input_ln", net, LAYER_NORM_EPSILON)? } else { net };
    let aggregation_size = aggregation_size(settings, s.width(mask_input))?;
    let projected = match settings.count("projection_dim", 0)? {
        0 => mask_input,
        dim => s.dense("project", mask_input, dim, Initializer::GlorotUniform, Bias::None)?,
    };
    let aggregated = s.dense("aggregation", projected, aggregation_size, Initializer::HeUniform, Bias::Zeros)?;
    let aggregated = s.activate(aggregated, Activation::Relu)?;
    let mask = s.dense("weights", aggregated, s.width(net), Initializer::GlorotUniform, Bias::Zeros)?;
    let mask = s.tap("mask", mask);
    let masked = s.multiply(net, mask)?;
    let output_size = settings.count("output_size", 0)?;
    if output_size == 0 {
        return Ok(masked);
    }
    let output = s.dense("output", masked, output_size, Initializer::GlorotUniform, Bias::None)?;
    let output = s.layer_norm("output_ln", output, LAYER_NORM_EPSILON)?;
    Ok(s.activate(output, Activation::Relu)?)
}

/// `int(width · reduction_factor)` if there is a factor, else `aggregation_size`.
fn aggregation_size(settings: &Settings, width: usize) -> Result<usize, LayerError> {
    let size = match settings.optional_number("reduction_factor")? {
        Some(factor) => (width as f64 * f64::from(factor)) as usize,
        None => settings.count("aggregation_size", 0)?,
    };
    if size > 0 {
        return Ok(size);
    }
    let field = if settings.is_set("reduction_factor") { "reduction_factor" } else { "aggregation_size" };
    Err(settings.error(field, "a mask block needs a positive aggregation_size or reduction_factor").into())
}

/// The `MaskBlock` component: a list of two inputs, `[net, mask_input]`.
///
/// # Errors
/// If there are not two inputs.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    match inputs {
        Tensors::List(parts) => match parts.as_slice() {
            [Tensors::One(net), Tensors::One(mask_input)] => mask_block(s, settings, *net, *mask_input).map(Tensors::One),
            _ => Err(LayerError::message(TWO_INPUTS)),
        },
        _ => Err(LayerError::message(TWO_INPUTS)),
    }
}

const TWO_INPUTS: &str = "MaskBlock takes a list of two inputs, [net, mask_input]; set merge_inputs_into_list";

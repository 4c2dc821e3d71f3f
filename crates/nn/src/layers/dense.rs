//! Keras' `Dense`: `activation(x·kernel + bias)`. Its settings come from `st_params` (EasyRec behaviour 101).

use rankmill_graph::Value;

use super::LayerError;
use super::params::StructParams;
use super::scope::{Activation, Bias, Scope};
use crate::init::Initializer;

/// Settings that Keras knows and that have no effect on numbers, or none in EasyRec (behaviour 26).
const WITHOUT_EFFECT: &[&str] = &["name", "dtype", "trainable", "kernel_regularizer", "bias_regularizer", "activity_regularizer"];

/// `x [B, K]` → `[B, units]`.
///
/// # Errors
/// If `units` is missing or a setting is unknown.
pub(super) fn component(s: &mut Scope<'_>, params: &StructParams<'_>, x: Value) -> Result<Value, LayerError> {
    params.expect_only(&["units", "activation", "use_bias", "kernel_initializer"], WITHOUT_EFFECT)?;
    let units = params.count("units")?.ok_or_else(|| LayerError::field("st_params", "Dense needs `units`"))?;
    let activation = params.text("activation")?.unwrap_or("linear");
    let activation = Activation::from_name(activation).map_err(|message| LayerError::field("st_params", message))?;
    let bias = if params.flag("use_bias")?.unwrap_or(true) { Bias::Zeros } else { Bias::None };
    let initializer = Initializer::from_keras_name(params.text("kernel_initializer")?.unwrap_or("glorot_uniform"))
        .map_err(|error| LayerError::field("st_params", error.to_string()))?;
    let y = s.dense_here(x, units, initializer, bias)?;
    Ok(s.activate(y, activation)?)
}

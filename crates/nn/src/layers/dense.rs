//! Keras' `Dense`: `activation(x·kernel + bias)` over the last dimension (EasyRec behaviour 101).

use rankmill_config::Settings;

use super::activation::Activation;
use super::scope::Scope;
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

pub(super) const SETTINGS: &[&str] = &["units", "activation", "use_bias", "kernel_initializer", "bias_initializer"];

/// `x [B, K]` → `[B, units]`; of fields, `[B, n, K]` → `[B, n, units]`.
///
/// # Errors
/// If `units` is missing or a name is unknown.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let units = settings.required_count("units")?;
    let activation = Activation::from_keras_name(&settings.text("activation", "linear")?);
    let activation = activation.map_err(|message| settings.error("activation", message))?;
    let kernel = initializer(settings, "kernel_initializer", "glorot_uniform")?;
    let bias = if settings.flag("use_bias", true)? { Some(initializer(settings, "bias_initializer", "zeros")?) } else { None };
    let x = one(s, inputs)?;
    let y = s.dense_with(x, units, kernel, bias)?;
    Ok(Tensors::One(s.activate(y, activation)?))
}

/// The initializer that a setting names.
///
/// # Errors
/// The known names, if it is none of them.
pub(super) fn initializer(settings: &Settings, name: &str, default: &str) -> Result<Initializer, LayerError> {
    Initializer::from_keras_name(&settings.text(name, default)?).map_err(|error| settings.error(name, error.to_string()).into())
}

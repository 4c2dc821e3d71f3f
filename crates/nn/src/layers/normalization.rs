//! Keras' `BatchNormalization` and `LayerNormalization` (EasyRec behaviours 29, 30 and 101).

use rankmill_config::Settings;

use super::scope::{BatchNormSettings, LAYER_NORM_EPSILON, Scope};
use super::{LayerError, Tensors, one};

pub(super) const BATCH_NORM_SETTINGS: &[&str] = &["axis", "momentum", "epsilon", "center", "scale"];

/// Over the rows of `x [B, N]`, or all fields of all rows of `[B, n, D]`; training uses the batch's statistics, inference the moving ones.
///
/// # Errors
/// For another axis than the last.
pub(super) fn batch_normalization(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let x = one(s, inputs)?;
    last_axis(s, settings, x)?;
    let default = BatchNormSettings::default();
    let norm = BatchNormSettings {
        momentum: settings.number("momentum", default.momentum)?,
        epsilon: settings.number("epsilon", default.epsilon)?,
        center: settings.flag("center", default.center)?,
        scale: settings.flag("scale", default.scale)?,
    };
    Ok(Tensors::One(s.batch_norm_here(x, norm)?))
}

/// Over the last dimension.
///
/// # Errors
/// For another axis.
pub(super) fn layer_normalization(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let x = one(s, inputs)?;
    last_axis(s, settings, x)?;
    let epsilon = settings.number("epsilon", LAYER_NORM_EPSILON)?;
    Ok(Tensors::One(s.layer_norm_here(x, epsilon)?))
}

/// Refuses an `axis` that is not the last one of `x`.
fn last_axis(s: &Scope<'_>, settings: &Settings, x: rankmill_graph::Value) -> Result<(), LayerError> {
    let shape = s.shape(x);
    let last = shape.dims.len() + usize::from(shape.axis.is_some());
    match settings.optional_number("axis")? {
        None | Some(-1.0) => Ok(()),
        Some(axis) if axis == last as f32 => Ok(()),
        Some(_) => Err(settings.error("axis", "only the last axis, -1, is supported").into()),
    }
}

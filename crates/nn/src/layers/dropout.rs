//! Keras' `Dropout` with inverted scaling, in training only (EasyRec behaviour 142).

use rankmill_config::Settings;

use super::scope::Scope;
use super::{LayerError, Tensors};

/// The same shape; a list is treated element by element.
///
/// # Errors
/// If `rate` is missing or not in `[0, 1)`.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let rate = rate(settings, "rate", None)?;
    match inputs {
        Tensors::One(x) => Ok(Tensors::One(s.dropout("dropout", *x, rate)?)),
        several => {
            let values = several.values().into_iter().enumerate();
            let dropped = values.map(|(i, x)| s.dropout(&format!("dropout_{i}"), x, rate)).collect::<Result<Vec<_>, _>>()?;
            Ok(Tensors::list(dropped))
        }
    }
}

/// A dropout rate; it must be set where there is no default.
///
/// # Errors
/// If it is missing or not in `[0, 1)`.
pub(super) fn rate(settings: &Settings, name: &str, default: Option<f32>) -> Result<f32, LayerError> {
    match settings.optional_number(name)?.or(default) {
        Some(rate) if (0.0..1.0).contains(&rate) => Ok(rate),
        Some(_) => Err(settings.error(name, "a dropout rate lies in [0, 1)").into()),
        None => Err(settings.error(name, format!("`{name}` must be set")).into()),
    }
}

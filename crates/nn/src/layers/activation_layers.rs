//! Keras' activations as layers: `Activation`, `ReLU`, `LeakyReLU`, `PReLU`, `ELU`, `Softmax` (EasyRec behaviour 101).

use rankmill_config::Settings;
use rankmill_graph::Value;
use rankmill_graph::ops::unary::Unary;

use super::activation::Activation;
use super::dense::initializer;
use super::scope::Scope;
use super::{LayerError, Tensors, one};

/// The function that `activation` names, by Keras' names.
///
/// # Errors
/// If it is missing or unknown.
pub(super) fn activation(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let Some(name) = settings.optional_text("activation")? else {
        return Err(settings.error("activation", "`activation` must be set").into());
    };
    let activation = Activation::from_keras_name(&name).map_err(|message| settings.error("activation", message))?;
    let x = one(s, inputs)?;
    Ok(Tensors::One(s.activate(x, activation)?))
}

/// `max(x, 0)`, at most `max_value`.
///
/// # Errors
/// If `max_value` is something else than 6.
pub(super) fn relu(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let x = one(s, inputs)?;
    match settings.optional_number("max_value")? {
        None => Ok(Tensors::One(s.add(Unary::Relu, &[x])?)),
        Some(6.0) => Ok(Tensors::One(s.add(Unary::Relu6, &[x])?)),
        Some(_) => Err(settings.error("max_value", "`max_value` is 6 or not set").into()),
    }
}

/// `x` if positive, else `alpha·x`.
///
/// # Errors
/// If `alpha` is no number.
pub(super) fn leaky_relu(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    const KERAS_SLOPE: f32 = 0.3;
    let slope = settings.number("alpha", KERAS_SLOPE)?;
    let x = one(s, inputs)?;
    Ok(Tensors::One(s.add(Unary::LeakyRelu(slope), &[x])?))
}

/// `x` if positive, else `exp(x) - 1`.
///
/// # Errors
/// If `alpha` is something else than 1.
pub(super) fn elu(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    if settings.number("alpha", 1.0)? != 1.0 {
        return Err(settings.error("alpha", "only an `alpha` of 1 is supported").into());
    }
    let x = one(s, inputs)?;
    Ok(Tensors::One(s.add(Unary::Elu, &[x])?))
}

/// `x` if positive, else `alpha·x`, `alpha` learnt for each column from 0 on (He et al. 2015).
///
/// # Errors
/// If `alpha_initializer` is unknown.
pub(super) fn prelu(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let start = initializer(settings, "alpha_initializer", "zeros")?;
    let x = one(s, inputs)?;
    let alpha = s.parameter("alpha", &[s.width(x)], start)?;
    prelu_of(s, x, alpha).map(Tensors::One)
}

/// `max(x, 0) - alpha·max(-x, 0)`.
fn prelu_of(s: &mut Scope<'_>, x: Value, alpha: Value) -> Result<Value, LayerError> {
    let positive = s.add(Unary::Relu, &[x])?;
    let mirrored = s.scale(x, -1.0)?;
    let negative = s.add(Unary::Relu, &[mirrored])?;
    let scaled = s.multiply(negative, alpha)?;
    Ok(s.minus(positive, scaled)?)
}

/// Softmax over the last dimension.
///
/// # Errors
/// For another axis.
pub(super) fn softmax(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    if !matches!(settings.optional_number("axis")?, None | Some(-1.0)) {
        return Err(settings.error("axis", "only the last axis, -1, is supported").into());
    }
    let x = one(s, inputs)?;
    Ok(Tensors::One(s.activate(x, Activation::Softmax)?))
}

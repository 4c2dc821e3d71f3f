//! Keras' `Flatten` and `Reshape` (EasyRec behaviour 101).

use rankmill_config::Settings;

use super::scope::Scope;
use super::{LayerError, Tensors, one};

/// `[B, n, D]` → `[B, n·D]`.
///
/// # Errors
/// For sequences, whose length no shape knows.
pub(super) fn flatten(s: &mut Scope<'_>, _: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let x = one(s, inputs)?;
    if s.shape(x).axis.is_some() {
        return Err(LayerError::message("a sequence of any length can't be flattened"));
    }
    Ok(Tensors::One(s.flat(x)?))
}

/// `target_shape`, of one or two dimensions; one of them may be -1, what is left.
///
/// # Errors
/// If the elements don't fill the shape.
pub(super) fn reshape(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let x = one(s, inputs)?;
    let target = settings.numbers("target_shape")?;
    let elements = s.width(x);
    let known: f32 = target.iter().filter(|size| **size != -1.0).product();
    let dims: Vec<usize> =
        target.iter().map(|size| if *size == -1.0 { (elements as f32 / known) as usize } else { *size as usize }).collect();
    if target.is_empty() || dims.iter().product::<usize>() != elements || target.iter().filter(|size| **size == -1.0).count() > 1 {
        let message = format!("{} elements of a row can't be given the shape {target:?}", elements);
        return Err(settings.error("target_shape", message).into());
    }
    Ok(Tensors::One(s.reshape(x, &dims)?))
}

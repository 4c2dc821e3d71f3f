//! A weighted sum of inputs, the weights being another input (EasyRec behaviour 122): `Σ_j w_j·x_j`; the weights are taken as they are.

use rankmill_config::Settings;

use super::mlp::{Mlp, mlp};
use super::scope::Scope;
use super::{LayerError, Tensors};

/// A list of inputs, `[B, D]` each, the one at `weight_index` `[B, number of the others]` → `[B, D]`, or as wide as the `mlp` makes it.
///
/// # Errors
/// If there is no such input, or the weights are not as many as the other inputs.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let mut values = match inputs {
        Tensors::One(_) => return Err(LayerError::message("Gate takes a list of inputs; set merge_inputs_into_list")),
        several => several.values(),
    };
    let index = settings.count("weight_index", 0)?;
    if index >= values.len() {
        return Err(settings.error("weight_index", format!("there are {} inputs, the first is 0", values.len())).into());
    }
    let weights = values.remove(index);
    if s.width(weights) != values.len() {
        let message = format!("{} weights do not fit {} other inputs", s.width(weights), values.len());
        return Err(settings.error("weight_index", message).into());
    }
    let sum = s.weighted_sum(weights, &values)?;
    match settings.group("mlp")? {
        Some(settings) => mlp(&mut s.child("top_mlp"), &Mlp::from_settings(&settings)?, sum).map(Tensors::One),
        None => Ok(Tensors::One(sum)),
    }
}

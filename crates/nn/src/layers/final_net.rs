//! Factorised interaction layers (FINAL, Zhu et al. 2023, SIGIR, equation 4), which EasyRec does not have: `[h₂, h₁] = x·W + b`, then
//! `h₂ + h₁ ⊙ h₂` (`sum`) or `[h₂, h₁ ⊙ h₂]` (`concat`). Each layer multiplies what the one before it made, so that the order of the
//! interactions doubles with each.

use rankmill_config::Settings;

use super::activation::Activation;
use super::dense::initializer;
use super::dropout::rate;
use super::scope::{BatchNormSettings, Scope};
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

pub(super) const SETTINGS: &[&str] = &["hidden_units", "residual_type", "activation", "use_bn", "dropout", "kernel_initializer"];

/// `x [B, D]` → `[B, last of hidden_units]`. Behind each interaction come batch norm, the activation and dropout.
///
/// # Errors
/// If there are no layers, or a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let units = settings.counts("hidden_units")?;
    if units.is_empty() || units.contains(&0) {
        return Err(settings.error("hidden_units", "FinalNet needs layers of at least one unit each").into());
    }
    let kind = settings.text("residual_type", "sum")?;
    let concat = match kind.as_str() {
        "sum" => false,
        "concat" if units.iter().all(|units| units % 2 == 0) => true,
        "concat" => return Err(settings.error("hidden_units", "with residual_type concat layers have even widths").into()),
        _ => return Err(settings.error("residual_type", format!("`{kind}` is neither sum nor concat")).into()),
    };
    let activation = Activation::from_name(&settings.text("activation", "relu")?);
    let activation = activation.map_err(|message| settings.error("activation", message))?;
    let kernel = initializer(settings, "kernel_initializer", "glorot_uniform")?;
    let normalised = settings.flag("use_bn", true)?;
    let dropout = rate(settings, "dropout", Some(0.0))?;
    let mut x = one(s, inputs)?;
    for (i, units) in units.into_iter().enumerate() {
        let mut layer = s.child(&format!("layer_{i}"));
        let half = if concat { units / 2 } else { units };
        let h = layer.dense_with(x, 2 * half, kernel.clone(), Some(Initializer::Constant(0.0)))?;
        let (plain, factor) = (layer.columns(h, 0, half)?, layer.columns(h, half, half)?);
        let product = layer.multiply(factor, plain)?;
        x = if concat { layer.concat(&[plain, product])? } else { layer.plus(plain, product)? };
        if normalised {
            x = layer.batch_norm("bn", x, BatchNormSettings::default())?;
        }
        x = layer.activate_named("act", x, activation)?;
        x = layer.dropout("dropout", x, dropout)?;
    }
    Ok(Tensors::One(x))
}

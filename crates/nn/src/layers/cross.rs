//! The cross layer of DCN-v2 (Wang et al. 2021, arXiv 2008.13535; EasyRec behaviours 33 and 127):
//! `x₀ ⊙ (act(x·W + b) + diag_scale·x) + x`, or with `projection_dim` `x·U·V + b` in place of `x·W + b`.

use rankmill_config::Settings;
use rankmill_graph::Value;

use super::activation::Activation;
use super::dense::initializer;
use super::scope::{Bias, Scope};
use super::{LayerError, Tensors};

pub(super) const SETTINGS: &[&str] =
    &["projection_dim", "diag_scale", "use_bias", "preactivation", "kernel_initializer", "bias_initializer"];

/// `[x₀, x]`, `[B, D]` each, or `x` alone, which is then `x₀`, too → `[B, D]`.
///
/// # Errors
/// If the inputs are others, or of different widths.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let (start, x) = match inputs.values()[..] {
        [x] => (x, x),
        [start, x] => (start, x),
        _ => return Err(LayerError::message("Cross takes one tensor or a list of two, [x0, x]")),
    };
    let width = s.width(x);
    let activation = Activation::from_name(&settings.text("preactivation", "linear")?);
    let activation = activation.map_err(|message| settings.error("preactivation", message))?;
    let kernel = initializer(settings, "kernel_initializer", "truncated_normal")?;
    let bias = if settings.flag("use_bias", true)? { Some(initializer(settings, "bias_initializer", "zeros")?) } else { None };
    let projected = match settings.count("projection_dim", 0)? {
        0 => x,
        dim => {
            let name = s.unique("dense");
            s.dense(&name, x, dim, kernel.clone(), Bias::None)?
        }
    };
    let name = s.unique("dense");
    let product = s.child(&name).dense_with(projected, width, kernel, bias)?;
    let product = s.activate(product, activation)?;
    let product = match settings.number("diag_scale", 0.0)? {
        0.0 => product,
        scale => plus_scaled(s, product, x, scale)?,
    };
    let crossed = s.multiply(start, product)?;
    Ok(Tensors::One(s.plus(crossed, x)?))
}

fn plus_scaled(s: &mut Scope<'_>, y: Value, x: Value, factor: f32) -> Result<Value, LayerError> {
    let scaled = s.scale(x, factor)?;
    Ok(s.plus(y, scaled)?)
}

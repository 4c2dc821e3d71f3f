//! Parameter personalised network (PEPNet, Chang et al. 2023, arXiv 2302.01115, section 3.3; EasyRec behaviour 131): an MLP whose layers
//! are scaled by gates, `2·σ(act(z·W₁ + b₁)·W₂ + b₂)`, of features that say whose parameters these are.

use rankmill_config::Settings;
use rankmill_graph::Value;

use super::activation::Activation;
use super::dropout::rate;
use super::mlp::{Mlp, layer};
use super::scope::{BatchNormSettings, Bias, Scope};
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// A list of two inputs, `[x, gate_input]` → `[B, last of mlp.hidden_units]`. `z` is the gate input, behind `x` without its gradient unless
/// `full_gate_input` is false. `lazy`: a gate behind every layer; `eager`: one before the first layer, and behind all but the last.
///
/// # Errors
/// If there are not two inputs, or a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let [x, gate_input] = inputs.values()[..] else {
        return Err(LayerError::message("PPNet takes a list of two inputs, [x, gate_input]; set merge_inputs_into_list"));
    };
    let layers = Mlp::from_settings(&settings.required_group("mlp")?)?;
    let gate_settings = settings.group("gate_params")?.unwrap_or_else(Settings::empty);
    let mode = settings.text("mode", "lazy")?;
    if mode != "lazy" && mode != "eager" {
        return Err(settings.error("mode", format!("`{mode}` is neither lazy nor eager")).into());
    }
    let eager = mode == "eager";
    let z = match settings.flag("full_gate_input", true)? {
        true => {
            let stopped = s.stop_gradient(x)?;
            s.concat(&[stopped, gate_input])?
        }
        false => gate_input,
    };
    let mut y = x;
    if eager {
        let width = s.width(x);
        y = gated(s, &gate_settings, 0, y, z, gate_settings.count("output_dim", width)?)?;
    }
    let count = layers.hidden_units.len();
    for i in 0..count {
        y = layer(s, &layers, i, y)?;
        if !eager || i + 1 < count {
            y = gated(s, &gate_settings, i + 1, y, z, layers.hidden_units[i])?;
        }
    }
    Ok(Tensors::One(y))
}

/// `y ⊙ gate_i(z)`.
fn gated(s: &mut Scope<'_>, settings: &Settings, i: usize, y: Value, z: Value, units: usize) -> Result<Value, LayerError> {
    let hidden = settings.count("hidden_dim", units)?;
    let normalised = settings.flag("use_bn", false)?;
    let activation = Activation::from_name(&settings.text("activation", "relu")?);
    let activation = activation.map_err(|message| settings.error("activation", message))?;
    let dropout = rate(settings, "dropout_rate", Some(0.0))?;
    let bias = if normalised { Bias::None } else { Bias::Zeros };
    let mut s = s.child(&format!("gate_{i}"));
    let name = s.unique("dense");
    let mut gate = s.dense(&name, z, hidden, Initializer::HeUniform, bias)?;
    if normalised {
        let name = s.unique("batch_normalization");
        gate = s.batch_norm(&name, gate, BatchNormSettings::default())?;
    }
    gate = s.activate(gate, activation)?;
    gate = s.dropout("dropout", gate, dropout)?;
    gate = s.dense("weight", gate, units, Initializer::HeUniform, bias)?;
    gate = s.activate(gate, Activation::Sigmoid)?;
    gate = s.scale(gate, 2.0)?;
    Ok(s.multiply(y, gate)?)
}

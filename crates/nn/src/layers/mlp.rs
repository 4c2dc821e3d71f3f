//! Multi-layer perceptron (EasyRec behaviour 27): for each layer `Dense → batch norm → activation → dropout`, or
//! `Dense → activation → batch norm → dropout` with `use_bn_after_activation`.

use rankmill_config::{Settings, proto};
use rankmill_graph::Value;

use super::scope::{Activation, BatchNormSettings, Bias, Scope};
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

/// The settings of an MLP.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// Width of each layer.
    pub hidden_units: Vec<usize>,
    /// Dropout rate of each layer; missing ones are 0.
    pub dropout: Vec<f32>,
    /// Activation of all layers but the last.
    pub activation: Activation,
    /// Activation of the last layer.
    pub final_activation: Activation,
    /// Batch norm in all layers but the last.
    pub batch_norm: bool,
    /// Batch norm in the last layer.
    pub final_batch_norm: bool,
    /// Bias in all layers but the last.
    pub bias: Bias,
    /// Bias in the last layer.
    pub final_bias: Bias,
    /// Whether the activation comes before the batch norm.
    pub activation_first: bool,
    /// How the kernels start.
    pub initializer: Initializer,
}

fn bias(wanted: bool) -> Bias {
    if wanted { Bias::Zeros } else { Bias::None }
}

impl Mlp {
    /// Reads the config message.
    ///
    /// # Errors
    /// If there are no layers, a width is 0, or a name is unknown.
    pub fn from_config(config: &proto::Mlp) -> Result<Mlp, LayerError> {
        Mlp::from_settings(&Settings::of_message(config, "protos.MLP"))
    }

    /// Reads the settings of the message, or the same names in `st_params`.
    ///
    /// # Errors
    /// If there are no layers, a width is 0, or a name is unknown.
    pub fn from_settings(settings: &Settings) -> Result<Mlp, LayerError> {
        let hidden_units = settings.counts("hidden_units")?;
        if hidden_units.is_empty() {
            return Err(settings.error("hidden_units", "an MLP needs at least one layer").into());
        }
        if let Some(i) = hidden_units.iter().position(|units| *units == 0) {
            return Err(settings.element_error("hidden_units", i, "a layer needs at least one unit").into());
        }
        let dropout = settings.numbers("dropout_ratio")?;
        if let Some(i) = dropout.iter().position(|rate| !(0.0..1.0).contains(rate)) {
            return Err(settings.element_error("dropout_ratio", i, "a dropout rate lies in [0, 1)").into());
        }
        // Without a schema to give `relu`, EasyRec's code has no default for the last layer.
        let final_activation = settings.text("final_activation", "linear")?;
        let named = |field, name: &str| Activation::from_name(name).map_err(|message| settings.error(field, message));
        let initializer = Initializer::from_keras_name(&settings.text("initializer", "he_uniform")?);
        Ok(Mlp {
            hidden_units,
            dropout,
            activation: named("activation", &settings.text("activation", "relu")?)?,
            final_activation: named("final_activation", &final_activation)?,
            batch_norm: settings.flag("use_bn", true)?,
            final_batch_norm: settings.flag("use_final_bn", true)?,
            bias: bias(settings.flag("use_bias", false)?),
            final_bias: bias(settings.flag("use_final_bias", false)?),
            activation_first: settings.flag("use_bn_after_activation", false)?,
            initializer: initializer.map_err(|error| settings.error("initializer", error.to_string()))?,
        })
    }

    /// Width of the output.
    pub fn units(&self) -> usize {
        self.hidden_units.last().copied().unwrap_or_default()
    }
}

/// The `MLP` component. With `add_to_outputs` its output is a prediction, too, by the name of its block.
///
/// # Errors
/// If a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let is_prediction = settings.flag("add_to_outputs", false)?;
    let settings = Mlp::from_settings(settings)?;
    let x = one(s, inputs)?;
    let output = mlp(s, &settings, x)?;
    if is_prediction {
        let name = s.block_name();
        s.add_prediction(&name, output);
    }
    Ok(Tensors::One(output))
}

/// `x [B, K]` → `[B, last of hidden_units]`.
///
/// # Errors
/// If `x` is not a matrix with batch rows.
pub fn mlp(s: &mut Scope<'_>, settings: &Mlp, x: Value) -> Result<Value, LayerError> {
    (0..settings.hidden_units.len()).try_fold(x, |x, i| layer(s, settings, i, x))
}

/// Layer `i` by itself.
///
/// # Errors
/// If `x` is not a matrix with batch rows.
pub(super) fn layer(s: &mut Scope<'_>, settings: &Mlp, i: usize, x: Value) -> Result<Value, LayerError> {
    let mut layer = s.child(&format!("layer_{i}"));
    let (bias, norm, activation) = match i + 1 == settings.hidden_units.len() {
        true => (settings.final_bias, settings.final_batch_norm, settings.final_activation),
        false => (settings.bias, settings.batch_norm, settings.activation),
    };
    let mut x = layer.dense("dense", x, settings.hidden_units[i], settings.initializer.clone(), bias)?;
    if settings.activation_first {
        x = layer.activate_named("act", x, activation)?;
    }
    if norm {
        x = layer.batch_norm("bn", x, BatchNormSettings::default())?;
    }
    if !settings.activation_first {
        x = layer.activate_named("act", x, activation)?;
    }
    Ok(layer.dropout("dropout", x, settings.dropout.get(i).copied().unwrap_or(0.0))?)
}

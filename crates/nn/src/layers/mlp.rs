//! Multi-layer perceptron (EasyRec behaviour 27): for each layer `Dense → batch norm → activation → dropout`, or
//! `Dense → activation → batch norm → dropout` with `use_bn_after_activation`.

use rankmill_config::proto;
use rankmill_graph::Value;

use super::LayerError;
use super::scope::{Activation, BatchNormSettings, Bias, Scope};
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
        if config.hidden_units.is_empty() {
            return Err(LayerError::field("hidden_units", "an MLP needs at least one layer"));
        }
        if let Some(i) = config.hidden_units.iter().position(|units| *units == 0) {
            return Err(LayerError::field(&format!("hidden_units[{i}]"), "a layer needs at least one unit"));
        }
        if let Some(i) = config.dropout_ratio.iter().position(|rate| !(0.0..1.0).contains(rate)) {
            return Err(LayerError::field(&format!("dropout_ratio[{i}]"), "a dropout rate lies in [0, 1)"));
        }
        let activation = |field, name: &str| Activation::from_name(name).map_err(|message| LayerError::field(field, message));
        let initializer = Initializer::from_keras_name(config.initializer());
        Ok(Mlp {
            hidden_units: config.hidden_units.iter().map(|units| *units as usize).collect(),
            dropout: config.dropout_ratio.clone(),
            activation: activation("activation", config.activation())?,
            final_activation: activation("final_activation", config.final_activation())?,
            batch_norm: config.use_bn(),
            final_batch_norm: config.use_final_bn(),
            bias: bias(config.use_bias()),
            final_bias: bias(config.use_final_bias()),
            activation_first: config.use_bn_after_activation(),
            initializer: initializer.map_err(|error| LayerError::field("initializer", error.to_string()))?,
        })
    }
}

/// `x [B, K]` → `[B, last of hidden_units]`.
///
/// # Errors
/// If `x` is not a matrix with batch rows.
pub fn mlp(s: &mut Scope<'_>, settings: &Mlp, x: Value) -> Result<Value, LayerError> {
    let last = settings.hidden_units.len() - 1;
    let mut x = x;
    for (i, units) in settings.hidden_units.iter().enumerate() {
        let mut layer = s.child(&format!("layer_{i}"));
        let is_last = i == last;
        let (bias, norm, activation) = match is_last {
            true => (settings.final_bias, settings.final_batch_norm, settings.final_activation),
            false => (settings.bias, settings.batch_norm, settings.activation),
        };
        x = layer.dense("dense", x, *units, settings.initializer.clone(), bias)?;
        if settings.activation_first {
            x = layer.activate(x, activation)?;
        }
        if norm {
            x = layer.batch_norm("bn", x, BatchNormSettings::default())?;
        }
        if !settings.activation_first {
            x = layer.activate(x, activation)?;
        }
        x = layer.dropout("dropout", x, settings.dropout.get(i).copied().unwrap_or(0.0))?;
    }
    Ok(x)
}

//! The layer stack of EasyRec's older models and of task towers (EasyRec behaviours 26, 35, 150): for each layer
//! `Dense → batch norm → activation → dropout`, the last one included.
//!
//! Unlike those of an [MLP](super::mlp), the layers have a bias and start with `glorot_uniform`, and the penalty on their kernels acts.

use rankmill_config::proto;
use rankmill_graph::Value;

use super::LayerError;
use super::scope::{Activation, BatchNormSettings, Scope};

/// The settings of a DNN.
#[derive(Clone, Debug)]
pub struct Dnn {
    /// Width of each layer; none means that the input is the output.
    pub hidden_units: Vec<usize>,
    /// Dropout rate of each layer; missing ones are 0.
    pub dropout: Vec<f32>,
    /// Activation of all layers.
    pub activation: Activation,
    /// Whether batch norm follows each dense layer.
    pub batch_norm: bool,
    /// What the batch norms take their statistics from.
    pub norms: Norms,
    /// Half of it times the sum of squares of each kernel is added to the loss.
    pub penalty: f32,
    /// Whether the last layer is dense alone.
    pub last: Last,
}

/// What batch norms take their statistics from in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norms {
    /// The batch.
    Batch,
    /// The moving statistics, which stay as they are.
    Moving,
}

/// What the last layer of a [`Dnn`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// All that the others have.
    Full,
    /// Neither batch norm nor activation.
    Linear,
}

impl Dnn {
    /// Reads the config message.
    ///
    /// # Errors
    /// If a width is 0, a rate is out of range, or the activation is unknown.
    pub fn from_config(config: &proto::Dnn, penalty: f32) -> Result<Dnn, LayerError> {
        if let Some(i) = config.hidden_units.iter().position(|units| *units == 0) {
            return Err(LayerError::field(&format!("hidden_units[{i}]"), "a layer needs at least one unit"));
        }
        if let Some(i) = config.dropout_ratio.iter().position(|rate| !(0.0..1.0).contains(rate)) {
            return Err(LayerError::field(&format!("dropout_ratio[{i}]"), "a dropout rate lies in [0, 1)"));
        }
        Ok(Dnn {
            hidden_units: config.hidden_units.iter().map(|units| *units as usize).collect(),
            dropout: config.dropout_ratio.clone(),
            activation: Activation::from_name(config.activation()).map_err(|message| LayerError::field("activation", message))?,
            batch_norm: config.use_bn(),
            norms: Norms::Batch,
            penalty,
            last: Last::Full,
        })
    }
}

/// `x [B, K]` → `[B, last of hidden_units]`; the variables are `<scope>/dnn_<i>/...`.
///
/// # Errors
/// If `x` is not a matrix with batch rows.
pub fn dnn(s: &mut Scope<'_>, settings: &Dnn, x: Value) -> Result<Value, LayerError> {
    Ok(dnn_layers(s, settings, x)?.pop().unwrap_or(x))
}

/// As [`dnn`], with the output of every layer.
///
/// # Errors
/// If `x` is not a matrix with batch rows.
pub fn dnn_layers(s: &mut Scope<'_>, settings: &Dnn, x: Value) -> Result<Vec<Value>, LayerError> {
    let mut x = x;
    let mut outputs = Vec::with_capacity(settings.hidden_units.len());
    for (i, units) in settings.hidden_units.iter().enumerate() {
        let name = format!("dnn_{i}");
        x = s.penalised_dense(&name, x, *units, settings.penalty)?;
        if settings.last == Last::Full || i + 1 < settings.hidden_units.len() {
            let mut layer = s.child(&name);
            x = match (settings.batch_norm, settings.norms) {
                (false, _) => x,
                (true, Norms::Batch) => layer.batch_norm("bn", x, BatchNormSettings::default())?,
                (true, Norms::Moving) => layer.moving_norm("bn", x, BatchNormSettings::default())?,
            };
            x = s.activate_function(&name, x, settings.activation)?;
            x = s.child(&name).dropout("dropout", x, settings.dropout.get(i).copied().unwrap_or(0.0))?;
        }
        outputs.push(x);
    }
    Ok(outputs)
}

//! The components that configs name in `keras_layer.class_name`: short functions that compose operations.

pub mod activation;
mod activation_layers;
mod aitm_tower;
mod attention;
mod auto_dis_embedding;
mod auxiliary_loss;
mod bi_linear;
mod bst;
mod cin;
mod compose;
mod cross;
mod dense;
mod din;
pub mod dnn;
mod dot_interaction;
mod dropout;
pub mod encoder;
mod exponential_cross;
mod fi_bi_net;
mod final_mlp;
mod final_net;
mod fm;
mod gate;
mod gated_cross;
mod highway;
mod keras_sequences;
pub mod mask_block;
pub mod mask_net;
mod merge;
pub mod mlp;
mod mmoe;
mod multi_head_attention;
mod nary_dis_embedding;
mod normalization;
mod periodic_embedding;
mod positions;
mod pp_net;
pub mod registry;
mod reshaping;
pub mod scope;
mod se_net;
mod seq_augment;
pub mod text_cnn;
mod text_encoder;
mod text_numbers;
mod transformer_block;
mod transformer_encoder;

use rankmill_config::SettingError;
use rankmill_graph::{GraphError, Value};

pub use self::registry::{Component, NameTaken, build, components, register, settings};
use self::scope::Scope;

/// What flows between blocks (EasyRec behaviour 107).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tensors {
    /// A tensor.
    One(Value),
    /// A list: merging inputs joins it with others.
    List(Vec<Tensors>),
    /// Several results of one layer: they stay together until a slice takes one of them.
    Tuple(Vec<Tensors>),
    /// The text of a feature, by a number of the model's: components get numbers in its place.
    Text(usize),
}

impl Tensors {
    /// A list of tensors.
    pub fn list(values: impl IntoIterator<Item = Value>) -> Tensors {
        Tensors::List(values.into_iter().map(Tensors::One).collect())
    }

    /// The tensor, if it is a single one.
    pub fn as_one(&self) -> Option<Value> {
        match self {
            Tensors::One(value) => Some(*value),
            Tensors::List(_) | Tensors::Tuple(_) | Tensors::Text(_) => None,
        }
    }

    /// The tensors one by one, those of lists in order.
    pub fn values(&self) -> Vec<Value> {
        match self {
            Tensors::One(value) => vec![*value],
            Tensors::List(parts) | Tensors::Tuple(parts) => parts.iter().flat_map(Tensors::values).collect(),
            Tensors::Text(_) => Vec::new(),
        }
    }

    /// The texts one by one, those of lists in order.
    pub fn texts(&self) -> Vec<usize> {
        match self {
            Tensors::One(_) => Vec::new(),
            Tensors::List(parts) | Tensors::Tuple(parts) => parts.iter().flat_map(Tensors::texts).collect(),
            Tensors::Text(number) => vec![*number],
        }
    }
}

impl From<Value> for Tensors {
    fn from(value: Value) -> Tensors {
        Tensors::One(value)
    }
}

/// Why a component can't be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    /// A setting is missing or wrong.
    #[error("{message}")]
    Setting {
        /// The setting's path inside of the component's config, empty for the component as a whole.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// Shapes that don't fit.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl From<SettingError> for LayerError {
    fn from(error: SettingError) -> LayerError {
        LayerError::Setting { field: error.field, message: error.message }
    }
}

impl LayerError {
    /// An error at a setting, by its path inside of the component's config.
    pub fn field(field: &str, message: impl Into<String>) -> LayerError {
        LayerError::Setting { field: field.to_owned(), message: message.into() }
    }

    /// An error of the component as a whole.
    pub fn message(message: impl Into<String>) -> LayerError {
        LayerError::field("", message)
    }

    /// The same error of a part of a larger component.
    #[must_use]
    pub fn inside(self, part: &str) -> LayerError {
        match self {
            LayerError::Setting { field, message } if field.is_empty() => LayerError::field(part, message),
            LayerError::Setting { field, message } => LayerError::field(&format!("{part}.{field}"), message),
            LayerError::Graph(error) => LayerError::Graph(error),
        }
    }
}

/// The one tensor a component works on; a list is put side by side.
///
/// # Errors
/// If elements of a list can't be put side by side.
pub fn one(s: &mut Scope<'_>, inputs: &Tensors) -> Result<Value, LayerError> {
    match inputs {
        Tensors::One(value) => Ok(*value),
        several => Ok(s.concat(&several.values())?),
    }
}

/// The names of all components of Rankmill.
pub fn names() -> impl Iterator<Item = &'static str> {
    components().iter().map(|component| component.class_name)
}

//! The components that configs name in `keras_layer.class_name`: short functions that compose operations.

pub mod dense;
pub mod dnn;
pub mod mask_block;
pub mod mask_net;
pub mod mlp;
pub mod params;
pub mod scope;

use rankmill_config::proto;
use rankmill_config::proto::keras_layer::Params;
use rankmill_graph::{GraphError, Value};

use self::params::StructParams;
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
            Tensors::List(_) | Tensors::Tuple(_) => None,
        }
    }

    /// The tensors one by one, those of lists in order.
    pub fn values(&self) -> Vec<Value> {
        match self {
            Tensors::One(value) => vec![*value],
            Tensors::List(parts) | Tensors::Tuple(parts) => parts.iter().flat_map(Tensors::values).collect(),
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

impl LayerError {
    pub(crate) fn field(field: &str, message: impl Into<String>) -> LayerError {
        LayerError::Setting { field: field.to_owned(), message: message.into() }
    }

    pub(crate) fn message(message: impl Into<String>) -> LayerError {
        LayerError::field("", message)
    }

    /// The same error of a part of a larger component.
    pub(crate) fn inside(self, part: &str) -> LayerError {
        match self {
            LayerError::Setting { field, message } if field.is_empty() => LayerError::field(part, message),
            LayerError::Setting { field, message } => LayerError::field(&format!("{part}.{field}"), message),
            LayerError::Graph(error) => LayerError::Graph(error),
        }
    }
}

/// A component: its name in configs and how it is built.
struct Component {
    class_name: &'static str,
    build: fn(&mut Scope<'_>, &proto::KerasLayer, &Tensors) -> Result<Tensors, LayerError>,
}

/// All components, in alphabetical order.
const COMPONENTS: &[Component] = &[
    Component {
        class_name: "Dense",
        build: |s, config, inputs| {
            let x = one(s, inputs)?;
            dense::component(s, &struct_params(config)?, x).map(Tensors::One)
        },
    },
    Component {
        class_name: "MLP",
        build: |s, config, inputs| {
            let Some(Params::Mlp(settings)) = &config.params else { return Err(missing(config, "mlp")) };
            let x = one(s, inputs)?;
            let settings = mlp::Mlp::from_config(settings).map_err(|error| error.inside("mlp"))?;
            mlp::mlp(s, &settings, x).map(Tensors::One)
        },
    },
    Component {
        class_name: "MaskBlock",
        build: |s, config, inputs| {
            let Some(Params::MaskBlock(settings)) = &config.params else { return Err(missing(config, "mask_block")) };
            mask_block::component(s, settings, inputs).map(Tensors::One).map_err(|error| error.inside("mask_block"))
        },
    },
    Component {
        class_name: "MaskNet",
        build: |s, config, inputs| {
            let Some(Params::Masknet(settings)) = &config.params else { return Err(missing(config, "masknet")) };
            let x = one(s, inputs)?;
            mask_net::mask_net(s, settings, x).map(Tensors::One)
        },
    },
];

fn struct_params(config: &proto::KerasLayer) -> Result<StructParams<'_>, LayerError> {
    match &config.params {
        None => Ok(StructParams(None)),
        Some(Params::StParams(params)) => Ok(StructParams(Some(params))),
        Some(_) => Err(LayerError::message(format!("{} takes its settings from st_params", config.class_name()))),
    }
}

fn missing(config: &proto::KerasLayer, message: &str) -> LayerError {
    LayerError::message(format!("{} takes its settings from a `{message}` message", config.class_name()))
}

/// The one tensor a component works on; a list is put side by side.
fn one(s: &mut Scope<'_>, inputs: &Tensors) -> Result<Value, LayerError> {
    match inputs {
        Tensors::One(value) => Ok(*value),
        several => Ok(s.concat(&several.values())?),
    }
}

/// The names of all components.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMPONENTS.iter().map(|component| component.class_name)
}

/// Builds the component that `config` names.
///
/// # Errors
/// If the name is unknown, a setting is wrong, or the shapes don't fit.
pub fn build(s: &mut Scope<'_>, config: &proto::KerasLayer, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let Some(component) = COMPONENTS.iter().find(|component| component.class_name == config.class_name()) else {
        let known: Vec<&str> = names().collect();
        let message = format!("component `{}` is not supported; known: {}", config.class_name(), known.join(", "));
        return Err(LayerError::field("class_name", message));
    };
    (component.build)(s, config, inputs)
}

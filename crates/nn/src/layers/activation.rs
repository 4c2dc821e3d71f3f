//! Activation functions by the names that configs use (EasyRec behaviours 103 and 104).
//!
//! Components of EasyRec and layers of Keras look names up differently: `leaky_relu` and `prelu` are EasyRec's alone, `gelu` is its tanh
//! form there and the exact one in Keras, and a name that EasyRec does not know means no activation at all.

use rankmill_graph::ops::dice::Dice;
use rankmill_graph::ops::softmax::Softmax;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};

use super::scope::{BatchNormSettings, Scope};
use crate::init::Initializer;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// None.
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// The logistic function.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// Softmax over the last dimension.
    Softmax,
    /// Data-adaptive: see [`Scope::activate_named`].
    Dice,
    /// One of the other elementwise functions.
    Of(Unary),
}

/// Slope of `tf.nn.leaky_relu` for negative arguments, and so of EasyRec's `prelu`, which learns nothing (behaviour 104).
pub const LEAKY_SLOPE: f32 = 0.2;

/// Names of EasyRec's components, in lower case.
const EASYREC: &[(&str, Activation)] = &[
    ("linear", Activation::Linear),
    ("relu", Activation::Relu),
    ("gelu", Activation::Of(Unary::GeluTanh)),
    ("leaky_relu", Activation::Of(Unary::LeakyRelu(LEAKY_SLOPE))),
    ("prelu", Activation::Of(Unary::LeakyRelu(LEAKY_SLOPE))),
    ("dice", Activation::Dice),
    ("elu", Activation::Of(Unary::Elu)),
    ("selu", Activation::Of(Unary::Selu)),
    ("tanh", Activation::Tanh),
    ("swish", Activation::Of(Unary::Swish)),
    ("sigmoid", Activation::Sigmoid),
];

/// Names of Keras, and of TensorFlow behind a module's name.
const KERAS: &[(&str, Activation)] = &[
    ("linear", Activation::Linear),
    ("relu", Activation::Relu),
    ("relu6", Activation::Of(Unary::Relu6)),
    ("leaky_relu", Activation::Of(Unary::LeakyRelu(LEAKY_SLOPE))),
    ("elu", Activation::Of(Unary::Elu)),
    ("selu", Activation::Of(Unary::Selu)),
    ("gelu", Activation::Of(Unary::GeluErf)),
    ("swish", Activation::Of(Unary::Swish)),
    ("silu", Activation::Of(Unary::Swish)),
    ("mish", Activation::Of(Unary::Mish)),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
    ("hard_sigmoid", Activation::Of(Unary::HardSigmoid)),
    ("softmax", Activation::Softmax),
    ("softplus", Activation::Of(Unary::Softplus)),
    ("softsign", Activation::Of(Unary::Softsign)),
    ("exponential", Activation::Of(Unary::Exponential)),
    ("exp", Activation::Of(Unary::Exponential)),
    ("identity", Activation::Linear),
];

/// Modules whose functions may be named in full.
const MODULES: &[&str] = &["tf", "tf.nn", "tf.math", "tf.keras.activations", "tf.compat.v1.nn", "tensorflow.nn", "tensorflow.math"];

fn find(table: &[(&str, Activation)], name: &str) -> Option<Activation> {
    table.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
}

fn known(table: &[(&str, Activation)]) -> String {
    table.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ")
}

/// A function named with its module.
fn in_full(name: &str) -> Result<Activation, String> {
    let found = name.rsplit_once('.').filter(|(module, _)| MODULES.contains(module)).and_then(|(_, name)| find(KERAS, name));
    found.ok_or_else(|| format!("activation `{name}` is not supported; known behind `tf.nn.`: {}", known(KERAS)))
}

impl Activation {
    /// What a component of EasyRec makes of a name: a name without a dot that it does not know means none, as in EasyRec; the lint
    /// `activation_is_linear` says so.
    ///
    /// # Errors
    /// The known names, if a name with a dot is not among them.
    pub fn from_name(name: &str) -> Result<Activation, String> {
        match find(EASYREC, &name.to_lowercase()) {
            Some(activation) => Ok(activation),
            None if name.contains('.') => in_full(name),
            None => Ok(Activation::Linear),
        }
    }

    /// What a layer of Keras makes of a name.
    ///
    /// # Errors
    /// The known names, if the name is not among them.
    pub fn from_keras_name(name: &str) -> Result<Activation, String> {
        match find(KERAS, name) {
            Some(activation) => Ok(activation),
            None if name.is_empty() => Ok(Activation::Linear),
            None if name.contains('.') => in_full(name),
            None => Err(format!("activation `{name}` is not supported; known: {}", known(KERAS))),
        }
    }
}

/// Added to the variance in [`Activation::Dice`].
const DICE_EPSILON: f32 = 1e-9;

impl Scope<'_> {
    /// The activation of `x`; the variables of one that has some have a name like that of an unnamed layer of Keras.
    ///
    /// # Errors
    /// Never for a value of this graph.
    pub fn activate(&mut self, x: Value, activation: Activation) -> Result<Value, GraphError> {
        if activation == Activation::Dice {
            let name = self.unique("dice");
            return self.activate_named(&name, x, activation);
        }
        self.activate_named("", x, activation)
    }

    /// The activation of `x`, with its variables below `name/`.
    ///
    /// Dice (Zhou et al. 2018, section 5.3; EasyRec behaviour 105) is `p·x + (1 - p)·α·x` with `p = σ(BN(x))`, the batch norm without
    /// scale and offset, and `α` learnt for each column from 0 on.
    ///
    /// # Errors
    /// Never for a value of this graph.
    pub fn activate_named(&mut self, name: &str, x: Value, activation: Activation) -> Result<Value, GraphError> {
        match activation {
            Activation::Linear => Ok(x),
            Activation::Relu => self.add(Unary::Relu, &[x]),
            Activation::Sigmoid => self.add(Unary::Sigmoid, &[x]),
            Activation::Tanh => self.add(Unary::Tanh, &[x]),
            Activation::Softmax => {
                let width = self.shape(x).width();
                self.add(Softmax { width }, &[x])
            }
            Activation::Of(function) => self.add(function, &[x]),
            Activation::Dice => {
                let width = self.width(x);
                let mut s = self.child(name);
                let alpha = s.parameter("dice_alpha", &[width], Initializer::Constant(0.0))?;
                let settings = BatchNormSettings { epsilon: DICE_EPSILON, center: false, scale: false, ..BatchNormSettings::default() };
                let inner = s.unique("batch_normalization");
                let normalised = s.batch_norm(&inner, x, settings)?;
                s.dice(x, normalised, alpha)
            }
        }
    }

    /// `p·x + (1 - p)·α·x` with `p = σ(normalised)`.
    fn dice(&mut self, x: Value, normalised: Value, alpha: Value) -> Result<Value, GraphError> {
        let p = self.add(Unary::Sigmoid, &[normalised])?;
        self.add(Dice, &[x, p, alpha])
    }

    /// As [`Scope::activate`], with the variables of Dice where the functions of EasyRec's older models have them: `alpha_<name>/act`
    /// outside of all scopes, and the batch norm named as unnamed layers are (EasyRec behaviour 150).
    ///
    /// # Errors
    /// Never for a value of this graph.
    pub fn activate_function(&mut self, name: &str, x: Value, activation: Activation) -> Result<Value, GraphError> {
        if activation != Activation::Dice {
            return self.activate(x, activation);
        }
        let width = self.width(x);
        let alpha = format!("alpha_{}/act", self.name(name));
        let mut root = self.root("");
        let alpha = root.parameter(&alpha, &[width], Initializer::Constant(0.0))?;
        let settings = BatchNormSettings { epsilon: DICE_EPSILON, center: false, scale: false, ..BatchNormSettings::default() };
        let inner = root.unique("batch_normalization");
        let normalised = root.batch_norm(&inner, x, settings)?;
        root.dice(x, normalised, alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_they_mean_in_easyrec_and_keras() {
        assert_eq!(Activation::from_name("ReLU"), Ok(Activation::Relu));
        assert_eq!(Activation::from_name("softmax"), Ok(Activation::Linear));
        assert_eq!(Activation::from_name("tf.nn.softmax"), Ok(Activation::Softmax));
        assert_eq!(Activation::from_name("gelu"), Ok(Activation::Of(Unary::GeluTanh)));
        assert_eq!(Activation::from_keras_name("gelu"), Ok(Activation::Of(Unary::GeluErf)));
        assert_eq!(Activation::from_keras_name("softmax"), Ok(Activation::Softmax));
        assert!(Activation::from_name("tf.nn.nothing").is_err() && Activation::from_name("os.remove").is_err());
        assert!(Activation::from_keras_name("dice").is_err());
    }
}

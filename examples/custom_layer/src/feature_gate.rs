//! A component that Rankmill does not have: features that weigh each other through a bottleneck,
//! `y = x ⊙ 2σ(act(x·W₁ + b₁)·W₂ + b₂)`.
//!
//! It says what it computes, and nothing else: gradients, shapes, cost and memory follow from the operations.

use rankmill_config::Settings;
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::scope::{Activation, Bias, Scope};
use rankmill_nn::layers::{Component, LayerError, Tensors, one};

/// What configs find under `class_name: "FeatureGate"`.
pub(crate) const FEATURE_GATE: Component =
    Component { class_name: "FeatureGate", message: None, settings: &["bottleneck", "activation"], build };

/// `x [B, D]` → `[B, D]`.
fn build(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let bottleneck = settings.required_count("bottleneck")?;
    let activation = Activation::from_name(&settings.text("activation", "relu")?);
    let activation = activation.map_err(|message| settings.error("activation", message))?;
    let x = one(s, inputs)?;
    let narrow = s.dense("squeeze", x, bottleneck, Initializer::HeUniform, Bias::Zeros)?;
    let narrow = s.activate(narrow, activation)?;
    let gate = s.dense("excite", narrow, s.width(x), Initializer::GlorotUniform, Bias::Zeros)?;
    let gate = s.activate(gate, Activation::Sigmoid)?;
    let gate = s.scale(gate, 2.0)?;
    Ok(Tensors::One(s.multiply(x, gate)?))
}

//! Squeeze and excitation of features (FiBiNET++, Zhang, Zhang, Huang 2022, arXiv 2209.05016; EasyRec behaviours 34 and 130).
//!
//! Each feature is cut into groups, of which the maxima and means are taken: `z`. Weights for all columns are `W₂·relu(W₁·z + b₁) + b₂`,
//! and the output is `LN(x ⊙ weights + x)`.

use rankmill_config::Settings;
use rankmill_graph::Value;
use rankmill_graph::ops::segments::{ReduceRuns, Reduction};

use super::scope::{Activation, Bias, LAYER_NORM_EPSILON, Scope};
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// Features of any widths → them side by side, weighted.
///
/// # Errors
/// If a feature is not divided into `num_squeeze_group` equal groups, or a number is 0.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    se_net(s, settings, inputs).map(Tensors::One)
}

/// As [`component`].
pub(super) fn se_net(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Value, LayerError> {
    let features = s.vectors(inputs)?;
    let groups = settings.count("num_squeeze_group", 2)?;
    let ratio = settings.count("reduction_ratio", 4)?;
    if groups == 0 || ratio == 0 {
        let name = if groups == 0 { "num_squeeze_group" } else { "reduction_ratio" };
        return Err(settings.error(name, format!("`{name}` is at least 1")).into());
    }
    let mut squeezed = Vec::with_capacity(2 * features.len());
    for feature in &features {
        let width = s.width(*feature);
        if !width.is_multiple_of(groups) {
            let message = format!("a feature of width {width} is not divided into {groups} equal groups");
            return Err(settings.error("num_squeeze_group", message).into());
        }
        for reduction in [Reduction::Max, Reduction::Mean] {
            squeezed.push(s.add(ReduceRuns { width: width / groups, reduction }, &[*feature])?);
        }
    }
    let z = s.concat(&squeezed)?;
    let x = s.concat(&features)?;
    let reduced = (s.width(z) / ratio).max(1);
    let hidden = s.dense("W1", z, reduced, Initializer::HeNormal, Bias::Zeros)?;
    let hidden = s.activate(hidden, Activation::Relu)?;
    let weights = s.dense("W2", hidden, s.width(x), Initializer::GlorotNormal, Bias::Zeros)?;
    let mut y = s.multiply(x, weights)?;
    if settings.flag("use_skip_connection", true)? {
        y = s.plus(y, x)?;
    }
    if settings.flag("use_output_layer_norm", true)? {
        y = s.layer_norm("output_ln", y, LAYER_NORM_EPSILON)?;
    }
    Ok(y)
}

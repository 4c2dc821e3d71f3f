//! The compressed interaction network of xDeepFM (Lian et al. 2018, arXiv 1803.05170, section 3.2; EasyRec behaviour 129):
//! `x^k_{h,d} = relu(Σ_{i,j} K^k_{h,i,j}·x^{k-1}_{i,d}·x⁰_{j,d} + b^k_h)`; the output are the sums over `d` of all layers.

use rankmill_config::Settings;
use rankmill_graph::ops::cin::Interaction;
use rankmill_graph::ops::segments::{ReduceRuns, Reduction};

use super::scope::{Activation, Scope};
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// n fields of width D → `[B, sum of hidden_feature_sizes]`.
///
/// # Errors
/// If there are no layers, or a layer has no maps.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let sizes = settings.counts("hidden_feature_sizes")?;
    if sizes.is_empty() || sizes.contains(&0) {
        return Err(settings.error("hidden_feature_sizes", "CIN needs layers of at least one map each").into());
    }
    let start = s.fields(inputs)?;
    let [n, width] = s.shape(start).dims[..] else { return Err(LayerError::message("CIN needs fields")) };
    let name = s.block_name();
    let mut s = s.root(&name);
    let (mut x, mut fields) = (start, n);
    let mut outputs = Vec::with_capacity(sizes.len());
    for (k, maps) in sizes.iter().enumerate() {
        let kernel = s.parameter(&format!("cin_kernel_{k}"), &[*maps, fields, n], Initializer::HeNormal)?;
        let bias = s.parameter(&format!("cin_bias_{k}"), &[*maps], Initializer::Constant(0.0))?;
        let z = s.add(Interaction { width }, &[x, start, kernel, bias])?;
        x = s.activate(z, Activation::Relu)?;
        fields = *maps;
        outputs.push(s.add(ReduceRuns { width, reduction: Reduction::Sum }, &[x])?);
    }
    Ok(Tensors::One(s.concat(&outputs)?))
}

//! FiBiNET (Huang, Zhang, Zhang 2019, arXiv 1905.09433; EasyRec behaviour 34): features weighted by [`SENet`](super::se_net) beside their
//! [bilinear interactions](super::bi_linear), then an MLP.

use rankmill_config::Settings;

use super::mlp::{Mlp, mlp};
use super::scope::Scope;
use super::se_net::se_net;
use super::{LayerError, Tensors, bi_linear, one};

/// Features (of one width if there is a `bilinear`) → `[B, last width]`. EasyRec's variable names have the block's name twice.
///
/// # Errors
/// What its parts refuse.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let name = s.block_name();
    let mut s = s.child(&name);
    let senet = settings.group("senet")?.unwrap_or_else(Settings::empty);
    let mut outputs = vec![se_net(&mut s.child("senet"), &senet, inputs)?];
    if let Some(settings) = settings.group("bilinear")? {
        let interactions = bi_linear::component(&mut s.child("bilinear"), &settings, inputs)?;
        let mut s = s.child("bilinear");
        outputs.push(one(&mut s, &interactions)?);
    }
    let joined = s.concat(&outputs)?;
    match settings.group("mlp")? {
        Some(settings) => mlp(&mut s.child("mlp"), &Mlp::from_settings(&settings)?, joined).map(Tensors::One),
        None => Ok(Tensors::One(joined)),
    }
}

//! Inner products of all pairs of fields (DLRM, Naumov et al. 2019; EasyRec behaviour 126), the lower triangle row by row.

use std::sync::Arc;

use rankmill_config::Settings;
use rankmill_graph::ops::dots::Dots;
use rankmill_graph::ops::gather::Scatter;

use super::scope::Scope;
use super::{LayerError, Tensors};

/// n fields → `[B, n(n-1)/2]`, with `self_interaction` `[B, n(n+1)/2]`; with `skip_gather` `[B, n·n]`, the other triangle being 0.
///
/// # Errors
/// If the inputs are no fields of one width.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let x = s.fields(inputs)?;
    let [n, width] = s.shape(x).dims[..] else { return Err(LayerError::message("DotInteraction needs fields")) };
    let itself = u32::from(settings.flag("self_interaction", false)?);
    let pairs: Arc<[(u32, u32)]> = (0..n as u32).flat_map(|i| (0..i + itself).map(move |j| (i, j))).collect();
    if pairs.is_empty() {
        return Err(LayerError::message("DotInteraction needs at least two fields"));
    }
    let columns = pairs.iter().map(|(i, j)| i * n as u32 + j).collect();
    let dots = s.add(Dots { pairs, width }, &[x, x])?;
    if !settings.flag("skip_gather", false)? {
        return Ok(Tensors::One(dots));
    }
    Ok(Tensors::One(s.add(Scatter { columns, dims: vec![n * n] }, &[dots])?))
}

//! The second-order part of a factorization machine (Rendle 2010; EasyRec behaviours 33 and 126): `Σ_{i<j} eᵢ ⊙ eⱼ`.

use rankmill_config::Settings;
use rankmill_graph::ops::pairwise::PairwiseProducts;
use rankmill_graph::ops::reduce::SumColumns;

use super::scope::Scope;
use super::{LayerError, Tensors};

/// Fields of width D → `[B, 1]`, or with `use_variant` the vector before its sum, `[B, D]`.
///
/// # Errors
/// If the inputs are no fields of one width.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let fields = s.fields(inputs)?;
    let products = s.add(PairwiseProducts, &[fields])?;
    if settings.flag("use_variant", false)? {
        return Ok(Tensors::One(products));
    }
    Ok(Tensors::One(s.add(SumColumns, &[products])?))
}

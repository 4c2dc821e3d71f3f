//! The transformer's encoder over the words of texts (EasyRec behaviour 136): the tokens `[CLS] a [SEP] b [SEP] ` of texts `a`, `b` go through a
//! [`TransformerEncoder`](super::transformer_encoder). Empty tokens are hidden.
//!
//! The features make tokens of texts, so what comes here are their ids and mask.

use rankmill_config::Settings;

use super::scope::Scope;
use super::transformer_encoder::encode;
use super::{LayerError, Tensors};

/// The tokens' ids and mask, both `[B, L, 1]` → as [`encode`].
///
/// # Errors
/// If a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let [ids, mask] = inputs.values()[..] else { return Err(LayerError::message("TextEncoder takes texts")) };
    let transformer = settings.required_group("transformer")?;
    encode(&mut s.child("transformer"), &transformer, ids, Some(mask))
}

//! Lints of components whose settings suggest another formula than theirs.

use prost_types::value::Kind;

use super::Finder;
use crate::proto::keras_layer::Params;
use crate::proto::{Attention, KerasLayer, PpNet};

const WITHOUT_EFFECT: &str = "setting_without_effect";

/// Settings of Keras that add to a loss which nobody reads.
const REGULARIZERS: [&str; 6] =
    ["activity_regularizer", "alpha_regularizer", "beta_regularizer", "bias_regularizer", "gamma_regularizer", "kernel_regularizer"];

/// EasyRec behaviours 120, 127, 128, 131, 134, 137, 139 and 140; `path` is that of the layer.
pub(super) fn find(finder: &mut Finder<'_>, layer: &KerasLayer, path: &str) {
    match &layer.params {
        Some(Params::StParams(_)) => regularizers(finder, layer, path),
        Some(Params::Attention(params)) => attention(finder, params, &format!("{path}.attention")),
        Some(Params::Bilinear(params)) => interaction(finder, params.r#type(), &format!("{path}.bilinear")),
        Some(Params::Fibinet(params)) => {
            if let Some(bilinear) = &params.bilinear {
                interaction(finder, bilinear.r#type(), &format!("{path}.fibinet.bilinear"));
            }
        }
        Some(Params::Ppnet(params)) => personal(finder, params, &format!("{path}.ppnet")),
        Some(Params::TextCnn(params)) if params.pad_sequence_length() == 0 => {
            finder.note("maximum_over_padding", &format!("{path}.text_cnn"), "`pad_sequence_length` is 0");
        }
        _ => {}
    }
    if layer.class_name() == "AuxiliaryLoss" {
        match setting(layer, "loss_type") {
            Some(Kind::StringValue(kind)) if kind != "l2_loss" => {
                finder.note("contrast_of_any_length", &format!("{path}.class_name"), format!("`loss_type` is {kind}"));
            }
            _ => {}
        }
    }
}

/// A setting in `st_params`.
pub(super) fn setting<'a>(layer: &'a KerasLayer, name: &str) -> Option<&'a Kind> {
    match &layer.params {
        Some(Params::StParams(values)) => values.fields.get(name).and_then(|value| value.kind.as_ref()),
        _ => None,
    }
}

fn regularizers(finder: &mut Finder<'_>, layer: &KerasLayer, path: &str) {
    const EFFECT: &str = "the layer keeps this loss to itself: EasyRec never adds it to the model's";
    for name in REGULARIZERS {
        if setting(layer, name).is_some_and(|kind| !matches!(kind, Kind::NullValue(_))) {
            let message = format!("`{name}` has no effect");
            finder.note_as(WITHOUT_EFFECT, &format!("{path}.st_params.fields[\"{name}\"]"), message, EFFECT, "remove it");
        }
    }
}

fn attention(finder: &mut Finder<'_>, params: &Attention, path: &str) {
    if params.use_scale() && params.scale_by_dim() {
        let (effect, fix) = ("with use_scale the factor is learnt, and scores are not divided", "remove one of them");
        finder.note_as(WITHOUT_EFFECT, &format!("{path}.scale_by_dim"), "`scale_by_dim` has no effect".to_owned(), effect, fix);
    }
}

fn interaction(finder: &mut Finder<'_>, kind: &str, path: &str) {
    if kind == "interaction" {
        finder.note("easyrec_fails", path, "`type` is interaction, which is the default");
    }
}

fn personal(finder: &mut Finder<'_>, params: &PpNet, path: &str) {
    if params.mode.is_none() {
        finder.note("gates_are_eager", path, "`mode` is not set");
    }
    if params.gate_params.as_ref().is_some_and(|gate| gate.use_bn()) {
        finder.note("gate_norm_removes_biases", &format!("{path}.gate_params.use_bn"), "the gates have batch norms");
    }
}

//! Which components there are: those of Rankmill, and those that other crates register.

use std::sync::{PoisonError, RwLock};

use rankmill_config::{Settings, nearest, proto};

use super::scope::Scope;
use super::{LayerError, Tensors};
use super::{
    activation_layers, aitm_tower, attention, auto_dis_embedding, auxiliary_loss, bi_linear, bst, cin, cross, dense, din, dot_interaction,
    dropout, exponential_cross, fi_bi_net, final_mlp, final_net, fm, gate, gated_cross, highway, keras_sequences, mask_block, mask_net,
    merge, mlp, mmoe, multi_head_attention, nary_dis_embedding, normalization, periodic_embedding, pp_net, reshaping, se_net, seq_augment,
    text_cnn, text_encoder, text_numbers, transformer_block, transformer_encoder,
};

/// How a component is built: from the place in the variable names, its settings and its inputs.
pub type Build = fn(&mut Scope<'_>, &Settings, &Tensors) -> Result<Tensors, LayerError>;

/// A component: its name in configs, its settings, and how it is built.
#[derive(Clone, Debug)]
pub struct Component {
    /// `keras_layer.class_name`.
    pub class_name: &'static str,
    /// The field of `keras_layer` with its message, if it has one; `st_params` with the same names will do as well.
    pub message: Option<&'static str>,
    /// Names in `st_params` besides those of the message.
    pub settings: &'static [&'static str],
    /// How it is built.
    pub build: Build,
}

/// Settings that Keras knows and that have no effect on numbers, or none in EasyRec (behaviour 26).
const WITHOUT_EFFECT: &[&str] = &[
    "name",
    "dtype",
    "trainable",
    "kernel_regularizer",
    "bias_regularizer",
    "activity_regularizer",
    "beta_regularizer",
    "gamma_regularizer",
    "alpha_regularizer",
];

const fn component(class_name: &'static str, message: Option<&'static str>, settings: &'static [&'static str], build: Build) -> Component {
    Component { class_name, message, settings, build }
}

/// Rankmill's components, in alphabetical order.
const COMPONENTS: &[Component] = &[
    component("AITMTower", Some("aitm"), &[], aitm_tower::component),
    component("Activation", None, &["activation"], activation_layers::activation),
    component("Add", None, &[], merge::add),
    component("Attention", Some("attention"), &[], attention::component),
    component("AutoDisEmbedding", Some("auto_dis_embedding"), &[], auto_dis_embedding::component),
    component("AuxiliaryLoss", None, auxiliary_loss::SETTINGS, auxiliary_loss::component),
    component("Average", None, &[], merge::average),
    component("BST", Some("bst"), &[], bst::component),
    component("BatchNormalization", None, normalization::BATCH_NORM_SETTINGS, normalization::batch_normalization),
    component("BiLinear", Some("bilinear"), &[], bi_linear::component),
    component("CIN", Some("cin"), &[], cin::component),
    component("Concatenate", None, &["axis"], merge::concatenate),
    component("Conv1D", None, keras_sequences::CONV_SETTINGS, keras_sequences::convolution),
    component("Cross", None, cross::SETTINGS, cross::component),
    component("DIN", Some("din"), &[], din::component),
    component("Dense", None, dense::SETTINGS, dense::component),
    component("Dot", None, &["axes", "normalize"], merge::dot),
    component("DotInteraction", None, &["self_interaction", "skip_gather"], dot_interaction::component),
    component("Dropout", None, &["rate"], dropout::component),
    component("ELU", None, &["alpha"], activation_layers::elu),
    component("EditDistance", None, text_numbers::EDIT_DISTANCE_SETTINGS, text_numbers::edit_distance),
    component("Embedding", None, keras_sequences::EMBEDDING_SETTINGS, keras_sequences::embedding),
    component("ExponentialCross", None, exponential_cross::SETTINGS, exponential_cross::component),
    component("FM", Some("fm"), &[], fm::component),
    component("FiBiNet", Some("fibinet"), &[], fi_bi_net::component),
    component("FinalMLP", None, final_mlp::SETTINGS, final_mlp::component),
    component("FinalNet", None, final_net::SETTINGS, final_net::component),
    component("Flatten", None, &[], reshaping::flatten),
    component("Gate", Some("gate"), &[], gate::component),
    component("GatedCross", None, gated_cross::SETTINGS, gated_cross::component),
    component("GlobalAveragePooling1D", None, &[], keras_sequences::average),
    component("GlobalMaxPooling1D", None, &[], keras_sequences::maximum),
    component("Highway", Some("highway"), &[], highway::component),
    component("LayerNormalization", None, &["axis", "epsilon"], normalization::layer_normalization),
    component("LeakyReLU", None, &["alpha"], activation_layers::leaky_relu),
    component("MLP", Some("mlp"), &[], mlp::component),
    component("MMoE", Some("mmoe"), &[], mmoe::component),
    component("MappedDotProduct", Some("dot_product"), &[], text_numbers::mapped_dot_product),
    component("MaskBlock", Some("mask_block"), &[], mask_block::component),
    component("MaskNet", Some("masknet"), &[], mask_net::component),
    component("Maximum", None, &[], merge::maximum),
    component("Minimum", None, &[], merge::minimum),
    component("MultiHeadAttention", Some("multi_head_attention"), &[], multi_head_attention::component),
    component("Multiply", None, &[], merge::multiply),
    component("NaryDisEmbedding", Some("nary_dis_embedding"), &[], nary_dis_embedding::component),
    component("OverlapFeature", Some("overlap"), &[], text_numbers::overlap_feature),
    component("PPNet", Some("ppnet"), &[], pp_net::component),
    component("PReLU", None, &["alpha_initializer"], activation_layers::prelu),
    component("PeriodicEmbedding", Some("periodic_embedding"), &[], periodic_embedding::component),
    component("ReLU", None, &["max_value"], activation_layers::relu),
    component("Reshape", None, &["target_shape"], reshaping::reshape),
    component("SENet", Some("senet"), &[], se_net::component),
    component("SeqAugment", Some("seq_aug"), &[], seq_augment::component),
    component("SeqAugmentOps", Some("seq_aug"), &[], seq_augment::component_of_rows),
    component("Softmax", None, &["axis"], activation_layers::softmax),
    component("Subtract", None, &[], merge::subtract),
    component("TextCNN", Some("text_cnn"), &[], text_cnn::component),
    component("TextEncoder", Some("text_encoder"), &[], text_encoder::component),
    component("TextNormalize", None, text_numbers::TEXT_NORMALIZE_SETTINGS, text_numbers::text_normalize),
    component("TransformerBlock", Some("transformer"), &[], transformer_block::component),
    component("TransformerEncoder", Some("transformer"), &[], transformer_encoder::component),
];

/// Components of other crates.
static CUSTOM: RwLock<Vec<Component>> = RwLock::new(Vec::new());

/// A component of that name is there already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is a component `{class_name}` already")]
pub struct NameTaken {
    /// The name.
    pub class_name: &'static str,
}

/// Makes a component available to all configs of this process, as `keras_layer.class_name`.
///
/// # Errors
/// If the name is taken.
pub fn register(component: Component) -> Result<(), NameTaken> {
    let mut custom = CUSTOM.write().unwrap_or_else(PoisonError::into_inner);
    if COMPONENTS.iter().chain(custom.iter()).any(|known| known.class_name == component.class_name) {
        return Err(NameTaken { class_name: component.class_name });
    }
    custom.push(component);
    Ok(())
}

/// Rankmill's own components, in alphabetical order.
pub fn components() -> &'static [Component] {
    COMPONENTS
}

fn find(class_name: &str) -> Option<Component> {
    let custom = CUSTOM.read().unwrap_or_else(PoisonError::into_inner);
    COMPONENTS.iter().chain(custom.iter()).find(|component| component.class_name == class_name).cloned()
}

/// Builds the component that `config` names.
///
/// # Errors
/// If the name is unknown, a setting is wrong, or the shapes don't fit.
pub fn build(s: &mut Scope<'_>, config: &proto::KerasLayer, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let (component, settings) = configured(config)?;
    s.begin();
    (component.build)(s, &settings, inputs)
}

/// The settings of the component that `config` names.
///
/// # Errors
/// If the name is unknown, or a setting is not one of the component's.
pub fn settings(config: &proto::KerasLayer) -> Result<Settings, LayerError> {
    configured(config).map(|(_, settings)| settings)
}

fn configured(config: &proto::KerasLayer) -> Result<(Component, Settings), LayerError> {
    let Some(component) = find(config.class_name()) else { return Err(unknown(config.class_name())) };
    let settings = Settings::of_layer(config, component.message)?;
    settings.expect_only(component.settings, WITHOUT_EFFECT)?;
    Ok((component, settings))
}

fn unknown(class_name: &str) -> LayerError {
    let custom = CUSTOM.read().unwrap_or_else(PoisonError::into_inner);
    let names: Vec<&str> = COMPONENTS.iter().chain(custom.iter()).map(|component| component.class_name).collect();
    let near = nearest(class_name, names.iter().copied()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    LayerError::field("class_name", format!("component `{class_name}` is not supported; {near}known: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_custom_components_join_it() {
        assert!(COMPONENTS.windows(2).all(|pair| pair[0].class_name < pair[1].class_name));
        let own = Component { class_name: "RegistryTest", message: None, settings: &[], build: reshaping::flatten };
        assert_eq!(register(own.clone()), Ok(()));
        assert_eq!(register(own), Err(NameTaken { class_name: "RegistryTest" }));
        let taken = Component { class_name: "MLP", message: None, settings: &[], build: reshaping::flatten };
        assert!(register(taken).is_err());
        assert!(find("RegistryTest").is_some());
        assert!(unknown("MPL").to_string().contains("did you mean `MLP`?"));
    }
}

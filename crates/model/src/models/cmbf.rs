//! `CMBF`, fusion of images and texts (Chen et al. 2021, Sensors 21:5275; EasyRec behaviours 164 and 184): a transformer for images, one for
//! general features and texts, then layers in which each side attends to the other.
//!
//! An image is one token if there are no layers for images alone; else several images are a token each, one image is cut into
//! `image_feature_patch_num` of them, or each of its `image_feature_dim` numbers is multiplied by a vector of its own. What goes on is
//! the mean of the image's tokens, the general features one by one, and the mean of each text; then the features of the group `other`.

use rankmill_config::Diagnostic;
use rankmill_config::proto::CmbfTower;
use rankmill_graph::ops::axis::{FromAxis, PartAlong, SumAlong, ToAxis};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::positions::PositionRows;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{Axis, GraphError, Length, Shape, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::activation::Activation;
use rankmill_nn::layers::encoder::{Encoder, Tokens, cross_layer, encoder_layer};
use rankmill_nn::layers::scope::Scope;

use super::modalities::{
    Count, Embeddings, Kind, Modalities, embedded, feature_tokens, joined, mask, other_features, projected, text_tokens,
};
use super::section;
use crate::model::Construction;

/// Deviation of what kernels and tables start with.
const DEVIATION: f32 = 0.02;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, Cmbf, "cmbf");
    let fused = fuse(c, &config.config.clone().unwrap_or_default(), 0.0, "model_config.cmbf.config")?;
    let all = c.optional_dnn("final_dnn", config.final_dnn.as_ref(), 0.0, fused, "model_config.cmbf.final_dnn")?;
    Ok(vec![c.plain_dense("output", all, c.tasks[0].classes)?])
}

/// What the layers make of all groups, `[B, N]`; `path` is the place of `config`, `penalty` that of the DNN on the group `other`.
pub(super) fn fuse(c: &mut Construction<'_>, config: &CmbfTower, penalty: f32, path: &str) -> Result<Value, Diagnostic> {
    let most_positions = config.use_position_embeddings().then(|| config.max_position_embeddings());
    let groups = Modalities::read(c, path, most_positions)?;
    let sizes = Sizes::read(c, config, &groups, path)?;
    let mut parts = towers(c, config, &groups, &sizes).map_err(|error| c.error(path, error))?;
    parts.extend(other_features(c, groups.other, config.other_feature_dnn.as_ref(), penalty, path)?);
    c.concat(&parts)
}

/// What tokens an image becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ImageTokens {
    /// One for each image.
    Images,
    /// As many from one image.
    Patches(usize),
    /// One for each of so many numbers.
    Numbers(usize),
}

impl ImageTokens {
    fn count(self, groups: &Modalities) -> usize {
        match self {
            ImageTokens::Images => groups.image.len(),
            ImageTokens::Patches(count) | ImageTokens::Numbers(count) => count,
        }
    }
}

/// Widths of tokens, once it is known that they can be had.
struct Sizes {
    heads: usize,
    image: usize,
    image_tokens: ImageTokens,
    text: usize,
    image_cross: usize,
    text_cross: usize,
}

impl Sizes {
    fn read(c: &Construction<'_>, config: &CmbfTower, groups: &Modalities, path: &str) -> Result<Sizes, Diagnostic> {
        let rates = [
            ("hidden_dropout_prob", config.hidden_dropout_prob()),
            ("attention_probs_dropout_prob", config.attention_probs_dropout_prob()),
            ("text_seq_emb_dropout_prob", config.text_seq_emb_dropout_prob()),
        ];
        if let Some((field, _)) = rates.iter().find(|(_, rate)| !(0.0..1.0).contains(rate)) {
            return Err(c.error(&format!("{path}.{field}"), "a dropout rate lies in [0, 1)"));
        }
        let (has_image, has_text) = (!groups.image.is_empty(), !groups.general.is_empty() || !groups.text.is_empty());
        let heads = config.multi_head_num() as usize;
        let [image_cross, text_cross] = [config.image_cross_head_size(), config.text_cross_head_size()].map(|size| heads * size as usize);
        let alone = config.image_self_attention_layer_num() > 0;
        let image = if alone { (config.image_head_size() * config.image_multi_head_num()) as usize } else { image_cross };
        let text = (config.text_head_size() * config.text_multi_head_num()) as usize;
        let needed = [
            ("multi_head_num", heads, has_image || has_text),
            ("image_cross_head_size", image_cross, has_image && (has_text || !alone)),
            ("text_cross_head_size", text_cross, has_image && has_text),
            ("image_head_size", image, has_image),
            ("text_head_size", text, has_text),
        ];
        if let Some((field, ..)) = needed.iter().find(|(_, size, needed)| *needed && *size == 0) {
            return Err(c.error(&format!("{path}.{field}"), format!("`{field}` needs to be above 0")));
        }
        for (field, size, needed) in [("image_head_size", image, has_image), ("text_head_size", text, has_text)] {
            if needed && size % heads != 0 {
                let message = format!("{size} columns are not divided among {heads} heads (multi_head_num)");
                return Err(c.error(&format!("{path}.{field}"), message));
            }
        }
        let image_tokens = if has_image && alone { image_tokens(c, config, groups, path)? } else { ImageTokens::Images };
        Ok(Sizes { heads, image, image_tokens, text, image_cross, text_cross })
    }

    fn encoder(&self, config: &CmbfTower, width: usize, activation: &str) -> Encoder {
        Encoder {
            width,
            heads: self.heads,
            intermediate: 4 * width,
            activation: Activation::from_name(activation).unwrap_or(Activation::Relu),
            dropout: config.hidden_dropout_prob(),
            attention_dropout: config.attention_probs_dropout_prob(),
            initializer: Initializer::TruncatedNormal { mean: 0.0, deviation: DEVIATION },
        }
    }
}

fn image_tokens(c: &Construction<'_>, config: &CmbfTower, groups: &Modalities, path: &str) -> Result<ImageTokens, Diagnostic> {
    let [image] = groups.image[..] else { return Ok(ImageTokens::Images) };
    let (patches, width) = (config.image_feature_patch_num() as usize, c.builder.graph.shape(image).elements());
    match (patches, config.image_feature_dim() as usize) {
        (2.., _) if width % patches != 0 => {
            let message = format!("an image of {width} numbers can't be cut into {patches} equal parts");
            Err(c.error(&format!("{path}.image_feature_patch_num"), message))
        }
        (2.., _) => Ok(ImageTokens::Patches(patches)),
        (_, 0) => Err(c.error(&format!("{path}.image_feature_dim"), "`image_feature_dim` says how many tokens an image becomes")),
        (_, numbers) => Ok(ImageTokens::Numbers(numbers)),
    }
}

/// The parts of the result that come from images, general features and texts.
fn towers(c: &mut Construction<'_>, config: &CmbfTower, groups: &Modalities, sizes: &Sizes) -> Result<Vec<Value>, GraphError> {
    let mut s = c.builder.scope("");
    let image = if groups.image.is_empty() { None } else { Some(image_tower(&mut s, config, groups, sizes)?) };
    let text = if groups.general.is_empty() && groups.text.is_empty() { None } else { Some(text_tower(&mut s, config, groups, sizes)?) };
    let count = sizes.image_tokens.count(groups);
    match (image, text) {
        (Some(image), Some((kinds, text))) => {
            let (image, text) = crossed(&mut s, config, sizes, image, text)?;
            let mut parts = vec![mean(&mut s, image, count)?];
            parts.extend(merged(&mut s, &kinds, text)?);
            Ok(parts)
        }
        (Some(image), None) => Ok(vec![mean(&mut s, image, count)?]),
        (None, Some((kinds, text))) => merged(&mut s, &kinds, text),
        (None, None) => Ok(Vec::new()),
    }
}

fn image_tower(s: &mut Scope<'_>, config: &CmbfTower, groups: &Modalities, sizes: &Sizes) -> Result<Tokens, GraphError> {
    let kind = match sizes.image_tokens {
        ImageTokens::Images => feature_tokens(s, &groups.image, "img_projection", sizes.image)?,
        ImageTokens::Patches(patches) => {
            let axis = s.axis(Length::Fixed(patches));
            let width = s.width(groups.image[0]) / patches;
            let cut = s.add(ToAxis { axis, width }, &[groups.image[0]])?;
            Kind { value: projected(s, cut, "img_projection", sizes.image)?, axis: Some(axis), count: Count::Fixed(patches) }
        }
        ImageTokens::Numbers(count) => {
            let axis = s.axis(Length::Fixed(count));
            let numbers = projected(s, groups.image[0], "img_projection", count)?;
            let numbers = s.add(ToAxis { axis, width: 1 }, &[numbers])?;
            let table = s.parameter("img_map_matrix", &[1, count, sizes.image], Initializer::GlorotUniform)?;
            let table = s.add(Reshape { shape: Shape::fixed(&[count, sizes.image]) }, &[table])?;
            let vectors = s.add(PositionRows { axis }, &[table])?;
            Kind { value: s.multiply(vectors, numbers)?, axis: Some(axis), count: Count::Fixed(count) }
        }
    };
    let tokens = joined(s, &[kind])?;
    encoded(s, &sizes.encoder(config, sizes.image, "gelu"), config.image_self_attention_layer_num(), "image_self_attention", tokens)
}

/// The tokens of general features and texts, and all of them behind the transformer.
fn text_tower(s: &mut Scope<'_>, config: &CmbfTower, groups: &Modalities, sizes: &Sizes) -> Result<(Vec<Kind>, Tokens), GraphError> {
    let mut kinds = Vec::with_capacity(1 + groups.text.len());
    if !groups.general.is_empty() {
        kinds.push(feature_tokens(s, &groups.general, "txt_projection", sizes.text)?);
    }
    for (i, text) in groups.text.iter().enumerate() {
        let kind = text_tokens(s, text, &format!("txt_seq_projection_{i}"), sizes.text)?;
        let embeddings = Embeddings {
            token_type: config.use_token_type().then_some((i, groups.text.len())),
            positions: config
                .use_position_embeddings()
                .then(|| (format!("position_embeddings_{i}"), config.max_position_embeddings() as usize)),
            dropout: config.text_seq_emb_dropout_prob(),
            deviation: DEVIATION,
        };
        kinds.push(embedded(s, kind, &embeddings)?);
    }
    let tokens = joined(s, &kinds)?;
    let encoder = sizes.encoder(config, sizes.text, "gelu");
    Ok((kinds, encoded(s, &encoder, config.text_self_attention_layer_num(), "text_self_attention", tokens)?))
}

fn encoded(s: &mut Scope<'_>, encoder: &Encoder, layers: u32, name: &str, tokens: Tokens) -> Result<Tokens, GraphError> {
    let mut tokens = tokens;
    for i in 0..layers {
        tokens.value = encoder_layer(&mut s.child(&format!("{name}_layer_{i}")), encoder, tokens)?;
    }
    Ok(tokens)
}

/// Both sides behind the layers in which they attend to each other.
fn crossed(s: &mut Scope<'_>, config: &CmbfTower, sizes: &Sizes, image: Tokens, text: Tokens) -> Result<(Tokens, Tokens), GraphError> {
    let (mut image, mut text) = (image, text);
    let [left, right] = [sizes.image_cross, sizes.text_cross].map(|width| sizes.encoder(config, width, "relu"));
    for i in 0..config.cross_modal_layer_num() {
        let next = cross_layer(&mut s.child(&format!("left_to_right_cross_layer_{i}")), &left, image, text)?;
        text.value = cross_layer(&mut s.child(&format!("right_to_left_cross_layer_{i}")), &right, text, image)?;
        image.value = next;
    }
    Ok((image, text))
}

/// The mean of the `count` tokens.
fn mean(s: &mut Scope<'_>, tokens: Tokens, count: usize) -> Result<Value, GraphError> {
    let sum = s.add(SumAlong, &[tokens.value])?;
    s.scale(sum, 1.0 / count as f32)
}

/// The general features side by side, and the mean of the tokens that a row has of each text: 0 if it has none (EasyRec: not a number).
fn merged(s: &mut Scope<'_>, kinds: &[Kind], tokens: Tokens) -> Result<Vec<Value>, GraphError> {
    let axes: Vec<Option<Axis>> = kinds.iter().map(|kind| kind.axis).collect();
    let width = s.width(tokens.value);
    let mut parts = Vec::with_capacity(kinds.len());
    for (i, kind) in kinds.iter().enumerate() {
        let part = match kinds.len() {
            1 => tokens.value,
            _ => s.add(PartAlong { before: axes[..i].to_vec(), axis: kind.axis }, &[tokens.value])?,
        };
        parts.push(match kind.count {
            Count::Fixed(count) => s.add(FromAxis { dims: vec![count * width] }, &[part])?,
            Count::Lengths(lengths) => {
                let shown = mask(s, kind)?;
                let shown = s.multiply(part, shown)?;
                let sum = s.add(SumAlong, &[shown])?;
                s.add(Binary::DivideOrZero, &[sum, lengths])?
            }
        });
    }
    Ok(parts)
}

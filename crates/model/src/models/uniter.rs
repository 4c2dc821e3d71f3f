//! `Uniter` (Chen et al. 2020, arXiv 1909.11740; EasyRec behaviour 184): one transformer over a learnt first token, images, general
//! features and texts; what it makes of the first token goes on, beside the features of the group `other`.

use rankmill_config::Diagnostic;
use rankmill_config::proto::UniterTower;
use rankmill_graph::ops::axis::PartAlong;
use rankmill_graph::ops::broadcast::{RepeatRow, Scaling};
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{GraphError, Shape, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::activation::Activation;
use rankmill_nn::layers::encoder::{Encoder, encoder_layer};
use rankmill_nn::layers::scope::Scope;

use super::modalities::{Count, Embeddings, Kind, Modalities, embedded, feature_tokens, joined, other_features, text_tokens};
use super::section;
use crate::model::Construction;

/// Deviation of what the tables of types and positions start with, whatever `initializer_range` says.
const TABLE_DEVIATION: f32 = 0.02;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, Uniter, "uniter");
    let fused = fuse(c, &config.config.clone().unwrap_or_default(), 0.0, "model_config.uniter.config")?;
    let all = c.optional_dnn("final_dnn", config.final_dnn.as_ref(), 0.0, fused, "model_config.uniter.final_dnn")?;
    Ok(vec![c.plain_dense("output", all, c.tasks[0].classes)?])
}

/// What the transformer makes of all groups, `[B, N]`; `path` is the place of `config`, `penalty` that of the DNN on the group `other`.
pub(super) fn fuse(c: &mut Construction<'_>, config: &UniterTower, penalty: f32, path: &str) -> Result<Value, Diagnostic> {
    let most_positions = config.use_position_embeddings().then(|| config.max_position_embeddings());
    let groups = Modalities::read(c, path, most_positions)?;
    let mut parts = Vec::with_capacity(2);
    if !(groups.image.is_empty() && groups.general.is_empty() && groups.text.is_empty()) {
        let encoder = encoder(c, config, path)?;
        let first = first_token(&mut c.builder.scope(""), config, &encoder, &groups);
        parts.push(first.map_err(|error| c.error(path, error))?);
    }
    parts.extend(other_features(c, groups.other, config.other_feature_dnn.as_ref(), penalty, path)?);
    c.concat(&parts)
}

fn encoder(c: &Construction<'_>, config: &UniterTower, path: &str) -> Result<Encoder, Diagnostic> {
    let (width, heads) = (config.hidden_size() as usize, config.num_attention_heads() as usize);
    for (field, size) in
        [("hidden_size", width), ("num_attention_heads", heads), ("intermediate_size", config.intermediate_size() as usize)]
    {
        if size == 0 {
            return Err(c.error(&format!("{path}.{field}"), format!("`{field}` needs to be above 0")));
        }
    }
    if width % heads != 0 {
        let message = format!("{width} columns are not divided among {heads} heads");
        return Err(c.error(&format!("{path}.num_attention_heads"), message));
    }
    let rates =
        [("hidden_dropout_prob", config.hidden_dropout_prob()), ("attention_probs_dropout_prob", config.attention_probs_dropout_prob())];
    if let Some((field, _)) = rates.iter().find(|(_, rate)| !(0.0..1.0).contains(rate)) {
        return Err(c.error(&format!("{path}.{field}"), "a dropout rate lies in [0, 1)"));
    }
    let activation = Activation::from_name(config.hidden_act());
    Ok(Encoder {
        width,
        heads,
        intermediate: config.intermediate_size() as usize,
        activation: activation.map_err(|message| c.error(&format!("{path}.hidden_act"), message))?,
        dropout: config.hidden_dropout_prob(),
        attention_dropout: config.attention_probs_dropout_prob(),
        initializer: Initializer::TruncatedNormal { mean: 0.0, deviation: config.initializer_range() },
    })
}

/// What the layers make of the first token, `[B, hidden_size]`.
fn first_token(s: &mut Scope<'_>, config: &UniterTower, encoder: &Encoder, groups: &Modalities) -> Result<Value, GraphError> {
    let kinds = kinds(s, config, groups)?;
    let own = s.parameter("cls_emb", &[1, 1, encoder.width], Initializer::GlorotUniform)?;
    let own = s.add(Reshape { shape: Shape::fixed(&[encoder.width]) }, &[own])?;
    let own = s.add(RepeatRow { scaling: Scaling::One, axis: None }, &[own])?;
    let first = Kind { value: own, axis: None, count: Count::Fixed(1) };
    let mut tokens = joined(s, &[&[first], kinds.as_slice()].concat())?;
    for i in 0..config.num_hidden_layers() {
        tokens.value = encoder_layer(&mut s.child(&format!("uniter_layer_{i}")), encoder, tokens)?;
    }
    s.add(PartAlong { before: Vec::new(), axis: None }, &[tokens.value])
}

/// The tokens of images, general features and texts. Each kind and each text has a type of its own, unless there is only one.
fn kinds(s: &mut Scope<'_>, config: &UniterTower, groups: &Modalities) -> Result<Vec<Kind>, GraphError> {
    let width = config.hidden_size() as usize;
    let present = [!groups.image.is_empty(), !groups.general.is_empty()].map(usize::from);
    let types = present[0] + present[1] + groups.text.len();
    let several = types > 1 || groups.image.len() > 1;
    let mut kinds: Vec<Kind> = Vec::with_capacity(types);
    let mut add = |s: &mut Scope<'_>, kind: Kind, positions: Option<String>| -> Result<(), GraphError> {
        let embeddings = Embeddings {
            token_type: several.then_some((kinds.len(), types)),
            positions: positions.filter(|_| config.use_position_embeddings()).map(|name| (name, config.max_position_embeddings() as usize)),
            dropout: config.hidden_dropout_prob(),
            deviation: TABLE_DEVIATION,
        };
        kinds.push(embedded(s, kind, &embeddings)?);
        Ok(())
    };
    if !groups.image.is_empty() {
        let kind = feature_tokens(s, &groups.image, "img_projection", width)?;
        add(s, kind, Some("img_position_embeddings".to_owned()))?;
    }
    if !groups.general.is_empty() {
        let kind = feature_tokens(s, &groups.general, "txt_projection", width)?;
        add(s, kind, None)?;
    }
    for (i, text) in groups.text.iter().enumerate() {
        let kind = text_tokens(s, text, &format!("txt_seq_projection_{i}"), width)?;
        add(s, kind, Some(format!("txt_position_embeddings_{i}")))?;
    }
    Ok(kinds)
}

//! What `CMBF` and `Uniter` have in common (EasyRec behaviour 184): the feature groups `image`, `general`, `text` and `other`, of which any
//! may be missing, and the tokens that transformers read of them.

use rankmill_config::{Diagnostic, proto};
use rankmill_graph::ops::axis::{ConcatAlong, PositionMask, ToAxis};
use rankmill_graph::ops::broadcast::{RepeatRow, Scaling};
use rankmill_graph::ops::concat::Columns;
use rankmill_graph::ops::fill::Fill;
use rankmill_graph::ops::positions::PositionRows;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{Axis, GraphError, Length, Shape, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::encoder::{EPSILON, Tokens};
use rankmill_nn::layers::scope::{Bias, Scope};

use crate::model::Construction;
use crate::sequence_features::OwnSequence;

/// The feature groups.
pub(super) struct Modalities {
    /// A vector for each image, all of one width.
    pub(super) image: Vec<Value>,
    /// Features of one width.
    pub(super) general: Vec<Value>,
    /// Sequences of one width, each along an axis of its own.
    pub(super) text: Vec<OwnSequence>,
    /// What passes by the transformers, `[B, N]`.
    pub(super) other: Option<Value>,
}

impl Modalities {
    /// Looks the groups up; `path` is the place of the section that asks for them, `most_positions` how many numbers of positions there
    /// are, if there are some.
    pub(super) fn read(c: &mut Construction<'_>, path: &str, most_positions: Option<u32>) -> Result<Modalities, Diagnostic> {
        let names: Vec<String> = c.pipeline.feature_groups().iter().map(|group| group.name.to_owned()).collect();
        let has = |name: &str| names.iter().any(|known| known == name);
        let features = |c: &mut Construction<'_>, name: &str| if has(name) { Ok(c.group(name)?.features) } else { Ok(Vec::new()) };
        let image = features(c, "image")?;
        let general = features(c, "general")?;
        let text = match has("text") {
            true => c.groups.separate_sequences(&mut c.builder, "text", path)?,
            false => Vec::new(),
        };
        let other = if has("other") { Some(c.group("other")?.tensor) } else { None };
        if image.is_empty() && general.is_empty() && text.is_empty() && other.is_none() {
            let message = "this model needs one of the feature groups image, general, text and other";
            return Err(c.error("model_config.feature_groups", message));
        }
        let modalities = Modalities { image, general, text, other };
        modalities.check(c, path, most_positions)?;
        Ok(modalities)
    }

    fn check(&self, c: &Construction<'_>, path: &str, most_positions: Option<u32>) -> Result<(), Diagnostic> {
        let text: Vec<Value> = self.text.iter().map(|sequence| sequence.value).collect();
        for (name, values) in [("image", &self.image), ("general", &self.general), ("text", &text)] {
            let mut widths = values.iter().map(|value| c.builder.graph.shape(*value).elements());
            let first = widths.next();
            if let Some(other) = widths.find(|width| Some(*width) != first) {
                let message = format!("the features of group `{name}` need one width, but have {} and {other}", first.unwrap_or(0));
                return Err(c.error("model_config.feature_groups", message));
            }
        }
        let Some(most) = most_positions.filter(|_| !self.text.is_empty()) else { return Ok(()) };
        let place = format!("{path}.max_position_embeddings");
        if most == 0 {
            return Err(c.error(&place, "set `max_position_embeddings` to the longest text, or `use_position_embeddings: false`"));
        }
        for spec in c.groups.features.specs() {
            let longest = spec.sequence.as_ref().and_then(|sequence| sequence.max_seq_len).unwrap_or(0);
            let is_text = |group: &rankmill_config::FeatureGroup<'_>| {
                group.name == "text" && group.features.iter().any(|feature| feature.name == spec.name)
            };
            if longest > most as usize && c.pipeline.feature_groups().iter().any(is_text) {
                let message = format!("feature `{}` may have {longest} positions (max_seq_len), but there are {most}", spec.name);
                return Err(c.error(&place, message));
            }
        }
        Ok(())
    }
}

/// The features of group `other`, through their DNN if there is one.
pub(super) fn other_features(
    c: &mut Construction<'_>,
    other: Option<Value>,
    dnn: Option<&proto::Dnn>,
    penalty: f32,
    path: &str,
) -> Result<Option<Value>, Diagnostic> {
    other.map(|other| c.optional_dnn("other_dnn", dnn, penalty, other, &format!("{path}.other_feature_dnn"))).transpose()
}

/// Tokens of one kind, all of which every row has, or a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// `[B, L, D]`, or `[B, D]` for a single one.
    pub(super) value: Value,
    /// L.
    pub(super) axis: Option<Axis>,
    /// How many of them a row has.
    pub(super) count: Count,
}

/// How many tokens of a kind a row has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    /// Every row as many.
    Fixed(usize),
    /// As many as this says, `[B, 1]`.
    Lengths(Value),
}

/// Features of one width as tokens that are `width` wide, with the dense layer `name` if they are not.
pub(super) fn feature_tokens(s: &mut Scope<'_>, features: &[Value], name: &str, width: usize) -> Result<Kind, GraphError> {
    let axis = s.axis(Length::Fixed(features.len()));
    let joined = s.concat(features)?;
    let own = s.width(joined) / features.len();
    let value = s.add(ToAxis { axis, width: own }, &[joined])?;
    Ok(Kind { value: projected(s, value, name, width)?, axis: Some(axis), count: Count::Fixed(features.len()) })
}

/// A text as tokens that are `width` wide, as [`feature_tokens`].
pub(super) fn text_tokens(s: &mut Scope<'_>, text: &OwnSequence, name: &str, width: usize) -> Result<Kind, GraphError> {
    let value = projected(s, text.value, name, width)?;
    Ok(Kind { value, axis: Some(text.axis), count: Count::Lengths(text.lengths) })
}

/// `x` if it is `width` wide, else a dense layer on it.
pub(super) fn projected(s: &mut Scope<'_>, x: Value, name: &str, width: usize) -> Result<Value, GraphError> {
    if s.shape(x).width() == width {
        return Ok(x);
    }
    s.dense(name, x, width, Initializer::GlorotUniform, Bias::Zeros)
}

/// What is added to tokens before the transformer.
#[derive(Clone, Debug, Default)]
pub(super) struct Embeddings {
    /// Which of how many types the tokens have, if types count.
    pub(super) token_type: Option<(usize, usize)>,
    /// The table of positions and its rows, if positions count.
    pub(super) positions: Option<(String, usize)>,
    /// Dropout rate.
    pub(super) dropout: f32,
    /// Deviation of what the tables start with.
    pub(super) deviation: f32,
}

/// `LN(x + type + position)`, then dropout.
pub(super) fn embedded(s: &mut Scope<'_>, kind: Kind, embeddings: &Embeddings) -> Result<Kind, GraphError> {
    let width = s.shape(kind.value).width();
    let start = Initializer::TruncatedNormal { mean: 0.0, deviation: embeddings.deviation };
    let mut x = kind.value;
    if let Some((number, types)) = embeddings.token_type {
        let table = s.root("token_type").parameter("token_type_embeddings", &[types, width], start.clone())?;
        let flat = s.add(Reshape { shape: Shape::fixed(&[types * width]) }, &[table])?;
        let rows = s.add(RepeatRow { scaling: Scaling::One, axis: kind.axis }, &[flat])?;
        let own = s.add(Columns { first: number * width, width }, &[rows])?;
        x = s.plus(x, own)?;
    }
    if let (Some((name, rows)), Some(axis)) = (&embeddings.positions, kind.axis) {
        let table = s.root("position_embedding").parameter(name, &[*rows, width], start)?;
        let positions = s.add(PositionRows { axis }, &[table])?;
        x = s.plus(x, positions)?;
    }
    let norm = s.unique("LayerNorm");
    x = s.root("").layer_norm(&norm, x, EPSILON)?;
    let value = s.dropout(&format!("{norm}/dropout"), x, embeddings.dropout)?;
    Ok(Kind { value, ..kind })
}

/// Tokens of all kinds one after the other, with a mask if some rows have fewer than others.
pub(super) fn joined(s: &mut Scope<'_>, kinds: &[Kind]) -> Result<Tokens, GraphError> {
    let masked = kinds.iter().any(|kind| matches!(kind.count, Count::Lengths(_)));
    let masks = if masked { kinds.iter().map(|kind| mask(s, kind)).collect::<Result<Vec<_>, _>>()? } else { Vec::new() };
    if let [only] = kinds {
        return Ok(Tokens { value: only.value, axis: only.axis, mask: masks.first().copied() });
    }
    let axis = s.axis(Length::Joined(kinds.iter().map(|kind| kind.axis).collect()));
    let values: Vec<Value> = kinds.iter().map(|kind| kind.value).collect();
    let value = s.add(ConcatAlong { axis }, &values)?;
    let mask = if masked { Some(s.add(ConcatAlong { axis }, &masks)?) } else { None };
    Ok(Tokens { value, axis: Some(axis), mask })
}

/// 1 for each token that a row has.
pub(super) fn mask(s: &mut Scope<'_>, kind: &Kind) -> Result<Value, GraphError> {
    if let (Count::Lengths(lengths), Some(axis)) = (kind.count, kind.axis) {
        return s.add(PositionMask { axis }, &[lengths]);
    }
    let one = s.add(Fill { shape: Shape::fixed(&[1]), value: 1.0 }, &[])?;
    s.add(RepeatRow { scaling: Scaling::One, axis: kind.axis }, &[one])
}

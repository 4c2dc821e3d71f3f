//! Sequence groups: what a row's key features attend to in its sequences (EasyRec behaviours 159 and 160), after "Deep Interest Network"
//! (arXiv 1706.06978).
//!
//! With the key `k [B, D]` and the sequence `h [B, L, D]`, `scores = DNN([k, h, k - h, k ⊙ h])`, the last layer of the DNN being dense
//! alone; `y = Σ softmax(scores) ⊙ h` over the positions that a row has. The weights then weight the `aux_hist_seq`, too, and the key
//! follows. Batch norms inside of the DNN are over all B·L positions, padding included.

use rankmill_config::{Diagnostic, proto};
use rankmill_graph::ops::axis::{RepeatAlong, SumAlong};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::concat::Pad;
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::reduce::HalfSquareSum;
use rankmill_graph::{Axis, GraphError, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::LayerError;
use rankmill_nn::layers::dnn::{Dnn, Last, dnn};
use rankmill_nn::layers::scope::{Bias, Builder, Scope};

use crate::feed_sequences::{Cut, Filling};
use crate::groups::{Groups, member};
use crate::model::layer_error;
use crate::sequences::{kernel_penalty, masked_softmax};

/// The layers of a `seq_dnn` that is not set.
const DEFAULT_UNITS: [u32; 4] = [128, 64, 32, 1];

/// The tensors of a sequence group.
pub(crate) struct SequenceGroup {
    /// The key features side by side, `[B, K]`.
    pub(crate) key: Value,
    /// The sequences side by side, `[B, L, D]`.
    pub(crate) sequence: Value,
    /// Positions of each row, `[B, 1]`.
    pub(crate) lengths: Value,
    /// L.
    pub(crate) axis: Axis,
    /// The sequences that are weighted along, `[B, L, ..]` each.
    pub(crate) auxiliary: Vec<Value>,
}

impl Groups<'_> {
    /// The tensors of a sequence group, with tables in `scope`. `known` are the features that the feature group around it has; a key that
    /// is not among them gets a table of its own. `path` is the place of the group.
    pub(crate) fn sequence_group(
        &mut self,
        builder: &mut Builder,
        config: &proto::SeqAttGroupConfig,
        scope: &str,
        known: &[(String, Value)],
        path: &str,
    ) -> Result<SequenceGroup, Diagnostic> {
        let (mut keys, mut sequences) = (Vec::new(), Vec::new());
        let mut auxiliary = Vec::new();
        for (at, map) in config.seq_att_map.iter().enumerate() {
            let path = format!("{path}.seq_att_map[{at}]");
            for (at, key) in map.key.iter().enumerate() {
                keys.push(self.key(builder, key, scope, known, &format!("{path}.key[{at}]"))?);
            }
            for (at, name) in map.hist_seq.iter().enumerate() {
                sequences.push(self.named_sequence(name, &format!("{path}.hist_seq[{at}]"))?);
            }
            // Those of the last map count.
            auxiliary.clear();
            for (at, name) in map.aux_hist_seq.iter().enumerate() {
                auxiliary.push(self.named_sequence(name, &format!("{path}.aux_hist_seq[{at}]"))?);
            }
        }
        let (Some(first), false) = (sequences.first().copied(), keys.is_empty()) else {
            return Err(self.pipeline.error(path, "a sequence group needs a `key` and a `hist_seq`"));
        };
        let slots: Vec<_> = sequences.iter().chain(&auxiliary).map(|feature| self.sequence_slot(*feature)).collect();
        // The weights of positions that a row has not are 0, and so are the positions, but for those of a longer sequence beside.
        let filling = if slots.len() == 1 { Filling::Hidden } else { Filling::Read };
        let axis = self.feed.axis(&mut builder.graph, &slots, Cut::AtMaximum, filling);
        let mut positions = |groups: &mut Self, features: &[usize]| -> Result<Vec<Value>, Diagnostic> {
            let positions = |feature: &usize| {
                let spec = &groups.features.specs()[*feature];
                let table = format!("{scope}/{}", spec.embedding_name.as_ref().unwrap_or(&spec.table_suffix));
                groups.sequence_positions(builder, &table, *feature, axis)
            };
            features.iter().map(positions).collect()
        };
        let (sequences, auxiliary) = (positions(self, &sequences)?, positions(self, &auxiliary)?);
        let lengths = self.sequence_slot(first).lengths(Cut::AtMaximum);
        let mut s = builder.scope(scope);
        let side_by_side = || {
            let key = s.concat(&keys)?;
            let sequence = s.concat(&sequences)?;
            let lengths = s.add(DenseInput { slot: lengths, width: 1, axis: None }, &[])?;
            Ok(SequenceGroup { key, sequence, lengths, axis, auxiliary })
        };
        let group = side_by_side().map_err(|error: GraphError| self.pipeline.error(path, error.to_string()))?;
        self.add_square(builder, group.sequence, path)?;
        Ok(group)
    }

    /// What a feature group's sequence groups add to its tensor.
    pub(crate) fn attention_outputs(
        &mut self,
        builder: &mut Builder,
        group: &proto::FeatureGroupConfig,
        known: &[(String, Value)],
        path: &str,
    ) -> Result<Vec<Value>, Diagnostic> {
        let mut outputs = Vec::with_capacity(group.sequence_features.len());
        for (at, config) in group.sequence_features.iter().enumerate() {
            let path = format!("{path}.sequence_features[{at}]");
            let tensors = self.sequence_group(builder, config, group.group_name(), known, &path)?;
            let penalty = kernel_penalty(self.pipeline);
            let value = target_attention(builder, config, tensors, penalty);
            let value = value.map_err(|error| layer_error(self.pipeline, &path, error))?;
            outputs.push(value);
        }
        Ok(outputs)
    }

    /// A key feature's value: that of the feature group, or one with a table of its own.
    fn key(&mut self, builder: &mut Builder, name: &str, scope: &str, known: &[(String, Value)], path: &str) -> Result<Value, Diagnostic> {
        if let Some((_, value)) = known.iter().find(|(feature, _)| feature == name) {
            return Ok(*value);
        }
        let index = self.feature(name, path)?;
        let spec = &self.features.specs()[index];
        if spec.sequence.is_some() {
            return Err(self.pipeline.error(path, format!("the key `{name}` is a sequence; it must be a single value")));
        }
        let key = member(builder, scope, spec, self.slots.feature(index), spec.embedding_dim, false);
        let key = key.map_err(|error| self.pipeline.error(&spec.path, error))?;
        if key.is_embedding {
            self.add_square(builder, key.value, path)?;
        }
        Ok(key.value)
    }

    /// The index of a feature that must be a sequence.
    fn named_sequence(&self, name: &str, path: &str) -> Result<usize, Diagnostic> {
        let index = self.feature(name, path)?;
        if self.features.specs()[index].sequence.is_none() {
            return Err(self.pipeline.error(path, format!("`{name}` is no SequenceFeature")));
        }
        Ok(index)
    }

    /// The positions of a sequence along `axis`, cut to `max_seq_len`; the variable of its table, if it has one, lies in `table`.
    pub(crate) fn sequence_positions(
        &mut self,
        builder: &mut Builder,
        table: &str,
        feature: usize,
        axis: Axis,
    ) -> Result<Value, Diagnostic> {
        let path = &self.features.specs()[feature].path;
        self.positions(builder, table, feature, Cut::AtMaximum, axis).map_err(|error| self.pipeline.error(path, error))
    }

    /// Counts the squares of an embedding, if they are regularised.
    pub(crate) fn add_square(&mut self, builder: &mut Builder, value: Value, path: &str) -> Result<(), Diagnostic> {
        if self.regularised() {
            let square = builder.graph.add(HalfSquareSum, &[value]).map_err(|error| self.pipeline.error(path, error.to_string()))?;
            self.squares.push(square);
        }
        Ok(())
    }
}

/// The attention's output, `[B, D + auxiliary ones + K]`.
fn target_attention(
    builder: &mut Builder,
    config: &proto::SeqAttGroupConfig,
    group: SequenceGroup,
    penalty: f32,
) -> Result<Value, LayerError> {
    let name = format!("seq_dnn{}", config.group_name());
    let units = proto::Dnn { hidden_units: DEFAULT_UNITS.to_vec(), ..proto::Dnn::default() };
    let layers = scoring_dnn(config.seq_dnn.as_ref().unwrap_or(&units), penalty).map_err(|error| error.inside("seq_dnn"))?;
    let (key, sequence) = transformed(builder, config, &name, group.key, group.sequence)?;
    let group = SequenceGroup { sequence, ..group };
    let mut s = builder.scope(&name);
    let weights = attention_weights(&mut s, &layers, key, &group)?;
    let mut parts = Vec::with_capacity(2 + group.auxiliary.len());
    for h in std::iter::once(sequence).chain(group.auxiliary) {
        let weighted = s.add(Binary::Multiply, &[h, weights])?;
        parts.push(s.add(SumAlong, &[weighted])?);
    }
    if config.need_key_feature() {
        parts.push(key);
    }
    Ok(s.concat(&parts)?)
}

/// The DNN that scores positions: its last layer is dense alone, and has one unit.
pub(crate) fn scoring_dnn(config: &proto::Dnn, penalty: f32) -> Result<Dnn, LayerError> {
    let layers = Dnn { last: Last::Linear, ..Dnn::from_config(config, penalty)? };
    match layers.hidden_units.last() {
        Some(1) => Ok(layers),
        _ => Err(LayerError::field("hidden_units", "the last layer gives one score, so it has 1 unit")),
    }
}

/// The weights of the positions, `[B, L, 1]`: the softmax of their scores over those that a row has.
pub(crate) fn attention_weights(s: &mut Scope<'_>, layers: &Dnn, key: Value, group: &SequenceGroup) -> Result<Value, LayerError> {
    let sequence = group.sequence;
    let keys = s.add(RepeatAlong { axis: group.axis }, &[key])?;
    let difference = s.add(Binary::Subtract, &[keys, sequence])?;
    let product = s.add(Binary::Multiply, &[keys, sequence])?;
    let x = s.concat(&[keys, sequence, difference, product])?;
    let scores = dnn(s, layers, x)?;
    Ok(masked_softmax(s, scores, group.lengths, group.axis)?)
}

/// Key and sequence with one width. With `allow_key_transform` a narrower key is filled up with zeros; a wider one, and with
/// `transform_dnn` any other, passes through a dense layer, as the sequence then does, too.
fn transformed(
    builder: &mut Builder,
    config: &proto::SeqAttGroupConfig,
    name: &str,
    key: Value,
    sequence: Value,
) -> Result<(Value, Value), LayerError> {
    let mut s = builder.scope("");
    let (own, width) = (s.width(key), s.width(sequence));
    if own == width {
        return Ok((key, sequence));
    }
    if !config.allow_key_transform() {
        let message = format!("the keys have {own} columns and the sequences {width}; they must be equal, or set allow_key_transform");
        return Err(LayerError::field("", message));
    }
    if own < width && !config.transform_dnn() {
        return Ok((s.add(Pad { first: 0, width }, &[key])?, sequence));
    }
    let mut dense = |name: String, x| s.dense(&name, x, width, Initializer::GlorotUniform, Bias::Zeros);
    Ok((dense(format!("sequence_key_transform_layer_{name}"), key)?, dense(format!("sequence_fea_transform_layer_{name}"), sequence)?))
}

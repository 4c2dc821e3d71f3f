//! A feature group as blocks on sequences need it: its sequences position by position, and its plain features (EasyRec behaviour 116).

use rankmill_config::{Diagnostic, proto};
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{Axis, GraphError, Shape, Value};
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::Builder;

use crate::feed_sequences::{Cut, Filling};
use crate::groups::{Groups, find, member};

/// A sequence along an axis of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnSequence {
    /// `[B, L, d]`.
    pub(crate) value: Value,
    /// L.
    pub(crate) axis: Axis,
    /// Positions of each row, `[B, 1]`.
    pub(crate) lengths: Value,
}

impl Groups<'_> {
    /// The sequences of group `name`, each as long as its own longest row and cut to `max_seq_len`; the group holds nothing else.
    pub(crate) fn separate_sequences(&mut self, builder: &mut Builder, name: &str, path: &str) -> Result<Vec<OwnSequence>, Diagnostic> {
        let groups = self.pipeline.feature_groups();
        let group = find(self.pipeline, &groups, name, path)?;
        let mut sequences = Vec::with_capacity(group.features.len());
        for feature in &group.features {
            let index = self.feature_index(name, feature)?;
            if self.features.specs()[index].sequence.is_none() {
                let message = format!("the group `{name}` holds sequences only, but `{}` is no SequenceFeature", feature.name);
                return Err(self.pipeline.error(&feature.path, message));
            }
            let slot = self.sequence_slot(index);
            let axis = self.feed.axis(&mut builder.graph, &[slot], Cut::AtMaximum, Filling::Read);
            let value = self.sequence_positions(builder, &self.shared_table(index), index, axis)?;
            self.add_square(builder, value, path)?;
            let lengths = builder.graph.add(DenseInput { slot: slot.lengths(Cut::AtMaximum), width: 1, axis: None }, &[]);
            let lengths = lengths.map_err(|error| self.pipeline.error(path, error.to_string()))?;
            sequences.push(OwnSequence { value, axis, lengths });
        }
        Ok(sequences)
    }

    /// Where the table of a sequence lies: all groups have those that are handed on as sequences in one scope, by the features' names.
    fn shared_table(&self, feature: usize) -> String {
        let spec = &self.features.specs()[feature];
        format!("input_layer/{}", spec.embedding_name.as_ref().unwrap_or(&spec.name))
    }

    /// Group `name` as a tuple: its sequences `[B, L, Σd]`, the lengths `[B]` of the first one, and its plain features `[B, Σd]` if there
    /// are some. Without `concat_seq_feature` the sequences are a list, each as long as its own longest row, and so are the plain
    /// features. Sequences are cut to `max_seq_len`.
    pub(crate) fn sequences_and_features(
        &mut self,
        builder: &mut Builder,
        name: &str,
        options: &proto::InputLayer,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        let groups = self.pipeline.feature_groups();
        let group = find(self.pipeline, &groups, name, path)?;
        let mut sequences = Vec::new();
        let mut others = Vec::new();
        for feature in &group.features {
            let index = self.feature_index(name, feature)?;
            if self.features.specs()[index].sequence.is_some() { sequences.push(index) } else { others.push(index) }
        }
        let Some(first) = sequences.first().copied() else {
            let message = format!("`output_seq_and_normal_feature` needs a SequenceFeature, but group `{name}` has none");
            return Err(self.pipeline.error(path, message));
        };
        let joined = options.concat_seq_feature();
        let slots: Vec<_> = sequences.iter().map(|feature| self.sequence_slot(*feature)).collect();
        let positions = self.group_positions(builder, &sequences, joined, path)?;
        let axis = self.feed.axis(&mut builder.graph, if joined { &slots } else { &slots[..1] }, Cut::AtMaximum, Filling::Read);
        let plain = self.plain_members(builder, &others, path)?;
        let column = self.sequence_slot(first).lengths(Cut::AtMaximum);
        let mut s = builder.scope(&format!("{name} (feature group)"));
        let mut finish = || -> Result<Vec<Tensors>, GraphError> {
            let lengths = s.add(DenseInput { slot: column, width: 1, axis: None }, &[])?;
            let lengths = s.add(Reshape { shape: Shape::batch(&[]) }, &[lengths])?;
            s.note_lengths(lengths, axis);
            if !joined {
                return Ok(vec![list(&positions), Tensors::One(lengths), list(&plain)]);
            }
            let mut parts = vec![Tensors::One(s.concat(&positions)?), Tensors::One(lengths)];
            if !plain.is_empty() {
                parts.push(Tensors::One(s.concat(&plain)?));
            }
            Ok(parts)
        };
        finish().map(Tensors::Tuple).map_err(|error| self.pipeline.error(path, error.to_string()))
    }

    /// The positions of a group's sequences: along one axis if they are joined, else along an axis each.
    fn group_positions(&mut self, builder: &mut Builder, sequences: &[usize], joined: bool, path: &str) -> Result<Vec<Value>, Diagnostic> {
        let slots: Vec<_> = sequences.iter().map(|feature| self.sequence_slot(*feature)).collect();
        let mut positions = Vec::with_capacity(sequences.len());
        for (feature, slot) in sequences.iter().zip(&slots) {
            let beside = if joined { slots.as_slice() } else { std::slice::from_ref(slot) };
            let axis = self.feed.axis(&mut builder.graph, beside, Cut::AtMaximum, Filling::Read);
            let value = self.sequence_positions(builder, &self.shared_table(*feature), *feature, axis)?;
            self.add_square(builder, value, path)?;
            positions.push(value);
        }
        Ok(positions)
    }

    /// The values of a group's other features.
    fn plain_members(&mut self, builder: &mut Builder, features: &[usize], path: &str) -> Result<Vec<Value>, Diagnostic> {
        let scope = if features.is_empty() { String::new() } else { builder.unique("input_layer") };
        let mut plain = Vec::with_capacity(features.len());
        for index in features {
            let spec = &self.features.specs()[*index];
            let member = member(builder, &scope, spec, self.slots.feature(*index), spec.embedding_dim, false)
                .map_err(|error| self.pipeline.error(&spec.path, error))?;
            if member.is_embedding {
                self.add_square(builder, member.value, path)?;
            }
            plain.push(member.value);
        }
        Ok(plain)
    }
}

fn list(values: &[Value]) -> Tensors {
    Tensors::list(values.iter().copied())
}

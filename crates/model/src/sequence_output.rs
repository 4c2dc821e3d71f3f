//! Input layers that hand sequences on as they are, `output_seq_and_normal_feature` (EasyRec behaviours 116 and 186): a tuple of the
//! sequences side by side, `[B, L, D]`, the positions of each row in the first one of them, `[B]`, and the plain features side by side,
//! if there are some. Without `concat_seq_feature` the first and the third part are lists.
//!
//! L is the length of the batch's longest row, at most `max_seq_len`.

use rankmill_config::{Diagnostic, proto};
use rankmill_data::FeatureKind;
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::reduce::HalfSquareSum;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::Builder;

use crate::feed_sequences::Cut;
use crate::groups::{Groups, find, member};

impl Groups<'_> {
    /// The output for group `name`, with tables of its own; `path` is the config place that asks for it.
    pub(crate) fn sequence_output(
        &mut self,
        builder: &mut Builder,
        name: &str,
        options: &proto::InputLayer,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        let groups = self.pipeline.feature_groups();
        let group = find(self.pipeline, &groups, name, path)?;
        let scope = builder.unique("input_layer");
        let mut features = Vec::with_capacity(group.features.len());
        for feature in &group.features {
            features.push(self.feature(&feature.name, &feature.path)?);
        }
        let is_sequence = |feature: &usize| self.features.specs()[*feature].sequence.is_some();
        let (sequences, plain): (Vec<usize>, Vec<usize>) = features.into_iter().partition(is_sequence);
        let Some(first) = sequences.first() else {
            let message = format!("`output_seq_and_normal_feature` needs a SequenceFeature in group `{name}`");
            return Err(self.pipeline.error(path, message));
        };
        let lengths = self.sequence_slot(*first).lengths(Cut::AtMaximum);
        let sequences = self.whole_sequences(builder, &scope, &sequences)?;
        let mut members = Vec::with_capacity(plain.len());
        for feature in plain {
            let spec = &self.features.specs()[feature];
            let member = member(builder, &scope, spec, self.slots.feature(feature), spec.embedding_dim, false);
            let member = member.map_err(|error| self.pipeline.error(&spec.path, error))?;
            if member.is_embedding {
                self.count_squares(builder, member.value, path)?;
            }
            members.push(member.value);
        }
        let tuple = |side_by_side: bool| -> Result<Tensors, GraphError> {
            let mut s = builder.scope(&scope);
            let mut joined = |values: Vec<Value>| -> Result<Tensors, GraphError> {
                if side_by_side { s.concat(&values).map(Tensors::One) } else { Ok(Tensors::list(values)) }
            };
            let mut parts = vec![joined(sequences)?];
            let plain = if members.is_empty() { None } else { Some(joined(members)?) };
            let lengths = s.add(DenseInput { slot: lengths, width: 1, axis: None }, &[])?;
            parts.push(Tensors::One(s.reshape(lengths, &[])?));
            parts.extend(plain);
            Ok(Tensors::Tuple(parts))
        };
        tuple(options.concat_seq_feature()).map_err(|error| self.pipeline.error(path, error.to_string()))
    }

    /// The positions of sequences that lie side by side.
    fn whole_sequences(&mut self, builder: &mut Builder, scope: &str, features: &[usize]) -> Result<Vec<Value>, Diagnostic> {
        let slots: Vec<_> = features.iter().map(|feature| self.sequence_slot(*feature)).collect();
        let axis = self.feed.axis(&mut builder.graph, &slots, Cut::AtMaximum);
        let mut values = Vec::with_capacity(features.len());
        for feature in features {
            let (spec, pipeline) = (&self.features.specs()[*feature], self.pipeline);
            let table = spec.embedding_name.as_ref().unwrap_or(&spec.name);
            let value = self.positions(builder, &format!("{scope}/{table}"), *feature, Cut::AtMaximum, axis);
            let value = value.map_err(|error| pipeline.error(&spec.path, error))?;
            if matches!(spec.kind, FeatureKind::IdSequence { .. }) {
                self.count_squares(builder, value, &spec.path)?;
            }
            values.push(value);
        }
        Ok(values)
    }

    /// Counts the squares of an embedding, if they are regularised.
    fn count_squares(&mut self, builder: &mut Builder, value: Value, path: &str) -> Result<(), Diagnostic> {
        if self.regularised() {
            let square = builder.graph.add(HalfSquareSum, &[value]).map_err(|error| self.pipeline.error(path, error.to_string()))?;
            self.squares.push(square);
        }
        Ok(())
    }
}

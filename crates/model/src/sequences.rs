//! Sequences in feature groups: their positions, and the combiners that make one vector of them (EasyRec behaviours 17, 21, 24).

use rankmill_config::proto::easy_rec_model::Model;
use rankmill_config::proto::sequence_combiner::Combiner as SequenceCombiner;
use rankmill_config::{Diagnostic, Pipeline, proto};
use rankmill_data::{FeatureKind, FeatureSpec};
use rankmill_graph::ops::axis::{PositionMask, SoftmaxAlong, SumAlong, Where};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::lookup::Lookup;
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reduce::HalfSquareSum;
use rankmill_graph::{Axis, GraphError, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::LayerError;
use rankmill_nn::layers::scope::{Builder, Scope};
use rankmill_nn::layers::text_cnn::{TextCnn, text_cnn};

use crate::feed::Slot;
use crate::feed_sequences::{Cut, Filling, SequenceSlot};
use crate::groups::{Groups, Member, combiner, table_rows};
use crate::model::layer_error;

/// The score of a position that a row has not.
pub(crate) const MASKED: f32 = -4_294_967_295.0;

impl Groups<'_> {
    /// The slot of a feature that is a sequence.
    pub(crate) fn sequence_slot(&self, feature: usize) -> SequenceSlot {
        match self.slots.feature(feature) {
            Slot::Sequence(slot) => slot,
            Slot::Ids(_) | Slot::Dense(..) => unreachable!("the feature is a sequence"),
        }
    }

    /// The vector that a sequence's combiner makes of it, in a scope of its own; `group_scope` holds shared tables.
    pub(crate) fn combined_sequence(&mut self, builder: &mut Builder, group_scope: &str, feature: usize) -> Result<Member, Diagnostic> {
        let (pipeline, spec) = (self.pipeline, &self.features.specs()[feature]);
        let at_feature = |message: String| pipeline.error(&spec.path, message);
        let at_combiner = |message: String| pipeline.error(&format!("{}.sequence_combiner", spec.path), message);
        let scope = builder.unique(spec.embedding_name.as_ref().unwrap_or(&spec.table_suffix));
        let table_scope = spec.embedding_name.as_ref().map_or(scope.clone(), |name| format!("{group_scope}/{name}"));
        let Some(config) = spec.sequence.as_ref().and_then(|sequence| sequence.combiner.as_ref()) else {
            return self.pooled_sequence(builder, &table_scope, feature).map_err(at_feature);
        };
        let slot = self.sequence_slot(feature);
        let filling = match &config.combiner {
            // A convolution's input is cut, or filled up with zeros, to one length.
            Some(SequenceCombiner::TextCnn(config)) if config.pad_sequence_length() == 0 => Filling::Read,
            _ => Filling::Hidden,
        };
        let axis = self.feed.axis(&mut builder.graph, &[slot], Cut::Whole, filling);
        let x = self.positions(builder, &table_scope, feature, Cut::Whole, axis).map_err(at_feature)?;
        let is_embedding = matches!(spec.kind, FeatureKind::IdSequence { .. });
        if is_embedding && self.regularised() {
            let square = builder.graph.add(HalfSquareSum, &[x]).map_err(|error| at_feature(error.to_string()))?;
            self.squares.push(square);
        }
        let value = match &config.combiner {
            Some(SequenceCombiner::Attention(_)) => {
                let penalty = kernel_penalty(pipeline);
                attention(builder, &scope, slot.lengths(Cut::Whole), x, axis, penalty).map_err(|error| at_combiner(error.to_string()))?
            }
            Some(SequenceCombiner::TextCnn(config)) => {
                let path = format!("{}.sequence_combiner.text_cnn", spec.path);
                self.text_cnn(builder, &scope, config, x).map_err(|error| layer_error(pipeline, &path, error))?
            }
            Some(SequenceCombiner::MultiHeadAttention(_)) => {
                let message = "EasyRec declares `multi_head_attention` and has never had it; use `attention` or `text_cnn`";
                return Err(at_combiner(message.to_string()));
            }
            None => return Err(at_combiner("names no combiner; expected `attention` or `text_cnn`".to_string())),
        };
        Ok(Member { value, is_embedding })
    }

    /// The rows of all ids of a sequence together, as in a TagFeature. (EasyRec refuses a sequence without a combiner.)
    fn pooled_sequence(&mut self, builder: &mut Builder, table_scope: &str, feature: usize) -> Result<Member, String> {
        let spec = &self.features.specs()[feature];
        let FeatureKind::IdSequence { rows, .. } = spec.kind else {
            return Err(format!("the sequence of numbers `{}` needs a `sequence_combiner` in a feature group", spec.name));
        };
        let table = table_rows(builder, table_scope, spec, rows, spec.embedding_dim)?;
        let slot = self.feed.pooled_ids(self.slots, self.sequence_slot(feature));
        let lookup = Lookup { slot, combiner: combiner(spec), axis: None };
        let value = builder.scope(table_scope).add(lookup, &[table]).map_err(|error| error.to_string())?;
        Ok(Member { value, is_embedding: true })
    }

    /// The positions of a sequence along `axis`: `[B, L, d]` with a table in `table_scope`, or the numbers themselves.
    pub(crate) fn positions(
        &mut self,
        builder: &mut Builder,
        table_scope: &str,
        feature: usize,
        cut: Cut,
        axis: Axis,
    ) -> Result<Value, String> {
        let (spec, slot) = (&self.features.specs()[feature], self.sequence_slot(feature));
        let text = |error: GraphError| error.to_string();
        match spec.kind {
            FeatureKind::IdSequence { rows, .. } => {
                let table = table_rows(builder, table_scope, spec, rows, width(spec)?)?;
                let slot = self.feed.ids_along(self.slots, slot, cut, axis);
                let lookup = Lookup { slot, combiner: combiner(spec), axis: Some(axis) };
                builder.scope(table_scope).add(lookup, &[table]).map_err(text)
            }
            FeatureKind::DenseSequence { width } => {
                let slot = self.feed.numbers_along(slot, cut, axis)?;
                builder.scope(table_scope).add(DenseInput { slot, width, axis: Some(axis) }, &[]).map_err(text)
            }
            FeatureKind::Ids { .. } | FeatureKind::Dense { .. } => Err(format!("feature `{}` is no sequence", spec.name)),
        }
    }

    fn text_cnn(&self, builder: &mut Builder, scope: &str, config: &proto::TextCnn, x: Value) -> Result<Value, LayerError> {
        let settings = TextCnn::from_config(config)?;
        let names: Vec<String> = settings.filters.iter().map(|_| builder.unique("conv1d")).collect();
        // Keras layers get the name scope in front that EasyRec builds a backbone in (EasyRec behaviour 102).
        let has_backbone = self.pipeline.proto.model_config.as_ref().is_some_and(|model| model.backbone.is_some());
        let prefix = if has_backbone { "backbone/" } else { "" };
        text_cnn(&mut builder.scope(&format!("{prefix}{scope}/{scope}_text_cnn")), &settings, x, &names)
    }
}

fn width(spec: &FeatureSpec) -> Result<usize, String> {
    match spec.embedding_dim {
        0 => Err(format!("feature `{}` needs an embedding_dim", spec.name)),
        width => Ok(width),
    }
}

/// `softmax(x·kernel)` over the positions that a row has, as weights of them: `x [B, L, d]` → `[B, d]`. A dense layer of `tf.layers`, so
/// its kernel's penalty reaches the loss (EasyRec behaviour 26).
fn attention(builder: &mut Builder, scope: &str, lengths: usize, x: Value, axis: Axis, penalty: f32) -> Result<Value, GraphError> {
    let mut s = builder.scope(scope);
    let width = s.width(x);
    let kernel = s.child("attention").parameter("kernel", &[width, 1], Initializer::GlorotUniform)?;
    let logits = s.add(MatMul::PLAIN, &[x, kernel])?;
    s.penalise(kernel, penalty)?;
    let lengths = s.add(DenseInput { slot: lengths, width: 1, axis: None }, &[])?;
    let weights = masked_softmax(&mut s, logits, lengths, axis)?;
    let weighted = s.add(Binary::Multiply, &[x, weights])?;
    s.add(SumAlong, &[weighted])
}

/// The softmax of scores `[B, L, 1]` over the first `lengths [B, 1]` positions of each row. (EasyRec gives the others the score -2³² + 1,
/// so a row without positions has the same weight everywhere.)
pub(crate) fn masked_softmax(s: &mut Scope<'_>, scores: Value, lengths: Value, axis: Axis) -> Result<Value, GraphError> {
    let mask = s.add(PositionMask { axis }, &[lengths])?;
    let scores = s.add(Where { otherwise: MASKED }, &[mask, scores])?;
    s.add(SoftmaxAlong { axis }, &[scores])
}

/// What EasyRec multiplies the penalties on kernels of `tf.layers` with: the model's `l2_regularization`.
pub(crate) fn kernel_penalty(pipeline: &Pipeline) -> f32 {
    match pipeline.proto.model_config.as_ref().and_then(|model| model.model.as_ref()) {
        Some(Model::ModelParams(params)) => params.l2_regularization(),
        Some(Model::WideAndDeep(model)) => model.l2_regularization(),
        Some(Model::Deepfm(model)) => model.l2_regularization(),
        Some(Model::MultiTower(model)) => model.l2_regularization(),
        Some(Model::Fm(model)) => model.l2_regularization(),
        Some(Model::Dcn(model)) => model.l2_regularization(),
        Some(Model::Autoint(model)) => model.l2_regularization(),
        Some(Model::Dlrm(model)) => model.l2_regularization(),
        Some(Model::Mmoe(model)) => model.l2_regularization(),
        Some(Model::Esmm(model)) => model.l2_regularization(),
        Some(Model::Dbmtl(model)) => model.l2_regularization(),
        Some(Model::SimpleMultiTask(model)) => model.l2_regularization(),
        Some(Model::Ple(model)) => model.l2_regularization(),
        Some(Model::RocketLaunching(model)) => model.l2_regularization(),
        _ => 0.0,
    }
}

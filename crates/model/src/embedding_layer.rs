//! `embedding_layer` blocks: one table for all features of a group (EasyRec behaviour 119).
//!
//! A single value becomes its row. Of several, each is looked up, the empty ones that rows are filled up with too, and `combiner` makes one
//! vector of them; `weight`, the default, is the mean weighted by the tags' weights, or the plain mean where there are none.

use rankmill_config::{Diagnostic, proto};
use rankmill_data::{FeatureKind, bucket_column};
use rankmill_graph::ops::axis::SumAlong;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::fill::FillLike;
use rankmill_graph::ops::lookup::{Combiner, Lookup};
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::ops::windows::MaxOfWindows;
use rankmill_graph::{Axis, GraphError, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::{Builder, Scope};

use crate::feed::Slot;
use crate::feed_sequences::{Cut, Filling};
use crate::groups::{Groups, find};

/// How Keras' `Embedding` starts.
const START: Initializer = Initializer::Uniform { minimum: -0.05, maximum: 0.05 };

/// How several vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Mean,
    Sum,
    Max,
    Min,
}

impl Groups<'_> {
    /// The features of group `name` through the table of the block at `scope`: side by side, `[B, features·embedding_dim]`, or without `concat` as
    /// a list.
    pub(crate) fn embedding_layer(
        &mut self,
        builder: &mut Builder,
        name: &str,
        options: &proto::EmbeddingLayer,
        scope: &str,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        let pipeline = self.pipeline;
        let at = |field: &str, message: String| pipeline.error(&format!("{path}.embedding_layer.{field}"), message);
        let pooling = match options.combiner() {
            "weight" | "mean" => Pooling::Mean,
            "sum" => Pooling::Sum,
            "max" => Pooling::Max,
            "min" => Pooling::Min,
            other => return Err(at("combiner", format!("`{other}` is none of weight, mean, sum, max, min"))),
        };
        let width = options.embedding_dim() as usize;
        if width == 0 {
            return Err(at("embedding_dim", "`embedding_dim` must be above 0".to_owned()));
        }
        let groups = pipeline.feature_groups();
        let group = find(pipeline, &groups, name, path)?;
        let mut columns = Vec::with_capacity(group.features.len());
        for feature in &group.features {
            columns.push(self.feature(&bucket_column(scope, &feature.name), &feature.path)?);
        }
        let mut values = Vec::with_capacity(columns.len());
        for column in columns {
            let value = self.bucket(builder, column, (scope, width), pooling);
            values.push(value.map_err(|error| pipeline.error(path, error.to_string()))?);
        }
        if options.concat() {
            let joined = builder.scope(scope).concat(&values);
            return joined.map(Tensors::One).map_err(|error| pipeline.error(path, error.to_string()));
        }
        Ok(Tensors::list(values))
    }

    /// One feature through the table, `[B, width]`.
    fn bucket(
        &mut self,
        builder: &mut Builder,
        column: usize,
        (scope, width): (&str, usize),
        pooling: Pooling,
    ) -> Result<Value, GraphError> {
        let (FeatureKind::Ids { rows, weighted } | FeatureKind::IdSequence { rows, weighted }) = self.features.specs()[column].kind else {
            unreachable!("buckets are ids")
        };
        let table = builder.scope(&format!("{scope}/embedding")).parameter("embeddings", &[rows, width], START)?;
        match self.slots.feature(column) {
            Slot::Ids(slot) => {
                let combiner = if weighted { Combiner::Mean } else { Combiner::Sum };
                builder.scope(scope).add(Lookup { slot, combiner, axis: None }, &[table])
            }
            Slot::Sequence(sequence) => {
                let axis = self.feed.axis(&mut builder.graph, &[sequence], Cut::Whole, Filling::Read);
                let slot = self.feed.ids_along(self.slots, sequence, Cut::Whole, axis);
                let mut s = builder.scope(scope);
                let x = s.add(Lookup { slot, combiner: Combiner::Sum, axis: Some(axis) }, &[table])?;
                pooled(&mut s, x, axis, pooling)
            }
            Slot::Dense(..) => unreachable!("buckets are ids"),
        }
    }
}

/// All positions of a row as one vector: `[B, L, D]` → `[B, D]`.
fn pooled(s: &mut Scope<'_>, x: Value, axis: Axis, pooling: Pooling) -> Result<Value, GraphError> {
    match pooling {
        Pooling::Sum => s.add(SumAlong, &[x]),
        Pooling::Mean => {
            let ones = s.add(FillLike { value: 1.0 }, &[x])?;
            let (sum, count) = (s.add(SumAlong, &[x])?, s.add(SumAlong, &[ones])?);
            s.add(Binary::Divide, &[sum, count])
        }
        Pooling::Max => s.add(MaxOfWindows { axis, size: 1 }, &[x]),
        Pooling::Min => {
            let negative = s.add(Unary::Scale(-1.0), &[x])?;
            let largest = s.add(MaxOfWindows { axis, size: 1 }, &[negative])?;
            s.add(Unary::Scale(-1.0), &[largest])
        }
    }
}

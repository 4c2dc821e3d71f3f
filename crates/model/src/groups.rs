//! Feature groups: the columns of a group side by side (EasyRec behaviours 12, 19 to 25).

use rankmill_config::{Diagnostic, Pipeline, proto};
use rankmill_data::{FeatureKind, FeatureSet, FeatureSpec};
use rankmill_graph::ops::concat::Columns;
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::lookup::{Combiner, Lookup};
use rankmill_graph::ops::reduce::HalfSquareSum;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::scope::{BatchNormSettings, Builder};

use crate::feed::{Slot, Slots};

/// Epsilon of the layer norm over a group (EasyRec behaviour 25).
const GROUP_NORM_EPSILON: f32 = 1e-12;

/// What feature groups need, and what building them leaves behind.
pub(crate) struct Groups<'a> {
    pipeline: &'a Pipeline,
    features: &'a FeatureSet,
    slots: &'a Slots,
    /// Half the sum of squares of every embedding output (EasyRec behaviour 24), where regularisation wants them.
    pub(crate) squares: Vec<Value>,
    /// The tensor of each group as EasyRec concatenates it, before any normalisation.
    pub(crate) tensors: Vec<(String, Value)>,
}

/// A column of a group.
struct Member {
    value: Value,
    is_embedding: bool,
}

impl<'a> Groups<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, features: &'a FeatureSet, slots: &'a Slots) -> Groups<'a> {
        Groups { pipeline, features, slots, squares: Vec::new(), tensors: Vec::new() }
    }

    /// Builds the tensor of group `name` with tables of its own; `path` is the config place that asks for it.
    pub(crate) fn tensor(
        &mut self,
        builder: &mut Builder,
        name: &str,
        options: &proto::InputLayer,
        path: &str,
    ) -> Result<Value, Diagnostic> {
        let groups = self.pipeline.feature_groups();
        let Some(group) = groups.iter().find(|group| group.name == name) else {
            return Err(self.pipeline.error(path, format!("there is no feature group `{name}`")));
        };
        if !group.config.sequence_features.is_empty() {
            let path = format!("{}.sequence_features[0]", group.path);
            return Err(self.pipeline.error(&path, "sequence groups are not supported yet"));
        }
        let wide = group.config.wide_deep() == proto::WideOrDeep::Wide;
        let scope = builder.unique("input_layer");
        let mut members = Vec::with_capacity(group.features.len());
        for feature in &group.features {
            let Some(index) = self.features.specs().iter().position(|spec| spec.name == feature.name) else {
                let message = format!("group `{name}` names feature `{}`, which is not built", feature.name);
                return Err(self.pipeline.error(&feature.path, message));
            };
            let spec = &self.features.specs()[index];
            let width = if wide { options.wide_output_dim() as usize } else { spec.embedding_dim };
            if wide && width == 0 && matches!(spec.kind, FeatureKind::Ids { .. }) {
                return Err(self.pipeline.error(path, format!("the wide group `{name}` needs `wide_output_dim`")));
            }
            let member = member(builder, &scope, spec, self.slots.feature(index), width, wide)
                .map_err(|error| self.pipeline.error(&spec.path, error))?;
            members.push(member);
        }
        let built = self.assemble(builder, name, options, &members);
        built.map_err(|error| self.pipeline.error(path, error.to_string()))
    }

    fn assemble(
        &mut self,
        builder: &mut Builder,
        name: &str,
        options: &proto::InputLayer,
        members: &[Member],
    ) -> Result<Value, GraphError> {
        let mut s = builder.scope(&format!("{name} (feature group)"));
        let values: Vec<Value> = members.iter().map(|member| member.value).collect();
        let tensor = s.concat(&values)?;
        self.tensors.push((name.to_owned(), tensor));
        if self.pipeline.proto.model_config.as_ref().is_some_and(|model| model.embedding_regularization() > 0.0) {
            if members.iter().all(|member| member.is_embedding) {
                self.squares.push(s.add(HalfSquareSum, &[tensor])?);
            } else {
                for member in members.iter().filter(|member| member.is_embedding) {
                    self.squares.push(s.add(HalfSquareSum, &[member.value])?);
                }
            }
        }
        let mut output = tensor;
        if options.do_batch_norm() {
            // EasyRec normalises each feature too, for the feature list; the list's statistics move even if nobody reads it.
            output = group_batch_norm(builder, tensor)?;
            for value in columns(builder, tensor, &values)? {
                group_batch_norm(builder, value)?;
            }
        } else if options.do_layer_norm() {
            output = builder.scope("").layer_norm(&format!("{name}_features"), tensor, GROUP_NORM_EPSILON)?;
            for (i, value) in values.iter().enumerate() {
                builder.scope("").layer_norm(&format!("{name}f_{i}"), *value, GROUP_NORM_EPSILON)?;
            }
        }
        builder.scope("").dropout(&format!("{name}_dropout"), output, options.dropout_rate())
    }
}

fn group_batch_norm(builder: &mut Builder, x: Value) -> Result<Value, GraphError> {
    let name = builder.unique("batch_normalization");
    builder.scope("").batch_norm(&name, x, BatchNormSettings::default())
}

/// The members of a group as columns of its tensor.
fn columns(builder: &mut Builder, tensor: Value, members: &[Value]) -> Result<Vec<Value>, GraphError> {
    let mut first = 0;
    let mut out = Vec::with_capacity(members.len());
    for member in members {
        let width = builder.graph.shape(*member).elements();
        out.push(builder.graph.add(Columns { first, width }, &[tensor])?);
        first += width;
    }
    Ok(out)
}

fn member(builder: &mut Builder, scope: &str, spec: &FeatureSpec, slot: Slot, width: usize, wide: bool) -> Result<Member, String> {
    let text = |error: GraphError| error.to_string();
    let (slot, rows) = match (slot, &spec.kind) {
        (Slot::Ids(slot), FeatureKind::Ids { rows, .. }) => (slot, *rows),
        (Slot::Dense(slot, width), _) => {
            let value = builder.scope(scope).add(DenseInput { slot, width, axis: None }, &[]).map_err(text)?;
            return Ok(Member { value, is_embedding: false });
        }
        _ => return Err(format!("the SequenceFeature `{}` is not supported in a feature group yet", spec.name)),
    };
    if width == 0 {
        return Err(format!("feature `{}` needs an embedding_dim", spec.name));
    }
    let combiner = match spec.combiner {
        _ if wide => Combiner::Sum,
        rankmill_data::Combiner::Sum => Combiner::Sum,
        rankmill_data::Combiner::Mean => Combiner::Mean,
        rankmill_data::Combiner::SqrtN => Combiner::SquareRoot,
    };
    let initializer = match &spec.initializer {
        Some(config) => Initializer::from_config(config).map_err(|error| error.to_string())?,
        None => Initializer::embedding_default(width),
    };
    let table = spec.embedding_name.as_ref().unwrap_or(&spec.table_suffix);
    let mut s = builder.scope(&format!("{scope}/{table}"));
    let table = s.parameter("embedding_weights", &[rows, width], initializer).map_err(text)?;
    let value = s.add(Lookup { slot, combiner, axis: None }, &[table]).map_err(text)?;
    Ok(Member { value, is_embedding: true })
}

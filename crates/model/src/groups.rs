//! Feature groups: the columns of a group, one by one and side by side (EasyRec behaviours 12, 19 to 24).

use rankmill_config::{Diagnostic, FeatureGroup, GroupFeature, Pipeline, did_you_mean, proto};
use rankmill_data::{FeatureKind, FeatureSet, FeatureSpec};
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::lookup::{Combiner, Lookup};
use rankmill_graph::ops::reduce::HalfSquareSum;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{GraphError, Shape, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::Builder;

use crate::feed::{Slot, Slots};

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

/// The columns of a group, before any normalisation.
#[derive(Clone, Debug)]
pub(crate) struct GroupColumns {
    /// The group's name.
    pub(crate) name: String,
    /// All columns side by side.
    pub(crate) tensor: Value,
    /// The features one by one.
    pub(crate) features: Vec<Value>,
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

    /// Looks up the columns of group `name`, in tables of its own; `path` is the config place that asks for it. Tables of a wide group are
    /// `wide_output_dim` wide.
    pub(crate) fn columns(
        &mut self,
        builder: &mut Builder,
        name: &str,
        wide_output_dim: Option<u32>,
        path: &str,
    ) -> Result<GroupColumns, Diagnostic> {
        let groups = self.pipeline.feature_groups();
        let group = find(self.pipeline, &groups, name, path)?;
        if !group.config.sequence_features.is_empty() {
            let path = format!("{}.sequence_features[0]", group.path);
            return Err(self.pipeline.error(&path, "sequence groups are not supported yet"));
        }
        let wide = group.config.wide_deep() == proto::WideOrDeep::Wide;
        let scope = builder.unique("input_layer");
        let mut members = Vec::with_capacity(group.features.len());
        for feature in &group.features {
            let index = self.feature_index(name, feature)?;
            let spec = &self.features.specs()[index];
            let width = if wide { wide_output_dim.unwrap_or(0) as usize } else { spec.embedding_dim };
            if wide && width == 0 && matches!(spec.kind, FeatureKind::Ids { .. }) {
                let message = format!("the wide group `{name}` needs `wide_output_dim` in an input_layer block");
                return Err(self.pipeline.error(path, message));
            }
            let member = member(builder, &scope, spec, self.slots.feature(index), width, wide)
                .map_err(|error| self.pipeline.error(&spec.path, error))?;
            members.push(member);
        }
        let built = self.assemble(builder, name, &members);
        built.map_err(|error| self.pipeline.error(path, error.to_string()))
    }

    /// The parsed features of group `name`, one by one: numbers as they are in the rows (EasyRec behaviour 119). A single number for each
    /// row is a tensor `[B]`.
    pub(crate) fn raw(&self, builder: &mut Builder, name: &str, path: &str) -> Result<Tensors, Diagnostic> {
        let groups = self.pipeline.feature_groups();
        let group = find(self.pipeline, &groups, name, path)?;
        let mut features = Vec::with_capacity(group.features.len());
        for feature in &group.features {
            let index = self.feature_index(name, feature)?;
            let Slot::Dense(slot, width) = self.slots.feature(index) else {
                let message = format!("`raw_input` gives numbers, but feature `{}` of group `{name}` becomes ids", feature.name);
                return Err(self.pipeline.error(path, message));
            };
            let mut s = builder.scope(&format!("{name} (raw features)"));
            let value = s.add(DenseInput { slot, width, axis: None }, &[]).and_then(|value| match width {
                1 => s.add(Reshape { shape: Shape::batch(&[]) }, &[value]),
                _ => Ok(value),
            });
            features.push(Tensors::One(value.map_err(|error| self.pipeline.error(path, error.to_string()))?));
        }
        Ok(Tensors::List(features))
    }

    fn feature_index(&self, group: &str, feature: &GroupFeature) -> Result<usize, Diagnostic> {
        let index = self.features.specs().iter().position(|spec| spec.name == feature.name);
        index.ok_or_else(|| {
            let message = format!("group `{group}` names feature `{}`, which is not built", feature.name);
            self.pipeline.error(&feature.path, message)
        })
    }

    fn assemble(&mut self, builder: &mut Builder, name: &str, members: &[Member]) -> Result<GroupColumns, GraphError> {
        let mut s = builder.scope(&format!("{name} (feature group)"));
        let features: Vec<Value> = members.iter().map(|member| member.value).collect();
        let tensor = s.concat(&features)?;
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
        Ok(GroupColumns { name: name.to_owned(), tensor, features })
    }
}

fn find<'g>(pipeline: &Pipeline, groups: &'g [FeatureGroup<'g>], name: &str, path: &str) -> Result<&'g FeatureGroup<'g>, Diagnostic> {
    groups.iter().find(|group| group.name == name).ok_or_else(|| {
        let near = did_you_mean(name, groups.iter().map(|group| group.name));
        pipeline.error(path, format!("there is no feature group `{name}`")).with_help(near)
    })
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

//! Feature groups: the columns of a group, one by one and side by side (EasyRec behaviours 12, 19 to 24).

use rankmill_config::{Diagnostic, FeatureGroup, GroupFeature, Pipeline, did_you_mean, proto};
use rankmill_data::{FeatureKind, FeatureSet, FeatureSpec};
use rankmill_graph::ops::concat::Concat;
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::lookup::{Combiner, Lookup};
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reduce::HalfSquareSum;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{GraphError, Shape, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::Builder;

use crate::dynamic::keys_name;
use crate::explain::Explaining;
use crate::feature_dropout::{FeatureDropout, drop_features, split};
use crate::feed::{Slot, Slots};
use crate::feed_sequences::FeedPlan;

/// What feature groups need, and what building them leaves behind.
pub(crate) struct Groups<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) features: &'a FeatureSet,
    pub(crate) slots: &'a Slots,
    /// Half the sum of squares of every embedding output (EasyRec behaviour 24), where regularisation wants them.
    pub(crate) squares: Vec<Value>,
    /// The tensor of each group as EasyRec concatenates it, before any normalisation.
    pub(crate) tensors: Vec<(String, Value)>,
    /// What the graph reads of the sequences of a batch.
    pub(crate) feed: FeedPlan,
    /// The learnt dropouts of the groups, and the loss of each.
    pub(crate) dropouts: Vec<(FeatureDropout, Value)>,
    /// The features of all groups, where scores are to be explained.
    pub(crate) explaining: Option<Explaining>,
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
pub(crate) struct Member {
    pub(crate) value: Value,
    pub(crate) is_embedding: bool,
}

impl<'a> Groups<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, features: &'a FeatureSet, slots: &'a Slots) -> Groups<'a> {
        let feed = FeedPlan::new(features.specs());
        Groups { pipeline, features, slots, squares: Vec::new(), tensors: Vec::new(), feed, dropouts: Vec::new(), explaining: None }
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
        let wide = group.config.wide_deep() == proto::WideOrDeep::Wide;
        let scope = builder.unique("input_layer");
        let mut members = Vec::with_capacity(group.features.len());
        let mut known = Vec::with_capacity(group.features.len());
        let mut sequences = Vec::new();
        for feature in &group.features {
            let index = self.feature_index(name, feature)?;
            let spec = &self.features.specs()[index];
            if spec.sequence.is_some() {
                sequences.push(index);
                continue;
            }
            let width = if wide { wide_output_dim.unwrap_or(0) as usize } else { spec.embedding_dim };
            if wide && width == 0 {
                let message = format!("the wide group `{name}` needs `wide_output_dim` in an input_layer block");
                return Err(self.pipeline.error(path, message));
            }
            let member = member(builder, &scope, spec, self.slots.feature(index), width, wide)
                .map_err(|error| self.pipeline.error(&spec.path, error))?;
            known.push((spec.name.clone(), member.value));
            members.push(member);
        }
        if let Some(sequence) = sequences.first().filter(|_| wide) {
            let message = format!("the wide group `{name}` can't hold the SequenceFeature `{}`", self.features.specs()[*sequence].name);
            return Err(self.pipeline.error(path, message));
        }
        // Side by side they stand by the names of their columns, in the list in the order of the group (EasyRec behaviour 21).
        let in_group = sequences.clone();
        sequences.sort_by_key(|index| &self.features.specs()[*index].table_suffix);
        let plain = members.len();
        let mut names: Vec<String> = known.iter().map(|(name, _)| name.clone()).collect();
        for index in &sequences {
            names.push(self.features.specs()[*index].name.clone());
            members.push(self.combined_sequence(builder, &scope, *index)?);
        }
        let listed = in_group.iter().map(|index| plain + sequences.iter().position(|other| other == index).unwrap_or(0));
        let order: Vec<usize> = (0..plain).chain(listed).collect();
        let attention = self.attention_outputs(builder, group.config, &known, &group.path)?;
        let built = self.assemble(builder, name, (&names[..], &members[..]), &order, &attention);
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

    /// Whether the squares of embeddings count.
    pub(crate) fn regularised(&self) -> bool {
        self.pipeline.proto.model_config.as_ref().is_some_and(|model| model.embedding_regularization() > 0.0)
    }

    /// The index of a feature that is named at `path`.
    pub(crate) fn feature(&self, name: &str, path: &str) -> Result<usize, Diagnostic> {
        let index = self.features.specs().iter().position(|spec| spec.name == name);
        index.ok_or_else(|| self.pipeline.error(path, format!("there is no feature `{name}` that could be built")))
    }

    pub(crate) fn feature_index(&self, group: &str, feature: &GroupFeature) -> Result<usize, Diagnostic> {
        let index = self.features.specs().iter().position(|spec| spec.name == feature.name);
        index.ok_or_else(|| {
            let message = format!("group `{group}` names feature `{}`, which is not built", feature.name);
            self.pipeline.error(&feature.path, message)
        })
    }

    /// The learnt dropout of a group, if the config asks for it.
    fn dropout(&self, builder: &Builder, group: &str, names: &[String], values: &[Value]) -> Option<FeatureDropout> {
        let model = self.pipeline.proto.model_config.as_ref()?;
        let config = model.variational_dropout.as_ref()?;
        let name = if group == "all" { "logit_p".to_owned() } else { format!("logit_p_{group}") };
        let variable = if model.backbone.is_some() { format!("backbone/{name}") } else { name };
        let width = |value: &Value| builder.graph.shape(*value).elements();
        let features = names.iter().cloned().zip(values.iter().map(width)).collect();
        Some(FeatureDropout { group: group.to_owned(), variable, features, by_column: config.embedding_wise_variational_dropout() })
    }

    /// Puts the members side by side, and `attention` behind them; `order` is that of the members in the list of features.
    fn assemble(
        &mut self,
        builder: &mut Builder,
        name: &str,
        (names, members): (&[String], &[Member]),
        order: &[usize],
        attention: &[Value],
    ) -> Result<GroupColumns, GraphError> {
        let mut values: Vec<Value> = members.iter().map(|member| member.value).collect();
        if let Some(explaining) = &mut self.explaining {
            values = explaining.add_group(builder, name, names, &values)?;
        }
        let mut s = builder.scope(&format!("{name} (feature group)"));
        let mut tensor = s.concat(&values)?;
        self.tensors.push((name.to_owned(), tensor));
        if self.regularised() {
            if members.iter().all(|member| member.is_embedding) {
                self.squares.push(s.add(HalfSquareSum, &[tensor])?);
            } else {
                for member in members.iter().filter(|member| member.is_embedding) {
                    self.squares.push(s.add(HalfSquareSum, &[member.value])?);
                }
            }
        }
        if let Some(dropout) = self.dropout(builder, name, names, &values) {
            let (dropped, loss) = drop_features(builder, &dropout, tensor)?;
            (tensor, values) = (dropped, split(builder, &dropout, dropped)?);
            self.dropouts.push((dropout, loss));
        }
        if !attention.is_empty() {
            let mut s = builder.scope(&format!("{name} (feature group)"));
            tensor = s.add(Concat, &[&[tensor], attention].concat())?;
        }
        let features = order.iter().map(|at| values[*at]).chain(attention.iter().copied()).collect();
        Ok(GroupColumns { name: name.to_owned(), tensor, features })
    }
}

pub(crate) fn find<'g>(
    pipeline: &Pipeline,
    groups: &'g [FeatureGroup<'g>],
    name: &str,
    path: &str,
) -> Result<&'g FeatureGroup<'g>, Diagnostic> {
    groups.iter().find(|group| group.name == name).ok_or_else(|| {
        let near = did_you_mean(name, groups.iter().map(|group| group.name));
        pipeline.error(path, format!("there is no feature group `{name}`")).with_help(near)
    })
}

pub(crate) fn member(
    builder: &mut Builder,
    scope: &str,
    spec: &FeatureSpec,
    slot: Slot,
    width: usize,
    wide: bool,
) -> Result<Member, String> {
    let text = |error: GraphError| error.to_string();
    let (slot, rows) = match (slot, &spec.kind) {
        (Slot::Ids(slot), FeatureKind::Ids { rows, .. }) => (slot, *rows),
        (Slot::Dense(slot, numbers), _) => {
            let value = builder.scope(scope).add(DenseInput { slot, width: numbers, axis: None }, &[]).map_err(text)?;
            if !wide || width == 0 {
                return Ok(Member { value, is_embedding: false });
            }
            // A wide group weighs numbers: each has a row of a table.
            let table = table_rows(builder, &format!("{scope}/{}", spec.table_suffix), spec, numbers, width)?;
            let value = builder.graph.add(MatMul::PLAIN, &[value, table]).map_err(text)?;
            return Ok(Member { value, is_embedding: true });
        }
        _ => unreachable!("sequences are no plain members"),
    };
    if width == 0 {
        return Err(format!("feature `{}` needs an embedding_dim", spec.name));
    }
    let table = match &spec.embedding_name {
        Some(shared) if wide => format!("{shared}_wide"),
        Some(shared) => shared.clone(),
        None => spec.table_suffix.clone(),
    };
    let table = table_rows(builder, &format!("{scope}/{table}"), spec, rows, width)?;
    let combiner = if wide { Combiner::Sum } else { combiner(spec) };
    let value = builder.graph.add(Lookup { slot, combiner, axis: None }, &[table]).map_err(text)?;
    Ok(Member { value, is_embedding: true })
}

/// The table of a feature, `[rows, width]` or a dynamic one, with its variable in `scope`.
pub(crate) fn table_rows(builder: &mut Builder, scope: &str, spec: &FeatureSpec, rows: usize, width: usize) -> Result<Value, String> {
    let initializer = match &spec.initializer {
        Some(config) => Initializer::from_config(config).map_err(|error| error.to_string())?,
        None => Initializer::embedding_default(width),
    };
    let mut s = builder.scope(scope);
    let table = match spec.dynamic {
        None => s.parameter("embedding_weights", &[rows, width], initializer),
        Some(_) => s.growing_table("embedding_weights", width, initializer, keys_name(spec)),
    };
    table.map_err(|error| error.to_string())
}

/// How the rows of several ids become one in a deep group.
pub(crate) fn combiner(spec: &FeatureSpec) -> Combiner {
    match spec.combiner {
        rankmill_data::Combiner::Sum => Combiner::Sum,
        rankmill_data::Combiner::Mean => Combiner::Mean,
        rankmill_data::Combiner::SqrtN => Combiner::SquareRoot,
    }
}

//! What several model classes have in common: layers, feature groups, task towers (EasyRec behaviours 35, 152, 153).

use rankmill_config::{Diagnostic, proto};
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{GraphError, Shape, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::dnn::{Dnn, dnn};
use rankmill_nn::layers::scope::Bias;

use crate::groups::GroupColumns;
use crate::model::Construction;

/// Where errors of feature groups are reported that no block asks for.
const GROUPS: &str = "model_config.feature_groups";

impl Construction<'_> {
    /// The columns of a feature group, in tables of its own.
    pub(super) fn group(&mut self, name: &str) -> Result<GroupColumns, Diagnostic> {
        self.groups.columns(&mut self.builder, name, None, GROUPS)
    }

    /// The columns of the wide feature group, `width` for each feature.
    pub(super) fn wide_group(&mut self, width: u32) -> Result<GroupColumns, Diagnostic> {
        self.groups.columns(&mut self.builder, "wide", Some(width), GROUPS)
    }

    /// A DNN of the config, with variables `<name>/dnn_<i>`; `path` is its place.
    pub(super) fn dnn(&mut self, name: &str, config: &proto::Dnn, penalty: f32, x: Value, path: &str) -> Result<Value, Diagnostic> {
        let built = Dnn::from_config(config, penalty).and_then(|settings| dnn(&mut self.builder.scope(name), &settings, x));
        built.map_err(|error| self.layer_error(path, error))
    }

    /// A DNN that may be missing from the config, which then has no layers.
    pub(super) fn optional_dnn(
        &mut self,
        name: &str,
        config: Option<&proto::Dnn>,
        penalty: f32,
        x: Value,
        path: &str,
    ) -> Result<Value, Diagnostic> {
        config.map_or(Ok(x), |config| self.dnn(name, config, penalty, x, path))
    }

    /// A dense layer with a penalty on its kernel; without one for `penalty` 0.
    pub(super) fn dense(&mut self, name: &str, x: Value, units: usize, penalty: f32) -> Result<Value, Diagnostic> {
        let made = self.builder.scope("").penalised_dense(name, x, units, penalty);
        made.map_err(|error| self.graph_error(error))
    }

    /// A dense layer without a penalty, as some models have it for their output.
    pub(super) fn plain_dense(&mut self, name: &str, x: Value, units: usize) -> Result<Value, Diagnostic> {
        let made = self.builder.scope("").dense(name, x, units, Initializer::GlorotUniform, Bias::Zeros);
        made.map_err(|error| self.graph_error(error))
    }

    /// Values side by side.
    pub(super) fn concat(&mut self, values: &[Value]) -> Result<Value, Diagnostic> {
        let made = self.builder.scope("").concat(values);
        made.map_err(|error| self.graph_error(error))
    }

    /// Features of one width as `[B, n, D]`.
    pub(super) fn stack(&mut self, features: &[Value]) -> Result<Value, Diagnostic> {
        let mut s = self.builder.scope("");
        let width = features.first().map_or(0, |feature| s.width(*feature));
        if let Some(other) = features.iter().map(|feature| s.width(*feature)).find(|other| *other != width) {
            let message = format!("this model needs features of one width, but some have embedding_dim {width}, others {other}");
            return Err(self.error(GROUPS, message));
        }
        let shape = Shape::batch(&[features.len(), width]);
        let made = s.concat(features).and_then(|joined| s.add(Reshape { shape }, &[joined]));
        made.map_err(|error| self.graph_error(error))
    }

    /// An error that names the model, for shapes that don't fit.
    pub(super) fn graph_error(&self, error: GraphError) -> Diagnostic {
        self.error("model_config", error)
    }
}

/// Towers without relations: for each task `dnn`, then the dense layer `dnn_output_<i>`.
pub(super) fn plain_towers(
    c: &mut Construction<'_>,
    towers: &[(String, proto::BayesTaskTower)],
    inputs: &[Value],
    penalty: f32,
) -> Result<Vec<Value>, Diagnostic> {
    let tower = |(i, ((path, tower), input)): (usize, (&(String, proto::BayesTaskTower), &Value))| {
        let features = c.optional_dnn(tower.tower_name(), tower.dnn.as_ref(), penalty, *input, &format!("{path}.dnn"))?;
        c.dense(&format!("dnn_output_{i}"), features, tower.num_class() as usize, penalty)
    };
    towers.iter().zip(inputs).enumerate().map(tower).collect()
}

/// Which towers others can be related to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Related {
    /// Those with a `relation_dnn`.
    WithRelationDnn,
    /// All.
    All,
}

/// Towers with relations: each tower's `dnn`, then `relation_dnn` on its features beside those of the towers that it names, then the
/// dense layer `<tower>/output`. The `dnn` has its variables in `<tower><dnn_suffix>`.
pub(super) fn related_towers(
    c: &mut Construction<'_>,
    towers: &[(String, proto::BayesTaskTower)],
    inputs: &[Value],
    penalty: f32,
    dnn_suffix: &str,
    relatable: Related,
) -> Result<Vec<Value>, Diagnostic> {
    let mut features = Vec::with_capacity(towers.len());
    for ((path, tower), input) in towers.iter().zip(inputs) {
        let name = format!("{}{dnn_suffix}", tower.tower_name());
        features.push(c.optional_dnn(&name, tower.dnn.as_ref(), penalty, *input, &format!("{path}.dnn"))?);
    }
    let mut related: Vec<(&str, Value)> = Vec::new();
    let mut outputs = Vec::with_capacity(towers.len());
    for ((path, tower), own) in towers.iter().zip(features) {
        let name = tower.tower_name();
        let mut feature = own;
        if tower.relation_dnn.is_some() || relatable == Related::All {
            let mut parts = vec![own];
            for (i, relation) in tower.relation_tower_names.iter().enumerate() {
                let found = related.iter().find(|(known, _)| known == relation);
                let (_, value) = found.ok_or_else(|| {
                    let needs = if relatable == Related::All { "" } else { " with a `relation_dnn`" };
                    let message = format!("tower `{relation}` does not come before `{name}`{needs}");
                    c.error(&format!("{path}.relation_tower_names[{i}]"), message)
                })?;
                parts.push(*value);
            }
            let joined = c.concat(&parts)?;
            let path = format!("{path}.relation_dnn");
            feature = c.optional_dnn(&format!("{name}/relation_dnn"), tower.relation_dnn.as_ref(), penalty, joined, &path)?;
            related.push((name, feature));
        }
        outputs.push(c.dense(&format!("{name}/output"), feature, tower.num_class() as usize, penalty)?);
    }
    Ok(outputs)
}

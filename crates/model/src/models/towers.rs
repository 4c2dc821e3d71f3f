//! What the towers of several model classes have in common (EasyRec behaviours 152, 153).

use rankmill_config::{Diagnostic, proto};
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::dnn::{Dnn, dnn};

use crate::model::Construction;

/// A dense layer of `tf.layers`: bias, `glorot_uniform`, and a penalty on its kernel.
pub(super) fn output_layer(c: &mut Construction<'_>, name: &str, x: Value, units: usize, penalty: f32) -> Result<Value, GraphError> {
    c.builder.scope("").penalised_dense(name, x, units, penalty)
}

/// A DNN of the config, with variables `<name>/dnn_<i>`; `path` is its place.
pub(super) fn config_dnn(
    c: &mut Construction<'_>,
    name: &str,
    config: &proto::Dnn,
    penalty: f32,
    x: Value,
    path: &str,
) -> Result<Value, Diagnostic> {
    let built = Dnn::from_config(config, penalty).and_then(|settings| dnn(&mut c.builder.scope(name), &settings, x));
    built.map_err(|error| c.layer_error(path, error))
}

/// Towers with relations: the raw output of each, from the input of each.
pub(super) fn related_towers(
    c: &mut Construction<'_>,
    towers: &[(String, proto::BayesTaskTower)],
    inputs: &[Value],
    penalty: f32,
) -> Result<Vec<Value>, Diagnostic> {
    let mut features: Vec<(&str, Value)> = Vec::new();
    for ((path, tower), input) in towers.iter().zip(inputs) {
        let feature = match &tower.dnn {
            Some(config) => config_dnn(c, tower.tower_name(), config, penalty, *input, &format!("{path}.dnn"))?,
            None => *input,
        };
        features.push((tower.tower_name(), feature));
    }
    let mut related: Vec<(&str, Value)> = Vec::new();
    let mut outputs = Vec::new();
    for ((path, tower), (name, feature)) in towers.iter().zip(&features) {
        let mut feature = *feature;
        if let Some(config) = &tower.relation_dnn {
            let mut parts = vec![feature];
            for (i, relation) in tower.relation_tower_names.iter().enumerate() {
                let found = related.iter().find(|(known, _)| known == relation);
                let (_, value) = found.ok_or_else(|| {
                    let message = format!("tower `{relation}` does not come before `{name}` with a `relation_dnn`");
                    c.error(&format!("{path}.relation_tower_names[{i}]"), message)
                })?;
                parts.push(*value);
            }
            let joined = c.builder.scope(name).concat(&parts).map_err(|error| c.error(path, error))?;
            feature = config_dnn(c, &format!("{name}/relation_dnn"), config, penalty, joined, &format!("{path}.relation_dnn"))?;
            related.push((name, feature));
        }
        let classes = tower.num_class() as usize;
        let output = output_layer(c, &format!("{name}/output"), feature, classes, penalty).map_err(|error| c.error(path, error))?;
        outputs.push(output);
    }
    Ok(outputs)
}

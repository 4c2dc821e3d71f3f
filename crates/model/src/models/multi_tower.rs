//! `MultiTower` (EasyRec behaviour 157): for each tower batch norm on its feature group, then a DNN; all side by side into `final_dnn`.

use rankmill_config::proto::MultiTower;
use rankmill_config::{Diagnostic, proto};
use rankmill_graph::Value;
use rankmill_nn::layers::scope::BatchNormSettings;

use super::section;
use crate::model::Construction;
use crate::target_attention::SequenceGroup;

/// Where errors are reported.
const PLACE: &str = "model_config.multi_tower";

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, MultiTower, "multi_tower");
    let features = towers(c, config)?;
    output(c, config, &features)
}

/// The features of the plain towers.
pub(super) fn towers(c: &mut Construction<'_>, config: &MultiTower) -> Result<Vec<Value>, Diagnostic> {
    let penalty = config.l2_regularization();
    let groups = config.towers.iter().map(|tower| c.group(tower.input())).collect::<Result<Vec<_>, _>>()?;
    let mut features = Vec::with_capacity(groups.len());
    for (i, (tower, group)) in config.towers.iter().zip(groups).enumerate() {
        let name = tower.input();
        let normed = c.builder.scope("").batch_norm(&format!("{name}_fea_bn"), group.tensor, BatchNormSettings::default());
        let normed = normed.map_err(|error| c.graph_error(error))?;
        let path = format!("{PLACE}.towers[{i}].dnn");
        features.push(c.optional_dnn(&format!("{name}_dnn"), tower.dnn.as_ref(), penalty, normed, &path)?);
    }
    Ok(features)
}

/// The raw output, from the features of all towers.
pub(super) fn output(c: &mut Construction<'_>, config: &MultiTower, features: &[Value]) -> Result<Vec<Value>, Diagnostic> {
    if features.is_empty() {
        return Err(c.error(PLACE, "a MultiTower needs `towers`"));
    }
    let all = c.concat(features)?;
    let path = format!("{PLACE}.final_dnn");
    let all = c.optional_dnn("final_dnn", config.final_dnn.as_ref(), config.l2_regularization(), all, &path)?;
    Ok(vec![c.plain_dense("output", all, c.tasks[0].classes)?])
}

/// The key and the sequences of the sequence group `name` of the model, with tables of their own; `path` asks for it.
pub(super) fn sequence_group(c: &mut Construction<'_>, name: &str, path: &str) -> Result<SequenceGroup, Diagnostic> {
    let Some(at) = c.config.seq_att_groups.iter().position(|group| group.group_name() == name) else {
        return Err(c.error(path, format!("there is no group `{name}` in model_config.seq_att_groups")));
    };
    let place = format!("model_config.seq_att_groups[{at}]");
    let mut config: proto::SeqAttGroupConfig = c.config.seq_att_groups[at].clone();
    // Nothing weights them here.
    config.seq_att_map.iter_mut().for_each(|map| map.aux_hist_seq.clear());
    let group = c.groups.sequence_group(&mut c.builder, &config, name, &[], &place)?;
    let [key, sequence] = [group.key, group.sequence].map(|value| c.builder.graph.shape(value).elements());
    if key != sequence {
        return Err(c.error(&place, format!("the keys have {key} columns and the sequences {sequence}; they must be equal")));
    }
    Ok(group)
}

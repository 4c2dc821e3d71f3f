//! `MultiTower` (EasyRec behaviour 157): for each tower batch norm on its feature group, then a DNN; all side by side into `final_dnn`.

use rankmill_config::Diagnostic;
use rankmill_graph::Value;
use rankmill_nn::layers::scope::BatchNormSettings;

use super::section;
use crate::model::Construction;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, MultiTower, "multi_tower");
    let penalty = config.l2_regularization();
    if config.towers.is_empty() {
        return Err(c.error("model_config.multi_tower", "a MultiTower needs `towers`"));
    }
    let groups = config.towers.iter().map(|tower| c.group(tower.input())).collect::<Result<Vec<_>, _>>()?;
    let mut features = Vec::with_capacity(groups.len());
    for (i, (tower, group)) in config.towers.iter().zip(groups).enumerate() {
        let name = tower.input();
        let normed = c.builder.scope("").batch_norm(&format!("{name}_fea_bn"), group.tensor, BatchNormSettings::default());
        let normed = normed.map_err(|error| c.graph_error(error))?;
        let path = format!("model_config.multi_tower.towers[{i}].dnn");
        features.push(c.optional_dnn(&format!("{name}_dnn"), tower.dnn.as_ref(), penalty, normed, &path)?);
    }
    let all = c.concat(&features)?;
    let all = c.optional_dnn("final_dnn", config.final_dnn.as_ref(), penalty, all, "model_config.multi_tower.final_dnn")?;
    Ok(vec![c.plain_dense("output", all, c.tasks[0].classes)?])
}

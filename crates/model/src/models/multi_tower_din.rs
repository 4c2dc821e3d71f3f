//! `MultiTowerDIN` (after Zhou et al. 2018, arXiv 1706.06978; EasyRec behaviour 159): the towers of a `MultiTower`, and for each DIN tower
//! what the keys attend to in their sequences, followed by the keys.

use rankmill_config::Diagnostic;
use rankmill_config::proto::Dnn as DnnConfig;
use rankmill_graph::Value;
use rankmill_graph::ops::axis::SumAlong;
use rankmill_nn::layers::LayerError;

use super::multi_tower::{output, sequence_group, towers};
use super::section;
use crate::model::Construction;
use crate::target_attention::{SequenceGroup, attention_weights, scoring_dnn};

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, MultiTower, "multi_tower");
    let penalty = config.l2_regularization();
    let mut features = towers(c, config)?;
    for (i, tower) in config.din_towers.iter().enumerate() {
        let (name, path) = (tower.input(), format!("model_config.multi_tower.din_towers[{i}]"));
        let group = sequence_group(c, name, &format!("{path}.input"))?;
        let Some(dnn) = &tower.dnn else { return Err(c.error(&path, "a DIN tower needs a `dnn`")) };
        let attended = attend(c, name, dnn, penalty, &group);
        features.push(attended.map_err(|error| c.layer_error(&format!("{path}.dnn"), error))?);
    }
    output(c, config, &features)
}

/// `[Σ weights ⊙ sequence, key]`, `[B, 2·D]`.
fn attend(c: &mut Construction<'_>, name: &str, dnn: &DnnConfig, penalty: f32, group: &SequenceGroup) -> Result<Value, LayerError> {
    let layers = scoring_dnn(dnn, penalty)?;
    let mut s = c.builder.scope(&format!("{name}_dnn"));
    let weights = attention_weights(&mut s, &layers, group.key, group)?;
    let weighted = s.multiply(group.sequence, weights)?;
    let sum = s.add(SumAlong, &[weighted])?;
    Ok(s.concat(&[sum, group.key])?)
}

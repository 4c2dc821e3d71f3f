//! `ESMM` (Ma et al. 2018; EasyRec behaviour 154): a click tower and a conversion tower on shared features. Conversion is learnt over
//! all impressions, through the product of both probabilities: see [`crate::losses`].

use rankmill_config::Diagnostic;
use rankmill_graph::Value;

use super::section;
use crate::model::Construction;
use crate::tasks;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, Esmm, "esmm");
    let penalty = config.l2_regularization();
    let mut features = Vec::new();
    if config.groups.is_empty() {
        features.push(c.group("all")?.tensor);
    } else {
        let groups = config.groups.iter().map(|group| c.group(group.input())).collect::<Result<Vec<_>, _>>()?;
        for (i, (tower, group)) in config.groups.iter().zip(groups).enumerate() {
            let path = format!("model_config.esmm.groups[{i}].dnn");
            features.push(c.optional_dnn(tower.input(), tower.dnn.as_ref(), penalty, group.tensor, &path)?);
        }
    }
    let all = c.concat(&features)?;
    let mut outputs = Vec::new();
    for (path, tower) in tasks::towers(c.config) {
        let name = tower.tower_name();
        let top = c.optional_dnn(name, tower.dnn.as_ref(), penalty, all, &format!("{path}.dnn"))?;
        outputs.push(c.dense(&format!("{name}/dnn_output"), top, 1, penalty)?);
    }
    Ok(outputs)
}

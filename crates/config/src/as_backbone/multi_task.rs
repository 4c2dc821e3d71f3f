//! Multi-task classes as task towers on a backbone. The towers' layers are those of the model, penalties included.

use super::draft::{Draft, block, layer, mlp};
use super::rank::Drafted;
use crate::proto::keras_layer::Params;
use crate::proto::{Dbmtl, Dnn, EasyRecModel, ExtractionNetwork, Input, InputLayer, MMoE, MMoELayer, Ple, SimpleMultiTask, TaskTower};

/// Towers whose outputs are `dnn_output_<i>` in the model.
fn plain_towers(draft: &mut Draft, towers: &[TaskTower]) {
    for (i, config) in towers.iter().enumerate() {
        draft.rename(format!("dnn_output_{i}/"), format!("{}/output/", config.tower_name()));
        draft.params.task_towers.push(config.into());
    }
}

pub(super) fn simple(config: &EasyRecModel, model: &SimpleMultiTask) -> Drafted {
    let mut draft = Draft::new(config, "MultiTaskModel", model.l2_regularization());
    draft.features("features", "all", InputLayer::default());
    plain_towers(&mut draft, &model.task_towers);
    Ok(draft.finish(&[block("features")]))
}

pub(super) fn mmoe(config: &EasyRecModel, model: &MMoE) -> Drafted {
    let penalty = model.l2_regularization();
    let mut draft = Draft::new(config, "MultiTaskModel", penalty);
    draft.features("features", "all", InputLayer::default());
    let (dnn, experts) = match (&model.expert_dnn, model.experts.as_slice()) {
        (Some(dnn), _) => (dnn, model.num_expert()),
        (None, [first, others @ ..]) if others.iter().all(|other| other.dnn == first.dnn) => {
            let Some(dnn) = &first.dnn else { return Err("its experts have no `dnn`".to_owned()) };
            (dnn, 1 + others.len() as u32)
        }
        _ => return Err("its experts differ from each other, but those of the component MMoE are alike".to_owned()),
    };
    mixture(&mut draft, vec![block("features")], dnn, experts, model.task_towers.len(), penalty)?;
    plain_towers(&mut draft, &model.task_towers);
    Ok(draft.finish(&[block("mmoe")]))
}

/// The block `mmoe`, of experts and a gate for each task.
fn mixture(draft: &mut Draft, inputs: Vec<Input>, dnn: &Dnn, experts: u32, tasks: usize, penalty: f32) -> Result<(), String> {
    if dnn.use_bn() {
        let reason = "the batch norms of its experts use moving statistics in training, too; those of the component MMoE don't. Set use_bn: \
                      false in expert_dnn";
        return Err(reason.to_owned());
    }
    if experts == 0 {
        return Err("it has no experts".to_owned());
    }
    // The experts of the model drop nothing, whatever they say.
    let expert_mlp = mlp(&Dnn { dropout_ratio: Vec::new(), ..dnn.clone() });
    let params = MMoELayer { num_task: Some(tasks as u32), expert_mlp: Some(expert_mlp), num_expert: Some(experts) };
    draft.add("mmoe", inputs, layer("MMoE", Some(Params::Mmoe(params))));
    for expert in 0..experts {
        draft.rename_layers(dnn, &format!("mmoe/expert_{expert}"), &format!("backbone/mmoe/expert_{expert}"), dnn.hidden_units.len());
    }
    for task in 0..tasks {
        draft.rename(format!("mmoe/gate_{task}/dnn/"), format!("backbone/mmoe/gate_{task}/"));
    }
    draft.loses_penalty(penalty, "experts and gates");
    Ok(())
}

pub(super) fn ple(config: &EasyRecModel, model: &Ple) -> Drafted {
    let penalty = model.l2_regularization();
    let mut draft = Draft::new(config, "MultiTaskModel", penalty);
    draft.features("features", "all", InputLayer::default());
    let mut inputs = vec![block("features"); model.task_towers.len()];
    let mut shared = block("features");
    for (i, network) in model.extraction_networks.iter().enumerate() {
        let last = i + 1 == model.extraction_networks.len();
        (inputs, shared) = extract(&mut draft, network, inputs, shared, last)?;
    }
    draft.loses_penalty(penalty, "experts and gates");
    plain_towers(&mut draft, &model.task_towers);
    let mut draft = draft.finish(&inputs);
    // Each task has an output of its own.
    draft.backbone.output_blocks = std::mem::take(&mut draft.backbone.concat_blocks);
    Ok(draft)
}

/// One network of PLE: what the tasks read next, and what the shared experts do.
fn extract(
    draft: &mut Draft,
    network: &ExtractionNetwork,
    inputs: Vec<Input>,
    shared: Input,
    last: bool,
) -> Result<(Vec<Input>, Input), String> {
    let name = network.network_name();
    let share_net = network.share_expert_net.as_ref();
    let common = experts(draft, &format!("{name}_share"), "/dnn", network.share_num(), share_net, &shared);
    let (mut all, mut outputs) = (Vec::new(), Vec::with_capacity(inputs.len()));
    for (t, input) in inputs.into_iter().enumerate() {
        let task = format!("{name}_task_{t}");
        let own = experts(draft, &task, "", network.expert_num_per_task(), network.task_expert_net.as_ref(), &input);
        let choice = [own.as_slice(), &common].concat();
        if choice.is_empty() {
            return Err(format!("its extraction network `{name}` has no experts"));
        }
        outputs.push(draft.gate(&task, vec![input], choice, &format!("{task}_gate")));
        all.extend(own);
    }
    if last {
        return Ok((outputs, shared));
    }
    all.extend(common);
    let next = draft.gate(&format!("{name}_share"), vec![shared], all, &format!("{name}_share_gate"));
    Ok((outputs, next))
}

/// Blocks `<name>_expert_<i>`, of which the model calls the DNNs `<name><infix>_expert_<i>/dnn`.
fn experts(draft: &mut Draft, name: &str, infix: &str, count: u32, dnn: Option<&Dnn>, input: &Input) -> Vec<Input> {
    let expert = |i| draft.dnn(&format!("{name}_expert_{i}"), vec![input.clone()], dnn, &format!("{name}{infix}_expert_{i}/dnn"));
    (0..count).flat_map(expert).collect()
}

pub(super) fn dbmtl(config: &EasyRecModel, model: &Dbmtl) -> Drafted {
    if model.bottom_cmbf.is_some() || model.bottom_uniter.is_some() {
        return Err("no component does what its bottom does with images and texts".to_owned());
    }
    let names: Vec<&str> = model.task_towers.iter().flat_map(|tower| tower.relation_tower_names.iter().map(String::as_str)).collect();
    for tower in &model.task_towers {
        let related = names.contains(&tower.tower_name()) || !tower.relation_tower_names.is_empty();
        if related && tower.relation_dnn.is_none() {
            return Err(format!(
                "tower `{}` is related to others without a `relation_dnn`, which towers on a backbone need",
                tower.tower_name()
            ));
        }
    }
    let penalty = model.l2_regularization();
    let mut draft = Draft::new(config, "MultiTaskModel", penalty);
    draft.features("features", "all", InputLayer::default());
    let bottom = draft.dnn("bottom_dnn", vec![block("features")], model.bottom_dnn.as_ref(), "bottom_dnn");
    if model.bottom_dnn.is_some() {
        draft.loses_penalty(penalty, "bottom_dnn");
    }
    let output = match &model.expert_dnn {
        Some(dnn) => {
            mixture(&mut draft, bottom, dnn, model.num_expert(), model.task_towers.len(), penalty)?;
            vec![block("mmoe")]
        }
        None => bottom,
    };
    for tower in &model.task_towers {
        draft.rename(format!("{}/dnn/", tower.tower_name()), format!("{}/", tower.tower_name()));
        draft.params.task_towers.push(tower.clone());
    }
    Ok(draft.finish(&output))
}

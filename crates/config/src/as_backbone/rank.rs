//! Ranking classes on a backbone. Where the model ends in the dense layer `output`, so does the head of a backbone that is not
//! `num_class` wide already; one that is gets a block of its own for it.

use super::draft::{Draft, block, element, layer, mlp, settings, width};
use crate::proto::keras_layer::Params;
use crate::proto::{
    BackboneTower, DeepFm, DinEncoder, Dlrm, EasyRecModel, FeatureGroupConfig, Fm, Input, InputLayer, MultiTower, SeqAttGroupConfig,
    WideAndDeep, WideOrDeep,
};

/// A draft, or why there is none.
pub(super) type Drafted = Result<Draft, String>;

/// The dense layer `output` on `inputs`, which are `width` wide if that is known.
fn with_output(mut draft: Draft, inputs: Vec<Input>, width: Option<u32>, classes: u32) -> Draft {
    if width == Some(classes) {
        draft.dense("output", inputs, classes, "output");
        return draft.finish(&[block("output")]);
    }
    draft.finish(&inputs)
}

fn wide_list(width: u32) -> InputLayer {
    InputLayer { wide_output_dim: Some(width), only_output_feature_list: Some(true), ..InputLayer::default() }
}

pub(super) fn wide_and_deep(config: &EasyRecModel, model: &WideAndDeep) -> Drafted {
    let (penalty, classes) = (model.l2_regularization(), config.num_class());
    let mut draft = Draft::new(config, "RankModel", penalty);
    let wide_width = if model.final_dnn.is_some() { model.wide_output_dim() } else { classes };
    draft.features("wide_features", "wide", wide_list(wide_width));
    draft.features("deep_features", "deep", InputLayer::default());
    draft.lambda("wide", vec![block("wide_features")], "lambda x: tf.add_n(x)");
    let deep = draft.dnn("deep", vec![block("deep_features")], model.dnn.as_ref(), "deep_feature");
    draft.loses_penalty(penalty, "all dense layers");
    if let Some(last) = &model.final_dnn {
        let inputs = [vec![block("wide")], deep].concat();
        let inputs = draft.dnn("final_dnn", inputs, Some(last), "final_dnn");
        return Ok(with_output(draft, inputs, width(Some(last)), classes));
    }
    draft.dense("deep_logits", deep, classes, "deep_out");
    draft.add_merged("logits", vec![block("deep_logits"), block("wide")], layer("Add", None));
    Ok(draft.finish(&[block("logits")]))
}

pub(super) fn deep_fm(config: &EasyRecModel, model: &DeepFm) -> Drafted {
    let (penalty, classes) = (model.l2_regularization(), config.num_class());
    let mut draft = Draft::new(config, "RankModel", penalty);
    let own_pairs = config.feature_groups.iter().any(|group| group.group_name() == "fm");
    let last = model.final_dnn.as_ref().filter(|last| !last.hidden_units.is_empty());
    let by_class = last.is_none() && classes > 1 && model.wide_output_dim() == classes;
    draft.features("wide_features", "wide", InputLayer { only_output_feature_list: Some(by_class), ..wide_list(model.wide_output_dim()) });
    draft.features("deep_features", "deep", InputLayer { output_2d_tensor_and_feature_list: Some(true), ..InputLayer::default() });
    let pairs = match own_pairs {
        true => {
            draft.features("fm_features", "fm", InputLayer { only_output_feature_list: Some(true), ..InputLayer::default() });
            block("fm_features")
        }
        false => element("deep_features", 1),
    };
    let sum = if by_class { "lambda x: tf.add_n(x)" } else { "lambda x: tf.reduce_sum(x, axis=1, keepdims=True)" };
    draft.lambda("wide", vec![block("wide_features")], sum);
    draft.add("fm", vec![pairs], layer("FM", Some(Params::Fm(Fm { use_variant: Some(last.is_some()), ..Fm::default() }))));
    let deep = draft.dnn("deep", vec![element("deep_features", 0)], model.dnn.as_ref(), "deep_feature");
    draft.loses_penalty(penalty, "all dense layers");
    if let Some(last) = last {
        let inputs = [vec![block("wide"), block("fm")], deep].concat();
        let inputs = draft.dnn("final_dnn", inputs, Some(last), "final_dnn");
        return Ok(with_output(draft, inputs, width(Some(last)), classes));
    }
    draft.dense("deep_logits", deep, classes, "deep_logits");
    draft.add_merged("logits", vec![block("wide"), block("fm"), block("deep_logits")], layer("Add", None));
    Ok(draft.finish(&[block("logits")]))
}

/// The component has the pairs of fields in another order, so the first kernel behind them has its rows in that order.
pub(super) fn dlrm(config: &EasyRecModel, model: &Dlrm) -> Drafted {
    let penalty = model.l2_regularization();
    let mut draft = Draft::new(config, "RankModel", penalty);
    let sparse = config.feature_groups.iter().find(|group| group.group_name() == "sparse");
    let features = sparse.map_or(0, |group| group.feature_names.len() + group.sequence_features.len());
    draft.features("sparse_features", "sparse", InputLayer { output_2d_tensor_and_feature_list: Some(true), ..InputLayer::default() });
    draft.features("dense_features", "dense", InputLayer::default());
    let dense = draft.dnn("dense", vec![block("dense_features")], model.bot_dnn.as_ref(), "bot_dnn");
    let mut inputs = Vec::new();
    let mut rows = Vec::new();
    match model.arch_interaction_op() {
        "cat" => inputs.extend(dense.iter().cloned().chain([element("sparse_features", 0)])),
        "dot" => {
            let params = model.arch_interaction_itself().then(|| settings("self_interaction", true));
            let fields = [dense.clone(), vec![element("sparse_features", 1)]].concat();
            draft.add("interactions", fields, layer("DotInteraction", params));
            rows = pair_rows(features + 1, usize::from(model.arch_interaction_itself()));
            inputs.extend([block("interactions"), element("sparse_features", 0)]);
            inputs.extend(model.arch_with_dense_feature().then_some(dense).into_iter().flatten());
        }
        other => return Err(format!("`arch_interaction_op` is `{other}`")),
    }
    draft.loses_penalty(penalty, "all dense layers");
    let top = model.top_dnn.as_ref().filter(|dnn| !dnn.hidden_units.is_empty());
    if top.is_none() {
        draft.joined("top", inputs);
        draft.dense("logits", vec![block("top")], 1, "output");
        draft.reorder("output/kernel", "backbone/logits/kernel", rows);
        return Ok(draft.finish(&[block("logits")]));
    }
    let inputs = draft.dnn("top", inputs, top, "top_dnn");
    draft.reorder("top_dnn/dnn_0/kernel", "backbone/top/layer_0/dense/kernel", rows);
    Ok(with_output(draft, inputs, width(top), 1))
}

/// For each pair of the component's order, the lower triangle row by row, its place in the model's, the upper triangle row by row.
fn pair_rows(fields: usize, with_itself: usize) -> Vec<usize> {
    let model: Vec<(usize, usize)> = (0..fields).flat_map(|i| (i + 1 - with_itself..fields).map(move |j| (i, j))).collect();
    let component = (0..fields).flat_map(|i| (0..i + with_itself).map(move |j| (j, i)));
    component.filter_map(|pair| model.iter().position(|other| *other == pair)).collect()
}

pub(super) fn multi_tower(config: &EasyRecModel, model: &MultiTower) -> Drafted {
    if !model.bst_towers.is_empty() {
        return Err(
            "its transformer gives each head columns of its own, and does not divide scores; the component BST does otherwise".to_owned()
        );
    }
    let penalty = model.l2_regularization();
    let mut draft = Draft::new(config, "RankModel", penalty);
    for tower in &model.towers {
        draft.features(&format!("{}_features", tower.input()), tower.input(), InputLayer::default());
    }
    let mut outputs = Vec::new();
    for tower in &model.towers {
        let name = tower.input();
        let norm = format!("{name}_norm");
        draft.add(&norm, vec![block(&format!("{name}_features"))], layer("BatchNormalization", None));
        draft.rename(format!("{name}_fea_bn/"), format!("backbone/{norm}/"));
        outputs.extend(draft.dnn(&format!("{name}_dnn"), vec![block(&norm)], tower.dnn.as_ref(), &format!("{name}_dnn")));
    }
    for tower in &model.din_towers {
        let Some(dnn) = &tower.dnn else { return Err("a DIN tower has no `dnn`".to_owned()) };
        let Some(group) = config.seq_att_groups.iter().find(|group| group.group_name() == tower.input()) else {
            return Err(format!("there is no group `{}` in seq_att_groups", tower.input()));
        };
        let place = draft.backbone.input_layers();
        draft.sequences(group, place)?;
        let name = format!("{}_attention", tower.input());
        let encoder = DinEncoder { attention_dnn: Some(mlp(dnn)), ..DinEncoder::default() };
        draft.add(&name, vec![block(&format!("{}_features", tower.input()))], layer("DIN", Some(Params::Din(encoder))));
        draft.rename_layers(dnn, &format!("{}_dnn", tower.input()), &format!("backbone/{name}/din_attention"), dnn.hidden_units.len() - 1);
        outputs.push(block(&name));
    }
    if outputs.is_empty() {
        return Err("it has no towers".to_owned());
    }
    draft.loses_penalty(penalty, "all DNNs");
    let last = model.final_dnn.as_ref();
    let inputs = draft.dnn("final_dnn", outputs, last, "final_dnn");
    let classes = config.num_class();
    Ok(with_output(draft, inputs, width(last), classes))
}

impl BackboneTower {
    /// How many blocks look features up so far.
    fn input_layers(&self) -> usize {
        self.blocks.iter().filter(|block| matches!(block.layer, Some(crate::proto::block::Layer::InputLayer(_)))).count()
    }
}

impl Draft {
    /// A feature group with the keys and sequences of a sequence group, and the block that reads it; `place` is its number among the
    /// blocks with features.
    fn sequences(&mut self, group: &SeqAttGroupConfig, place: usize) -> Result<(), String> {
        let name = group.group_name();
        let keys: Vec<String> = group.seq_att_map.iter().flat_map(|map| map.key.iter().cloned()).collect();
        let sequences: Vec<String> = group.seq_att_map.iter().flat_map(|map| map.hist_seq.iter().cloned()).collect();
        let mut elsewhere = self.groups.iter().flat_map(|group| &group.feature_names);
        if let Some(shared) = elsewhere.find(|feature| sequences.contains(feature)) {
            return Err(format!("the sequence `{shared}` stands in two DIN towers, with a table in each; a backbone has one for both"));
        }
        let tables = if place == 0 { "input_layer/".to_owned() } else { format!("input_layer_{place}/") };
        self.rename(format!("{name}/"), tables);
        for sequence in &sequences {
            self.rename(format!("{name}/{sequence}_embedding/"), format!("input_layer/{sequence}/"));
        }
        self.groups.push(FeatureGroupConfig {
            group_name: Some(name.to_owned()),
            feature_names: keys.into_iter().chain(sequences).collect(),
            wide_deep: Some(WideOrDeep::Deep.into()),
            ..FeatureGroupConfig::default()
        });
        let options = InputLayer { output_seq_and_normal_feature: Some(true), ..InputLayer::default() };
        self.features(&format!("{name}_features"), name, options);
        Ok(())
    }
}

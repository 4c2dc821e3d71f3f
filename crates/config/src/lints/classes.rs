//! Lints of model classes without a backbone.

use super::Finder;
use super::components::unset_rates;
use crate::proto::easy_rec_model::Model;
use crate::proto::{CmbfTower, Dcn, EasyRecModel, MultiTower, UniterTower};

pub(super) fn find(finder: &mut Finder<'_>, model: &EasyRecModel) {
    match &model.model {
        Some(Model::Mmoe(mmoe)) if mmoe.expert_dnn.as_ref().is_some_and(|dnn| dnn.use_bn()) => {
            finder.note("experts_without_batch_statistics", "model_config.mmoe.expert_dnn", "the experts have batch norms");
        }
        Some(Model::Dbmtl(dbmtl)) => {
            if dbmtl.expert_dnn.as_ref().is_some_and(|dnn| dnn.use_bn()) {
                finder.note("experts_without_batch_statistics", "model_config.dbmtl.expert_dnn", "the experts have batch norms");
            }
            dbmtl.bottom_cmbf.iter().for_each(|tower| cmbf(finder, model, tower, "model_config.dbmtl.bottom_cmbf"));
            dbmtl.bottom_uniter.iter().for_each(|tower| uniter(finder, tower, "model_config.dbmtl.bottom_uniter"));
        }
        Some(Model::Esmm(_)) => finder.note("esmm_sums_over_the_batch", "model_config.esmm", "the losses are sums over the batch"),
        Some(Model::RocketLaunching(rocket)) if rocket.feature_based_distillation() => {
            let path = "model_config.rocket_launching.feature_based_distillation";
            finder.note("distillation_pushes_apart", path, "`feature_based_distillation` is true");
        }
        Some(Model::Autoint(autoint)) if autoint.multi_head_size() > 1 => {
            let path = "model_config.autoint.multi_head_size";
            finder.note("scores_are_multiplied", path, format!("`multi_head_size` is {}", autoint.multi_head_size()));
        }
        Some(Model::Dcn(config)) => dcn(finder, config),
        Some(Model::MultiTower(config)) => multi_tower(finder, config),
        Some(Model::Cmbf(config)) => config.config.iter().for_each(|tower| cmbf(finder, model, tower, "model_config.cmbf.config")),
        Some(Model::Uniter(config)) => config.config.iter().for_each(|tower| uniter(finder, tower, "model_config.uniter.config")),
        _ => {}
    }
}

/// EasyRec behaviour 156.
fn dcn(finder: &mut Finder<'_>, config: &Dcn) {
    let inputs = [
        ("deep_tower", config.deep_tower.as_ref().map(|tower| tower.input())),
        ("cross_tower", config.cross_tower.as_ref().map(|tower| tower.input())),
    ];
    for (tower, input) in inputs {
        if let Some(input) = input.filter(|input| !matches!(*input, "" | "all")) {
            finder.note("tower_input_ignored", &format!("model_config.dcn.{tower}.input"), format!("`input` is `{input}`"));
        }
    }
}

/// EasyRec behaviour 159.
fn multi_tower(finder: &mut Finder<'_>, config: &MultiTower) {
    for (i, tower) in config.din_towers.iter().enumerate() {
        if tower.dnn.as_ref().is_some_and(|dnn| dnn.use_bn() && dnn.hidden_units.len() > 1) {
            let path = format!("model_config.multi_tower.din_towers[{i}].dnn");
            finder.note("attention_norms_count_padding", &path, "the DNN that scores positions has batch norms");
        }
    }
    if !config.bst_towers.is_empty() {
        finder.note("bst_tower_differs", "model_config.multi_tower.bst_towers[0]", "a BST tower");
    }
}

/// EasyRec behaviours 164 and 184.
fn cmbf(finder: &mut Finder<'_>, model: &EasyRecModel, tower: &CmbfTower, path: &str) {
    let group = |name: &str| model.feature_groups.iter().find(|group| group.group_name() == name);
    if group("text").is_some() {
        unset_rates(finder, &[("text_seq_emb_dropout_prob", tower.text_seq_emb_dropout_prob)], path);
    }
    if tower.image_self_attention_layer_num() == 0 && group("image").is_some_and(|group| group.feature_names.len() == 1) {
        finder.note("single_token_attention", path, "the image is one token");
    }
}

fn uniter(finder: &mut Finder<'_>, tower: &UniterTower, path: &str) {
    let rates = [("hidden_dropout_prob", tower.hidden_dropout_prob), ("attention_probs_dropout_prob", tower.attention_probs_dropout_prob)];
    unset_rates(finder, &rates, path);
}

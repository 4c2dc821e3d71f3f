//! Lints of losses, task towers and model classes without a backbone.

use std::collections::BTreeSet;

use super::Finder;
use crate::proto::easy_rec_model::Model;
use crate::proto::{EasyRecModel, Loss, LossType, loss};
use crate::walk;

pub(super) fn find(finder: &mut Finder<'_>, model: &EasyRecModel) {
    losses(finder, model);
    tower_weights(finder, model);
    classes(finder, model);
}

/// What is configured of a task's losses: their place, what their names end in, and themselves.
type TaskLosses<'a> = (String, String, &'a [Loss]);

/// Losses of the model itself and of its towers.
fn tasks(model: &EasyRecModel) -> Vec<TaskLosses<'_>> {
    let mut tasks: Vec<TaskLosses<'_>> = vec![("model_config".to_owned(), String::new(), &model.losses)];
    let towers: (&str, Vec<(&str, &[Loss])>) = match &model.model {
        Some(Model::ModelParams(params)) => {
            ("model_params", params.task_towers.iter().map(|tower| (tower.tower_name(), tower.losses.as_slice())).collect())
        }
        Some(Model::Dbmtl(dbmtl)) => {
            ("dbmtl", dbmtl.task_towers.iter().map(|tower| (tower.tower_name(), tower.losses.as_slice())).collect())
        }
        Some(Model::Mmoe(mmoe)) => ("mmoe", mmoe.task_towers.iter().map(|tower| (tower.tower_name(), tower.losses.as_slice())).collect()),
        Some(Model::Ple(ple)) => ("ple", ple.task_towers.iter().map(|tower| (tower.tower_name(), tower.losses.as_slice())).collect()),
        Some(Model::SimpleMultiTask(simple)) => {
            ("simple_multi_task", simple.task_towers.iter().map(|tower| (tower.tower_name(), tower.losses.as_slice())).collect())
        }
        _ => return tasks,
    };
    let place =
        |(at, (name, losses)): (usize, (&str, _))| (format!("model_config.{}.task_towers[{at}]", towers.0), format!("_{name}"), losses);
    tasks.extend(towers.1.iter().copied().enumerate().map(place));
    tasks
}

/// The key under which a loss is kept (EasyRec behaviours 178 and 179).
fn key(loss: &Loss, suffix: &str) -> String {
    let of_one_logit = matches!(
        loss.loss_type(),
        LossType::Classification | LossType::BinaryCrossEntropyLoss | LossType::L2Loss | LossType::SigmoidL2Loss
    );
    match loss.loss_name() {
        "" => format!("{}{suffix}", loss.loss_type().as_str_name()),
        name if of_one_logit => name.to_owned(),
        name => format!("{name}{suffix}"),
    }
}

/// EasyRec behaviours 172, 174, 178 and 179.
fn losses(finder: &mut Finder<'_>, model: &EasyRecModel) {
    let mut keys = BTreeSet::new();
    for (place, suffix, losses) in tasks(model) {
        for (at, loss) in losses.iter().enumerate() {
            let path = format!("{place}.losses[{at}]");
            let key = key(loss, &suffix);
            if !keys.insert(key.clone()) {
                finder.note("loss_is_replaced", &path, format!("a second loss with the key `{key}`"));
            }
            let plain = match &loss.loss_param {
                Some(loss::LossParam::F1ReweightedLoss(params)) => params.f1_beta_square() == 1.0,
                _ => true,
            };
            if loss.loss_type() == LossType::F1ReweightedLoss && plain {
                finder.note("f1_reweighting_has_no_effect", &path, "F1_REWEIGHTED_LOSS with `f1_beta_square` 1");
            }
        }
    }
    let mut exponents = Vec::new();
    walk::scalars(finder.pipeline.message(), &mut |path, field, value| {
        if field.name() == "use_exponent" && value.as_bool() == Some(true) {
            exponents.push(path.to_owned());
        }
    });
    for path in exponents {
        finder.note("pairwise_hinge_without_gradient", &path, "`use_exponent` is true");
    }
}

/// EasyRec behaviour 179.
fn tower_weights(finder: &mut Finder<'_>, model: &EasyRecModel) {
    for (place, _, losses) in tasks(model).into_iter().skip(1) {
        for (at, loss) in losses.iter().enumerate().skip(1) {
            let has_own = loss.loss_type() == LossType::OrderCalibrateLoss || loss.learn_loss_weight();
            if !has_own && loss.weight() != losses[0].weight() {
                let message = format!("the weight {} of this loss is not used", loss.weight());
                finder.note("tower_losses_share_a_weight", &format!("{place}.losses[{at}].weight"), message);
            }
        }
    }
}

/// EasyRec behaviours 151, 154 and 162.
fn classes(finder: &mut Finder<'_>, model: &EasyRecModel) {
    match &model.model {
        Some(Model::Mmoe(mmoe)) if mmoe.expert_dnn.as_ref().is_some_and(|dnn| dnn.use_bn()) => {
            finder.note("experts_without_batch_statistics", "model_config.mmoe.expert_dnn", "the experts have batch norms");
        }
        Some(Model::Dbmtl(dbmtl)) if dbmtl.expert_dnn.as_ref().is_some_and(|dnn| dnn.use_bn()) => {
            finder.note("experts_without_batch_statistics", "model_config.dbmtl.expert_dnn", "the experts have batch norms");
        }
        Some(Model::Esmm(_)) => finder.note("esmm_sums_over_the_batch", "model_config.esmm", "the losses are sums over the batch"),
        Some(Model::RocketLaunching(rocket)) if rocket.feature_based_distillation() => {
            let path = "model_config.rocket_launching.feature_based_distillation";
            finder.note("distillation_pushes_apart", path, "`feature_based_distillation` is true");
        }
        _ => {}
    }
}

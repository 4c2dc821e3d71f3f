//! Lints of losses and task towers.

use std::collections::BTreeSet;

use super::Finder;
use crate::proto::easy_rec_model::Model;
use crate::proto::{EasyRecModel, Loss, LossType, loss};
use crate::walk;

pub(super) fn find(finder: &mut Finder<'_>, model: &EasyRecModel) {
    losses(finder, model);
    pairs(finder, model);
    tower_weights(finder, model);
    sample_weights(finder, model);
    distillation(finder, model);
    super::classes::find(finder, model);
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
        _ if loss.loss_type() == LossType::OrderCalibrateLoss => "order_calibrate_loss".to_owned(),
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

/// EasyRec behaviour 172.
fn pairs(finder: &mut Finder<'_>, model: &EasyRecModel) {
    for (place, _, losses) in tasks(model) {
        for (at, loss) in losses.iter().enumerate() {
            let path = format!("{place}.losses[{at}]");
            let session = match &loss.loss_param {
                Some(loss::LossParam::PairwiseLoss(params)) => params.session_name(),
                Some(loss::LossParam::PairwiseFocalLoss(params)) => params.session_name(),
                Some(loss::LossParam::PairwiseLogisticLoss(params)) => params.session_name(),
                Some(loss::LossParam::PairwiseHingeLoss(params)) => params.session_name(),
                _ => "",
            };
            use LossType::{PairWiseLoss, PairwiseFocalLoss, PairwiseHingeLoss, PairwiseLogisticLoss};
            let of_pairs = matches!(loss.loss_type(), PairWiseLoss | PairwiseFocalLoss | PairwiseHingeLoss | PairwiseLogisticLoss);
            if of_pairs && session.is_empty() {
                let message = format!("{} without a `session_name`", loss.loss_type().as_str_name());
                finder.note("pairs_of_the_whole_batch", &path, message);
            }
            if let Some(loss::LossParam::PairwiseFocalLoss(params)) = &loss.loss_param
                && let Some(margin) = params.hinge_margin
            {
                let path = format!("{path}.pairwise_focal_loss.hinge_margin");
                finder.note("focal_margin_selects", &path, format!("`hinge_margin` is {margin}"));
            }
        }
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

/// EasyRec behaviours 171, 176 and 177.
fn sample_weights(finder: &mut Finder<'_>, model: &EasyRecModel) {
    let weighted = finder.pipeline.proto.data_config.as_ref().is_some_and(|data| !data.sample_weight().is_empty());
    let ignores = |kind: LossType| {
        use LossType::{BinaryCrossEntropyLoss, ListwiseDistillLoss, ListwiseRankLoss, ZilnLoss};
        matches!(kind, BinaryCrossEntropyLoss | ListwiseDistillLoss | ListwiseRankLoss | ZilnLoss)
    };
    if !weighted {
        return;
    }
    for (place, _, losses) in tasks(model) {
        for (at, loss) in losses.iter().enumerate().filter(|(_, loss)| ignores(loss.loss_type())) {
            let message = format!("{} beside a `sample_weight`", loss.loss_type().as_str_name());
            finder.note("sample_weights_ignored", &format!("{place}.losses[{at}]"), message);
        }
    }
    if model.losses.is_empty() && ignores(model.loss_type()) {
        let message = format!("{} beside a `sample_weight`", model.loss_type().as_str_name());
        finder.note("sample_weights_ignored", "model_config.loss_type", message);
    }
}

/// EasyRec behaviour 181.
fn distillation(finder: &mut Finder<'_>, model: &EasyRecModel) {
    for (at, kd) in model.kd.iter().enumerate().filter(|(_, kd)| kd.loss_type() == LossType::CrossEntropyLoss) {
        if !(kd.pred_is_logits() && kd.label_is_logits()) {
            let message = "CROSS_ENTROPY_LOSS on probabilities";
            finder.note("kd_squeezes_probabilities", &format!("model_config.kd[{at}].loss_type"), message);
        }
    }
}

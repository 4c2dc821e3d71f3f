//! Lints of the training settings: optimizers and schedules.

use prost_reflect::{FieldDescriptor, Value};

use super::Finder;
use crate::proto::optimizer::Optimizer as Choice;
use crate::walk;

pub(super) fn find(finder: &mut Finder<'_>) {
    let Some(train) = &finder.pipeline.proto.train_config else { return };
    let epochs = finder.pipeline.proto.data_config.as_ref().map_or(0, |data| data.num_epochs());
    if train.num_steps() == 0 && epochs == 0 {
        finder.note("endless_training", "train_config", "neither `num_steps` nor `num_epochs` is set");
    }
    let is_wide = finder.pipeline.proto.model_config.as_ref().is_some_and(|model| model.model_class() == "WideAndDeep");
    if is_wide && train.optimizer_config.len() > 1 {
        let message = format!("WideAndDeep with {} optimizers", train.optimizer_config.len());
        finder.note("optimizers_split_by_name", "train_config.optimizer_config[0]", message);
    }
    for (at, config) in train.optimizer_config.iter().enumerate() {
        let path = format!("train_config.optimizer_config[{at}]");
        let Some(choice) = &config.optimizer else { continue };
        let adam = matches!(choice, Choice::AdamOptimizer(_) | Choice::AdamwOptimizer(_) | Choice::LazyAdamOptimizer(_));
        let multiplier = config.embedding_learning_rate_multiplier.filter(|factor| *factor != 1.0);
        if let Some(factor) = multiplier.filter(|_| adam) {
            let message = format!("`embedding_learning_rate_multiplier` is {factor} with an Adam optimizer");
            finder.note("embedding_multiplier_hardly_acts", &format!("{path}.embedding_learning_rate_multiplier"), message);
        }
        let decay = match choice {
            Choice::AdamwOptimizer(o) => Some(("adamw_optimizer", o.weight_decay())),
            Choice::MomentumwOptimizer(o) => Some(("momentumw_optimizer", o.weight_decay())),
            _ => None,
        };
        if let Some((name, decay)) = decay.filter(|(_, decay)| *decay > 0.0) {
            let message = format!("`weight_decay` is {decay} per step");
            finder.note("weight_decay_not_scaled", &format!("{path}.{name}.weight_decay"), message);
        }
    }
    burnin(finder);
}

/// EasyRec behaviour 43.
fn burnin(finder: &mut Finder<'_>) {
    let mut steps = Vec::new();
    let is_burnin = |field: &FieldDescriptor| field.name() == "burnin_steps";
    walk::scalars(finder.pipeline.message(), &mut |path, field, value| {
        if is_burnin(field) && matches!(value, Value::U32(number) if *number > 0) {
            steps.push(path.trim_end_matches(".burnin_steps").to_owned());
        }
    });
    for schedule in steps {
        if !finder.pipeline.is_set(&format!("{schedule}.burnin_learning_rate")) {
            finder.note(
                "burnin_is_constant",
                &format!("{schedule}.burnin_steps"),
                "`burnin_steps` is set without a `burnin_learning_rate`",
            );
        }
    }
}

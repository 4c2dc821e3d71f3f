//! Lints of the training settings: optimizers, schedules, and settings of other machinery.

use prost_reflect::{FieldDescriptor, Value};

use super::Finder;
use crate::proto::optimizer::Optimizer as Choice;
use crate::walk;

/// Settings of clusters, devices and TensorFlow's sessions (EasyRec behaviour 47): message and field.
const WITHOUT_EFFECT: [(&str, &str); 16] = [
    ("DatasetConfig", "chief_redundant"),
    ("DatasetConfig", "pai_worker_queue"),
    ("DatasetConfig", "pai_worker_slice_num"),
    ("FeatureConfig", "max_partitions"),
    ("FeatureConfigV2", "embedding_on_cpu"),
    ("TrainConfig", "enable_oss_stop_signal"),
    ("TrainConfig", "inter_op_parallelism_threads"),
    ("TrainConfig", "intra_op_parallelism_threads"),
    ("TrainConfig", "is_profiling"),
    ("TrainConfig", "num_gpus_per_worker"),
    ("TrainConfig", "protocol"),
    ("TrainConfig", "sparse_accumulator_type"),
    ("TrainConfig", "startup_delay_steps"),
    ("TrainConfig", "sync_replicas"),
    ("TrainConfig", "tensor_fuse"),
    ("TrainConfig", "train_distribute"),
];

pub(super) fn find(finder: &mut Finder<'_>) {
    without_effect(finder);
    let Some(train) = &finder.pipeline.proto.train_config else { return };
    let epochs = finder.pipeline.proto.data_config.as_ref().map_or(0, |data| data.num_epochs());
    if train.num_steps() == 0 && epochs == 0 {
        finder.note("endless_training", "train_config", "neither `num_steps` nor `num_epochs` is set");
    }
    for (at, config) in train.optimizer_config.iter().enumerate() {
        let path = format!("train_config.optimizer_config[{at}]");
        if config.use_moving_average() {
            finder.note("moving_average_unsupported", &format!("{path}.use_moving_average"), "`use_moving_average` is set");
        }
        let Some(choice) = &config.optimizer else { continue };
        let adam = matches!(
            choice,
            Choice::AdamOptimizer(_)
                | Choice::AdamwOptimizer(_)
                | Choice::AdamAsyncOptimizer(_)
                | Choice::AdamAsyncwOptimizer(_)
                | Choice::LazyAdamOptimizer(_)
        );
        let multiplier = config.embedding_learning_rate_multiplier.filter(|factor| *factor != 1.0);
        if let Some(factor) = multiplier.filter(|_| adam) {
            let message = format!("`embedding_learning_rate_multiplier` is {factor} with an Adam optimizer");
            finder.note("embedding_multiplier_hardly_acts", &format!("{path}.embedding_learning_rate_multiplier"), message);
        }
        let decay = match choice {
            Choice::AdamwOptimizer(o) => Some(("adamw_optimizer", o.weight_decay())),
            Choice::AdamAsyncwOptimizer(o) => Some(("adam_asyncw_optimizer", o.weight_decay())),
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

/// Only a value that differs from the default is worth a word: `sync_replicas: true` stands in nearly every config.
fn without_effect(finder: &mut Finder<'_>) {
    let mut found = Vec::new();
    walk::scalars(finder.pipeline.message(), &mut |path, field, value| {
        let listed = WITHOUT_EFFECT.contains(&(field.parent_message().name(), field.name()));
        if listed && *value != field.default_value() {
            found.push((path.to_owned(), field.name().to_owned()));
        }
    });
    for (path, name) in found {
        finder.note("setting_without_effect", &path, format!("`{name}` has no effect"));
    }
    if finder.pipeline.is_set("train_config.incr_save_config") {
        finder.note("setting_without_effect", "train_config.incr_save_config", "`incr_save_config` has no effect");
    }
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

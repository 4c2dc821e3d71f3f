//! `train_config` and `export_config`: optimizers, learning-rate schedules, exporters, and what training cannot do.

use super::{Check, listed};
use crate::proto::learning_rate::LearningRate as Schedule;
use crate::proto::{LearningRate, Optimizer, optimizer};

pub(super) fn check(check: &mut Check<'_>) {
    let Some(train) = &check.proto().train_config else {
        check.error("", "`train_config` is missing", "it declares the optimizer and the learning rate");
        return;
    };
    if train.optimizer_config.is_empty() {
        check.error(
            "train_config",
            "`optimizer_config` is missing",
            "expected something like optimizer_config { adam_optimizer { learning_rate { … } } }",
        );
    }
    for (at, config) in train.optimizer_config.iter().enumerate() {
        optimizer(check, config, &format!("train_config.optimizer_config[{at}]"));
    }
    export(check);
}

/// The exporter and how many exports it keeps.
fn export(check: &mut Check<'_>) {
    const EXPORTERS: [&str; 4] = ["best", "latest", "final", "none"];
    let Some(export) = &check.proto().export_config else { return };
    if !EXPORTERS.contains(&export.exporter_type()) {
        let (path, name) = ("export_config.exporter_type", export.exporter_type());
        check.report_unknown(path, format!("there is no exporter `{name}`"), name, EXPORTERS, &listed(EXPORTERS));
    }
    if export.exports_to_keep() < 1 {
        check.error("export_config.exports_to_keep", format!("`exports_to_keep` is {}", export.exports_to_keep()), "expected at least 1");
    }
    if export.max_check_steps() < 0 {
        check.error("export_config.max_check_steps", format!("`max_check_steps` is {}", export.max_check_steps()), "expected 0 or more");
    }
}

/// The field name and the learning rate of an optimizer.
fn chosen(config: &Optimizer) -> Option<(&'static str, Option<&LearningRate>)> {
    use optimizer::Optimizer as Choice;
    Some(match config.optimizer.as_ref()? {
        Choice::RmsPropOptimizer(o) => ("rms_prop_optimizer", o.learning_rate.as_ref()),
        Choice::MomentumOptimizer(o) => ("momentum_optimizer", o.learning_rate.as_ref()),
        Choice::AdamOptimizer(o) => ("adam_optimizer", o.learning_rate.as_ref()),
        Choice::MomentumwOptimizer(o) => ("momentumw_optimizer", o.learning_rate.as_ref()),
        Choice::AdamwOptimizer(o) => ("adamw_optimizer", o.learning_rate.as_ref()),
        Choice::AdamAsyncOptimizer(o) => ("adam_async_optimizer", o.learning_rate.as_ref()),
        Choice::AdagradOptimizer(o) => ("adagrad_optimizer", o.learning_rate.as_ref()),
        Choice::FtrlOptimizer(o) => ("ftrl_optimizer", o.learning_rate.as_ref()),
        Choice::AdamAsyncwOptimizer(o) => ("adam_asyncw_optimizer", o.learning_rate.as_ref()),
        Choice::LazyAdamOptimizer(o) => ("lazy_adam_optimizer", o.learning_rate.as_ref()),
    })
}

/// Optimizers that plain TensorFlow 2 does not have (EasyRec behaviour 42), and the nearest that it has.
fn absent(config: &Optimizer) -> Option<&'static str> {
    match config.optimizer.as_ref()? {
        optimizer::Optimizer::AdamAsyncOptimizer(_) => Some("adam_optimizer"),
        optimizer::Optimizer::AdamAsyncwOptimizer(_) => Some("adamw_optimizer"),
        _ => None,
    }
}

fn optimizer(check: &mut Check<'_>, config: &Optimizer, path: &str) {
    if config.use_moving_average() {
        let message = "`use_moving_average` needs tf.contrib, which TensorFlow 2 does not have";
        check.error(&format!("{path}.use_moving_average"), message, "set `use_moving_average: false`");
    }
    let Some((name, rate)) = chosen(config) else {
        check.error(path, "the `optimizer_config` names no optimizer", "expected something like adam_optimizer { learning_rate { … } }");
        return;
    };
    let path = format!("{path}.{name}");
    if let Some(instead) = absent(config) {
        check.error(&path, format!("`{name}` does not exist in plain TensorFlow 2"), format!("use {instead}"));
    }
    let Some(schedule) = rate.and_then(|rate| rate.learning_rate.as_ref()) else {
        let help = "expected something like learning_rate { constant_learning_rate { learning_rate: 0.001 } }";
        check.error(&path, format!("`{name}` has no learning rate"), help);
        return;
    };
    let Schedule::ManualStepLearningRate(manual) = schedule else { return };
    let steps: Vec<u32> = manual.schedule.iter().map(|entry| entry.step()).collect();
    for at in 1..steps.len() {
        if steps[at] <= steps[at - 1] {
            let path = format!("{path}.learning_rate.manual_step_learning_rate.schedule[{at}].step");
            check.error(
                &path,
                format!("step {} does not come after step {}", steps[at], steps[at - 1]),
                "list the schedule in the order of its steps",
            );
        }
    }
}

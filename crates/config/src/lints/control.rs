//! Settings of a run's course that only act beside others: those of exporters, early stops and fine-tuning.

use super::Finder;

const NAME: &str = "setting_without_effect";

/// Settings, whether what they belong to is missing, the effect, and the fix.
type Idle = (&'static [&'static str], bool, &'static str, &'static str);

pub(super) fn find(finder: &mut Finder<'_>) {
    let proto = &finder.pipeline.proto;
    let export = proto.export_config.clone().unwrap_or_default();
    let train = proto.train_config.clone().unwrap_or_default();
    let exporter = export.exporter_type.as_deref();
    let is_best = exporter == Some("best");
    let stops = export.enable_early_stop();
    let tunes = !train.fine_tune_checkpoint().is_empty();
    let idle: [Idle; 6] = [
        (
            &["export_config.best_exporter_metric", "export_config.metric_bigger"],
            !is_best && !stops,
            "only `exporter_type: \"best\"` and `enable_early_stop` read it",
            "set one of them, or remove it",
        ),
        (
            &["export_config.exports_to_keep"],
            !is_best && exporter != Some("latest"),
            "only the exporters `best` and `latest` read it: the others export one model",
            "set `exporter_type`, or remove it",
        ),
        (
            &["export_config.early_stop_func", "export_config.early_stop_params", "export_config.max_check_steps"],
            !stops,
            "only `enable_early_stop: true` reads it",
            "set `enable_early_stop`, or remove it",
        ),
        (
            &["export_config.asset_files[0]"],
            exporter.is_none_or(|kind| kind == "none"),
            "nothing is exported without an `exporter_type`: the last checkpoint is the model",
            "set `exporter_type`, or remove it",
        ),
        (
            &["train_config.fine_tune_ckpt_var_map", "train_config.force_restore_shape_compatible", "model_config.restore_filters[0]"],
            !tunes,
            "only a run that starts from a `fine_tune_checkpoint` reads it",
            "set `fine_tune_checkpoint`, or remove it",
        ),
        (
            &["model_config.restore_filters[0]"],
            tunes && !train.fine_tune_ckpt_var_map().is_empty(),
            "a `fine_tune_ckpt_var_map` takes the place of filters",
            "remove one of them",
        ),
    ];
    let mut found = Vec::new();
    for (paths, _, effect, fix) in idle.into_iter().filter(|(_, is_idle, _, _)| *is_idle) {
        found
            .extend(paths.iter().filter(|path| finder.pipeline.is_set(path) && !is_default(finder, path)).map(|path| (*path, effect, fix)));
    }
    for (path, effect, fix) in found {
        let name = path.rsplit('.').next().unwrap_or(path);
        let name = name.split('[').next().unwrap_or(name);
        finder.note_as(NAME, path, format!("`{name}` has no effect"), effect, fix);
    }
}

/// Whether a setting says what holds without it, and is not worth a word.
fn is_default(finder: &Finder<'_>, path: &str) -> bool {
    let proto = &finder.pipeline.proto;
    let export = proto.export_config.clone().unwrap_or_default();
    let train = proto.train_config.clone().unwrap_or_default();
    match path {
        "export_config.best_exporter_metric" => export.best_exporter_metric() == "auc",
        "export_config.metric_bigger" => export.metric_bigger(),
        "export_config.exports_to_keep" => export.exports_to_keep() == 1,
        "export_config.max_check_steps" => export.max_check_steps() == 10_000,
        "train_config.fine_tune_ckpt_var_map" => train.fine_tune_ckpt_var_map().is_empty(),
        "train_config.force_restore_shape_compatible" => !train.force_restore_shape_compatible(),
        _ => false,
    }
}

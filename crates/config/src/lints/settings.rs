//! Settings that are read and change nothing: those of other machinery (EasyRec behaviour 47) and those not used yet.

use prost_reflect::Value;

use super::Finder;
use crate::proto::dataset_config::InputType;
use crate::walk;

const NAME: &str = "setting_without_effect";
const MACHINERY: &str = "this setting steers TensorFlow's machinery for clusters or devices, which is not there";
const GRAPH: &str = "this setting is about TensorFlow's graph and its summaries, which are not there";
const SHARDS: &str = "this setting shares files out among workers; here one process reads them all";
const COLUMNS: &str = "not used yet: `input_fields` names the columns of a file, and those that the features need are read";
const SHAPES: &str = "the features say how many values a field holds, as with EasyRec's file inputs";
const RTP: &str = "only an RTP input reads it";
const RECORDS: &str = "only a TFRecord input reads it";
const EVALUATIONS: &str = "EasyRec reads it nowhere: evaluations come at the end of training and as often as `--eval-every` says";
const SIGNATURE: &str = "this setting shapes the inputs of TensorFlow's SavedModel; exported models take rows as they are";
const REMOVE: &str = "remove it";
const THREADS: &str = "remove it; use `--threads` to choose the number of threads";

/// A field of a message, what becomes of it, and how to change the config.
struct Idle {
    message: &'static str,
    field: &'static str,
    effect: &'static str,
    fix: &'static str,
}

const fn idle(message: &'static str, field: &'static str, effect: &'static str, fix: &'static str) -> Idle {
    Idle { message, field, effect, fix }
}

/// Values, by message and field.
const VALUES: [Idle; 45] = [
    idle("DatasetConfig", "chief_redundant", MACHINERY, REMOVE),
    idle("DatasetConfig", "data_compression_type", RECORDS, REMOVE),
    idle("DatasetConfig", "eval_batch_size", "evaluation uses `batch_size`, as EasyRec's file inputs do", REMOVE),
    idle("DatasetConfig", "feature_fields", COLUMNS, REMOVE),
    idle("DatasetConfig", "file_shard", SHARDS, REMOVE),
    idle("DatasetConfig", "n_data_batch_tfrecord", RECORDS, REMOVE),
    idle("DatasetConfig", "pai_worker_queue", MACHINERY, REMOVE),
    idle("DatasetConfig", "pai_worker_slice_num", MACHINERY, REMOVE),
    idle("DatasetConfig", "rtp_separator", RTP, REMOVE),
    idle("DatasetConfig", "selected_col_types", COLUMNS, REMOVE),
    idle("DatasetConfig", "selected_cols", COLUMNS, REMOVE),
    idle("DatasetConfig", "shard", SHARDS, REMOVE),
    idle("DatasetConfig", "with_header", "only the CSV inputs read it", REMOVE),
    idle(
        "EVParams",
        "init_capacity",
        "a dynamic table begins empty and grows as ids come",
        "remove it; `max_capacity` says how many ids there may be",
    ),
    idle("EVParams", "use_cache", MACHINERY, REMOVE),
    idle("EvalConfig", "eval_interval_secs", EVALUATIONS, "remove it, and train with `--eval-every STEPS`"),
    idle("EvalConfig", "max_evals", EVALUATIONS, "remove it, and train with `--eval-every STEPS`"),
    idle("EvalConfig", "save_graph", GRAPH, REMOVE),
    idle("ExportConfig", "auto_multi_value", SIGNATURE, REMOVE),
    idle("ExportConfig", "batch_size", SIGNATURE, REMOVE),
    idle("ExportConfig", "export_features", SIGNATURE, REMOVE),
    idle("ExportConfig", "export_rtp_outputs", SIGNATURE, REMOVE),
    idle("ExportConfig", "filter_inputs", SIGNATURE, REMOVE),
    idle("ExportConfig", "multi_placeholder", SIGNATURE, REMOVE),
    idle("ExportConfig", "placeholder_named_by_input", SIGNATURE, REMOVE),
    idle("FeatureConfig", "max_partitions", MACHINERY, REMOVE),
    idle("FeatureConfigV2", "embedding_on_cpu", MACHINERY, REMOVE),
    idle(
        "Field",
        "ignore_val",
        "only `ParquetInputV3` reads it, as in EasyRec, and takes 0 and an empty text for none: a value equal to it is taken like any other",
        "take such values out of the data, and remove it",
    ),
    idle("Field", "input_dim", SHAPES, REMOVE),
    idle("Field", "input_shape", SHAPES, REMOVE),
    idle("Field", "user_define_fn_res_type", "labels are f32, whatever a function makes of them", REMOVE),
    idle("MLP", "add_to_outputs", "not used yet: predictions hold the scores, and no outputs of hidden layers", REMOVE),
    idle("Optimizer", "moving_average_decay", "only `use_moving_average` needs it, which is not supported", REMOVE),
    idle("TrainConfig", "inter_op_parallelism_threads", MACHINERY, THREADS),
    idle("TrainConfig", "intra_op_parallelism_threads", MACHINERY, THREADS),
    idle("TrainConfig", "is_profiling", MACHINERY, "remove it, and train with `--profile`"),
    idle("TrainConfig", "num_gpus_per_worker", MACHINERY, REMOVE),
    idle("TrainConfig", "protocol", MACHINERY, REMOVE),
    idle("TrainConfig", "sparse_accumulator_type", MACHINERY, REMOVE),
    idle("TrainConfig", "startup_delay_steps", MACHINERY, REMOVE),
    idle("TrainConfig", "summary_model_vars", GRAPH, REMOVE),
    idle("TrainConfig", "sync_replicas", MACHINERY, REMOVE),
    idle("TrainConfig", "tensor_fuse", MACHINERY, REMOVE),
    idle("TrainConfig", "train_distribute", MACHINERY, REMOVE),
    idle("TrainConfig", "write_graph", GRAPH, REMOVE),
];

/// Whole sections, by path.
const SECTIONS: [(&str, &str, &str); 2] =
    [("export_config.multi_value_fields", SIGNATURE, REMOVE), ("train_config.incr_save_config", MACHINERY, REMOVE)];

/// Only a value that differs from the default is worth a word: `sync_replicas: true` stands in nearly every config.
pub(super) fn find(finder: &mut Finder<'_>) {
    let input_type = finder.pipeline.proto.data_config.as_ref().map(|data| data.input_type());
    let mut found = Vec::new();
    walk::scalars(finder.pipeline.message(), &mut |path, field, value| {
        let message = field.parent_message();
        let listed = VALUES.iter().find(|idle| idle.message == message.name() && idle.field == field.name());
        let Some(idle) = listed.filter(|_| *value != field.default_value() && !is_read(input_type, field.name(), value)) else { return };
        // A list is worth one word, at its first element.
        if !field.is_list() || path.ends_with("[0]") {
            found.push((path.to_owned(), idle));
        }
    });
    for (path, idle) in found {
        finder.note_as(NAME, &path, format!("`{}` has no effect", idle.field), idle.effect, idle.fix);
    }
    for (path, effect, fix) in SECTIONS {
        if finder.pipeline.is_set(path) {
            let field = path.rsplit('.').next().unwrap_or(path);
            finder.note_as(NAME, path, format!("`{field}` has no effect"), effect, fix);
        }
    }
}

/// Whether an input type reads a setting that the others don't.
fn is_read(input_type: Option<InputType>, setting: &str, value: &Value) -> bool {
    match input_type {
        Some(InputType::CsvInput | InputType::CsvInputV2 | InputType::CsvInputEx) => setting == "with_header",
        Some(InputType::ParquetInputV3) => {
            let is_zero = |text: &str| text.trim().parse::<f64>().is_ok_and(|number| number == 0.0);
            setting == "ignore_val" && value.as_str().is_some_and(|text| !text.is_empty() && !is_zero(text))
        }
        Some(InputType::RtpInput) => matches!(setting, "rtp_separator" | "selected_cols"),
        // Files say themselves how they are compressed.
        Some(InputType::TfRecordInput) => setting == "data_compression_type",
        Some(InputType::BatchTfRecordInput) => matches!(setting, "data_compression_type" | "n_data_batch_tfrecord"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    /// The settings of a run's course that act, some of them beside others only.
    const ACTING: [(&str, &str); 3] = [
        (
            "TrainConfig",
            "optimizer_config gradient_clipping_by_norm num_steps fine_tune_checkpoint fine_tune_ckpt_var_map save_checkpoints_steps \
             save_checkpoints_secs keep_checkpoint_max save_summary_steps log_step_count_steps force_restore_shape_compatible \
             freeze_gradient enable_oss_stop_signal dead_line",
        ),
        ("EvalConfig", "num_examples metrics_set eval_online"),
        (
            "ExportConfig",
            "exporter_type best_exporter_metric metric_bigger enable_early_stop early_stop_func early_stop_params max_check_steps \
             exports_to_keep asset_files",
        ),
    ];

    #[test]
    fn no_setting_of_a_run_is_ignored_in_silence() {
        let pool = proto::root_descriptor().parent_pool().clone();
        for (message, acting) in ACTING {
            let descriptor = pool.all_messages().find(|known| known.name() == message).expect("a message of the schema");
            for field in descriptor.fields() {
                let acts = acting.split_whitespace().any(|name| name == field.name());
                let listed = VALUES.iter().any(|idle| idle.message == message && idle.field == field.name());
                let section = SECTIONS.iter().any(|(path, _, _)| path.rsplit('.').next() == Some(field.name()));
                assert_eq!([acts, listed, section].iter().filter(|known| **known).count(), 1, "{message}.{}", field.name());
            }
        }
    }

    #[test]
    fn every_setting_exists_in_the_schema_and_stands_once_in_order() {
        assert!(VALUES.windows(2).all(|pair| (pair[0].message, pair[0].field) < (pair[1].message, pair[1].field)));
        let pool = proto::root_descriptor().parent_pool().clone();
        for idle in VALUES {
            let found =
                pool.all_messages().any(|message| message.name() == idle.message && message.get_field_by_name(idle.field).is_some());
            assert!(found, "{}.{}", idle.message, idle.field);
        }
    }
}

//! `data_config`: columns, labels, batch sizes, separator, and where rows come from.

use super::{Check, listed};
use crate::proto::DatasetConfig;
use crate::proto::dataset_config::{FieldType, InputType};
use crate::proto::easy_rec_config::TrainPath;

pub(super) fn check(check: &mut Check<'_>) {
    let Some(data) = &check.proto().data_config else {
        check.error("", "`data_config` is missing", "it declares the input columns, the label and the batch size");
        return;
    };
    source(check, data);
    sizes(check, data);
    columns(check);
    labels(check, data);
}

/// What to do instead of reading from a service.
const FILES: &str = "export the rows to files, and set `input_type: CSVInput`, `ParquetInput` or `TFRecordInput` and `train_input_path`";

/// Services behind input types that Rankmill does not talk to.
fn service(input: InputType) -> Option<&'static str> {
    match input {
        InputType::OdpsInput | InputType::OdpsInputV2 | InputType::OdpsInputV3 | InputType::OdpsRtpInput | InputType::OdpsRtpInputV2 => {
            Some("MaxCompute")
        }
        InputType::DataHubInput => Some("DataHub"),
        InputType::KafkaInput => Some("Kafka"),
        InputType::HiveInput | InputType::HiveRtpInput => Some("Hive"),
        InputType::HiveParquetInput
        | InputType::CsvInput
        | InputType::CsvInputV2
        | InputType::CsvInputEx
        | InputType::RtpInput
        | InputType::RtpInputV2
        | InputType::TfRecordInput
        | InputType::BatchTfRecordInput
        | InputType::DummyInput
        | InputType::ParquetInput
        | InputType::ParquetInputV2
        | InputType::ParquetInputV3
        | InputType::CriteoInput => None,
    }
}

fn source(check: &mut Check<'_>, data: &DatasetConfig) {
    if let Some(service) = service(data.input_type()) {
        let name = input_type_name(data);
        check.error("data_config.input_type", format!("{name} reads from a {service} service, which Rankmill does not talk to"), FILES);
    }
    if data.input_type() == InputType::HiveParquetInput && matches!(check.proto().train_path, Some(TrainPath::HiveTrainInput(_))) {
        check.error("hive_train_input", "`hive_train_input` names a table of a Hive service, which Rankmill does not talk to", FILES);
    }
    let csv = matches!(data.input_type(), InputType::CsvInput | InputType::CsvInputV2);
    let separator = data.separator();
    if csv && separator.len() != 1 {
        let message = match separator.len() {
            0 => "the CSV separator is empty".to_owned(),
            _ => format!("the CSV separator {separator:?} is not a single byte"),
        };
        check.error("data_config.separator", message, "expected one ASCII character such as ',' or '\\t'");
    }
}

fn input_type_name(data: &DatasetConfig) -> &'static str {
    data.input_type().as_str_name()
}

fn sizes(check: &mut Check<'_>, data: &DatasetConfig) {
    for (name, size) in [("batch_size", data.batch_size()), ("eval_batch_size", data.eval_batch_size())] {
        if size == 0 {
            check.error(&format!("data_config.{name}"), format!("`{name}` is 0"), "expected at least 1");
        }
    }
    if data.shuffle() && data.shuffle_buffer_size() < 0 {
        let message = format!("`shuffle_buffer_size` is {}", data.shuffle_buffer_size());
        check.error("data_config.shuffle_buffer_size", message, "expected at least 1, or `shuffle: false`");
    }
}

fn columns(check: &mut Check<'_>) {
    let fields = check.fields.clone();
    if fields.is_empty() && check.proto().fg_json_path.is_none() {
        check.error("data_config", "`input_fields` is empty", "declare each input column in the order of the file");
    }
    let names: Vec<(String, String)> = fields.iter().map(|field| (field.name.clone(), format!("{}.input_name", field.path))).collect();
    check.report_repeated(&names, "input field");
    for field in &fields {
        if field.name.is_empty() {
            check.error(&field.path, "the input field has no `input_name`", "");
        }
        let Some(text) = field.config.default_val.as_deref().filter(|text| !text.is_empty()) else { continue };
        let fits = match field.config.input_type() {
            FieldType::Int32 => text.trim().parse::<i32>().is_ok(),
            FieldType::Int64 => text.trim().parse::<i64>().is_ok(),
            FieldType::Float | FieldType::Double => text.trim().parse::<f64>().is_ok(),
            FieldType::Bool => matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "0" | "1"),
            FieldType::String => true,
        };
        if !fits {
            let kind = field.config.input_type().as_str_name();
            let path = format!("{}.default_val", field.path);
            check.error(
                &path,
                format!("the default `{text}` of `{}` is no {kind}", field.name),
                format!("expected a value of type {kind}"),
            );
        }
    }
}

fn labels(check: &mut Check<'_>, data: &DatasetConfig) {
    if data.label_fields.is_empty() {
        check.error("data_config", "`label_fields` is empty", "name the input field that holds the label");
    }
    let names: Vec<(String, String)> =
        data.label_fields.iter().enumerate().map(|(at, name)| (name.clone(), format!("data_config.label_fields[{at}]"))).collect();
    check.report_repeated(&names, "label field");
    if check.fields.is_empty() {
        return;
    }
    let fields: Vec<String> = check.fields.iter().map(|field| field.name.clone()).collect();
    let known = || fields.iter().map(String::as_str);
    let computed = |name: &str| data.extra_label_func.iter().any(|function| function.label_name() == name);
    for (name, path) in &names {
        if !fields.contains(name) && !computed(name) {
            let message = format!("label field `{name}` is not among `input_fields`");
            check.report_unknown(path, message, name, known(), &listed(known()));
        }
    }
    if let Some(name) = data.sample_weight.as_deref().filter(|name| !fields.iter().any(|field| field == name)) {
        let message = format!("`sample_weight` names `{name}`, which is not among `input_fields`");
        check.report_unknown("data_config.sample_weight", message, name, known(), &listed(known()));
    }
}

//! `rankmill data profile`: what data look like to a config.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use rankmill_data::profile::{FeatureProfile, FieldContent, FieldProfile, Profiler};
use rankmill_data::{FeatureSet, Reader, ReaderOptions, Side, declared_inputs};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::{EditArgs, RejectedArgs};
use crate::commands::check;
use crate::output::Output;
use crate::progress::Progress;
use crate::table::Table;
use crate::units;

/// Characters of a value in the table.
const VALUE_WIDTH: usize = 16;

/// Look at the data of a config: fields, features, and better settings for them.
///
/// One pass over the rows, in little memory. For each field: what its texts are, missing and distinct values, the most frequent one, and
/// how well it alone tells the label (AUC). For each feature: values out of range, values that share buckets, and a hash_bucket_size or
/// boundaries that would fit. Counts of distinct values are estimates, good to about 2 %. Rows that can't be used are skipped and
/// counted.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// An EasyRec pipeline config: protobuf text, or JSON.
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    /// Files to look at, given as for `train`, or `-` for standard input [default: the config's train_input_path].
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub(crate) input: Vec<String>,
    #[command(flatten)]
    pub(crate) rejected: RejectedArgs,
    #[command(flatten)]
    pub(crate) edits: EditArgs,
}

/// What was found.
#[derive(Debug, Serialize)]
struct ProfileReport {
    rows: u64,
    skipped_rows: u64,
    fields: Vec<FieldProfile>,
    #[serde(skip)]
    skipped: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: &ProfileArgs, output: &Output) -> anyhow::Result<Outcome> {
    let edits = arguments.edits.edits(vec!["data_config.ignore_error=true".to_owned()]);
    let pipeline = check::load(&arguments.config, &edits, output)?;
    let inputs = if arguments.input.is_empty() { declared_inputs(&pipeline, Side::Train) } else { arguments.input.clone() };
    anyhow::ensure!(!inputs.is_empty(), "{}: there is nothing to look at; set train_input_path, or pass --input", pipeline.file_name());
    let features = FeatureSet::new(&pipeline)?;
    let mut options = ReaderOptions::sequential(&pipeline, inputs)?;
    options.keep = features.field_names().map(str::to_owned).collect();
    options.rejected = arguments.rejected.create()?;
    let mut reader = Reader::new(options, features)?;
    let mut profiler = Profiler::new(&pipeline);
    let mut progress = Progress::new(output.progress_style(), 1);
    while let Some(batch) = reader.next().transpose()? {
        profiler.observe(&batch.features);
        progress.update_share(reader.progress(), "reading");
    }
    progress.finish();
    let report = reader.report();
    output.result(&ProfileReport {
        rows: report.rows,
        skipped_rows: report.skipped,
        fields: profiler.finish(&reader.statistics()),
        skipped: Some(report.to_string()).filter(|_| report.skipped > 0),
    })?;
    Ok(Outcome::Done)
}

impl fmt::Display for ProfileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = Table::new(["field", "type", "content", "missing", "distinct", "most frequent", "AUC alone"]);
        for field in &self.fields {
            fields.row([
                field.name.clone(),
                field.declared.to_owned(),
                content(field.content).to_owned(),
                share(field.missing, field.rows),
                units::count(field.distinct),
                most_frequent(field),
                field.auc.map_or_else(String::new, |auc| format!("{auc:.3}")),
            ]);
        }
        let mut features = Table::new(["feature", "out of range", "buckets", "colliding", "suggestion"]);
        for (field, feature) in self.fields.iter().flat_map(|field| field.features.iter().map(move |feature| (field, feature))) {
            features.row([
                feature.name.clone(),
                share(feature.out_of_range, field.values),
                feature.hash_bucket_size.map_or_else(String::new, units::count),
                feature.colliding.map_or_else(String::new, |colliding| format!("{:.1} %", 100.0 * colliding)),
                suggestion(feature),
            ]);
        }
        write!(f, "{fields}\n{features}\n{}", self.skipped.clone().unwrap_or_else(|| format!("{} rows", units::count(self.rows))))?;
        for field in self.fields.iter().filter(|field| field.suspicious) {
            let auc = field.auc.unwrap_or(f64::NAN);
            write!(
                f,
                "\n{}: tells the label nearly by itself (AUC {auc:.3}); is it known before the row is scored, or made of the label?",
                field.name
            )?;
        }
        Ok(())
    }
}

fn content(content: FieldContent) -> &'static str {
    match content {
        FieldContent::Nothing => "nothing",
        FieldContent::WholeNumbers => "whole numbers",
        FieldContent::Numbers => "numbers",
        FieldContent::Texts => "texts",
    }
}

fn share(part: u64, whole: u64) -> String {
    match part {
        0 => "0".to_owned(),
        part => format!("{:.2} %", 100.0 * part as f64 / whole.max(1) as f64),
    }
}

fn most_frequent(field: &FieldProfile) -> String {
    let Some(top) = field.top.first() else { return String::new() };
    let mut value: String = top.value.chars().take(VALUE_WIDTH).collect();
    if top.value.chars().count() > VALUE_WIDTH {
        value.push('…');
    }
    format!("{value} ({})", share(top.count, field.values))
}

fn suggestion(feature: &FeatureProfile) -> String {
    let current = feature.hash_bucket_size;
    if let Some(size) = feature.suggested_hash_bucket_size.filter(|size| current.is_some_and(|current| current < *size)) {
        return format!("hash_bucket_size: {size}");
    }
    match &feature.suggested_boundaries {
        Some(boundaries) => {
            let boundaries: Vec<String> = boundaries.iter().map(f64::to_string).collect();
            format!("boundaries: [{}]", boundaries.join(", "))
        }
        None => String::new(),
    }
}

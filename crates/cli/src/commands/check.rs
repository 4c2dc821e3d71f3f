//! `rankmill check`: reads a config and says everything that can be said of it without data.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use rankmill_config::{Diagnostic, Diagnostics, Edits, Pipeline, Severity, Variable, as_backbone, lints, validate};
use rankmill_data::{FeatureSet, ReaderOptions};
use rankmill_model::{Model, Purpose};
use rankmill_train::summary::{ASSUMED_POSITIONS, BlockSummary, DynamicTableSummary, ModelSummary};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::EditArgs;
use crate::output::{Level, Output};
use crate::table::Table;
use crate::units;

/// Check a config: names, types, shapes, parameters and cost; needs no data.
///
/// Prints every problem with its place, then what EasyRec (and Rankmill after it) does otherwise than the config seems to
/// ask, then the model. Exit code 2 if the config cannot be used.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// An EasyRec pipeline config: protobuf text, or JSON.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Exit with code 1 if anything is warned of.
    #[arg(long)]
    strict: bool,
    /// Print the config with its model on a backbone instead, if an equal one can be written; what differs is said on stderr.
    ///
    /// Models of the older style have a message of their own, such as `deepfm`. With --json the result also says where each
    /// of their variables is found on the backbone.
    #[arg(long, conflicts_with = "strict")]
    as_backbone: bool,
    #[command(flatten)]
    edits: EditArgs,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CheckReport {
    /// The config file.
    pub(crate) config: String,
    /// Whether the config can be used.
    pub(crate) usable: bool,
    /// Errors and warnings, in the order of their places.
    pub(crate) findings: Vec<Finding>,
    /// The model, if the config could be turned into one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<ModelReport>,
}

/// One error or warning.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// `error` or `warning`.
    pub(crate) severity: &'static str,
    /// The lint's name, for a warning that is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lint: Option<&'static str>,
    pub(crate) file: String,
    /// Counted from 1; 0 when only the file is known.
    pub(crate) line: usize,
    /// Counted from 1; 0 when only the file is known.
    pub(crate) column: usize,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
    /// What a lint comes to, in EasyRec and here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) effect: Option<String>,
    /// How to change the config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
    /// The finding as people read it.
    #[serde(skip)]
    text: String,
}

/// The model that a config describes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ModelReport {
    /// Feature groups, then blocks in the order in which they are built, then the head.
    pub(crate) blocks: Vec<BlockReport>,
    /// Elements of all embedding tables.
    pub(crate) embedding_parameters: u64,
    /// Elements of all other variables.
    pub(crate) dense_parameters: u64,
    /// Floating-point operations of scoring one row.
    pub(crate) forward_flops_per_row: f64,
    /// Floating-point operations of training on one row.
    pub(crate) training_flops_per_row: f64,
    /// Expected memory of a training, in bytes.
    pub(crate) training_bytes: u64,
    /// How long sequences are taken to be whose length no setting bounds, if there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) assumed_positions: Option<usize>,
    /// What dynamic tables may add to the memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) dynamic_tables: Vec<DynamicTableReport>,
}

/// What the dynamic tables of a feature, or of several that share them, may come to need.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DynamicTableReport {
    pub(crate) name: String,
    /// The most ids that may be known.
    pub(crate) max_capacity: u64,
    /// Bytes of an id with a row.
    pub(crate) bytes_per_row: u64,
    /// Bytes of an id without one.
    pub(crate) bytes_per_id: u64,
}

/// One block of the model.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BlockReport {
    pub(crate) name: String,
    /// The shape of its output, such as `[B, 256]`.
    pub(crate) output: String,
    pub(crate) parameters: u64,
    pub(crate) forward_flops_per_row: f64,
}

impl Finding {
    fn new(diagnostic: &Diagnostic) -> Finding {
        Finding {
            severity: match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            lint: None,
            file: diagnostic.file.clone(),
            line: diagnostic.line,
            column: diagnostic.column,
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
            effect: None,
            fix: None,
            text: diagnostic.to_string(),
        }
    }

    /// The place and the message, without the source line.
    fn line(&self) -> String {
        let name = self.lint.map_or_else(String::new, |name| format!(" [{name}]"));
        format!("{}:{}:{}: {}{name}", self.file, self.line, self.column, self.message)
    }

    fn of_lint(lint: &rankmill_config::Lint) -> Finding {
        let text = lint.diagnostic.to_string();
        let (message, source) = text.split_once('\n').unwrap_or((&text, ""));
        let source = if source.is_empty() { String::new() } else { format!("\n{source}") };
        let text = format!("{message} [{}]{source}\n  = effect: {}\n  = fix: {}", lint.name, lint.effect, lint.fix);
        Finding {
            lint: Some(lint.name),
            effect: Some(lint.effect.clone()),
            fix: Some(lint.fix.clone()),
            text,
            ..Finding::new(&lint.diagnostic)
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{}\n", finding.text)?;
        }
        if let Some(model) = &self.model {
            writeln!(f, "{model}")?;
        }
        let count = |severity: &str, one: &str| match self.findings.iter().filter(|finding| finding.severity == severity).count() {
            1 => format!("1 {one}"),
            number => format!("{number} {one}s"),
        };
        let verdict = if self.usable { "can be used" } else { "cannot be used" };
        write!(f, "{} {verdict}: {}, {}", self.config, count("error", "error"), count("warning", "warning"))
    }
}

impl fmt::Display for ModelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blocks = Table::new(["block", "output", "parameters", "FLOPs/row"]);
        for block in &self.blocks {
            let flops = units::large(block.forward_flops_per_row);
            blocks.row([block.name.clone(), block.output.clone(), units::count(block.parameters), flops]);
        }
        let mut sums = Table::new(["", ""]);
        sums.row(["embedding parameters".to_owned(), units::count(self.embedding_parameters)]);
        sums.row(["other parameters".to_owned(), units::count(self.dense_parameters)]);
        sums.row(["FLOPs per row, scoring".to_owned(), units::large(self.forward_flops_per_row)]);
        sums.row(["FLOPs per row, training".to_owned(), units::large(self.training_flops_per_row)]);
        sums.row(["memory in training".to_owned(), format!("{}B", units::large(self.training_bytes as f64))]);
        if let Some(positions) = self.assumed_positions {
            sums.row(["  if no sequence is longer than".to_owned(), positions.to_string()]);
        }
        for table in &self.dynamic_tables {
            let most = units::large((table.max_capacity * table.bytes_per_row) as f64);
            sums.row([format!("  and for each id of {}", table.name), format!("{} B", table.bytes_per_row)]);
            sums.row([format!("  of which there may be {}", units::count(table.max_capacity)), format!("{most}B")]);
        }
        write!(f, "{blocks}\n{sums}")
    }
}

impl ModelReport {
    /// Builds the model of a config, which finds every shape that does not fit, and all that reading and training ask of it.
    fn build(pipeline: &Pipeline) -> Result<ModelReport, Diagnostics> {
        ReaderOptions::train(pipeline, Vec::new(), 0)?;
        let ModelSummary {
            blocks,
            embedding_parameters,
            dense_parameters,
            forward_flops_per_row,
            training_flops_per_row,
            training_bytes,
            assumes_positions,
            dynamic_tables,
        } = ModelSummary::new(pipeline)?;
        let table = |DynamicTableSummary { name, max_capacity, bytes_per_row, bytes_per_id }| DynamicTableReport {
            name,
            max_capacity,
            bytes_per_row,
            bytes_per_id,
        };
        let block = |BlockSummary { name, output, parameters, forward_flops_per_row }| BlockReport {
            name,
            output,
            parameters,
            forward_flops_per_row,
        };
        Ok(ModelReport {
            blocks: blocks.into_iter().map(block).collect(),
            embedding_parameters,
            dense_parameters,
            forward_flops_per_row,
            training_flops_per_row,
            training_bytes,
            assumed_positions: assumes_positions.then_some(ASSUMED_POSITIONS),
            dynamic_tables: dynamic_tables.into_iter().map(table).collect(),
        })
    }
}

impl CheckReport {
    fn new(config: &Path, edits: &Edits) -> CheckReport {
        let name = config.display().to_string();
        let unusable = |problems: Diagnostics, warnings: Vec<Finding>| CheckReport {
            config: name.clone(),
            usable: false,
            findings: problems.iter().map(Finding::new).chain(warnings).collect(),
            model: None,
        };
        let (pipeline, findings) = match examine(config, edits) {
            Ok(examined) => examined,
            Err(problems) => return unusable(problems, Vec::new()),
        };
        match ModelReport::build(&pipeline) {
            Ok(model) => CheckReport { config: name.clone(), usable: true, findings, model: Some(model) },
            Err(problems) => unusable(problems, findings),
        }
    }
}

/// Reads and checks a config; what comes back with it are warnings.
pub(crate) fn examine(config: &Path, edits: &Edits) -> Result<(Pipeline, Vec<Finding>), Diagnostics> {
    let pipeline = Pipeline::load(config, edits)?;
    let problems = validate(&pipeline);
    if problems.has_errors() {
        return Err(problems);
    }
    let findings = problems.iter().map(Finding::new).chain(lints(&pipeline).iter().map(Finding::of_lint)).collect();
    Ok((pipeline, findings))
}

/// Reads and checks a config for a command that goes on with it, and logs its warnings.
pub(crate) fn load(config: &Path, edits: &Edits, output: &Output) -> anyhow::Result<Pipeline> {
    let (pipeline, findings) = examine(config, edits)?;
    if !findings.is_empty() {
        let warnings: Vec<String> = findings.iter().map(Finding::line).collect();
        let text = format!("{}\n`rankmill check {}` explains", warnings.join("\n"), config.display());
        output.log(Level::Warn, &text);
    }
    Ok(pipeline)
}

/// A config on a backbone.
#[derive(Clone, Debug, Serialize)]
struct BackboneReport {
    /// The config, as protobuf text.
    config: String,
    /// What the backbone does not do as the model did.
    differences: Vec<String>,
    /// The variables that have another name, or another order of rows, on the backbone.
    variables: Vec<MovedVariable>,
}

/// A variable on a backbone.
#[derive(Clone, Debug, Serialize)]
struct MovedVariable {
    from: String,
    to: String,
    /// Row `i` there is row `rows[i]` of the model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rows: Vec<usize>,
}

impl fmt::Display for BackboneReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.config.trim_end())
    }
}

/// Writes the config on a backbone.
fn run_as_backbone(arguments: &CheckArgs, output: &Output) -> anyhow::Result<Outcome> {
    let (pipeline, _) = examine(&arguments.config, &arguments.edits.edits(Vec::new()))?;
    let written = as_backbone(&pipeline).map_err(Diagnostics::from)?;
    for difference in &written.differences {
        output.log(Level::Warn, &format!("not the same: {difference}"));
    }
    let features = FeatureSet::new(&pipeline)?;
    let model = Model::build(&pipeline, &features, Purpose::Training)?;
    let moved = |name: &str| {
        let Variable { name: to, rows } = written.variable(name);
        (to != name || !rows.is_empty()).then(|| MovedVariable { from: name.to_owned(), to, rows })
    };
    let variables = model.graph.parameters().iter().filter_map(|slot| moved(&slot.name)).collect();
    output.result(&BackboneReport { config: written.text, differences: written.differences, variables })?;
    Ok(Outcome::Done)
}

/// Runs the command.
pub(crate) fn run(arguments: &CheckArgs, output: &Output) -> anyhow::Result<Outcome> {
    if arguments.as_backbone {
        return run_as_backbone(arguments, output);
    }
    let report = CheckReport::new(&arguments.config, &arguments.edits.edits(Vec::new()));
    output.result(&report)?;
    if !report.usable {
        anyhow::bail!("{} cannot be used", report.config);
    }
    let warned = arguments.strict && !report.findings.is_empty();
    Ok(if warned { Outcome::GateFailed } else { Outcome::Done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_with_a_model() {
        let diagnostic =
            Diagnostic::warning(rankmill_config::Span { file: "a.config".into(), line: 3, column: 5, length: 2 }, "`l2` has no effect");
        let report = CheckReport {
            config: "a.config".into(),
            usable: true,
            findings: vec![Finding::new(&diagnostic)],
            model: Some(ModelReport {
                blocks: vec![BlockReport {
                    name: "mask_net".into(),
                    output: "[B, 256]".into(),
                    parameters: 1_234_567,
                    forward_flops_per_row: 5.87e6,
                }],
                embedding_parameters: 305_056,
                dense_parameters: 1_234_824,
                forward_flops_per_row: 1.91e6,
                training_flops_per_row: 5.73e6,
                training_bytes: 91_200_000,
                assumed_positions: Some(64),
                dynamic_tables: vec![DynamicTableReport {
                    name: "user_id".into(),
                    max_capacity: 1_000_000,
                    bytes_per_row: 253,
                    bytes_per_id: 49,
                }],
            }),
        };
        insta::assert_snapshot!(report.to_string(), @r"
        a.config:3:5: warning: `l2` has no effect

        block       output  parameters  FLOPs/row
        mask_net  [B, 256]   1,234,567     5.87 M

        embedding parameters                 305,056
        other parameters                   1,234,824
        FLOPs per row, scoring                1.91 M
        FLOPs per row, training               5.73 M
        memory in training                   91.2 MB
          if no sequence is longer than           64
          and for each id of user_id           253 B
          of which there may be 1,000,000   253.0 MB

        a.config can be used: 0 errors, 1 warning
        ");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["findings"][0]["line"], 3);
        assert_eq!(json["model"]["blocks"][0]["output"], "[B, 256]");
    }
}

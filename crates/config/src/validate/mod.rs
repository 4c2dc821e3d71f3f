//! What is wrong with a config, as far as it can be seen without data: names that do not exist, values that make no
//! sense, parts that are missing.

mod backbone;
mod data;
mod features;
mod metrics;
mod model;
mod ranges;
mod training;

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics, did_you_mean};
use crate::features::{Feature, FeatureGroup, InputField};
use crate::pipeline::Pipeline;
use crate::proto;

/// Checks a config; all that comes back are errors, in the order of their places.
#[must_use]
pub fn validate(pipeline: &Pipeline) -> Diagnostics {
    let mut check = Check {
        pipeline,
        features: pipeline.features(),
        groups: pipeline.feature_groups(),
        fields: pipeline.input_fields(),
        problems: Vec::new(),
    };
    data::check(&mut check);
    features::check(&mut check);
    features::check_groups(&mut check);
    model::check(&mut check);
    backbone::check(&mut check);
    training::check(&mut check);
    metrics::check(&mut check);
    ranges::check(&mut check);
    let mut problems = Diagnostics(check.problems);
    problems.sort();
    problems.0.dedup();
    problems
}

/// The config under check, its lists written out, and the problems found so far.
struct Check<'a> {
    pipeline: &'a Pipeline,
    features: Vec<Feature<'a>>,
    groups: Vec<FeatureGroup<'a>>,
    fields: Vec<InputField<'a>>,
    problems: Vec<Diagnostic>,
}

impl<'a> Check<'a> {
    fn error(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(self.pipeline.error(path, message).with_help(help));
    }

    fn proto(&self) -> &'a proto::EasyRecConfig {
        &self.pipeline.proto
    }

    /// Reports each name that stands in the list for a second time.
    fn report_repeated(&mut self, names: &[(String, String)], what: &str) {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, path) in names {
            let Some(first) = seen.get(name.as_str()) else {
                seen.insert(name, path);
                continue;
            };
            let line = self.pipeline.locate(first).line;
            let said = if line > 0 { format!(", first in line {line}") } else { String::new() };
            self.error(path, format!("{what} `{name}` is declared twice{said}"), "remove or rename one of them");
        }
    }

    /// Reports a name that is none of `known`.
    fn report_unknown<'n>(&mut self, path: &str, message: String, name: &str, known: impl IntoIterator<Item = &'n str>, otherwise: &str) {
        let near = did_you_mean(name, known);
        let help = if near.is_empty() { otherwise.to_owned() } else { near };
        self.error(path, message, help);
    }
}

/// `a, b, c`, cut after a dozen.
fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut shown: Vec<&str> = Vec::new();
    for name in names {
        if !shown.contains(&name) {
            shown.push(name);
        }
    }
    let names = shown;
    match names.len() {
        0 => "none is declared".to_owned(),
        1..=12 => format!("expected one of {}", names.join(", ")),
        more => format!("expected one of {} and {} more", names[..12].join(", "), more - 12),
    }
}

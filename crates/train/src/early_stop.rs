//! `export_config.enable_early_stop`: a run ends when its evaluations say so.
//!
//! Without an `early_stop_func` it ends when `best_exporter_metric` has not improved for `max_check_steps` steps. EasyRec's
//! `early_stop_func` names a function in Python; here it is one of those that TensorFlow has for the purpose, and
//! `early_stop_params` are its arguments as JSON. EasyRec looks every minute; here every evaluation is looked at as soon as it is done,
//! so that a run ends at the same step each time.

use rankmill_config::{Diagnostic, Pipeline, did_you_mean};
use serde::Deserialize;

use crate::history::History;

/// When a run ends early.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EarlyStop {
    pub(crate) metric: String,
    rule: Rule,
    /// Evaluations before this step do not count.
    min_steps: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    /// The metric has not improved for so many steps.
    NoImprovement { bigger: bool, steps: u64 },
    /// The metric is above a threshold, or below.
    Threshold { above: bool, threshold: f64 },
}

/// The functions that `early_stop_func` may name. The last is that of EasyRec's own example.
const FUNCTIONS: [&str; 5] = ["stop_if_higher", "stop_if_lower", "stop_if_no_increase", "stop_if_no_decrease", "custom_early_stop_func"];

/// `early_stop_params`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    metric_name: Option<String>,
    #[serde(alias = "thre")]
    threshold: Option<f64>,
    #[serde(alias = "max_steps_without_increase", alias = "max_steps_without_decrease")]
    max_steps: Option<u64>,
    #[serde(default)]
    min_steps: u64,
}

impl EarlyStop {
    /// What a config asks for.
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Option<EarlyStop>, Diagnostic> {
        let Some(export) = pipeline.proto.export_config.as_ref().filter(|export| export.enable_early_stop()) else { return Ok(None) };
        let steps =
            u64::try_from(export.max_check_steps()).map_err(|_| pipeline.error("export_config.max_check_steps", "must not be negative"))?;
        let metric = export.best_exporter_metric().to_owned();
        let Some(function) = export.early_stop_func.as_deref() else {
            let rule = Rule::NoImprovement { bigger: export.metric_bigger(), steps };
            return Ok(Some(EarlyStop { metric, rule, min_steps: 0 }));
        };
        let path = "export_config.early_stop_params";
        let text = export.early_stop_params.as_deref().unwrap_or("{}");
        let arguments: Arguments =
            serde_json::from_str(text).map_err(|error| pipeline.error(path, format!("expected a JSON object: {error}")))?;
        let threshold = || arguments.threshold.ok_or_else(|| pipeline.error(path, "the `threshold` is missing"));
        let patience = |bigger| Rule::NoImprovement { bigger, steps: arguments.max_steps.unwrap_or(steps) };
        let name = function.rsplit('.').next().unwrap_or(function);
        let rule = match name.strip_suffix("_hook").unwrap_or(name) {
            "stop_if_higher" | "custom_early_stop_func" => Rule::Threshold { above: true, threshold: threshold()? },
            "stop_if_lower" => Rule::Threshold { above: false, threshold: threshold()? },
            "stop_if_no_increase" => patience(true),
            "stop_if_no_decrease" => patience(false),
            other => {
                let near = did_you_mean(other, FUNCTIONS);
                let message = format!("`{function}` is a function in Python, which is not run here; known: {}", FUNCTIONS[..4].join(", "));
                return Err(pipeline.error("export_config.early_stop_func", message).with_help(near));
            }
        };
        Ok(Some(EarlyStop { metric: arguments.metric_name.unwrap_or(metric), rule, min_steps: arguments.min_steps }))
    }

    /// Where the config names the metric.
    pub(crate) fn metric_path(&self, pipeline: &Pipeline) -> &'static str {
        let names = |params: &str| params.contains(&self.metric);
        let export = pipeline.proto.export_config.as_ref();
        match export.and_then(|export| export.early_stop_params.as_deref()).is_some_and(names) {
            true => "export_config.early_stop_params",
            false => "export_config.best_exporter_metric",
        }
    }

    /// Why the run is to end after these evaluations, if it is.
    pub(crate) fn decide(&self, history: &History) -> Option<String> {
        let metric = &self.metric;
        let mut best: Option<(u64, f64)> = None;
        for (step, value) in history.values(metric).filter(|(step, _)| *step >= self.min_steps) {
            match self.rule {
                Rule::Threshold { above, threshold } => {
                    let (crossed, side) = if above { (value > threshold, "above") } else { (value < threshold, "below") };
                    if crossed {
                        return Some(format!("{metric} is {value} at step {step}, {side} {threshold}"));
                    }
                }
                Rule::NoImprovement { bigger, steps } => {
                    if best.is_none_or(|(_, best)| improves(bigger, best, value)) {
                        best = Some((step, value));
                    }
                    let since = best.map_or(step, |(since, _)| since);
                    if step - since >= steps {
                        return Some(format!("{metric} has not improved since step {since}, for {} steps", step - since));
                    }
                }
            }
        }
        None
    }
}

/// Whether a figure is better than the best one so far.
pub(crate) fn improves(bigger: bool, best: f64, value: f64) -> bool {
    if bigger { value > best } else { value < best }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(rule: Rule, values: &[(u64, f64)]) -> Option<String> {
        let mut history = History::default();
        values.iter().for_each(|(step, value)| history.push(*step, [("auc".to_owned(), *value)]));
        EarlyStop { metric: "auc".to_owned(), rule, min_steps: 15 }.decide(&history)
    }

    #[test]
    fn a_run_ends_when_nothing_improves() {
        let rule = |bigger| Rule::NoImprovement { bigger, steps: 20 };
        // The first evaluation is too early to count.
        let values = [(10, 0.9), (20, 0.6), (30, 0.7), (40, 0.7), (50, 0.69)];
        assert_eq!(decide(rule(true), &values[..4]), None);
        assert_eq!(decide(rule(true), &values).expect("it ends"), "auc has not improved since step 30, for 20 steps");
        assert_eq!(decide(rule(false), &values[..3]), None);
        assert_eq!(decide(rule(false), &values).expect("it ends"), "auc has not improved since step 20, for 20 steps");
        assert_eq!(decide(rule(true), &[(20, f64::NAN), (30, f64::NAN)]), None);
        assert!(decide(rule(true), &[(20, 0.5), (40, f64::NAN)]).is_some());
    }

    #[test]
    fn a_run_ends_at_a_threshold() {
        let values = [(10, 0.9), (20, 0.6), (30, 0.7)];
        assert_eq!(decide(Rule::Threshold { above: true, threshold: 0.7 }, &values), None);
        let higher = decide(Rule::Threshold { above: true, threshold: 0.65 }, &values);
        assert_eq!(higher.expect("it ends"), "auc is 0.7 at step 30, above 0.65");
        assert!(decide(Rule::Threshold { above: false, threshold: 0.65 }, &values).is_some_and(|why| why.contains("step 20")));
    }
}

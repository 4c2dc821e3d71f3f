//! What a config says of how a run goes besides its steps: when it ends early, and what it exports.

use std::path::Path;

use rankmill_config::{Diagnostics, Pipeline, did_you_mean};

use crate::early_stop::EarlyStop;
use crate::ending::{Ending, Watch};
use crate::evaluate::Evaluator;
use crate::exports::{ExportRule, Exporter};
use crate::history::History;

/// Exports and ends of a run.
pub(crate) struct Control {
    pub(crate) exporter: Exporter,
    pub(crate) watch: Watch,
    early_stop: Option<EarlyStop>,
}

impl Control {
    /// What a config says of a run in `model_dir`.
    ///
    /// # Errors
    /// Settings that make no sense, all of them.
    pub(crate) fn new(pipeline: &Pipeline, model_dir: &Path) -> Result<Control, Diagnostics> {
        let parts = (Exporter::new(pipeline, model_dir), Watch::new(pipeline, model_dir), EarlyStop::new(pipeline));
        match parts {
            (Ok(exporter), Ok(watch), Ok(early_stop)) => Ok(Control { exporter, watch, early_stop }),
            (exporter, watch, early_stop) => {
                Err(Diagnostics([exporter.err(), watch.err(), early_stop.err()].into_iter().flatten().collect()))
            }
        }
    }

    /// Checks that evaluations have the metrics which decide what is exported and when the run ends.
    pub(crate) fn check_metrics(&self, pipeline: &Pipeline, evaluator: Option<&Evaluator>) -> Result<(), Diagnostics> {
        let best = match &self.exporter.rule {
            ExportRule::Best { metric, .. } => Some((metric, "export_config.best_exporter_metric")),
            ExportRule::Never | ExportRule::Final | ExportRule::Latest => None,
        };
        let early = self.early_stop.as_ref().map(|rule| (&rule.metric, rule.metric_path(pipeline)));
        for (metric, path) in best.into_iter().chain(early) {
            let Some(evaluator) = evaluator else {
                let message = format!("the run is to be judged by {metric}, but there is nothing to evaluate on");
                return Err(pipeline.error("export_config", message).with_help("set eval_input_path, or pass --eval-input").into());
            };
            let names = evaluator.figure_names();
            if !names.contains(metric) {
                let near = did_you_mean(metric, names.iter().map(String::as_str));
                let message = format!("no evaluation has the metric `{metric}`; there are {}", names.join(", "));
                return Err(pipeline.error(path, message).with_help(near).into());
            }
        }
        Ok(())
    }

    /// Whether something is decided by the figures of every checkpoint.
    pub(crate) fn evaluates_checkpoints(&self) -> bool {
        self.early_stop.is_some() || matches!(self.exporter.rule, ExportRule::Best { .. })
    }

    /// Whether the evaluations so far end the run.
    pub(crate) fn early_ending(&self, history: &History) -> Option<Ending> {
        self.early_stop.as_ref().and_then(|rule| rule.decide(history)).map(Ending::EarlyStop)
    }
}

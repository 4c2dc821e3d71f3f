//! Gates: what the final figures must reach, else the exit code is 1.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use rankmill_config::nearest;

use crate::Outcome;
use crate::output::{Level, Output};
use crate::report::Metrics;

/// Gates on the final metrics.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GateArgs {
    /// Exit with code 1 unless a final metric is as demanded, such as `auc>=0.86` or `log_loss<=0.36`; may be repeated.
    #[arg(long, value_name = "CONDITION")]
    pub(crate) require: Vec<Requirement>,
}

/// One demand on a metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Requirement {
    metric: String,
    at_least: bool,
    bound: f64,
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Requirement, String> {
        let parts = text.split_once(">=").map(|parts| (parts, true)).or(text.split_once("<=").map(|parts| (parts, false)));
        let Some(((metric, bound), at_least)) = parts else {
            return Err("expected METRIC>=VALUE or METRIC<=VALUE".to_owned());
        };
        let (metric, bound) = (metric.trim(), bound.trim());
        match bound.parse() {
            Ok(bound) if !metric.is_empty() && !f64::is_nan(bound) => Ok(Requirement { metric: metric.to_owned(), at_least, bound }),
            _ => Err("expected METRIC>=VALUE or METRIC<=VALUE with a number".to_owned()),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.at_least { ">=" } else { "<=" };
        write!(f, "{} {sign} {}", self.metric, self.bound)
    }
}

impl GateArgs {
    /// Compares the metrics with all demands and logs each one that is not met. A metric without a value meets none.
    ///
    /// # Errors
    /// If a demand names a metric that was not computed.
    pub(crate) fn check(&self, metrics: &Metrics, output: &Output) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::Done;
        for requirement in &self.require {
            let Some(value) = metrics.get(&requirement.metric) else {
                let hint = nearest(&requirement.metric, metrics.names());
                let hint = hint.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
                let names = metrics.names().collect::<Vec<_>>().join(", ");
                anyhow::bail!("--require: there is no metric `{}`{hint} Computed: {names}", requirement.metric);
            };
            let met = if requirement.at_least { value >= requirement.bound } else { value <= requirement.bound };
            if !met {
                output.log(Level::Error, &format!("required {requirement}, but it is {value}"));
                outcome = Outcome::GateFailed;
            }
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(requirements: &[&str]) -> GateArgs {
        GateArgs { require: requirements.iter().map(|text| text.parse().unwrap()).collect() }
    }

    fn check(requirements: &[&str]) -> anyhow::Result<Outcome> {
        let metrics = Metrics::from([("auc", 0.86), ("log_loss", 0.35), ("gauc", f64::NAN)]);
        gates(requirements).check(&metrics, &Output::new(false, Level::Error))
    }

    #[test]
    fn demands_are_compared() {
        assert_eq!(check(&[]).unwrap(), Outcome::Done);
        assert_eq!(check(&["auc>=0.86", " log_loss <= 0.35 "]).unwrap(), Outcome::Done);
        assert_eq!(check(&["auc>=0.86", "auc>=0.8601"]).unwrap(), Outcome::GateFailed);
        assert_eq!(check(&["log_loss<=0.3"]).unwrap(), Outcome::GateFailed);
        assert_eq!(check(&["gauc>=0"]).unwrap(), Outcome::GateFailed);
        assert_eq!(check(&["gauc<=1"]).unwrap(), Outcome::GateFailed);
    }

    #[test]
    fn unknown_metrics_are_named() {
        let message = check(&["log_los<=0.3"]).unwrap_err().to_string();
        assert_eq!(message, "--require: there is no metric `log_los`; did you mean `log_loss`? Computed: auc, log_loss, gauc");
    }

    #[test]
    fn malformed_demands_are_refused() {
        for text in ["", "auc", "auc>0.5", "auc=0.5", ">=0.5", "auc>=", "auc>=x", "auc>=nan"] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}

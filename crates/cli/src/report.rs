//! The final figures of training and evaluation, as a table or as JSON.

use std::fmt;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::profile::{ProfileLine, profile_table};
use crate::table::Table;
use crate::units;

/// Named figures in the order in which they were computed. In JSON one that is not a number becomes `null`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// The value of a metric.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    /// The names in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl<I: IntoIterator<Item = (N, f64)>, N: Into<String>> From<I> for Metrics {
    fn from(pairs: I) -> Metrics {
        Metrics(pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// What a training or an evaluation came to.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct RunReport {
    /// Figures of the evaluation; empty if there was none.
    pub(crate) metrics: Metrics,
    /// Rows evaluated, or trained on if there was no evaluation.
    pub(crate) rows: u64,
    /// Wall time of each part, in seconds.
    pub(crate) seconds: Metrics,
    /// Steps the model has been trained for.
    pub(crate) steps: u64,
    /// Where the model is.
    pub(crate) model: String,
    /// Where the last export is, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) export: Option<String>,
    /// What was skipped, clipped or out of range.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remarks: Vec<String>,
    /// What each part of the training steps took, longest first, if that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) profile: Vec<ProfileLine>,
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["", ""]);
        for (name, value) in &self.metrics.0 {
            table.row([name.clone(), format!("{value:.6}")]);
        }
        table.row(["rows".to_owned(), units::count(self.rows)]);
        table.row(["steps".to_owned(), units::count(self.steps)]);
        for (name, seconds) in &self.seconds.0 {
            let span = Duration::try_from_secs_f64(*seconds).unwrap_or_default();
            table.row([format!("{name} time"), units::duration(span)]);
        }
        write!(f, "{table}model: {}", self.model)?;
        self.export.iter().try_for_each(|export| write!(f, "\nexport: {export}"))?;
        self.remarks.iter().try_for_each(|remark| write!(f, "\nnote: {remark}"))?;
        if !self.profile.is_empty() {
            write!(f, "\n\n{}", profile_table(&self.profile))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> RunReport {
        RunReport {
            metrics: Metrics::from([("auc", 0.865_9), ("gauc", f64::NAN)]),
            rows: 73_902,
            seconds: Metrics::from([("train", 12.0), ("eval", 0.5)]),
            steps: 650,
            model: "out/model.ckpt-650".to_owned(),
            export: Some("out/export/best/600".to_owned()),
            remarks: vec!["3 rows skipped".to_owned()],
            profile: Vec::new(),
        }
    }

    #[test]
    fn as_a_table() {
        let expected = "auc         0.865900\ngauc             NaN\nrows          73,902\nsteps            650\n\
                        train time      12 s\neval time     0.50 s\nmodel: out/model.ckpt-650\nexport: out/export/best/600\nnote: 3 rows skipped";
        assert_eq!(report().to_string(), expected);
    }

    #[test]
    fn as_json() {
        let expected = r#"{"metrics":{"auc":0.8659,"gauc":null},"rows":73902,"seconds":{"train":12.0,"eval":0.5},"steps":650,"model":"out/model.ckpt-650","export":"out/export/best/600","remarks":["3 rows skipped"]}"#;
        assert_eq!(serde_json::to_string(&report()).unwrap(), expected);
    }
}

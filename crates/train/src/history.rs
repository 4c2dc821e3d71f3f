//! The evaluations of a run so far, which decide what is exported and when a run ends early; kept in the model directory, so that a run
//! that is resumed decides as one that was never stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rankmill_model::bundle::{BundleError, write_file};
use serde::{Deserialize, Serialize};

/// The file in the model directory.
const HISTORY_FILE: &str = "evaluations.json";

/// All evaluations, by step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct History(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    step: u64,
    /// Figures by name, `null` where one is not a number.
    metrics: BTreeMap<String, Option<f64>>,
}

impl History {
    /// The evaluations of a model directory up to a step: later ones belong to steps that are to be done again.
    pub(crate) fn read(model_dir: &Path, last: u64) -> Result<History, BundleError> {
        let file = model_dir.join(HISTORY_FILE);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(History::default()),
            Err(error) => return Err(BundleError::Io { path: file, error }),
        };
        let mut history: History = serde_json::from_str(&text).map_err(|error| BundleError::damaged(&file, error))?;
        history.0.retain(|entry| entry.step <= last);
        Ok(history)
    }

    /// Removes the evaluations of a run that is over.
    pub(crate) fn clear(model_dir: &Path) -> Result<(), BundleError> {
        let file = model_dir.join(HISTORY_FILE);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BundleError::Io { path: file, error }),
            _ => Ok(()),
        }
    }

    /// Writes the file aside and puts it into its place.
    pub(crate) fn write(&self, model_dir: &Path) -> Result<(), BundleError> {
        let file = model_dir.join(HISTORY_FILE);
        let aside = model_dir.join(format!(".{HISTORY_FILE}"));
        let text = serde_json::to_string(self).map_err(|error| BundleError::damaged(&file, error))?;
        write_file(&aside, text.as_bytes())?;
        fs::rename(&aside, &file).map_err(BundleError::io(&file))
    }

    /// Adds an evaluation.
    pub(crate) fn push(&mut self, step: u64, metrics: impl IntoIterator<Item = (String, f64)>) {
        let metrics = metrics.into_iter().map(|(name, value)| (name, Some(value).filter(|value| value.is_finite()))).collect();
        self.0.retain(|entry| entry.step != step);
        self.0.push(Entry { step, metrics });
    }

    /// Whether there was an evaluation at a step.
    pub(crate) fn has(&self, step: u64) -> bool {
        self.0.iter().any(|entry| entry.step == step)
    }

    /// The values of a metric with their steps.
    pub(crate) fn values<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = (u64, f64)> + 'a {
        self.0.iter().filter_map(move |entry| {
            let value = entry.metrics.get(metric)?;
            Some((entry.step, value.unwrap_or(f64::NAN)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_come_back_up_to_a_step() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(History::read(folder.path(), 100).expect("no file is no history"), History::default());
        let mut history = History::default();
        history.push(10, [("auc".to_owned(), 0.1_f64 + 0.2), ("gauc".to_owned(), f64::NAN)]);
        history.push(20, [("auc".to_owned(), 0.7)]);
        history.write(folder.path()).expect("written");
        let all = History::read(folder.path(), 20).expect("read");
        assert_eq!(all.values("auc").collect::<Vec<_>>(), [(10, 0.1 + 0.2), (20, 0.7)]);
        assert!(all.values("gauc").all(|(step, value)| step == 10 && value.is_nan()));
        let earlier = History::read(folder.path(), 19).expect("read");
        assert!(earlier.has(10) && !earlier.has(20));
        fs::write(folder.path().join(HISTORY_FILE), "[{").expect("written");
        assert!(History::read(folder.path(), 20).is_err());
    }
}

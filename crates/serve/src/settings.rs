//! Which models are served, and which of their versions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;

use crate::StartError;

/// A model to serve.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// The name in requests.
    pub name: String,
    /// A model directory, a bundle, or a directory whose subdirectories are versions, named by numbers.
    pub path: PathBuf,
    /// Which versions are loaded.
    #[serde(default)]
    pub versions: Policy,
    /// Names for versions that requests may use instead of numbers.
    #[serde(default)]
    pub labels: BTreeMap<String, u64>,
    /// The version that gets a part of the requests that ask for no version.
    #[serde(default)]
    pub canary: Option<Share>,
    /// The version that scores a part of the requests once more, only to be compared.
    #[serde(default)]
    pub shadow: Option<Share>,
}

/// Which versions are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Policy {
    /// The newest ones, so many.
    Newest(usize),
    /// These.
    Only(Vec<u64>),
    /// All that there are.
    All,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::Newest(1)
    }
}

/// A version and its part of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The version; the newest one if none is named.
    #[serde(default)]
    pub version: Option<u64>,
    /// From 0 to 1.
    pub share: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    models: Vec<ModelSettings>,
}

/// A file `{"models": [...]}`.
pub(crate) struct SettingsFile {
    path: PathBuf,
    stamp: Option<(SystemTime, u64)>,
}

impl SettingsFile {
    pub(crate) fn new(path: PathBuf) -> SettingsFile {
        SettingsFile { path, stamp: None }
    }

    fn stamp(&self) -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(&self.path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    /// Whether it is another than was read last.
    pub(crate) fn has_changed(&self) -> bool {
        self.stamp() != self.stamp
    }

    fn read(&mut self) -> Result<Vec<ModelSettings>, StartError> {
        // A file that changes meanwhile is then read once more.
        self.stamp = self.stamp();
        ModelSettings::read_file(&self.path)
    }
}

/// The models, and those of a file.
pub(crate) fn all(models: &[ModelSettings], file: Option<&mut SettingsFile>) -> Result<Vec<ModelSettings>, StartError> {
    let mut all = models.to_vec();
    if let Some(file) = file {
        all.extend(file.read()?);
    }
    check(&all).map_err(|reason| StartError::Models { reason })?;
    Ok(all)
}

impl ModelSettings {
    /// A model of which the newest version is served.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> ModelSettings {
        let (versions, labels) = (Policy::default(), BTreeMap::new());
        ModelSettings { name: name.into(), path: path.into(), versions, labels, canary: None, shadow: None }
    }

    /// Reads `{"models": [...]}` from a JSON file.
    ///
    /// # Errors
    /// If the file can't be read or says something senseless.
    pub fn read_file(path: &Path) -> Result<Vec<ModelSettings>, StartError> {
        let problem = |reason: String| StartError::Settings { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
        let file: Content = serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?;
        check(&file.models).map_err(problem)?;
        Ok(file.models)
    }
}

/// Checks names and shares.
pub(crate) fn check(models: &[ModelSettings]) -> Result<(), String> {
    if models.is_empty() {
        return Err("there is no model to serve".to_owned());
    }
    for (i, model) in models.iter().enumerate() {
        let name = &model.name;
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(format!("`{name}` can't be a model's name: letters, digits, `_`, `-` and `.` can"));
        }
        if models[..i].iter().any(|other| other.name == *name) {
            return Err(format!("two models are called `{name}`"));
        }
        for (what, share) in [("canary", model.canary), ("shadow", model.shadow)] {
            if let Some(share) = share
                && !(0.0..=1.0).contains(&share.share)
            {
                return Err(format!("model `{name}`: the share of its {what} is {}, but goes from 0 to 1", share.share));
            }
        }
        if let Some(label) = model.labels.keys().find(|label| label.parse::<u64>().is_ok() || label.is_empty()) {
            return Err(format!("model `{name}`: the label `{label}` would be taken for a version"));
        }
        match &model.versions {
            Policy::Newest(0) => return Err(format!("model `{name}`: `newest` is 0")),
            Policy::Only(only) if only.is_empty() => return Err(format!("model `{name}`: `only` names no version")),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ModelSettings>, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("models.json");
        std::fs::write(&path, text).expect("written");
        ModelSettings::read_file(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_says_all_there_is_to_say() {
        let models = read(
            r#"{"models": [{"name": "ctr", "path": "/m", "versions": {"newest": 2}, "labels": {"stable": 100},
                "canary": {"share": 0.1}, "shadow": {"version": 7, "share": 1}}, {"name": "b", "path": "c", "versions": "all"}]}"#,
        )
        .expect("valid");
        assert_eq!(models[0].versions, Policy::Newest(2));
        assert_eq!(models[0].canary, Some(Share { version: None, share: 0.1 }));
        assert_eq!((models[0].labels["stable"], &models[1].versions), (100, &Policy::All));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, word) in [
            (r#"{"models": []}"#, "no model"),
            (r#"{"models": [{"name": "a/b", "path": "c"}]}"#, "a/b"),
            (r#"{"models": [{"name": "a", "path": "c"}, {"name": "a", "path": "d"}]}"#, "two models"),
            (r#"{"models": [{"name": "a", "path": "c", "canary": {"share": 2}}]}"#, "canary"),
            (r#"{"models": [{"name": "a", "path": "c", "labels": {"12": 1}}]}"#, "label"),
            (r#"{"models": [{"name": "a", "path": "c", "version": 1}]}"#, "unknown field `version`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(word) && error.contains("models.json"), "{error}");
        }
    }
}

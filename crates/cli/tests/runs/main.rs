//! Whole runs through the program, and what is done with the models they leave.

mod compare;
mod control;
mod explain;
mod select;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = include_str!("../../train/tests/data/small.config");

/// A folder with rows of MovieLens' shape: 1,800 to train on, in batches of 100.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Place(folder);
        place.run(&["data", "synth", "movielens", "--rows", "2000", "--seed", "3", "--output", "data"], 0);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    fn run(&self, words: &[&str], code: i32) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rankmill"));
        let output = command.current_dir(self.0.path()).args(words).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(code), "{words:?}\n{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Writes the config with other settings of training, evaluation and export.
    fn configure(&self, train: &str, eval: &str, export: &str) {
        let text = CONFIG
            .replace("save_checkpoints_steps: 1000", train)
            .replace("keep_checkpoint_max: 5", if train.contains("keep_checkpoint_max") { "" } else { "keep_checkpoint_max: 5" })
            .replace("eval_config {", &format!("eval_config {{ {eval}"));
        fs::write(self.path("a.config"), format!("{text}\nexport_config {{ {export} }}\n")).expect("written");
    }

    /// Trains, and gives the result.
    #[track_caller]
    fn train(&self, words: &[&str]) -> Value {
        let output = self.run(&[&["train", "a.config", "--json"], words].concat(), 0);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What a training that is refused says.
    #[track_caller]
    fn refused(&self, words: &[&str]) -> String {
        String::from_utf8(self.run(&[&["train", "a.config"], words].concat(), 2).stderr).expect("UTF-8")
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).map(|entries| entries.flatten().collect()).unwrap_or_else(|_| Vec::new());
        let mut names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    /// The steps of all evaluations, with a metric.
    fn evaluations(&self, metric: &str) -> Vec<(u64, f64)> {
        let text = fs::read_to_string(self.path("model/evaluations.json")).expect("there were evaluations");
        let entries: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        entries
            .iter()
            .map(|entry| (entry["step"].as_u64().expect("a step"), entry["metrics"][metric].as_f64().expect("a number")))
            .collect()
    }
}

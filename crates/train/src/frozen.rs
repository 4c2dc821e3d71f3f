//! `train_config.freeze_gradient`: variables that are not trained.
//!
//! A pattern is a regular expression that is looked for anywhere in TensorFlow's name of a variable, `output/kernel:0`. Frozen variables
//! have no gradient: they do not count in the norm that `gradient_clipping_by_norm` bounds, have no slots of the optimizer, and are not
//! decayed. Moving statistics are no trainable variables and go on moving.

use rankmill_config::{Diagnostic, Pipeline};
use rankmill_model::{Parameters, Training};
use regex::Regex;

/// The patterns of a config.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frozen(Vec<Regex>);

impl Frozen {
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Frozen, Diagnostic> {
        let patterns = pipeline.proto.train_config.iter().flat_map(|train| &train.freeze_gradient).enumerate();
        let compile = |(i, pattern): (usize, &String)| {
            Regex::new(pattern).map_err(|error| {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
                let message = format!("`{pattern}` is no regular expression that is understood here: {reason}");
                pipeline.error(&format!("train_config.freeze_gradient[{i}]"), message)
            })
        };
        patterns.map(compile).collect::<Result<_, _>>().map(Frozen)
    }

    /// Whether a variable is frozen.
    pub(crate) fn contains(&self, variable: &str) -> bool {
        // `$` is to match where TensorFlow's name ends.
        let name = format!("{variable}:0");
        self.0.iter().any(|pattern| pattern.is_match(&name))
    }

    /// Takes the frozen variables out of training.
    pub(crate) fn freeze(&self, parameters: &mut Parameters, training: &mut Training) {
        parameters.entries.iter_mut().for_each(|entry| entry.trainable &= !self.contains(&entry.name));
        training.gradients.dense.retain(|(index, _)| parameters.entries[*index].trainable);
        training.gradients.tables.retain(|table| parameters.entries[table.parameter].trainable);
    }

    /// What the user should know of them: patterns that no variable matches.
    pub(crate) fn remarks<'a>(&'a self, parameters: &'a Parameters) -> impl Iterator<Item = String> + 'a {
        let names = move || parameters.entries.iter().map(|entry| format!("{}:0", entry.name));
        let idle = self.0.iter().filter(move |pattern| !names().any(|name| pattern.is_match(&name)));
        idle.map(|pattern| format!("`{}` of train_config.freeze_gradient matches no variable", pattern.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frozen(patterns: &[&str]) -> Frozen {
        Frozen(patterns.iter().map(|pattern| Regex::new(pattern).expect("a pattern")).collect())
    }

    #[test]
    fn patterns_are_found_anywhere_in_tensorflows_name() {
        assert!(frozen(&["user_id"]).contains("input_layer/user_id_embedding/embedding_weights"));
        assert!(frozen(&["^output/"]).contains("output/kernel"));
        assert!(frozen(&["kernel:0$"]).contains("output/kernel"));
        assert!(!frozen(&["kernel$"]).contains("output/kernel"));
        assert!(!frozen(&["^kernel", "bias_"]).contains("output/kernel"));
        assert!(!frozen(&[]).contains("output/kernel"));
    }
}

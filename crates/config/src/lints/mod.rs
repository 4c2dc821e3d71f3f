//! What a config asks for but will not get: settings without effect and oddities of EasyRec that work.
//!
//! The numbers are EasyRec's in each case; the lint says so, with the place, the effect and the fix.

mod arithmetic;
mod backbone;
mod classes;
mod components;
mod control;
mod features;
mod heads;
mod inputs;
mod model;
mod settings;
mod table;
mod training;
mod unread;

use crate::diagnostic::Diagnostic;
use crate::pipeline::Pipeline;
pub use table::{LINTS, LintRule};

/// The lints that `rankmill_fix` can name, which is what `--fix` sets.
pub const FIXABLE: [&str; 9] = [
    "distillation_pushes_apart",
    "esmm_sums_over_the_batch",
    "experts_without_batch_statistics",
    "loss_is_replaced",
    "max_f1_on_logits",
    "pairwise_hinge_without_gradient",
    "reset_input_stays",
    "scores_are_multiplied",
    "tower_losses_share_a_weight",
];

/// A lint that a config has set off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// Name of the lint.
    pub name: &'static str,
    /// The place and what was found there.
    pub diagnostic: Diagnostic,
    /// What happens, in EasyRec and here.
    pub effect: String,
    /// How to change the config.
    pub fix: String,
}

/// Finds all lints of a config, in the order of their places.
#[must_use]
pub fn lints(pipeline: &Pipeline) -> Vec<Lint> {
    let mut finder = Finder { pipeline, found: Vec::new() };
    for warning in pipeline.warnings() {
        finder.push("duplicate_scalar", warning.clone());
    }
    features::find(&mut finder);
    training::find(&mut finder);
    settings::find(&mut finder);
    unread::find(&mut finder);
    control::find(&mut finder);
    model::find(&mut finder);
    let mut found = finder.found;
    found.retain(|lint| !pipeline.is_fixed(lint.name));
    found.sort_by_key(|lint| (lint.diagnostic.line, lint.diagnostic.column));
    found
}

struct Finder<'a> {
    pipeline: &'a Pipeline,
    found: Vec<Lint>,
}

impl Finder<'_> {
    /// Notes a lint at a path.
    fn note(&mut self, name: &'static str, path: &str, message: impl Into<String>) {
        let diagnostic = self.pipeline.warning(path, message);
        self.push(name, diagnostic);
    }

    /// Notes a lint whose effect and fix depend on what was found.
    fn note_as(&mut self, name: &'static str, path: &str, message: String, effect: &str, fix: &str) {
        let diagnostic = self.pipeline.warning(path, message);
        self.found.push(Lint { name, diagnostic, effect: effect.to_owned(), fix: fix.to_owned() });
    }

    fn push(&mut self, name: &'static str, diagnostic: Diagnostic) {
        let rule = LINTS.iter().find(|rule| rule.name == name).expect("every lint has its line in the table");
        self.found.push(Lint { name: rule.name, diagnostic, effect: rule.effect.to_owned(), fix: rule.fix.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(LINTS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(LINTS.iter().all(|rule| !rule.effect.is_empty() && !rule.fix.is_empty()));
        assert!(FIXABLE.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(FIXABLE.iter().all(|name| LINTS.iter().any(|rule| rule.name == *name)));
    }
}

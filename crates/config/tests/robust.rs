//! Whatever the text, reading it never panics, and a problem has a place.

use proptest::prelude::*;
use rankmill_config::{Edits, Pipeline, lints, validate};

const GOOD: &str = include_str!("data/good.config");

/// Reads, checks and writes; false if the text was refused.
fn exercise(text: &str, edits: &Edits) -> bool {
    match Pipeline::parse("f", text, edits) {
        Ok(pipeline) => {
            let _ = validate(&pipeline).to_string();
            let _ = lints(&pipeline);
            let again = Pipeline::parse("f", &pipeline.to_text(), &Edits::default());
            assert!(again.is_ok(), "the writer's text does not read: {}", pipeline.to_text());
            true
        }
        Err(problems) => {
            assert!(problems.has_errors());
            assert!(problems.iter().all(|problem| problem.line <= text.lines().count() + 1));
            let _ = problems.to_string();
            false
        }
    }
}

#[test]
fn every_prefix_is_read_or_refused() {
    let mut refused = 0;
    for (end, _) in GOOD.char_indices() {
        refused += usize::from(!exercise(&GOOD[..end], &Edits::default()));
    }
    assert!(refused > GOOD.len() / 2, "a truncated config is mostly wrong, but only {refused} were refused");
}

#[test]
fn every_missing_character_is_read_or_refused() {
    for (at, c) in GOOD.char_indices() {
        exercise(&format!("{}{}", &GOOD[..at], &GOOD[at + c.len_utf8()..]), &Edits::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_text(text in any::<String>()) {
        exercise(&text, &Edits::default());
    }

    #[test]
    fn random_tokens(tokens in prop::collection::vec(prop::sample::select(vec![
        "model_config", "backbone", "blocks", "name", "inputs", "st_params", "fields", "key", "value", "list_value", "values",
        "{", "}", "<", ">", "[", "]", ":", ",", ";", "'a'", "'", "\"", "\\", "1", "-1", "1e9", "nan", "true", "\n", "#", "用",
        "feature_groups", "feature_names", "'f[1-3]'", "train_config", "optimizer_config", "feature_configs", "boundaries",
    ]), 0..60)) {
        exercise(&tokens.join(" "), &Edits::default());
    }

    #[test]
    fn random_edits(path in "[a-z_.\\[\\]0-9=\"'+:-]{0,40}", value in any::<String>()) {
        let edits = Edits { set: vec![format!("{path}={value}"), format!("feature_config.features[{path}]={value}")], json: None };
        exercise(GOOD, &edits);
        exercise(GOOD, &Edits { set: Vec::new(), json: Some(value) });
    }
}

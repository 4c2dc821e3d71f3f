//! Breaks `data/good.config` in one place at a time and checks every message and its position.

use rankmill_config::{Diagnostics, Edits, Pipeline, validate};

const GOOD: &str = include_str!("data/good.config");
const CASES: &str = include_str!("data/broken.txt");
const BLOCKS: &str = include_str!("data/broken_blocks.txt");

fn problems(text: &str) -> Diagnostics {
    match Pipeline::parse("f", text, &Edits::default()) {
        Ok(pipeline) => validate(&pipeline),
        Err(problems) => problems,
    }
}

#[test]
fn the_good_config_is_good() {
    let pipeline = Pipeline::parse("f", GOOD, &Edits::default()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(validate(&pipeline), Diagnostics::default());
    assert_eq!(pipeline.warnings(), []);
}

#[test]
fn each_broken_config_gives_its_messages() {
    let mut cases = 0;
    for case in [CASES, BLOCKS].iter().flat_map(|cases| cases.split("\n\n").skip(1)).filter(|case| !case.trim().is_empty()) {
        let mut lines = case.lines();
        let old = lines.next().and_then(|line| line.strip_prefix("replace ")).expect("a case starts with `replace`");
        let new = lines.next().and_then(|line| line.strip_prefix("with ")).expect("`with` comes second");
        let (old, new) = (old.replace("\\n", "\n"), new.replace("\\n", "\n"));
        assert!(GOOD.contains(&old), "good.config has no {old:?}");
        let expected: Vec<&str> = lines.map(|line| line.strip_prefix("expect ").expect("the rest is expected")).collect();
        assert!(!expected.is_empty(), "a case without messages proves nothing: {case}");
        let broken = GOOD.replacen(&old, &new, 1);
        let found: Vec<String> = (problems(&broken).iter())
            .map(|problem| problem.to_string().lines().next().unwrap_or("").trim_start_matches("f:").to_owned())
            .collect();
        assert_eq!(found, expected, "{case}");
        for problem in &problems(&broken) {
            assert_eq!(problem.source_line.as_deref(), broken.lines().nth(problem.line - 1), "{case}");
        }
        cases += 1;
    }
    assert!(cases >= 90, "only {cases} cases were found");
}

#[test]
fn a_message_shows_its_line_and_a_caret() {
    let shown = problems(&GOOD.replacen("uid_field: 'user'", "uid_field: 'usr'", 1)).to_string();
    let expected = "f:18:37: `uid_field` names `usr`, which is neither a feature nor an input field; did you mean `user`?
  |   metrics_set: [{ gauc { uid_field: 'usr' } }]
  |                                     ^^^^^
1 error";
    assert_eq!(shown, expected);
}

#[test]
fn an_empty_config_says_what_is_missing() {
    let found: Vec<String> = problems("").iter().map(|problem| problem.message.clone()).collect();
    let expected = ["`data_config` is missing", "no features are declared", "`model_config` is missing", "`train_config` is missing"];
    assert_eq!(found, expected);
}

#[test]
fn nesting_has_a_limit() {
    let deep = "model_config { backbone { blocks { keras_layer { st_params { fields { key: 'a' value { ".to_owned()
        + &"list_value { values { ".repeat(5000);
    let found = problems(&deep);
    assert!(found.iter().any(|problem| problem.message == "messages are nested more than 100 deep"), "{found}");
}

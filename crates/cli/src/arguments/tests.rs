use clap::CommandFactory;

use super::*;

fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(["rankmill"].iter().chain(words))
}

/// The long help of a command, found by its path, at a fixed width.
fn help(path: &[&str]) -> String {
    let mut command = Arguments::command().term_width(100);
    command.build();
    let mut found = &mut command;
    for name in path {
        found = found.find_subcommand_mut(name).expect("the command exists");
    }
    found.render_long_help().to_string()
}

#[test]
fn definitions_are_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn help_of_every_command() {
    let paths: [&[&str]; 15] = [
        &[],
        &["check"],
        &["train"],
        &["eval"],
        &["predict"],
        &["compare"],
        &["explain"],
        &["select"],
        &["export"],
        &["import"],
        &["data"],
        &["data", "synth"],
        &["data", "synth", "movielens"],
        &["data", "movielens-1m"],
        &["demo"],
    ];
    for path in paths {
        let name: Vec<&str> = ["help"].iter().chain(path).copied().collect();
        insta::assert_snapshot!(name.join("-"), help(path));
    }
}

#[test]
fn flags_of_train() {
    let words = "train a.config --model-dir m --train-input a,b --train-input c --eval-input d --set x=1 --set y=2 \
                 --resume --eval-every 50 --threads 3 --seed 9 --json --log-level warn --require auc>=0.8";
    let arguments = parse(&words.split_whitespace().collect::<Vec<_>>()).unwrap();
    assert!(arguments.global.json && arguments.global.log_level == Level::Warn);
    let Command::Train(train) = arguments.command else { panic!("not train") };
    assert_eq!(train.train_input, ["a", "b", "c"]);
    assert_eq!((train.eval_every.map(u64::from), train.seed), (Some(50), 9));
    assert_eq!(train.threads.threads.map(usize::from), Some(3));
    assert_eq!(train.start(), rankmill_train::run::Start::Resume);
    assert_eq!(train.config_edits().set, ["x=1", "y=2", "model_dir=\"m\"", "train_input_path=\"a,b,c\"", "eval_input_path=\"d\""]);
}

#[test]
fn wrong_usage_is_refused() {
    let wrong: [&[&str]; 18] = [
        &[],
        &["fly"],
        &["train"],
        &["train", "a", "--resume", "--overwrite"],
        &["train", "a", "--resume", "--continue-train"],
        &["compare", "a"],
        &["select", "m", "--top-k", "0"],
        &["train", "a", "--threads", "0"],
        &["train", "a", "--threads", "-1"],
        &["train", "a", "--seed", "x"],
        &["train", "a", "--eval-every", "0"],
        &["train", "a", "--require", "auc"],
        &["train", "a", "--log-level", "loud"],
        &["predict", "m", "--output", "o.csv"],
        &["predict", "m", "--input", "i"],
        &["predict", "m", "--input", "i", "--output", "o.csv", "--batch-size", "0"],
        &["data", "synth", "movielens", "--rows", "10"],
        &["data", "movielens-1m", "--from", "x"],
    ];
    for words in wrong {
        assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
    }
}

#[test]
fn assigned_strings_are_quoted() {
    assert_eq!(assign("model_dir", r#"a "b"\c"#), r#"model_dir="a \"b\"\\c""#);
}

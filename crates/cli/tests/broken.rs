//! Broken configs and broken rows through the program: the message with its place, exit code 2, and nothing on stdout that looks like a result.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const GOOD_CONFIG: &str = include_str!("../../config/tests/data/good.config");
const BROKEN_CONFIGS: &str = include_str!("../../config/tests/data/broken.txt");

fn rankmill(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rankmill")).current_dir(folder).args(words).output().expect("the program starts")
}

#[test]
fn every_broken_config_is_refused_at_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cases = 0;
    for case in BROKEN_CONFIGS.split("\n\n").skip(1).filter(|case| !case.trim().is_empty()) {
        let part = |word: &str| case.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_default().replace("\\n", "\n");
        fs::write(folder.path().join("f"), GOOD_CONFIG.replacen(&part("replace "), &part("with "), 1)).expect("written");
        // A training meets the same wall as a check.
        let words: &[&str] = if cases % 2 == 0 { &["check", "f"] } else { &["train", "f", "--model-dir", "m"] };
        let output = rankmill(folder.path(), words);
        assert_eq!(output.status.code(), Some(2), "{case}\n{output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        for expected in case.lines().filter_map(|line| line.strip_prefix("expect ")) {
            assert!(said.contains(&format!("f:{expected}")), "{case}\n{said}");
        }
        cases += 1;
    }
    assert!(cases >= 60, "only {cases} cases were found");
    assert!(!folder.path().join("m").exists(), "nothing is made for a run that cannot be");
}

const COLUMNS: [&str; 6] = ["label:INT32", "i:INT32", "l:INT64", "f:FLOAT", "b:BOOL", "s:STRING"];

fn config() -> String {
    let fields = COLUMNS.map(|column| {
        let (name, kind) = column.split_once(':').expect("a name and a type");
        format!("  input_fields {{ input_name: '{name}' input_type: {kind} }}\n")
    });
    format!(
        "train_input_path: 'rows' model_dir: 'm'
train_config {{ optimizer_config {{ adam_optimizer {{ learning_rate {{ constant_learning_rate {{ learning_rate: 0.1 }} }} }} }} }}
data_config {{
{}  label_fields: 'label' batch_size: 2 num_epochs: 1 shuffle: false input_type: CSVInput separator: ','
}}
feature_config {{
  features {{ input_names: 'i' feature_type: IdFeature embedding_dim: 4 num_buckets: 10 }}
  features {{ input_names: 's' feature_type: TagFeature embedding_dim: 4 num_buckets: 10 }}
  features {{ input_names: 'f' feature_type: RawFeature }}
}}
model_config {{
  model_class: 'RankModel'
  feature_groups {{ group_name: 'g' feature_names: ['i', 's', 'f'] wide_deep: DEEP }}
  backbone {{
    blocks {{ name: 'x' inputs {{ feature_group_name: 'g' }} keras_layer {{ class_name: 'MLP' mlp {{ hidden_units: 4 }} }} }}
  }}
}}
",
        fields.concat()
    )
}

#[test]
fn every_broken_row_is_refused_at_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("c.config"), config()).expect("written");
    let good = "1,2,3,4.5,true,6|7";
    let row = |column: usize, value: &str| {
        let mut fields: Vec<&str> = good.split(',').collect();
        fields[column] = value;
        fields.join(",")
    };
    let number = |name: &str, value: &str, rule: &str| format!(" field `{name}`: value \"{value}\" is not {rule}");
    let (int32, int64) = (
        "an INT32: a whole number from -2147483648 to 2147483647 without `+`",
        "an INT64: a whole number from -9223372036854775808 to 9223372036854775807 without `+`",
    );
    let float = "a FLOAT: a number of at most 31 characters";
    let mut cases: Vec<(Vec<u8>, String)> = Vec::new();
    for value in ["x", "1.0", "+1", "1e3", "2147483648", "-2147483649", "0x10", "nan", " ", "1 2", "1_000", "--1"] {
        cases.push((row(0, value).into_bytes(), number("label", value, int32)));
        cases.push((row(1, value).into_bytes(), number("i", value, int32)));
    }
    for value in ["x", "1.0", "+1", "9223372036854775808", "-9223372036854775809", "1e3"] {
        cases.push((row(2, value).into_bytes(), number("l", value, int64)));
    }
    for value in ["x", "1.5.5", "infinity", "0x", "1e", "9999999999999999999999999999999999999999"] {
        cases.push((row(3, value).into_bytes(), number("f", value, float)));
    }
    for line in ["1,2,3", "1,2,3,4.5,true,6,7", "1", ","] {
        let count = line.split(',').count();
        cases.push((line.into(), format!(" has {count} fields; data_config.input_fields declares 6")));
    }
    for value in ["a\"b", "\"a\"b"] {
        cases.push((row(5, value).into_bytes(), String::new()));
    }
    assert!(cases.len() >= 40);
    for (line, expected) in cases {
        let shown = String::from_utf8_lossy(&line).into_owned();
        let text = [good.as_bytes(), good.as_bytes(), &line, good.as_bytes()].join(&b'\n');
        fs::write(folder.path().join("rows"), text).expect("written");
        let output = rankmill(folder.path(), &["train", "c.config", "--overwrite", "--json", "--log-level", "error"]);
        assert_eq!(output.status.code(), Some(2), "{shown}: {output:?}");
        assert!(output.stdout.is_empty(), "{shown}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with(&format!("error: rows:3:{expected}")), "{shown}: {said}");
        // Left out under ignore_error, counted and told.
        let skipping = ["train", "c.config", "--overwrite", "--json", "--log-level", "error", "--set", "data_config.ignore_error=true"];
        let output = rankmill(folder.path(), &skipping);
        assert_eq!(output.status.code(), Some(0), "{shown}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("3 rows read, 1 skipped"), "{shown}: {output:?}");
    }
}

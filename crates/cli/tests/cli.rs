//! The program from outside: exit codes, what goes to stdout and what to stderr.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tempfile::TempDir;

fn rankmill(folder: &Path, words: &[&str]) -> Output {
    let mut command = assert_cmd::Command::cargo_bin("rankmill").expect("the binary is built");
    command.current_dir(folder).args(words).output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[track_caller]
fn check(folder: &Path, words: &[&str], code: i32) -> Output {
    let output = rankmill(folder, words);
    assert_eq!(output.status.code(), Some(code), "{words:?}\n{}\n{}", stdout(&output), stderr(&output));
    output
}

/// A folder with the example config and some edits of it.
fn folder_with_config(edit: impl Fn(String) -> String) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/masknet_on_movielens.config");
    let text = fs::read_to_string(example).expect("the example");
    fs::write(dir.path().join("a.config"), edit(text)).expect("written");
    dir
}

#[test]
fn help_and_version_go_to_stdout() {
    let dir = tempfile::tempdir().expect("a folder");
    for words in [&["--help"][..], &["train", "--help"], &["--version"]] {
        let output = check(dir.path(), words, 0);
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn wrong_usage_is_2_and_goes_to_stderr() {
    let dir = tempfile::tempdir().expect("a folder");
    for words in [&[][..], &["fly"], &["serve"], &["check"], &["check", "--sett", "a=1", "a.config"], &["data", "synth", "movielens"]] {
        let output = check(dir.path(), words, 2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn what_cannot_be_served_is_2_with_the_name() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("token"), "\n").expect("written");
    fs::write(dir.path().join("models.json"), "{\"models\": [{\"name\": \"a\"}]}").expect("written");
    for (words, named) in [
        (&["serve", "nowhere"][..], "nowhere"),
        (&["serve", "ctr=.", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"], "model `ctr`"),
        (&["serve", "ctr=.", "--token-file", "token"], "token"),
        (&["serve", "--models", "models.json"], "models.json: missing field `path`"),
    ] {
        let output = check(dir.path(), words, 2);
        assert!(output.stdout.is_empty() && stderr(&output).contains(named), "{words:?} {}", stderr(&output));
    }
}

#[test]
fn the_example_checks() {
    let dir = folder_with_config(|text| text);
    let output = check(dir.path(), &["check", "a.config"], 0);
    let text = stdout(&output);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |start: &[&str]| rows.iter().any(|row| row.starts_with(start));
    assert!(row(&["feature", "group", "`all`", "[B,", "112]"]) && row(&["mask_net", "[B,", "256]", "961,072"]), "{text}");
    assert!(row(&["output", "[B,", "1]", "257"]), "{text}");
    // The first line of a finding ends with the lint's name; the only one is what the config says of itself in a comment.
    assert!(text.lines().next().is_some_and(|line| line.ends_with("[embedding_regularization_grows_with_batch]")), "{text}");
    assert!(text.ends_with("\na.config can be used: 0 errors, 1 warning\n"), "{text}");
    assert_eq!(stderr(&output), "");
    check(dir.path(), &["check", "a.config", "--strict", "--set", "model_config.embedding_regularization=0"], 0);
}

#[test]
fn a_broken_config_is_2_with_the_place() {
    let dir = folder_with_config(|text| text.replace("embedding_regularization", "embeding_regularization"));
    let output = check(dir.path(), &["check", "a.config"], 2);
    assert!(stdout(&output).contains("did you mean `embedding_regularization`?"), "{}", stdout(&output));
    assert!(stdout(&output).ends_with("a.config cannot be used: 1 error, 0 warnings\n"));
    assert!(stderr(&output).starts_with("error: a.config cannot be used"));
    let output = check(dir.path(), &["check", "--json", "a.config"], 2);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&json["usable"], &json["findings"][0]["severity"]), (&false.into(), &"error".into()));
    let output = check(dir.path(), &["check", "nothing.config"], 2);
    assert!(stdout(&output).contains("nothing.config: cannot be read: No such file"));
}

#[test]
fn warnings_are_0_and_strictly_1() {
    // In 36 buckets every year is out of range: EasyRec makes it row 0.
    let dir = folder_with_config(|text| text.replace("hash_bucket_size: 1000 ", "num_buckets: 36 "));
    let set = ["--set", "train_config.sync_replicas=true"];
    let output = check(dir.path(), &["check", "a.config", set[0], set[1]], 0);
    assert!(stdout(&output).contains("warning: "), "{}", stdout(&output));
    assert!(stdout(&output).contains("= effect: ") && stdout(&output).contains("= fix: "));
    check(dir.path(), &["check", "a.config", "--strict", set[0], set[1]], 1);
}

#[test]
fn edits_are_checked() {
    let dir = folder_with_config(|text| text);
    let output = check(dir.path(), &["check", "a.config", "--set", "train_config.nums_steps=5"], 2);
    assert!(stdout(&output).contains("did you mean `num_steps`?"), "{}", stdout(&output));
    check(dir.path(), &["check", "a.config", "--edit-config-json", "{\"train_config.num_steps\": 5}"], 0);
    check(dir.path(), &["check", "a.config", "--edit-config-json", "{"], 2);
}

#[test]
fn made_up_data() {
    let dir = tempfile::tempdir().expect("a folder");
    let words = ["data", "synth", "movielens", "--rows", "1000", "--seed", "3", "--output", "made/here", "--json"];
    let output = check(dir.path(), &words, 0);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&json["train_rows"], &json["test_rows"]), (&900.into(), &100.into()));
    let rate = json["click_rate"].as_f64().expect("a number");
    assert!((0.5..0.9).contains(&rate));
    let train = fs::read_to_string(dir.path().join("made/here/movies_train_data")).expect("the file");
    assert_eq!(train.lines().count(), 900);
    let output = check(dir.path(), &words[..9], 0);
    assert!(stdout(&output).contains("best AUC any model can reach    0."), "{}", stdout(&output));
    fs::write(dir.path().join("file"), "").expect("written");
    let output = check(dir.path(), &["data", "synth", "movielens", "--output", "file/below"], 2);
    assert!(stderr(&output).starts_with("error: file/below: cannot be written: "), "{}", stderr(&output));
}

#[test]
fn a_profile_finds_the_field_that_decides_the_label() {
    let dir = folder_with_data("2000");
    let output = check(dir.path(), &["data", "profile", "a.config"], 0);
    let text = stdout(&output);
    assert!(text.contains("\nrating: tells the label nearly by itself (AUC 1.000)"), "{text}");
    assert_eq!(text.matches("nearly by itself").count(), 1, "{text}");
    let output = check(dir.path(), &["data", "profile", "a.config", "--json", "--input", "data/movies_test_data"], 0);
    let profile = json(&output);
    assert_eq!(profile["rows"], 200);
    let gender = profile["fields"].as_array().expect("fields").iter().find(|field| field["name"] == "gender").expect("the field");
    assert_eq!((&gender["distinct"], &gender["missing"]), (&2.into(), &0.into()));
    let output = check(dir.path(), &["data", "profile", "a.config", "--input", "nothing"], 2);
    assert!(stderr(&output).contains("nothing: matches no file"), "{}", stderr(&output));
}

#[test]
fn standard_input_is_a_file_but_not_for_training() {
    let dir = folder_with_data("1000");
    let rows = fs::read(dir.path().join("data/movies_test_data")).expect("the rows");
    let piped = |words: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("rankmill").expect("the binary is built");
        command.current_dir(dir.path()).args(words).write_stdin(rows.clone()).output().expect("the binary runs")
    };
    let whole = json(&check(dir.path(), &["data", "profile", "a.config", "--json", "--input", "data/movies_test_data"], 0));
    let output = piped(&["data", "profile", "a.config", "--json", "--input", "-"]);
    assert_eq!(json(&output), whole);
    let output = piped(&["train", "a.config", "--train-input", "-", "--model-dir", "m"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("-: is standard input, which can be read only once"), "{}", stderr(&output));
}

#[test]
fn a_cache_changes_no_figure() {
    let dir = folder_with_data("1000");
    let train = |more: &[&str]| {
        let words = ["train", "a.config", "--json", "--overwrite", "--model-dir", "m", "--set", "data_config.num_epochs=2"];
        json(&check(dir.path(), &[&words, more].concat(), 0))["metrics"].clone()
    };
    let expected = train(&[]);
    assert_eq!(train(&["--cache", "cache"]), expected);
    assert_eq!(train(&["--cache", "cache"]), expected);
    assert_eq!(fs::read_dir(dir.path().join("cache")).expect("the caches").count(), 1);
}

#[test]
fn rejected_rows_are_written() {
    let dir = folder_with_data("1000");
    let path = dir.path().join("data/movies_test_data");
    let mut rows = fs::read_to_string(&path).expect("the rows");
    rows.insert_str(0, "not\ta row\n");
    fs::write(&path, rows).expect("written");
    let words = ["data", "profile", "a.config", "--json", "--input", "data/movies_test_data", "--rejected", "rejected.jsonl"];
    assert_eq!(json(&check(dir.path(), &words, 0))["skipped_rows"], 1);
    let rejected = fs::read_to_string(dir.path().join("rejected.jsonl")).expect("the file");
    let row: serde_json::Value = serde_json::from_str(&rejected).expect("one JSON object");
    assert_eq!((&row["row"], &row["line"], &row["cause"]), (&1.into(), &"not\ta row".into(), &"wrong number of fields".into()));
    let words = ["train", "a.config", "--train-input", "data/movies_test_data", "--model-dir", "m", "--rejected", "stopped.jsonl"];
    let output = check(dir.path(), &words, 2);
    assert!(stderr(&output).contains("movies_test_data:1: "), "{}", stderr(&output));
    let stopped = fs::read_to_string(dir.path().join("stopped.jsonl")).expect("the file");
    assert!(stopped.starts_with("{\"file\":\"data/movies_test_data\",\"row\":1,"), "{stopped}");
}

#[test]
fn converted_movielens() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    write("users.dat", "1::F::1::10::48067\n");
    write("movies.dat", "1::Toy Story (1995)::Animation\n");
    write("ratings.dat", "1::1::5::0\n1::1::3::0\n");
    let output = check(dir.path(), &["data", "movielens-1m", "--from", ".", "--to", "out"], 0);
    assert!(stdout(&output).contains("ratings of 3, dropped  1 rows"), "{}", stdout(&output));
    assert!(stderr(&output).contains("not \nredistributed") || stderr(&output).contains("not redistributed"));
    let output = check(dir.path(), &["data", "movielens-1m", "--from", ".", "--to", "out", "--log-level", "warn"], 0);
    assert_eq!(stderr(&output), "");
    write("ratings.dat", "1::1::5::0\n1::2::3::0\n");
    let output = check(dir.path(), &["data", "movielens-1m", "--from", ".", "--to", "out"], 2);
    assert!(stderr(&output).contains("ratings.dat:2: MovieID 2 is not in movies.dat"), "{}", stderr(&output));
}

/// Whoever stops reading, as `head` does, must not see an error.
#[test]
fn a_closed_pipe_is_quiet() {
    let dir = folder_with_config(|text| text);
    for words in [&["check", "a.config"][..], &["--help"]] {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("rankmill"))
            .current_dir(dir.path())
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{words:?}");
    }
}

/// A folder with the example config and made-up rows to train on, and the edits that make the model small.
fn folder_with_data(rows: &str) -> TempDir {
    let dir = folder_with_config(|text| text.replace("512", "16").replace("256", "8").replace("batch_size: 1024", "batch_size: 128"));
    check(dir.path(), &["data", "synth", "movielens", "--rows", rows, "--output", "data", "--log-level", "error"], 0);
    dir
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn a_profile_names_the_parts_of_a_step() {
    let dir = folder_with_data("2000");
    let report = json(&check(dir.path(), &["train", "a.config", "--json", "--profile", "--threads", "2"], 0));
    let profile = report["profile"].as_array().expect("a list");
    for operation in ["product", "weight gradient", "lookup", "gradients of tables", "optimizer"] {
        let line = profile.iter().find(|line| line["operation"] == operation).unwrap_or_else(|| panic!("{operation}: {report}"));
        assert!(line["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{line}");
    }
    let record = fs::read_to_string(dir.path().join("model/run.json")).expect("the record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!((&record["precision"], &record["input"]["batches"]), (&"f32".into(), &report["steps"]));
    let again = check(dir.path(), &["train", "a.config", "--overwrite", "--profile"], 0);
    assert!(stdout(&again).contains("time of threads in"), "{}", stdout(&again));
    let without = json(&check(dir.path(), &["train", "a.config", "--overwrite", "--json"], 0));
    assert!(without.get("profile").is_none());
    assert_eq!(without["metrics"], report["metrics"], "the clock changes no bits");
}

#[test]
#[expect(clippy::print_stdout, reason = "a test says what it skips")]
fn bfloat16_trains_and_scores_where_the_processor_has_it_and_is_refused_elsewhere() {
    let dir = folder_with_data("3000");
    let plain = json(&check(dir.path(), &["train", "a.config", "--json", "--model-dir", "plain"], 0));
    let words = ["train", "a.config", "--json", "--precision", "bf16"];
    let mut command = assert_cmd::Command::cargo_bin("rankmill").expect("the binary is built");
    let refused = command.current_dir(dir.path()).env("RANKMILL_SIMD", "avx2").args(words).output().expect("the binary runs");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("AVX-512 BF16"), "{}", stderr(&refused));
    if !rankmill_kernels::gemm::Precision::Bf16.is_supported() {
        println!("SKIPPED: this processor has no AVX-512 BF16");
        return;
    }
    let trained = json(&check(dir.path(), &words, 0));
    let loss = |report: &serde_json::Value| report["metrics"]["log_loss"].as_f64().expect("a number");
    // The first steps from embeddings near zero magnify rounding: the two are near, and no more can be said of so few rows.
    assert!((loss(&trained) - loss(&plain)).abs() < 0.1 && trained["metrics"] != plain["metrics"], "{trained} {plain}");
    let one_thread = [&words[..], &["--threads", "1", "--model-dir", "one"]].concat();
    assert_eq!(json(&check(dir.path(), &one_thread, 0))["metrics"], trained["metrics"], "any number of threads gives the same bits");

    // A model scores in either precision, wherever it comes from.
    let exact = json(&check(dir.path(), &["eval", "model", "--json"], 0));
    assert_eq!(exact["metrics"], trained["metrics"]);
    let rounded = json(&check(dir.path(), &["eval", "model", "--json", "--precision", "bf16"], 0));
    assert!((loss(&rounded) - loss(&exact)).abs() < 0.01 && rounded["metrics"] != exact["metrics"], "{rounded} {exact}");
    let words = ["predict", "model", "--input", "data/movies_test_data", "--output", "scores.csv", "--precision", "bf16"];
    check(dir.path(), &words, 0);

    // Going on in another precision is said.
    let resumed = check(dir.path(), &["train", "a.config", "--resume", "--set", "data_config.num_epochs=2"], 0);
    assert!(stderr(&resumed).contains("bf16 products so far and goes on with f32 ones"), "{}", stderr(&resumed));
}

#[test]
fn train_evaluate_predict() {
    let dir = folder_with_data("3000");
    let trained = check(dir.path(), &["train", "a.config", "--json", "--threads", "2", "--set", "train_config.log_step_count_steps=5"], 0);
    let report = json(&trained);
    assert_eq!((&report["steps"], &report["rows"]), (&22.into(), &300.into()));
    let lines = stderr(&trained);
    assert!(lines.contains("step 5  ") && lines.contains("step 20  ") && lines.contains(" rows/s  loss "), "{lines}");

    // The evaluation of the saved model finds what the training found, on any number of threads.
    let evaluated = json(&check(dir.path(), &["eval", "model", "--json", "--threads", "1"], 0));
    assert_eq!(evaluated["metrics"], report["metrics"]);
    for name in ["auc", "gauc", "auc_exact", "log_loss", "loss"] {
        assert!(evaluated["metrics"][name].is_f64(), "{name}: {evaluated}");
    }

    let test = "data/movies_test_data";
    let words = ["predict", "model", "--input", test, "--keep", "user_id,title", "--output", "scores.csv", "--json"];
    let predicted = json(&check(dir.path(), &words, 0));
    assert_eq!((&predicted["rows"], &predicted["skipped_rows"]), (&300.into(), &0.into()));
    let scores = fs::read_to_string(dir.path().join("scores.csv")).expect("the file");
    let rows = fs::read_to_string(dir.path().join(test)).expect("the file");
    assert_eq!(scores.lines().next(), Some("user_id,title,probs,logits"));
    let mut log_loss = 0.0;
    for (row, scored) in rows.lines().zip(scores.lines().skip(1)) {
        let row: Vec<&str> = row.split('\t').collect();
        let user = scored.split(',').next();
        assert_eq!(user, Some(row[1]));
        let probability: f64 = scored.rsplit(',').nth(1).and_then(|text| text.parse().ok()).expect("a number");
        log_loss -= if row[0] == "1" { probability.ln() } else { (1.0 - probability).ln() } / 300.0;
    }
    let expected = evaluated["metrics"]["log_loss"].as_f64().expect("a number");
    assert!((log_loss - expected).abs() < 1e-5, "{log_loss} {expected}");
    // The scores do not depend on the batches.
    let words = ["predict", "model", "--input", test, "--keep", "user_id,title", "--output", "again.csv", "--batch-size", "7"];
    check(dir.path(), &words, 0);
    assert_eq!(fs::read_to_string(dir.path().join("again.csv")).expect("the file"), scores);
}

#[test]
fn gates_are_1() {
    let dir = folder_with_data("1000");
    let output = check(dir.path(), &["train", "a.config", "--require", "auc>=1.5", "--require", "rows<=1"], 2);
    assert!(stderr(&output).contains("there is no metric `rows`"), "{}", stderr(&output));
    let output = check(dir.path(), &["eval", "model", "--require", "auc>=1.5", "--log-level", "error"], 1);
    assert!(stderr(&output).starts_with("error: required auc >= 1.5, but it is 0."), "{}", stderr(&output));
    check(dir.path(), &["eval", "model", "--require", "auc>=0.0", "--require", "log_loss<=9"], 0);
}

#[test]
fn a_model_directory_is_not_overwritten_unasked() {
    let dir = folder_with_data("1000");
    check(dir.path(), &["train", "a.config", "--set", "train_config.num_steps=3"], 0);
    let output = check(dir.path(), &["train", "a.config"], 2);
    assert!(stderr(&output).contains("--resume") && stderr(&output).contains("--overwrite"), "{}", stderr(&output));
    let resumed = json(&check(dir.path(), &["train", "a.config", "--resume", "--json"], 0));
    check(dir.path(), &["train", "a.config", "--overwrite"], 0);
    let evaluated = json(&check(dir.path(), &["eval", "model", "--json"], 0));
    // A run in two parts ends as one that was not cut.
    assert_eq!(resumed["metrics"], evaluated["metrics"]);
    assert_eq!((&resumed["steps"], &evaluated["steps"]), (&8.into(), &8.into()));
}

#[test]
fn unusable_inputs_are_2() {
    let dir = folder_with_data("1000");
    check(dir.path(), &["train", "a.config", "--set", "train_config.num_steps=1"], 0);
    fs::write(dir.path().join("bad"), "1\t2\n").expect("written");
    let cases: [(&[&str], &str); 9] = [
        (&["train", "gone.config"], "gone.config: cannot be read"),
        (&["train", "a.config", "--set", "model_dirr=x"], "did you mean `model_dir`?"),
        (&["eval", "gone"], "gone"),
        (&["eval", "model", "--input", "bad"], "bad:1:"),
        (&["predict", "model", "--input", "bad", "--output", "out.csv"], "bad:1:"),
        (&["predict", "model", "--input", "data/movies_test_data", "--output", "out.txt"], "expected .csv, .tsv or .parquet"),
        (&["predict", "model", "--input", "data/movies_test_data", "--output", "out.csv", "--keep", "uid"], "uid"),
        (&["train", "a.config", "--train-input", "gone", "--overwrite"], "gone"),
        (&["train", "a.config", "--train-input", "bad", "--overwrite"], "bad:1:"),
    ];
    for (words, expected) in cases {
        let output = check(dir.path(), words, 2);
        assert!(stderr(&output).contains(expected) && output.stdout.is_empty(), "{words:?}: {}", stderr(&output));
    }
    let left: Vec<_> = fs::read_dir(dir.path()).expect("the folder").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("out")), "{left:?}");
}

#[test]
fn the_demo_needs_no_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = check(dir.path(), &["demo", "--rows", "3000"], 0);
    let text = stdout(&output);
    assert!(text.contains("auc ") && text.contains("no model can be expected to reach an AUC above 0."), "{text}");
    assert!(text.contains("Try next, in the folder rankmill-demo:"));
    let folder = dir.path().join("rankmill-demo");
    check(&folder, &["check", "masknet_on_movielens.config"], 0);
    check(&folder, &["eval", "model", "--input", "data/movies_test_data"], 0);
    check(dir.path(), &["demo", "--rows", "3000", "--json"], 0);
}

#[test]
fn a_model_leaves_and_comes_back() {
    let dir = folder_with_data("2000");
    check(dir.path(), &["train", "a.config", "--model-dir", "m"], 0);
    let scores = |model: &str| {
        check(dir.path(), &["predict", model, "--input", "data/movies_test_data", "--output", "scores.csv"], 0);
        fs::read(dir.path().join("scores.csv")).expect("scores")
    };
    let expected = scores("m");

    check(dir.path(), &["export", "m", "--format", "bundle", "--output", "m.bundle"], 0);
    assert_eq!(scores("m.bundle"), expected);

    let report = json(&check(dir.path(), &["export", "m.bundle", "--format", "onnx", "--output", "m.onnx", "--json"], 0));
    let outputs: Vec<&serde_json::Value> = report["outputs"].as_array().expect("a list").iter().map(|output| &output["name"]).collect();
    assert_eq!(outputs, ["probs", "logits"]);
    let written = fs::metadata(dir.path().join("m.onnx")).expect("the file").len();
    assert_eq!(report["bytes"], written);
    let beside = json(&check(dir.path(), &["export", "m", "--format", "onnx", "--output", "b.onnx", "--external-data", "--json"], 0));
    assert_eq!(beside["data"]["bytes"], fs::metadata(dir.path().join("b.onnx.data")).expect("the variables").len());

    let checkpoint = fs::read_dir(dir.path().join("m/checkpoints")).expect("checkpoints").next().expect("one").expect("an entry").path();
    let weights = checkpoint.join("variables.safetensors").display().to_string();
    check(dir.path(), &["import", "a.config", "--weights", &weights, "--output", "imported", "--global-step", "14"], 0);
    assert_eq!(scores("imported"), expected);
    let evaluated = json(&check(dir.path(), &["eval", "imported", "--json"], 0));
    assert_eq!(evaluated["metrics"]["auc"], json(&check(dir.path(), &["eval", "m", "--json"], 0))["metrics"]["auc"]);
}

#[test]
fn calibrated_probabilities_stand_beside_those_of_the_model() {
    let dir = folder_with_data("3000");
    check(dir.path(), &["train", "a.config", "--model-dir", "m"], 0);
    let scores = |model: &str| -> Vec<Vec<String>> {
        check(dir.path(), &["predict", model, "--input", "data/movies_test_data", "--keep", "label", "--output", "scores.csv"], 0);
        let text = fs::read_to_string(dir.path().join("scores.csv")).expect("scores");
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    let before = scores("m");
    for method in ["platt", "isotonic"] {
        let report = json(&check(dir.path(), &["calibrate", "m", "--method", method, "--json"], 0));
        let output = &report["outputs"][0];
        assert_eq!((&output["name"], &output["rows"]), (&"calibrated_probs".into(), &300.into()));
        assert!(output["ece_before"].is_f64() && output["ece_after"].is_f64(), "{report}");
        let after = scores("m");
        assert_eq!(after[0], ["label", "probs", "logits", "calibrated_probs"]);
        assert!(after.iter().zip(&before).all(|(after, before)| after[..3] == before[..]), "what was there stays");
        // Both have the mean of the rows that they were fitted to; Platt draws labels in by about one row of each kind.
        let mean = |column: usize| after[1..].iter().map(|row| row[column].parse::<f64>().expect("a number")).sum::<f64>() / 300.0;
        assert!((mean(3) - mean(0)).abs() < 0.005, "{method}: {} {}", mean(3), mean(0));
    }
    check(dir.path(), &["export", "m", "--format", "bundle", "--output", "m.bundle"], 0);
    assert_eq!(scores("m.bundle"), scores("m"));
    let refused = check(dir.path(), &["calibrate", "m.bundle"], 2);
    assert!(stderr(&refused).contains("m.bundle: a packed bundle can't be changed"), "{}", stderr(&refused));
    let curve = fs::read_dir(dir.path().join("m/checkpoints")).expect("checkpoints").next().expect("one").expect("an entry").path();
    fs::write(curve.join("calibration.json"), "{\"format\": 1, \"outputs\": [{}]}").expect("written");
    assert!(stderr(&check(dir.path(), &["eval", "m"], 2)).contains("calibration.json: missing field"));
}

#[test]
fn unusable_exports_and_imports_are_2() {
    let dir = folder_with_data("500");
    check(dir.path(), &["train", "a.config", "--model-dir", "m"], 0);
    let refused = |words: &[&str], expected: &str| {
        let output = check(dir.path(), words, 2);
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    };
    refused(&["export", "m", "--format", "bundle", "--output", "b", "--external-data"], "--format onnx");
    refused(&["export", "m", "--format", "onnx", "--output", "nowhere/m.onnx"], "nowhere/m.onnx");
    refused(&["export", "data", "--format", "onnx", "--output", "m.onnx"], "neither a model directory");
    refused(&["export", "a.config", "--format", "onnx", "--output", "m.onnx"], "no packed bundle");
    let checkpoint = fs::read_dir(dir.path().join("m/checkpoints")).expect("checkpoints").next().expect("one").expect("an entry").path();
    let weights = checkpoint.join("variables.safetensors").display().to_string();
    let import = ["import", "a.config", "--weights", &weights, "--output"];
    refused(&[&import[..], &["m"]].concat(), "exists already");
    let other = ["i", "--set", "feature_config.features[:].embedding_dim=7"];
    refused(&[&import[..], &other].concat(), "of the model's variables have no values");
    refused(&["import", "a.config", "--weights", "a.config", "--output", "i"], "neither npz nor safetensors");
    assert!(!dir.path().join("i").exists() && !dir.path().join("m.onnx").exists() && !dir.path().join("b").exists());
}

/// The file makes the crate `parquet` panic, in programs with checks of arithmetic.
#[test]
fn what_a_library_panics_about_in_a_file_is_an_error_and_nothing_else() {
    const CONFIG: &str = r#"
data_config {
  input_type: ParquetInput label_fields: 'label'
  input_fields { input_name: 'label' input_type: INT32 }
  input_fields { input_name: 'user' input_type: INT64 }
  input_fields { input_name: 'price' input_type: FLOAT }
  input_fields { input_name: 'tags' }
  input_fields { input_name: 'marks' }
  input_fields { input_name: 'device.os' }
}
feature_config {
  features { input_names: 'user' feature_type: IdFeature hash_bucket_size: 100 embedding_dim: 2 }
  features { input_names: 'price' feature_type: RawFeature }
  features { input_names: 'tags' feature_type: TagFeature hash_bucket_size: 100 embedding_dim: 2 }
  features { input_names: 'marks' feature_type: TagFeature kv_separator: ':' hash_bucket_size: 100 embedding_dim: 2 }
  features { input_names: 'device.os' feature_type: IdFeature hash_bucket_size: 100 embedding_dim: 2 }
}
train_config { optimizer_config { adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.01 } } } } }
model_config { model_class: 'DCN' feature_groups { group_name: 'all' feature_names: ['user', 'tags'] wide_deep: DEEP } dcn { } }
"#;
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("a.config"), CONFIG).expect("written");
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures/found/long_run.parquet");
    let told = stderr(&check(dir.path(), &["data", "profile", "a.config", "--input", &file.to_string_lossy()], 2));
    assert!(told.contains("long_run.parquet:1: is not valid Parquet data: attempt to shift") && !told.contains("panicked"), "{told}");
}

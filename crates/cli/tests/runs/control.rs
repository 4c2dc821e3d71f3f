//! How runs go: what they export, when they end, what they go on from, and what they leave behind.

use std::fs;

use serde_json::Value;

use crate::Place;

fn remarks(result: &Value) -> String {
    result["remarks"].as_array().map_or_else(String::new, |remarks| remarks.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_best_models_are_exported() {
    let place = Place::new();
    place.configure("save_checkpoints_steps: 3", "", "exporter_type: 'best' best_exporter_metric: 'auc_exact' exports_to_keep: 2");
    let result = place.train(&[]);
    let evaluations = place.evaluations("auc_exact");
    assert_eq!(evaluations.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [3, 6, 9, 12, 15, 18]);
    let mut best = Vec::new();
    for (step, auc) in &evaluations {
        if best.last().is_none_or(|(_, known)| auc > known) {
            best.push((*step, *auc));
        }
    }
    let kept: Vec<String> = best[best.len().saturating_sub(2)..].iter().map(|(step, _)| step.to_string()).collect();
    assert_eq!(place.names("model/export/best"), kept);
    let (step, auc) = best.last().expect("one is the best");
    let export = format!("model/export/best/{step}");
    assert!(result["export"].as_str().is_some_and(|path| path.ends_with(&export)), "{result}");
    let evaluated = place.run(&["eval", &export, "--json"], 0);
    let evaluated: Value = serde_json::from_slice(&evaluated.stdout).expect("JSON");
    assert_eq!((evaluated["metrics"]["auc_exact"].as_f64(), evaluated["steps"].as_u64()), (Some(*auc), Some(*step)));
}

#[test]
fn the_other_exporters() {
    let place = Place::new();
    fs::write(place.path("fg.json"), "{}").expect("written");
    place.configure("save_checkpoints_steps: 7", "", "exporter_type: 'latest' exports_to_keep: 2 asset_files: 'fg.json'");
    place.train(&[]);
    assert_eq!(place.names("model/export/latest"), ["14", "18"]);
    assert!(place.path("model/export/latest/18/assets/fg.json").is_file());
    assert!(!place.path("model/export/latest/18/optimizer.safetensors").exists());

    place.configure("save_checkpoints_steps: 7", "", "exporter_type: 'final'");
    place.train(&["--overwrite"]);
    assert_eq!((place.names("model/export"), place.names("model/export/final")), (vec!["final".to_owned()], vec!["18".to_owned()]));
    place.run(&["predict", "model/export/final/18", "--input", "data/movies_test_data", "--output", "scores.csv"], 0);

    for export in ["exporter_type: 'none'", ""] {
        place.configure("save_checkpoints_steps: 7", "", export);
        assert!(place.train(&["--overwrite"])["export"].is_null());
        assert!(!place.path("model/export").exists());
    }
    for (export, message) in [
        ("exporter_type: 'best' best_exporter_metric: 'aucc'", "no evaluation has the metric `aucc`"),
        ("exporter_type: 'bets'", "did you mean `best`?"),
        ("exporter_type: 'final' asset_files: 'nowhere'", "there is no file nowhere"),
    ] {
        place.configure("", "", export);
        let said = place.refused(&["--overwrite"]);
        assert!(said.contains(message) && said.contains("a.config:"), "{said}");
    }
    assert!(place.path("model/checkpoints").exists(), "a run that cannot be costs the old one nothing");
}

#[test]
fn a_run_ends_when_its_evaluations_say_so() {
    let place = Place::new();
    place.configure("save_checkpoints_steps: 2", "", "enable_early_stop: true best_exporter_metric: 'loss' max_check_steps: 2");
    let result = place.train(&[]);
    // It goes on as long as each evaluation is better than the one before; the loss does not rise for nine of them.
    let losses = place.evaluations("loss");
    let improving = losses.windows(2).take_while(|pair| pair[1].1 > pair[0].1).count();
    assert_eq!(losses.len(), improving + 2, "{losses:?}");
    let (last, before) = (losses[improving + 1].0, losses[improving].0);
    assert_eq!(result["steps"].as_u64(), Some(last), "{result}");
    let why = format!("stopped early: loss has not improved since step {before}, for 2 steps");
    assert!(remarks(&result).contains(&why), "{result}");
    let result = place.train(&["--resume"]);
    assert_eq!((result["steps"].as_u64(), place.evaluations("loss").len()), (Some(last), losses.len()), "it stays ended");

    let params = r#"early_stop_params: '{"metric_name": "auc", "thre": 0.01}'"#;
    let function = "early_stop_func: 'easy_rec.python.test.custom_early_stop_func.custom_early_stop_func'";
    place.configure("save_checkpoints_steps: 5", "", &format!("enable_early_stop: true {function} {params}"));
    let result = place.train(&["--overwrite"]);
    assert!(result["steps"] == 5 && remarks(&result).contains("above 0.01"), "{result}");

    for (export, message) in [
        ("early_stop_func: 'my.own_function'", "is a function in Python, which is not run here; known: stop_if_higher"),
        ("early_stop_func: 'stop_if_lower'", "the `threshold` is missing"),
        ("early_stop_func: 'stop_if_lower' early_stop_params: 'auc'", "expected a JSON object"),
        ("best_exporter_metric: 'gaucc'", "no evaluation has the metric `gaucc`"),
    ] {
        place.configure("", "", &format!("enable_early_stop: true {export}"));
        let said = place.refused(&["--overwrite"]);
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn a_resumed_run_decides_as_one_that_was_never_stopped() {
    let place = Place::new();
    place.configure(
        "save_checkpoints_steps: 3",
        "",
        "exporter_type: 'best' best_exporter_metric: 'loss' metric_bigger: false exports_to_keep: 9",
    );
    place.train(&["--model-dir", "whole"]);
    place.train(&["--set", "train_config.num_steps=6"]);
    // As if it had been killed between the checkpoint and its evaluation.
    let text = fs::read_to_string(place.path("model/evaluations.json")).expect("there were evaluations");
    let mut entries: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(entries.pop().expect("two evaluations")["step"], 6);
    fs::write(place.path("model/evaluations.json"), serde_json::to_string(&entries).expect("JSON")).expect("written");
    let _ = fs::remove_dir_all(place.path("model/export/best/6"));
    place.train(&["--resume"]);
    let read = |name: &str| fs::read(place.path(name)).expect("a file");
    assert!(read("whole/evaluations.json") == read("model/evaluations.json"));
    assert_eq!(place.names("whole/export/best"), place.names("model/export/best"));
}

#[test]
fn a_run_ends_at_its_dead_line_or_at_a_stop_file() {
    let place = Place::new();
    place.configure("dead_line: '20200101 00:00:00'", "", "exporter_type: 'final'");
    let result = place.train(&[]);
    assert!(result["steps"] == 0 && remarks(&result).contains("stopped at train_config.dead_line, 20200101 00:00:00"), "{result}");
    assert_eq!(place.names("model/export/final"), ["0"], "what there is is exported");
    place.configure("dead_line: '4102444800'", "", "");
    assert_eq!(place.train(&["--overwrite"])["steps"], 18, "its time is not over");
    place.configure("dead_line: 'tomorrow'", "", "");
    for words in [&["check", "a.config"][..], &["train", "a.config", "--overwrite"]] {
        let output = place.run(words, 2);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("`tomorrow` is no time"), "{said}");
    }

    place.configure("enable_oss_stop_signal: true", "", "");
    fs::write(place.path("model/OSS_STOP_SIGNAL"), "").expect("written");
    let result = place.train(&["--overwrite"]);
    assert!(result["steps"] == 0 && remarks(&result).contains("OSS_STOP_SIGNAL; remove it and go on with --resume"), "{result}");
    fs::remove_file(place.path("model/OSS_STOP_SIGNAL")).expect("removed");
    assert_eq!(place.train(&["--resume"])["steps"], 18);
}

#[test]
fn a_run_goes_on_with_new_data() {
    let place = Place::new();
    let rows = fs::read_to_string(place.path("data/movies_train_data")).expect("rows");
    let (first, second) = rows.split_at(rows.match_indices('\n').nth(999).expect("a thousand rows").0 + 1);
    fs::write(place.path("monday"), first).expect("written");
    fs::write(place.path("tuesday"), second).expect("written");
    place.configure("", "", "");
    assert_eq!(place.train(&["--train-input", "monday"])["steps"], 10);
    let said = place.refused(&["--train-input", "tuesday"]);
    assert!(said.contains("--continue-train"), "{said}");
    let result = place.train(&["--train-input", "tuesday", "--continue-train"]);
    assert!(result["steps"] == 18 && !remarks(&result).contains("stopped"), "{result}");
    assert_eq!(place.names("model/checkpoints"), ["model.ckpt-10", "model.ckpt-18"]);

    // Stopped on the way and resumed: the same bits.
    place.train(&["--train-input", "monday", "--model-dir", "again"]);
    place.train(&["--train-input", "tuesday", "--model-dir", "again", "--continue-train", "--set", "train_config.num_steps=13"]);
    place.train(&["--train-input", "tuesday", "--model-dir", "again", "--resume"]);
    let files = |model: &str| place.path(&format!("{model}/checkpoints/model.ckpt-18"));
    for file in ["variables.safetensors", "optimizer.safetensors"] {
        assert!(fs::read(files("model").join(file)).expect("a file") == fs::read(files("again").join(file)).expect("a file"), "{file}");
    }
    let output = place.run(&["train", "a.config", "--continue-train", "--set", "train_config.num_steps=18"], 0);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing is left to train"));
    // The same rows come in another order.
    place.train(&["--train-input", "monday", "--model-dir", "twice", "--set", "data_config.shuffle_buffer_size=2000"]);
    place.train(&["--train-input", "monday", "--model-dir", "twice", "--continue-train"]);
    assert_eq!(place.names("twice/checkpoints"), ["model.ckpt-10", "model.ckpt-20"]);
}

#[test]
fn checkpoints_are_kept_and_saved_as_the_config_says() {
    let place = Place::new();
    for (train, kept) in [
        ("save_checkpoints_steps: 4 keep_checkpoint_max: 2", vec!["model.ckpt-16", "model.ckpt-18"]),
        ("save_checkpoints_steps: 8 keep_checkpoint_max: 0", vec!["model.ckpt-8", "model.ckpt-16", "model.ckpt-18"]),
        // Time alone, which is long.
        ("save_checkpoints_secs: 100000 keep_checkpoint_max: 0", vec!["model.ckpt-18"]),
        (
            "save_checkpoints_secs: 100000 save_checkpoints_steps: 8 keep_checkpoint_max: 0",
            vec!["model.ckpt-8", "model.ckpt-16", "model.ckpt-18"],
        ),
    ] {
        place.configure(train, "", "");
        place.train(&["--overwrite"]);
        assert_eq!(place.names("model/checkpoints"), kept, "{train}");
    }
    place.configure("save_checkpoints_secs: 100000", "", "");
    place.train(&["--overwrite", "--set", "data_config.batch_size=1"]);
    assert_eq!(place.names("model/checkpoints"), ["model.ckpt-1800"], "the steps of the default do not count");
}

#[test]
fn evaluations_while_training_and_of_some_rows() {
    let place = Place::new();
    place.configure("", "eval_online: true num_examples: 150", "");
    let result = place.train(&["--set", "data_config.batch_size=60"]);
    assert_eq!(result["rows"], 180, "whole batches until there are 150");
    let text = fs::read_to_string(place.path("model/online_eval_result.txt-30")).expect("the metrics of the training rows");
    let online: Value = serde_json::from_str(&text).expect("JSON");
    for metric in ["auc", "gauc", "auc_exact", "log_loss"] {
        assert!(online[metric].is_f64(), "{metric} in {online}");
    }
    place.configure("", "", "");
    place.train(&["--overwrite", "--model-dir", "plain"]);
    assert!(place.names("plain").iter().all(|name| !name.starts_with("online_eval_result")));
}

#[test]
fn frozen_variables_stay_and_others_start_from_another_model() {
    let place = Place::new();
    place.configure("freeze_gradient: ['^input_layer', 'nowhere'] keep_checkpoint_max: 0 save_checkpoints_steps: 1", "", "");
    let output = place.run(&["train", "a.config", "--set", "train_config.num_steps=3"], 0);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`nowhere` of train_config.freeze_gradient matches no variable"), "{said}");
    place.configure("freeze_gradient: '('", "", "");
    let said = place.refused(&["--overwrite"]);
    assert!(said.contains("is no regular expression"), "{said}");

    let table = "input_layer/user_id_embedding/embedding_weights";
    for (train, message) in [
        ("fine_tune_checkpoint: 'model' force_restore_shape_compatible: true", format!("1 of them cut or filled up: {table}")),
        ("fine_tune_checkpoint: 'model'", format!("1 start anew: {table}")),
    ] {
        place.configure(train, "", "");
        let text = fs::read_to_string(place.path("a.config")).expect("the config");
        fs::write(place.path("a.config"), text.replace("hash_bucket_size: 2000", "hash_bucket_size: 3000")).expect("written");
        let output = place.run(&["train", "a.config", "--model-dir", "tuned", "--overwrite"], 0);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("variables start with the values of model") && said.contains(&message), "{said}");
    }
}

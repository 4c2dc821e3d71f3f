//! `rankmill compare` on models of the program.

use std::fs;

use serde_json::Value;

use crate::Place;

fn compare(place: &Place, words: &[&str]) -> Value {
    let output = place.run(&[&["compare"], words, &["--json"]].concat(), 0);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn metric<'a>(result: &'a Value, name: &str) -> &'a Value {
    result["metrics"].as_array().expect("a list").iter().find(|metric| metric["name"] == name).expect("the metric")
}

#[test]
fn two_models_are_compared_with_intervals() {
    let place = Place::new();
    place.configure("", "", "");
    place.train(&["--model-dir", "good"]);
    place.train(&["--model-dir", "poor", "--set", "train_config.num_steps=1"]);
    let words = ["poor", "good", "--input", "data/movies_train_data"];
    let result = compare(&place, &words);
    let evaluated = place.run(&["eval", "good", "--input", "data/movies_train_data", "--json"], 0);
    let evaluated: Value = serde_json::from_slice(&evaluated.stdout).expect("JSON");
    assert_eq!((result["rows"].as_u64(), result["confidence"].as_f64()), (Some(1800), Some(0.95)));
    assert!(result["users"].as_u64().is_some_and(|users| users > 50), "{result}");
    for name in ["auc_exact", "gauc", "log_loss"] {
        let figure = metric(&result, name);
        let difference = figure["b"]["value"].as_f64().expect("a number") - figure["a"]["value"].as_f64().expect("a number");
        assert!((figure["difference"]["value"].as_f64().expect("a number") - difference).abs() < 1e-12);
        // The figures are those of an evaluation.
        let (found, expected) = (figure["b"]["value"].as_f64().expect("a number"), evaluated["metrics"][name].as_f64().expect("a number"));
        assert!((found - expected).abs() < 1e-9, "{name}: {found} not {expected}");
        for part in ["a", "b", "difference"] {
            let [low, value, high] = ["low", "value", "high"].map(|bound| figure[part][bound].as_f64().expect("a number"));
            assert!(low <= value && value <= high && low < high, "{name} {part}: {low} {value} {high}");
        }
        assert!(figure["p_value"].as_f64().is_some_and(|p| p > 0.0 && p <= 1.0));
    }
    assert!(metric(&result, "log_loss")["difference"]["high"].as_f64().expect("a number") < 0.0, "a step is less than a run: {result}");
    assert_eq!(result, compare(&place, &[&words[..], &["--threads", "3"]].concat()), "the seed decides");

    let same = compare(&place, &["good", "good", "--confidence", "0.9", "--resamples", "50"]);
    assert!(
        same["metrics"].as_array().expect("a list").iter().all(|metric| metric["p_value"] == 1.0 && metric["difference"]["value"] == 0.0)
    );
    let text = String::from_utf8(place.run(&["compare", "poor", "good"], 0).stdout).expect("UTF-8");
    assert!(text.contains("A: poor\nB: good\n200 rows of ") && text.contains("B - A") && text.contains("DeLong"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let place = Place::new();
    place.configure("num_steps: 1", "", "");
    place.train(&[]);
    let text = fs::read_to_string(place.path("a.config")).expect("the config");
    // The other model learns another label.
    let other = text.replace("label_fields: \"label\"", "label_fields: \"gender\"");
    fs::write(place.path("a.config"), other.replace("metrics_set { gauc { uid_field: \"user_id\" } }", "")).expect("written");
    place.train(&["--model-dir", "other"]);
    for (words, message) in [
        (&["model", "other"][..], "the labels of task"),
        (&["model", "nowhere"], "nowhere"),
        (&["model", "model", "--user", "user_idd"], "there is no input field `user_idd`; did you mean `user_id`?"),
        (&["model", "model", "--confidence", "95"], "expected a share between 0 and 1"),
        (&["model", "model", "--resamples", "0"], "expected at least 1"),
        (&["model"], "MODEL_B"),
    ] {
        let output = place.run(&[&["compare"], words].concat(), 2);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(message), "{words:?}: {said}");
    }
    let result = compare(&place, &["other", "other"]);
    assert!(result["metrics"].as_array().is_some_and(|metrics| metrics.iter().all(|metric| metric["name"] != "gauc")));
    assert!(compare(&place, &["other", "other", "--user", "user_id"])["users"].is_u64());
}

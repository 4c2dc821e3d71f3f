//! `rankmill explain` on models of the program.

use std::fs;

use serde_json::Value;

use crate::Place;

#[test]
fn what_features_add_is_told_for_all_rows_and_for_each() {
    let place = Place::new();
    place.configure("", "", "");
    place.train(&[]);
    let words =
        ["explain", "model", "--input", "data/movies_test_data", "--rows", "130", "--output", "why.csv", "--keep", "user_id", "--json"];
    let result: Value = serde_json::from_slice(&place.run(&words, 0).stdout).expect("JSON");
    assert_eq!((result["rows"].as_u64(), result["steps"].as_u64()), (Some(130), Some(128)));
    let output = &result["outputs"][0];
    let features = output["features"].as_array().expect("features");
    let number = |value: &Value| value.as_f64().expect("a number");
    let added: f64 = features.iter().map(|feature| number(&feature["mean"])).sum();
    assert!((number(&output["base"]) + added - number(&output["mean"])).abs() < 0.01, "{output}");
    assert!((features.iter().map(|feature| number(&feature["share"])).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(features.windows(2).all(|pair| number(&pair[0]["mean_absolute"]) >= number(&pair[1]["mean_absolute"])));
    let blocks: Vec<&str> = result["masks"].as_array().expect("masks").iter().filter_map(|mask| mask["block"].as_str()).collect();
    assert_eq!(blocks, ["backbone/mask_net/block_0", "backbone/mask_net/block_1"]);

    place.run(&["predict", "model", "--input", "data/movies_test_data", "--output", "scores.csv"], 0);
    let table = |name: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(place.path(name)).expect("a table");
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    let (why, scores) = (table("why.csv"), table("scores.csv"));
    assert_eq!(why[0][..6], ["user_id", "logits", "logits_base", "logits:user_id", "logits:movie_id", "logits:genres"]);
    let masks = [0, 1].map(|block| ["user_id", "movie_id", "genres"].map(|name| format!("mask:backbone/mask_net/block_{block}:{name}")));
    assert_eq!(why[0][6..], masks.concat());
    assert_eq!(why.len(), 131);
    let logits = scores[0].iter().position(|name| name == "logits").expect("a column");
    for (why, scores) in why[1..].iter().zip(&scores[1..]) {
        let numbers: Vec<f64> = why[1..].iter().map(|text| text.parse().expect("a number")).collect();
        let predicted: f64 = scores[logits].parse().expect("a number");
        assert!((numbers[0] - predicted).abs() < 1e-5, "{} not {predicted}", numbers[0]);
        let total: f64 = numbers[1..5].iter().sum();
        assert!(numbers[5..].iter().all(|mask| mask.is_finite()) && numbers[5] != numbers[6], "{why:?}");
        assert!((total - numbers[0]).abs() < 0.05 * numbers[0].abs().max(1.0), "{why:?}");
    }
    let text = String::from_utf8(place.run(&["explain", "model", "--input", "data/movies_test_data"], 0).stdout).expect("UTF-8");
    assert!(text.starts_with("200 rows") && text.contains("without features") && text.contains("mask block"), "{text}");
}

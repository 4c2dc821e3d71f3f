//! `rankmill select` on models with `variational_dropout`.

use std::fs;

use serde_json::Value;

use crate::Place;

/// A config whose features are dropped at rates that are learnt.
fn configure(place: &Place, by_column: bool) {
    place.configure("save_checkpoints_steps: 1000", "", "");
    let text = fs::read_to_string(place.path("a.config")).expect("the config");
    let dropout = format!(
        "variational_dropout {{ regularization_lambda: 0.5 embedding_wise_variational_dropout: {by_column} }} model_class: \"RankModel\""
    );
    fs::write(place.path("a.config"), text.replace("model_class: \"RankModel\"", &dropout)).expect("written");
}

#[test]
fn features_are_ranked_and_a_config_of_the_first_ones_can_be_trained() {
    let place = Place::new();
    for by_column in [false, true] {
        configure(&place, by_column);
        place.train(&["--overwrite", "--set", "data_config.num_epochs=2"]);
        let output = place.run(&["select", "model", "--top-k", "2", "--output", "chosen", "--json"], 0);
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let features = result["groups"][0]["features"].as_array().expect("a ranking");
        let rates: Vec<f64> = features.iter().map(|feature| feature["mean_drop_p"].as_f64().expect("a number")).collect();
        assert!(rates.len() == 3 && rates.is_sorted() && rates.iter().all(|rate| *rate > 0.0 && *rate < 1.0), "{result}");
        let kept: Vec<bool> = features.iter().map(|feature| feature["kept"] == true).collect();
        assert_eq!(kept, [true, true, false]);
        assert_eq!(features[0]["drop_p"].as_array().map_or(0, Vec::len), if by_column { 8 } else { 0 });

        let table = fs::read_to_string(place.path("chosen/feature_dropout_ratio_all.csv")).expect("a table");
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!((lines.len(), lines[0]), (4, ",feature_name,mean_drop_p"));
        let names: Vec<&str> = features.iter().map(|feature| feature["feature"].as_str().expect("a name")).collect();
        assert!(lines[1].starts_with(&format!("0,{},", names[0])), "{table}");
        let chosen = fs::read_to_string(place.path("chosen/pipeline.config")).expect("a config");
        assert!(
            chosen.contains(&format!("feature_names: \"{}\"", names[0])) && !chosen.contains(&format!("feature_names: \"{}\"", names[2]))
        );
        place.run(&["train", "chosen/pipeline.config", "--model-dir", "smaller", "--overwrite"], 0);
    }
    let text = String::from_utf8(place.run(&["select", "smaller"], 0).stdout).expect("UTF-8");
    assert!(text.contains("feature group `all`") && text.contains("mean drop p"), "{text}");
}

#[test]
fn a_model_that_learns_no_rates_is_refused() {
    let place = Place::new();
    place.configure("num_steps: 1", "", "");
    place.train(&[]);
    let said = String::from_utf8(place.run(&["select", "model"], 2).stderr).expect("UTF-8");
    assert!(said.contains("no model_config.variational_dropout"), "{said}");
}

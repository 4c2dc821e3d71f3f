//! `--set` and `--edit-config-json`.

use rankmill_config::{Edits, Pipeline, validate};

const GOOD: &str = include_str!("data/good.config");

fn edits(set: &[&str]) -> Edits {
    Edits { set: set.iter().map(|text| (*text).to_owned()).collect(), json: None }
}

/// The lines that the edits add to and remove from the config's text, sorted.
#[track_caller]
fn difference(edits: &Edits) -> Vec<String> {
    let before = Pipeline::parse("f", GOOD, &Edits::default()).expect("good").to_text();
    let after = Pipeline::parse("f", GOOD, edits).unwrap_or_else(|problems| panic!("{problems}")).to_text();
    let count = |text: &str, line: &str| text.lines().filter(|other| *other == line).count();
    let mut lines: Vec<&str> = before.lines().chain(after.lines()).collect();
    lines.sort_unstable();
    lines.dedup();
    let mut found = Vec::new();
    for line in lines {
        let (old, new) = (count(&before, line), count(&after, line));
        let sign = if new > old { "+" } else { "-" };
        found.extend((0..old.abs_diff(new)).map(|_| format!("{sign}{}", line.trim())));
    }
    found.sort();
    found
}

#[test]
fn values_are_set() {
    for (edit, expected) in [
        ("train_config.num_steps=7", vec!["+num_steps: 7", "-num_steps: 100"]),
        ("train_config.save_checkpoints_steps = 9", vec!["+save_checkpoints_steps: 9"]),
        ("model_dir=a b/c", vec!["+model_dir: \"a b/c\"", "-model_dir: \"out/shop\""]),
        ("model_dir='q\\t'", vec!["+model_dir: \"q\\t\"", "-model_dir: \"out/shop\""]),
        ("data_config.input_type=ParquetInput", vec!["+input_type: ParquetInput", "-input_type: CSVInput"]),
        (
            "data_config.label_fields=[a, 'b c', d e]",
            vec!["+label_fields: \"a\"", "+label_fields: \"b c\"", "+label_fields: \"d e\"", "-label_fields: \"click\""],
        ),
        ("data_config.label_fields[+]=buy", vec!["+label_fields: \"buy\""]),
        ("data_config.label_fields[1]=buy", vec!["+label_fields: \"buy\""]),
        ("data_config.label_fields[-1]=buy", vec!["+label_fields: \"buy\"", "-label_fields: \"click\""]),
        ("feature_config.features[-1].embedding_dim=5", vec!["+embedding_dim: 5", "-embedding_dim: 4"]),
        (
            "feature_config.features[:2].embedding_dim=5",
            vec!["+embedding_dim: 5", "+embedding_dim: 5", "-embedding_dim: 8", "-embedding_dim: 8"],
        ),
        ("feature_config.features[input_names[0]=\"item\"].hash_bucket_size=6", vec!["+hash_bucket_size: 6", "-hash_bucket_size: 500"]),
        (
            "feature_config.features[hash_bucket_size>=500].hash_bucket_size=6",
            vec!["+hash_bucket_size: 6", "+hash_bucket_size: 6", "-hash_bucket_size: 1000", "-hash_bucket_size: 500"],
        ),
        ("feature_config.features[feature_type=TagFeature].combiner=mean", vec!["+combiner: \"mean\""]),
        (
            "feature_config.features[3].boundaries=[1, 2]",
            vec!["+boundaries: 2.0", "-boundaries: -inf", "-boundaries: 10.0", "-boundaries: 2.5"],
        ),
        (
            "model_config.backbone.blocks[0].keras_layer.masknet.mlp={ hidden_units: 3 }",
            vec!["+hidden_units: 3", "-hidden_units: 16", "-hidden_units: 8"],
        ),
        (
            "model_config.backbone.blocks[1].keras_layer.st_params.fields[\"units\"].number_value=4",
            vec!["+number_value: 4.0", "-number_value: 8.0"],
        ),
        ("parquet_train_input=x", vec!["+parquet_train_input: \"x\"", "-train_input_path: \"train.csv\""]),
    ] {
        assert_eq!(difference(&edits(&[edit])), expected, "{edit}");
    }
}

#[test]
fn easyrecs_json_form() {
    let json = |json: &str| Edits { set: Vec::new(), json: Some(json.to_owned()) };
    for (text, expected) in [
        ("{\"train_config.num_steps\": 7}", vec!["+num_steps: 7", "-num_steps: 100"]),
        ("{\"model_config.feature_groups[0].feature_names[1]\": \"x\"}", vec!["+feature_names: \"x\"", "-feature_names: \"item\""]),
        ("{\"feature_config.features[input_names[0]=\\\"user\\\"].embedding_dim\": 9}", vec!["+embedding_dim: 9", "-embedding_dim: 8"]),
        ("{\"feature_config.features[input_names[0]=user].embedding_dim\": \"9\"}", vec!["+embedding_dim: 9", "-embedding_dim: 8"]),
        (
            "{\"model_dir; train_config.num_steps\": \"m; 8\"}",
            vec!["+model_dir: \"m\"", "+num_steps: 8", "-model_dir: \"out/shop\"", "-num_steps: 100"],
        ),
        (
            "{\"data_config.label_fields\": [\"a\", \"b\"], \"data_config.shuffle\": false}",
            vec!["+label_fields: \"a\"", "+label_fields: \"b\"", "+shuffle: false", "-label_fields: \"click\""],
        ),
    ] {
        assert_eq!(difference(&json(text)), expected, "{text}");
    }
    for text in ["[]", "{", "{\"model_dir\": null}", "{\"train_config\": {\"num_steps\": 1}}"] {
        let problems = Pipeline::parse("f", GOOD, &json(text)).expect_err(text);
        assert!(problems.to_string().starts_with("--edit-config-json: "), "{problems}");
    }
}

#[test]
fn wrong_edits_say_why() {
    for (edit, expected) in [
        ("train_config.num_step=1", "TrainConfig has no field `num_step`; did you mean `num_steps`?"),
        ("train_config", "has no `=`; expected `path=value`"),
        ("train_config.num_steps=x", "`x` is not a whole number; expected a whole number from 0 to 4294967295"),
        ("train_config.num_steps=", "`num_steps` has no value; expected a whole number from 0 to 4294967295"),
        ("train_config.num_steps=1 2", "unexpected `2` after the value"),
        ("train_config.num_steps[0]=1", "`num_steps` is not a list; write `num_steps` without an index"),
        ("train_config.num_steps.x=1", "`num_steps` is a single value and has no field `x`"),
        ("feature_config.features.embedding_dim=1", "`features` is a list; write `features[0]`, or `features[:]` for all"),
        ("feature_config.features[9].embedding_dim=1", "`features[9]` is past the end: `features` has 4 elements"),
        (
            "feature_config.features[input_names[0]=itme].embedding_dim=1",
            "no element of `features` has `input_names[0]` = `itme`; did you mean `item`?",
        ),
        ("data_config.label_fields[0]=[a, b]", "`label_fields[0]` takes one value, not a list"),
        ("data_config.input_type=CSV", "InputType has no value `CSV`"),
        ("data_config[=1", "has no `=`; expected `path=value`"),
        ("data_config..batch_size=1", "a name is empty"),
    ] {
        let problems = Pipeline::parse("f", GOOD, &edits(&[edit])).expect_err(edit);
        let shown = problems.to_string();
        let first = shown.lines().next().unwrap_or("");
        assert!(first.starts_with(&format!("--set {edit}: {expected}")), "{first}");
    }
}

#[test]
fn later_problems_point_at_the_edit() {
    let edit = "model_config.feature_groups[0].feature_names[1]=itme";
    let pipeline = Pipeline::parse("f", GOOD, &edits(&[edit])).expect("it reads");
    assert_eq!(pipeline.locate("model_config.feature_groups[0].feature_names[1]").file, format!("--set {edit}"));
    assert_eq!(pipeline.locate("model_config.feature_groups[0].feature_names[0]").line, 43);
    let problems = validate(&pipeline);
    assert_eq!(
        problems.to_string(),
        format!("--set {edit}: feature group `all` names unknown feature `itme`; did you mean `item`?\n1 error")
    );
    let all = Pipeline::parse("f", "model_dirr: 1", &edits(&["modl_dir=1", "x"])).expect_err("three mistakes");
    assert_eq!(all.len(), 3);
}

#[test]
fn changes_of_the_typed_config_are_written_once_they_are_taken_over() {
    let text = "model_dir: 'a' model_config { feature_groups { group_name: 'g' feature_names: ['x', 'y'] } }";
    let mut pipeline = Pipeline::parse("f", text, &Edits::default()).unwrap_or_else(|problems| panic!("{problems}"));
    pipeline.proto.model_dir = Some("b".to_owned());
    pipeline.proto.model_config.iter_mut().for_each(|model| model.feature_groups[0].feature_names.truncate(1));
    pipeline.take_over();
    let again = Pipeline::parse("f", &pipeline.to_text(), &Edits::default()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(again.proto, pipeline.proto);
    assert_eq!(again.proto.model_dir(), "b");
}

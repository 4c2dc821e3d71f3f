//! What a config's text means: Python's Merge rules, places, and the way back to text.

use proptest::prelude::*;
use prost_reflect::{DescriptorPool, DynamicMessage};
use rankmill_config::proto::EasyRecConfig;
use rankmill_config::{Edits, Pipeline};

const GOOD: &str = include_str!("data/good.config");

#[track_caller]
fn read(text: &str) -> Pipeline {
    Pipeline::parse("f", text, &Edits::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// prost-reflect's own reader, which refuses repeated scalars and multiple members of a oneof.
fn oracle(text: &str) -> EasyRecConfig {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    let pool = DescriptorPool::decode(bytes).expect("the build script wrote it");
    let descriptor = pool.get_message_by_name("protos.EasyRecConfig").expect("the root message");
    let message = DynamicMessage::parse_text_format(descriptor, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    message.transcode_to().expect("the same schema")
}

#[test]
fn agrees_with_prost_reflect() {
    // Only Python's reader takes `False`.
    let plain = GOOD.replace("False", "false");
    assert_eq!(read(&plain).proto, oracle(&plain));
    assert_eq!(read(GOOD).proto, read(&plain).proto);
    let values = r#"
        model_dir: 'a' "b" '\001\x02\t\\\'"用户'  # comment
        train_config { num_steps: 0x10 gradient_clipping_by_norm: -.5e-3 startup_delay_steps: inf is_profiling: true
          freeze_gradient: ['x', "y"]; freeze_gradient: 'z', optimizer_config < use_moving_average: false > }
        feature_config: { features: [{ boundaries: [1, -2.5, 3.] boundaries: -inf }, { hash_bucket_size: 17 }] }
    "#;
    assert_eq!(read(values).proto, oracle(values));
}

#[test]
fn the_last_value_wins_and_messages_merge() {
    let pipeline = read(
        "train_config { num_steps: 1 optimizer_config {} }
         train_config { num_steps: 2 save_checkpoints_steps: 3 optimizer_config {} }
         train_input_path: 'a' parquet_train_input: 'b'
         eval_config { metrics_set { auc { num_thresholds: 7 } max_f1 {} } }",
    );
    let train = pipeline.proto.train_config.as_ref().expect("it is set");
    assert_eq!((train.num_steps(), train.save_checkpoints_steps(), train.optimizer_config.len()), (2, 3, 2));
    assert!(!pipeline.is_set("train_input_path") && pipeline.is_set("parquet_train_input"));
    let metric = &pipeline.proto.eval_config.as_ref().expect("it is set").metrics_set[0].metric;
    assert!(matches!(metric, Some(rankmill_config::proto::eval_metrics::Metric::MaxF1(_))));
    let warnings: Vec<String> = pipeline.warnings().iter().map(|warning| format!("{}: {}", warning.span(), warning.message)).collect();
    assert_eq!(
        warnings,
        [
            "f:2:25: `num_steps` is set again, set in line 1: the last value wins",
            "f:3:32: `parquet_train_input` replaces `train_input_path`, set in line 3: only one of `train_path` can be set",
            "f:4:64: `max_f1` replaces `auc`, set in line 4: only one of `metric` can be set",
        ]
    );
    assert_eq!((pipeline.locate("train_config.num_steps").line, pipeline.locate("train_config.num_steps").column), (2, 36));
}

#[test]
fn booleans_and_numbers_are_pythons() {
    for (text, expected) in [("true", true), ("True", true), ("t", true), ("1", true), ("false", false), ("f", false), ("0", false)] {
        let pipeline = read(&format!("data_config {{ shuffle: {text} }}"));
        assert_eq!(pipeline.proto.data_config.and_then(|data| data.shuffle), Some(expected), "{text}");
    }
    for (text, expected) in [("1e-5", 1e-5_f32), ("1f", 1.0), ("-0.5", -0.5), ("inf", f32::INFINITY), ("3", 3.0)] {
        let pipeline = read(&format!("train_config {{ startup_delay_steps: {text} }}"));
        assert_eq!(pipeline.proto.train_config.and_then(|train| train.startup_delay_steps), Some(expected), "{text}");
    }
}

#[test]
fn presence_is_kept_and_defaults_come_from_accessors() {
    let pipeline = read("data_config { }");
    let data = pipeline.proto.data_config.as_ref().expect("it is set");
    assert_eq!((data.batch_size, data.batch_size(), data.separator(), data.shuffle()), (None, 32, ",", true));
    assert!(pipeline.proto.model_config.is_none());
}

#[test]
fn places() {
    let pipeline = read(GOOD);
    let at = |path: &str| {
        let span = pipeline.locate(path);
        (span.line, span.column, span.length)
    };
    assert_eq!(at("model_dir"), (4, 12, 13));
    assert_eq!(at("model_config.feature_groups[0].feature_names[2]"), (43, 70, 6));
    assert_eq!(at("model_config.backbone.blocks[1].keras_layer.class_name"), (57, 21, 7));
    assert_eq!(at("model_config.backbone.blocks[1].keras_layer.st_params.fields[\"units\"].value"), (59, 33, 5));
    assert_eq!(at("data_config.input_fields[2]"), (29, 3, 12));
    // What is not set falls back to what encloses it.
    assert_eq!(at("model_config.backbone.blocks[9].name"), at("model_config.backbone"));
    assert_eq!(at("data_config.num_epochs"), (21, 1, 11));
    assert_eq!(at("nonsense["), (0, 0, 0));
    assert_eq!(pipeline.locate("nonsense").file, "f");
    let error = pipeline.error("model_dir", "m").with_help("h").to_string();
    assert_eq!(error, "f:4:12: m; h\n  | model_dir: \"out\" \"/shop\"\n  |            ^^^^^^^^^^^^^");
}

#[test]
fn text_round_trips() {
    let pipeline = read(GOOD);
    let again = read(&pipeline.to_text());
    assert_eq!(again.proto, pipeline.proto);
    assert_eq!(again.to_text(), pipeline.to_text());
    assert!(again.warnings().is_empty());
}

#[test]
fn json_configs() {
    let text = "  {\"model_dir\": \"out\", \"trainConfig\": {\"num_steps\": 5},\n \"data_config\": {\"input_type\": \"CSVInput\"}}";
    let pipeline = read(text);
    assert_eq!(pipeline.proto, read("model_dir: 'out' train_config { num_steps: 5 } data_config { input_type: CSVInput }").proto);
    let problems = Pipeline::parse("f", "{\n\"model_dirr\": 1}", &Edits::default()).expect_err("a wrong name");
    assert_eq!((problems.0[0].line, problems.len()), (2, 1));
    assert!(problems.to_string().contains("model_dirr"), "{problems}");
}

#[test]
fn features_groups_and_fields_are_written_out() {
    let pipeline = read(
        "data_config { auto_expand_input_fields: true input_fields { input_name: 'f[1-3]' } input_fields { input_name: 'y' } }
         feature_config {
           features { input_names: 'f1' embedding_dim: 4 shared_names: 'f[2-3]' }
           features { feature_name: 'named' input_names: 'y' }
         }
         model_config { feature_groups { group_name: 'g' feature_names: 'f[1-2]' feature_names: 'named' } }",
    );
    let features = pipeline.features();
    let names: Vec<(&str, &str)> = features.iter().map(|f| (f.name.as_str(), f.path.as_str())).collect();
    assert_eq!(
        names,
        [
            ("f1", "feature_config.features[0]"),
            ("named", "feature_config.features[1]"),
            ("f2", "feature_config.features[0]"),
            ("f3", "feature_config.features[0]"),
        ]
    );
    assert_eq!((features[3].config.input_names.as_slice(), features[3].config.embedding_dim()), (["f3".to_owned()].as_slice(), 4));
    let groups = pipeline.feature_groups();
    let members: Vec<&str> = groups[0].features.iter().map(|f| f.name.as_str()).collect();
    assert_eq!((groups[0].name, members), ("g", vec!["f1", "f2", "named"]));
    assert_eq!(groups[0].features[1].path, "model_config.feature_groups[0].feature_names[0]");
    let fields: Vec<String> = pipeline.input_fields().into_iter().map(|field| field.name).collect();
    assert_eq!(fields, ["f1", "f2", "f3", "y"]);
    // The old list wins over the new one, and shorthands need the switch.
    let old = read("feature_configs { input_names: 'a' shared_names: 'b[1-2]' } feature_config { features { input_names: 'c' } }");
    let names: Vec<String> = old.features().into_iter().map(|feature| feature.name).collect();
    assert_eq!(names, ["a", "b[1-2]"]);
}

proptest! {
    #[test]
    fn strings_round_trip(text in any::<String>()) {
        let edits = Edits::default();
        let mut pipeline = Pipeline::parse("f", "model_dir: ''", &edits).expect("it is right");
        pipeline.proto.model_dir = Some(text.clone());
        let json = serde_json::json!({ "model_dir": text }).to_string();
        let read = Pipeline::parse("f", &json, &edits).expect("it is right");
        let again = Pipeline::parse("f", &read.to_text(), &edits).expect("the writer's text reads");
        prop_assert_eq!(again.proto, pipeline.proto);
    }

    #[test]
    fn numbers_round_trip(float in any::<f32>(), double in any::<f64>(), whole in any::<u64>()) {
        let text = format!("feature_configs {{ hash_bucket_size: {whole} min_val: {double:?} }} train_config {{ startup_delay_steps: {float:?} }}");
        let pipeline = Pipeline::parse("f", &text, &Edits::default()).unwrap_or_else(|problems| panic!("{problems}"));
        let feature = &pipeline.proto.feature_configs[0];
        prop_assert_eq!(feature.hash_bucket_size, Some(whole));
        prop_assert_eq!(feature.min_val().to_bits(), double.to_bits());
        let again = Pipeline::parse("f", &pipeline.to_text(), &Edits::default()).expect("the writer's text reads");
        prop_assert_eq!(again.proto.feature_configs[0].min_val().to_bits(), double.to_bits());
        prop_assert_eq!(again.proto.train_config.map(|train| train.startup_delay_steps().to_bits()), Some(float.to_bits()));
    }
}

#[test]
fn one_long_line_reads_in_linear_work() {
    // 20 000 features on a line: quadratic work would take minutes here.
    let feature = "features { input_names: 'f' feature_type: RawFeature } ";
    let text = format!("feature_config {{ {} }}", feature.repeat(20_000));
    assert_eq!(read(&text).features().len(), 20_000);
}

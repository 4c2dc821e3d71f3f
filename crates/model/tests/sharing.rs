//! Rows that share work have the scores of rows that do not, bit for bit.

use std::num::NonZeroUsize;
use std::path::Path;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureSet, FieldRows};
use rankmill_kernels::pool::Pool;
use rankmill_model::bundle::{GoldenRows, Manifest, write_bundle};
use rankmill_model::{ConcurrentPredictor, Model, OutputValues, Parameters, Part, Purpose, Sharing};

const DATA: &str = r#"
data_config {
  input_type: CSVInput
  label_fields: "label"
  input_fields { input_name: "label" input_type: INT32 }
  input_fields { input_name: "user_id" input_type: INT64 }
  input_fields { input_name: "age" input_type: FLOAT }
  input_fields { input_name: "history" input_type: STRING }
  input_fields { input_name: "movie_id" input_type: INT64 }
  input_fields { input_name: "genres" input_type: STRING }
  input_fields { input_name: "price" input_type: FLOAT }
}
feature_config {
  features { feature_type: IdFeature input_names: "user_id" embedding_dim: 8 hash_bucket_size: 100 }
  features { feature_type: RawFeature input_names: "age" boundaries: [18, 30, 50] embedding_dim: 8 }
  features { feature_type: SequenceFeature input_names: "history" separator: "|" embedding_dim: 8 hash_bucket_size: 50 }
  features {
    feature_type: SequenceFeature
    input_names: "history"
    feature_name: "words"
    separator: "|"
    embedding_dim: 8
    hash_bucket_size: 50
    sequence_combiner { text_cnn { filter_sizes: [2, 3] num_filters: [8, 4] } }
  }
  features {
    feature_type: SequenceFeature
    input_names: "history"
    feature_name: "padded_words"
    separator: "|"
    embedding_dim: 8
    hash_bucket_size: 50
    sequence_combiner { text_cnn { filter_sizes: [2, 3] num_filters: [8, 4] pad_sequence_length: 3 } }
  }
  features {
    feature_type: SequenceFeature
    input_names: "history"
    feature_name: "weighted_words"
    separator: "|"
    embedding_dim: 8
    hash_bucket_size: 50
    sequence_combiner { attention { } }
  }
  features { feature_type: IdFeature input_names: "movie_id" embedding_dim: 8 hash_bucket_size: 50 }
  features { feature_type: TagFeature input_names: "genres" separator: "|" embedding_dim: 8 hash_bucket_size: 20 combiner: "mean" }
  features { feature_type: RawFeature input_names: "price" }
}
"#;

const TOWERS: &str = r#"
model_config {
  model_class: "MultiTower"
  feature_groups { group_name: "user" feature_names: ["user_id", "age"] wide_deep: DEEP }
  feature_groups { group_name: "film" feature_names: ["movie_id", "genres", "price"] wide_deep: DEEP }
  multi_tower {
    towers { input: "user" dnn { hidden_units: [600, 40] } }
    towers { input: "film" dnn { hidden_units: [24] } }
    final_dnn { hidden_units: [16] }
  }
}
"#;

const FACTORS: &str = r#"
model_config {
  model_class: "DeepFM"
  feature_groups { group_name: "deep" feature_names: ["user_id", "age", "movie_id", "genres"] wide_deep: DEEP }
  feature_groups { group_name: "wide" feature_names: ["user_id", "age", "movie_id", "genres"] wide_deep: WIDE }
  deepfm { dnn { hidden_units: [40, 20] } wide_output_dim: 4 }
}
"#;

const MASKS: &str = r#"
model_config {
  model_class: "RankModel"
  feature_groups { group_name: "all" feature_names: ["user_id", "movie_id", "age", "genres", "price"] wide_deep: DEEP }
  backbone {
    blocks {
      name: "mask_net"
      inputs { feature_group_name: "all" }
      keras_layer {
        class_name: "MaskNet"
        masknet { mask_blocks { aggregation_size: 24 output_size: 16 } mask_blocks { aggregation_size: 24 output_size: 16 } mlp { hidden_units: [16] } }
      }
    }
    concat_blocks: "mask_net"
  }
  model_params {}
}
"#;

const HISTORY: &str = r#"
model_config {
  model_class: "MultiTower"
  feature_groups { group_name: "user" feature_names: ["user_id", "history"] wide_deep: DEEP }
  feature_groups { group_name: "film" feature_names: ["movie_id", "genres"] wide_deep: DEEP }
  multi_tower {
    towers { input: "user" dnn { hidden_units: [32] } }
    towers { input: "film" dnn { hidden_units: [24] } }
    final_dnn { hidden_units: [16] }
  }
}
"#;

const ATTENTION: &str = r#"
model_config {
  model_class: "RankModel"
  feature_groups {
    group_name: "all"
    feature_names: ["user_id", "movie_id", "genres"]
    wide_deep: DEEP
    sequence_features { group_name: "seq" allow_key_search: true seq_att_map { key: "movie_id" hist_seq: "history" } }
  }
  backbone {
    blocks {
      name: "mlp"
      inputs { feature_group_name: "all" }
      keras_layer { class_name: "MLP" mlp { hidden_units: [32, 16] } }
    }
    concat_blocks: "mlp"
  }
  model_params {}
}
"#;

/// [`HISTORY`] with another feature of the same field.
fn history_as(feature: &str) -> String {
    HISTORY.replace("\"history\"", &format!("\"{feature}\""))
}

/// A model with variables that are not where they start, so that nothing is equal by chance.
fn load(folder: &Path, model: &str, sharing: Sharing) -> ConcurrentPredictor {
    let pipeline = Pipeline::parse("test.config", &format!("{DATA}{model}"), &Edits::default()).expect("a config");
    let features = FeatureSet::new(&pipeline).expect("features");
    let graph = Model::build(&pipeline, &features, Purpose::Prediction).expect("a model");
    let mut parameters = Parameters::initialise(&graph.graph, &graph.initializers, 7, &Pool::new(1).expect("a thread"));
    let mut number = 1_u32;
    for value in parameters.entries.iter_mut().flat_map(|entry| &mut entry.values) {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value += (number >> 16) as f32 / 65536.0 * 0.2 + 0.01;
    }
    write_bundle(folder, &pipeline, &parameters, &Manifest::new(0, &[], GoldenRows::default())).expect("written");
    ConcurrentPredictor::load(folder, NonZeroUsize::MIN).expect("loaded").with_sharing(sharing)
}

const USER: [&str; 3] = ["user_id", "age", "history"];

/// Rows of which the fields of `equal` are those of the first one; some values are missing.
fn rows(model: &ConcurrentPredictor, count: usize, seed: usize, equal: &[&str]) -> FieldRows {
    let mut rows = model.rows();
    for row in 0..count {
        let number = |field: &str, step: usize| seed * 31 + step * if equal.contains(&field) { 0 } else { row };
        let (user, movie, age) = (number("user_id", 3).to_string(), number("movie_id", 7).to_string(), number("age", 5) % 80);
        let length = number("history", 1) % 5;
        let history: Vec<String> = (0..length).map(|i| (number("history", 1) + i).to_string()).collect();
        let genres = ["Drama", "Comedy|Drama", "", "A|B|C"][number("genres", 1) % 4];
        let (history, age, price) = (history.join("|"), age.to_string(), format!("{}.5", number("price", 11) % 9));
        let movie = if movie.ends_with('3') { String::new() } else { movie };
        let values = [("user_id", &user), ("age", &age), ("history", &history), ("movie_id", &movie), ("price", &price)];
        let values = values.map(|(name, text)| (name, text.as_str())).into_iter().chain([("genres", genres)]);
        rows.push(values).expect("known fields");
    }
    rows
}

#[track_caller]
fn assert_same(found: &[OutputValues], expected: &[OutputValues], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        let bits = |values: &OutputValues| values.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(found.name, expected.name);
        assert!(bits(found) == bits(expected), "{what}: `{}` has other bits", found.name);
    }
}

#[track_caller]
fn check(model: &str) {
    let folders = [(), ()].map(|()| tempfile::tempdir().expect("a folder"));
    let shared = load(folders[0].path(), model, Sharing::Auto);
    let alone = load(folders[1].path(), model, Sharing::Off);
    let everything = ["user_id", "age", "history", "movie_id", "genres", "price"];
    for (seed, equal) in
        [&USER[..], &["user_id"], &["movie_id", "genres"], &everything, &["history", "price"], &[], &USER].iter().enumerate()
    {
        for count in [3, 16, 37, 200] {
            let rows = rows(&alone, count, seed, equal);
            let expected = alone.score(&rows).expect("rows");
            let what = format!("{count} rows with equal {equal:?}");
            assert_same(&shared.score(&rows).expect("rows"), &expected, &what);
            assert!(expected[1].values.iter().any(|value| *value != expected[1].values[0]) || equal.len() == everything.len() || count < 5);
        }
    }
    let [first, second] = [1, 2].map(|seed| rows(&alone, 50, seed, &USER));
    let parts = [(&first, 0..50), (&first, 7..9), (&second, 3..40)].map(|(rows, range)| Part { rows, range });
    let (found, expected) = (shared.score_parts(0, &parts).expect("rows"), alone.score_parts(0, &parts).expect("rows"));
    assert_same(&found.outputs, &expected.outputs, "several parts");
    assert_eq!(found.features, expected.features, "what was noticed");
}

#[test]
fn towers() {
    check(TOWERS);
}

#[test]
fn factorization_machines() {
    check(FACTORS);
}

#[test]
fn masks_of_both_kinds() {
    check(MASKS);
}

#[test]
fn sums_of_sequences() {
    check(HISTORY);
}

#[test]
fn attention_of_candidates_to_a_history() {
    check(ATTENTION);
}

#[test]
fn convolutions_over_histories() {
    check(&history_as("words"));
}

/// EasyRec fills up the sequences of a batch to the longest one, and convolutions read what they are filled up with.
#[test]
fn scores_do_not_depend_on_the_company_of_other_parts() {
    let [read, padded, weighted] = ["words", "padded_words", "weighted_words"].map(history_as);
    for (model, independent) in [(&*read, false), (&padded, true), (&weighted, true), (ATTENTION, true), (HISTORY, true)] {
        let folder = tempfile::tempdir().expect("a folder");
        for sharing in [Sharing::Off, Sharing::Auto] {
            let model = load(folder.path(), model, sharing);
            assert_eq!(model.rows_are_independent(), independent);
            let rows = rows(&model, 30, 1, &["user_id"]);
            let ranges = [0..1, 1..2, 2..20, 20..30];
            let parts = ranges.map(|range| Part { rows: &rows, range });
            let together = model.score_parts(0, &parts).expect("rows").outputs;
            for part in parts {
                let alone = model.score_parts(0, std::slice::from_ref(&part)).expect("rows").outputs;
                let of_part = |output: &OutputValues| OutputValues { values: output.values[part.range.clone()].to_vec(), ..output.clone() };
                assert_same(&together.iter().map(of_part).collect::<Vec<_>>(), &alone, &format!("rows {:?}", part.range));
            }
        }
    }
}

#[test]
fn the_first_wrong_row_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = load(folder.path(), TOWERS, Sharing::Auto);
    let mut rows = rows(&model, 20, 1, &USER);
    let wrong = rows.store(b"cheap").expect("short");
    let price = model.fields().iter().position(|field| field.name == "price").expect("a field");
    rows.set(4, price, wrong);
    rows.set(9, price, wrong);
    let error = model.score(&rows).expect_err("no number");
    assert_eq!((error.row, error.column.as_deref()), (5, Some("price")));
}

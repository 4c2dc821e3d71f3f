//! What components make of texts, against numbers that `reference/texts.py` wrote, and columns of blocks.

use std::sync::Arc;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{
    Characters, Column, FeatureSet, Origin, OverlapMethod, Positions, RawRows, Scaling, TextColumn, TextFunction, TextNormalization,
    TextSource, TokenIds, Tokens,
};
use serde_json::Value as Json;

const CONFIG: &str = "data_config { separator: '\\t' label_fields: 'y' input_type: CSVInput
  input_fields { input_name: 'y' input_type: FLOAT } input_fields { input_name: 'a' input_type: STRING }
  input_fields { input_name: 'b' input_type: STRING } input_fields { input_name: 'n' input_type: INT32 } }
  feature_config {
    features { input_names: 'a' feature_type: PassThroughFeature } features { input_names: 'b' feature_type: PassThroughFeature }
    features { input_names: 'n' feature_type: PassThroughFeature }
    features { feature_name: 'id' input_names: 'a' feature_type: IdFeature hash_bucket_size: 20 }
    features { feature_name: 'tags' input_names: 'b' feature_type: TagFeature hash_bucket_size: 30 }
    features { feature_name: 'kv' input_names: 'b' feature_type: TagFeature hash_bucket_size: 30 kv_separator: ':' }
    features { feature_name: 'int' input_names: 'n' feature_type: IdFeature num_buckets: 10 } }
  model_config { model_class: 'RankModel'
    feature_groups { group_name: 'texts' feature_names: ['a', 'b', 'n'] wide_deep: DEEP }
    feature_groups { group_name: 'ids' feature_names: ['id', 'GROUP', 'int'] wide_deep: DEEP }
    backbone {
      blocks { name: 'raw' inputs { feature_group_name: 'texts' } raw_input {} }
      blocks { name: 'e' inputs { feature_group_name: 'ids' } embedding_layer { embedding_dim: 4 } } } }";

fn features(tags: &str) -> (Pipeline, FeatureSet) {
    let pipeline = Pipeline::parse("a.config", &CONFIG.replace("GROUP", tags), &Edits::default()).expect("a config");
    let features = FeatureSet::new(&pipeline).unwrap_or_else(|problems| panic!("{problems}"));
    (pipeline, features)
}

fn rows(texts: &[[&str; 3]]) -> RawRows {
    let mut rows = RawRows::new(4, Arc::from([]));
    for [a, b, n] in texts {
        rows.push_fields(["0", a, b, n].map(str::as_bytes), Origin::default()).expect("four fields");
    }
    rows
}

fn source(feature: &str, normalizations: &[TextNormalization]) -> TextSource {
    TextSource { feature: feature.to_owned(), normalizations: normalizations.to_vec() }
}

/// The column that a function makes of the texts of one row.
fn column(function: TextFunction, scaling: Scaling, normalizations: &[TextNormalization], texts: [&str; 2]) -> Column {
    let (pipeline, mut features) = features("tags");
    let sources = vec![source("a", normalizations), source("b", normalizations)];
    let column = TextColumn { name: "x".to_owned(), path: "model_config".to_owned(), sources, function, scaling };
    features.add_text(&pipeline, &column).expect("texts");
    let mut batch = features.transform(&rows(&[[texts[0], texts[1], "1"]])).expect("rows");
    batch.columns.pop().expect("the last column")
}

fn numbers(column: &Column) -> &[f32] {
    match column {
        Column::Dense(column) => &column.values,
        other => panic!("{other:?}"),
    }
}

fn function(kind: &str) -> TextFunction {
    let methods = OverlapMethod::NAMES.iter().map(|(_, method)| *method).collect();
    match kind {
        "edit_distance" => TextFunction::EditDistance(Characters::Utf8),
        "overlap" => TextFunction::Overlap { separator: " ".to_owned(), methods, default: -1.0 },
        _ => TextFunction::DotProduct { separator: "|".to_owned(), default: -2.0 },
    }
}

#[test]
fn numbers_are_those_of_the_reference() {
    let json: Json = serde_json::from_str(include_str!("data/texts.json")).expect("JSON");
    let cases = json["cases"].as_array().expect("cases");
    assert!(cases.len() > 100);
    for case in cases {
        let texts: Vec<&str> = case["texts"].as_array().expect("texts").iter().map(|text| text.as_str().expect("a text")).collect();
        let [a, b] = texts[..] else { panic!("two texts") };
        let kind = case["kind"].as_str().expect("a kind");
        if kind == "normalize" {
            let parameter = case["parameter"].as_u64().expect("a number") as u32;
            let normalization = TextNormalization::new(parameter, case["remove_space"] == true).expect("known bits");
            // A text is the expected one if nothing needs to be changed in it.
            for (text, expected) in [a, b].iter().zip(case["normalized"].as_array().expect("texts")) {
                let expected = expected.as_str().expect("a text");
                let changed = column(TextFunction::EditDistance(Characters::Utf8), Scaling::default(), &[normalization], [text, text]);
                assert_eq!(numbers(&changed), [0.0]);
                assert_eq!(distance_from(normalization, text, expected), 0.0, "{parameter}: {text:?} is not {expected:?}");
            }
            continue;
        }
        let expected: Vec<f32> =
            case["numbers"].as_array().expect("numbers").iter().map(|x| x.as_f64().expect("a number") as f32).collect();
        let found = column(function(kind), Scaling::default(), &[], [a, b]);
        for (x, y) in numbers(&found).iter().zip(&expected) {
            assert!((x - y).abs() < 1e-6, "{kind} of {a:?} and {b:?}: {found:?} not {expected:?}");
        }
        assert_eq!(numbers(&found).len(), expected.len());
    }
}

/// The edit distance of a normalised text from an expected one, which is not normalised itself.
fn distance_from(normalization: TextNormalization, text: &str, expected: &str) -> f32 {
    let (pipeline, mut features) = features("tags");
    let sources = vec![source("a", &[normalization]), source("b", &[])];
    let function = TextFunction::EditDistance(Characters::Utf8);
    let column = TextColumn { name: "x".to_owned(), path: "model_config".to_owned(), sources, function, scaling: Scaling::default() };
    features.add_text(&pipeline, &column).expect("texts");
    let batch = features.transform(&rows(&[[text, expected, "1"]])).expect("rows");
    numbers(batch.columns.last().expect("a column"))[0]
}

#[test]
fn numbers_are_scaled_and_counted_in_buckets() {
    let scaling = Scaling::new("lambda x: x * 10", vec![2.0, 20.0]).expect("a scaling");
    let found = column(function("dot_product"), scaling, &[], ["a:0.5|b", "a:0.6|c"]);
    assert_eq!(numbers(&found), [1.0]);
    assert!(Scaling::new("", vec![2.0, 1.0]).is_err());
    assert!(Scaling::new("os.system", Vec::new()).is_err());
    assert_eq!(TextNormalization::new(20, false).expect_err("no such bit").bit, 16);
}

#[test]
fn tokens_are_two_numbers_each() {
    let tokens = Tokens::new(" ", TokenIds::Hash(1000), 100);
    let Column::Sequence(found) = column(TextFunction::Tokens(tokens), Scaling::default(), &[], ["red", ""]) else { panic!("a sequence") };
    // [CLS] red [SEP] (empty) [SEP] (empty)
    assert_eq!((found.rows(), found.length(0), found.longest), (1, 6, 6));
    let Positions::Dense(numbers) = found.positions else { panic!("numbers") };
    let masks: Vec<f32> = (0..6).map(|at| numbers.row(at)[1]).collect();
    assert_eq!(masks, [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
    assert_eq!(numbers.row(5)[0], 0.0, "ids are told from that of the empty token on");
    assert_eq!(numbers.row(2), numbers.row(4));
}

#[test]
fn an_embedding_layer_reads_parts_of_one_table() {
    let (_, mut set) = features("tags");
    let names: Vec<&str> = set.specs().iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["raw/n", "backbone/e/id", "backbone/e/tags", "backbone/e/int"]);
    let fill = set.specs()[2].sequence.as_ref().and_then(|sequence| sequence.fill).expect("an id");
    let batch = set.transform(&rows(&[["", "p|q", "3"], ["u", "", "12"]])).expect("rows");
    assert_eq!(numbers(&batch.columns[0]), [3.0, 12.0]);
    let Column::Ids(ids) = &batch.columns[1] else { panic!("ids") };
    assert!(ids.ids.len() == 2 && ids.ids.iter().all(|id| *id < 20), "an empty text is hashed like any other");
    let Column::Sequence(tags) = &batch.columns[2] else { panic!("a sequence") };
    assert_eq!((tags.length(0), tags.length(1), tags.longest), (2, 0, 2));
    let filled = tags.filled(3, fill);
    assert!(filled.ids.iter().all(|id| (20..50).contains(id)));
    assert_eq!((&filled.ids[2..], filled.offsets.len()), (&[fill; 4][..], 7));
    let Column::Ids(numbers) = &batch.columns[3] else { panic!("ids") };
    assert_eq!((&numbers.ids[..], batch.observed.features[3].out_of_range), (&[53, 50][..], 1));
}

#[test]
fn tags_with_weights_stay_together() {
    let (_, mut set) = features("kv");
    let batch = set.transform(&rows(&[["", "p:2|q:0", "3"], ["u", "", "1"]])).expect("rows");
    let Column::Ids(tags) = &batch.columns[2] else { panic!("ids") };
    assert_eq!((&tags.offsets[..], tags.weights.as_deref()), (&[0, 1, 1][..], Some(&[2.0][..])));
}

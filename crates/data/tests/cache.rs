//! With a cache every batch has the bits that it has without, and a cache of other rows or settings is not used.

mod common;

use std::path::Path;

use common::{Files, pipeline, read};
use rankmill_config::Pipeline;
use rankmill_data::{Batch, DataError, FeatureBatch, FeatureCache, FeatureSet, Position, Reader, ReaderOptions, Rule};

fn config(data: &str) -> Pipeline {
    let features = [
        "input_names: 'a' feature_type: IdFeature hash_bucket_size: 100 embedding_dim: 2",
        "input_names: 'a' feature_type: RawFeature",
        "input_names: 't' feature_type: TagFeature kv_separator: ':' hash_bucket_size: 100 embedding_dim: 2",
        "input_names: 't' feature_type: SequenceFeature hash_bucket_size: 100 embedding_dim: 2",
        "input_names: 's' feature_type: SequenceFeature seq_multi_sep: ';' hash_bucket_size: 100 embedding_dim: 2",
        "input_names: 's' feature_type: IdFeature hash_bucket_size: 100 embedding_dim: 2",
        "input_names: 't' feature_type: TagFeature kv_separator: ':' combiner: 'mean' hash_bucket_size: 1 embedding_dim: 2 ev_params { }",
        "input_names: 's' feature_type: SequenceFeature seq_multi_sep: ';' hash_bucket_size: 1 embedding_dim: 2 ev_params { }",
    ];
    pipeline("n:INT32 a:INT32=7 t:STRING s:STRING w:FLOAT", &format!("sample_weight: 'w' {data}"), &features)
}

/// Rows of which every tenth is unusable.
fn rows(from: usize, to: usize) -> String {
    let row = |at: usize| {
        let a = if at % 10 == 3 {
            "x".to_string()
        } else if at.is_multiple_of(4) {
            String::new()
        } else {
            (at % 17).to_string()
        };
        let tags: Vec<String> = (0..at % 4).map(|tag| format!("t{}:0.{tag}", (at + tag) % 9)).collect();
        let positions: Vec<String> = (0..at % 5).map(|position| format!("p{};q{position}", at % (position + 3))).collect();
        format!("{at}\t{a}\t{}\t{}\t0.{}\n", tags.join("|"), positions.join("|"), at % 7)
    };
    (from..to).map(row).collect()
}

fn train(config: &Pipeline, inputs: Vec<String>, cache: Option<&Path>, position: Option<Position>) -> Result<Vec<Batch>, DataError> {
    let mut options = ReaderOptions::train(config, inputs, 5).expect("a good config");
    options.position = position;
    options.keep = vec!["t".into()];
    options.cache = cache.map(|folder| FeatureCache::new(folder, config).expect("no vocabulary"));
    read(config, options)
}

fn features(batches: Vec<Batch>) -> Vec<(FeatureBatch, Position)> {
    batches.into_iter().map(|batch| (batch.features, batch.position)).collect()
}

fn caches(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn batches_are_the_same_with_and_without() {
    let files = Files::new(&[("a", rows(0, 90).as_bytes()), ("b", rows(90, 120).as_bytes()), ("c", b"")]);
    let inputs: Vec<String> = ["a", "b", "c"].map(|name| files.path(name)).to_vec();
    let folder = files.directory().join("cache");
    for batch_size in [3, 16, 200] {
        let config = config(&format!("batch_size: {batch_size} num_epochs: 3 shuffle_buffer_size: 20 ignore_error: true"));
        let expected = train(&config, inputs.clone(), None, None).expect("readable");
        assert!(expected.iter().any(|batch| !batch.features.observed.skipped.is_empty()));
        for round in 0..2 {
            let found = train(&config, inputs.clone(), Some(&folder), None).expect("readable");
            assert_eq!(features(found), features(expected.clone()), "batches of {batch_size}, round {round}");
        }
        let position = expected[expected.len() / 2].position;
        let rest = train(&config, inputs.clone(), Some(&folder), Some(position)).expect("readable");
        assert_eq!(features(rest), features(expected[expected.len() / 2 + 1..].to_vec()));
    }
    assert_eq!(caches(&folder), 1, "the order and the batch size make no difference to a row");
}

#[test]
fn a_row_that_stops_a_run_stops_it_at_the_same_place() {
    let files = Files::new(&[("a", rows(0, 30).as_bytes())]);
    let config = config("batch_size: 4 num_epochs: 1 shuffle_buffer_size: 6");
    let expected = train(&config, vec![files.path("a")], None, None).expect_err("row 4");
    let found = train(&config, vec![files.path("a")], Some(&files.directory().join("cache")), None).expect_err("row 4");
    assert_eq!(found, expected);
    assert_eq!(found.rule, Rule::NotInt32);
}

#[test]
fn statistics_and_reports_are_the_same() {
    let files = Files::new(&[("a", rows(0, 60).as_bytes())]);
    let config = config("batch_size: 7 num_epochs: 2 ignore_error: true");
    let run = |cache: Option<FeatureCache>| {
        let mut options = ReaderOptions::train(&config, vec![files.path("a")], 5).expect("a good config");
        options.cache = cache;
        let mut reader = Reader::new(options, FeatureSet::new(&config).expect("a good config")).expect("opened");
        assert!(reader.by_ref().all(|batch| batch.is_ok()));
        (reader.statistics(), reader.report().clone(), reader.files().to_vec(), reader.progress())
    };
    let cache = FeatureCache::new(&files.directory().join("cache"), &config).expect("no vocabulary");
    assert_eq!(run(Some(cache)), run(None));
}

#[test]
fn other_rows_and_other_settings_have_caches_of_their_own() {
    let files = Files::new(&[("a", rows(0, 20).as_bytes())]);
    let folder = files.directory().join("cache");
    let settings = "num_epochs: 1 ignore_error: true";
    let inputs = vec![files.path("a")];
    let first = train(&config(settings), inputs.clone(), Some(&folder), None).expect("readable");
    std::fs::write(files.path("a"), rows(20, 40)).expect("written");
    let second = train(&config(settings), inputs.clone(), Some(&folder), None).expect("readable");
    assert_ne!(features(first), features(second));
    assert_eq!(caches(&folder), 2);
    let changed = config(settings).to_text().replace("hash_bucket_size: 100", "hash_bucket_size: 90");
    let changed = Pipeline::parse("test.config", &changed, &rankmill_config::Edits::default()).expect("a good config");
    let third = train(&changed, inputs.clone(), Some(&folder), None).expect("readable");
    assert_eq!(features(third), features(train(&changed, inputs, None, None).expect("readable")));
    assert_eq!(caches(&folder), 3);
}

#[test]
fn a_damaged_cache_is_an_error() {
    let files = Files::new(&[("a", rows(0, 20).as_bytes())]);
    let (folder, inputs) = (files.directory().join("cache"), vec![files.path("a")]);
    let config = config("num_epochs: 1 ignore_error: true");
    train(&config, inputs.clone(), Some(&folder), None).expect("readable");
    let cache = std::fs::read_dir(&folder).expect("a folder").next().expect("a cache").expect("readable").path().join("0.rows");
    let bytes = std::fs::read(&cache).expect("readable");
    for length in (1..bytes.len()).step_by(41) {
        std::fs::write(&cache, &bytes[..length]).expect("written");
        if let Err(error) = train(&config, inputs.clone(), Some(&folder), None) {
            assert_eq!(error.rule, Rule::DamagedCache, "{length} bytes");
        }
    }
}

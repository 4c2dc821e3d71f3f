//! The order of rows, resuming, formats of files, and that none of it depends on batches or threads.

mod common;

use std::io::Write;

use common::{Files, pipeline, read, read_once};
use rankmill_config::Pipeline;
use rankmill_data::{Batch, DataError, FeatureSet, Mode, Position, Reader, ReaderOptions, Supply};

/// Rows whose label is their number.
fn config(data: &str) -> Pipeline {
    pipeline("n:INT32 x:STRING", data, &["input_names: 'x' feature_type: TagFeature hash_bucket_size: 97 embedding_dim: 2"])
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| format!("{number}\ta{number}|b{}\n", number % 3)).collect()
}

fn order(batches: &[Batch]) -> Vec<usize> {
    batches.iter().flat_map(|batch| &batch.features.labels[0]).map(|&label| label as usize).collect()
}

/// The feature values of all rows, one batch.
fn contents(batches: &[Batch]) -> Vec<(usize, Vec<u32>)> {
    let ids = batches.iter().flat_map(|batch| common::ids(&batch.features.columns[0]));
    order(batches).into_iter().zip(ids).collect()
}

fn train(config: &Pipeline, inputs: Vec<String>, change: impl Fn(&mut ReaderOptions)) -> Result<Vec<Batch>, DataError> {
    let mut options = ReaderOptions::train(config, inputs, 2020).expect("a good config");
    change(&mut options);
    read(config, options)
}

#[test]
fn training_shuffles_each_epoch_anew_and_batches_cross_epochs() {
    let config = config("batch_size: 7 num_epochs: 3 shuffle_buffer_size: 8");
    let files = Files::new(&[("a", lines(0..25).as_bytes())]);
    let batches = train(&config, vec![files.path("a")], |_| {}).expect("good rows");
    let sizes: Vec<_> = batches.iter().map(|batch| batch.features.rows).collect();
    assert_eq!(sizes, [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 5]);
    let rows = order(&batches);
    let epochs: Vec<&[usize]> = rows.chunks(25).collect();
    for epoch in &epochs {
        let mut sorted = epoch.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..25).collect::<Vec<_>>());
        // A row cannot come before it has been taken into the buffer.
        assert!(epoch.iter().enumerate().all(|(at, &row)| row < at + 8));
    }
    assert_ne!(epochs[0], epochs[1]);
    assert_ne!(epochs[0], (0..25).collect::<Vec<_>>());
    assert_eq!(rows, order(&train(&config, vec![files.path("a")], |_| {}).expect("good rows")));
    let other = train(&config, vec![files.path("a")], |options| {
        if let Mode::Train { seed, .. } = &mut options.mode {
            *seed = 7;
        }
    });
    assert_ne!(rows, order(&other.expect("good rows")));
}

#[test]
fn every_row_is_equally_likely_to_come_first() {
    let config = config("batch_size: 1 num_epochs: 1 shuffle_buffer_size: 4");
    let files = Files::new(&[("a", lines(0..4).as_bytes())]);
    let mut first = [0; 4];
    for seed in 0..400 {
        let mut options = ReaderOptions::train(&config, vec![files.path("a")], seed).expect("a good config");
        options.prefetch = 1;
        let mut reader = Reader::new(options, FeatureSet::new(&config).expect("a good config")).expect("opened");
        let batch = reader.next().expect("a batch").expect("good rows");
        first[batch.features.labels[0][0] as usize] += 1;
    }
    // Standard deviation 8.7 around 100.
    assert!(first.iter().all(|&count| (65..=135).contains(&count)), "{first:?}");
}

#[test]
fn without_shuffling_files_are_read_in_turn_in_training_and_one_by_one_else() {
    let config = config("batch_size: 4 num_epochs: 1 shuffle: false num_parallel_calls: 2");
    let files = Files::new(&[("a", lines(0..3).as_bytes()), ("b", lines(10..11).as_bytes()), ("c", lines(20..23).as_bytes())]);
    let inputs: Vec<String> = ["a", "b", "c"].map(|name| files.path(name)).to_vec();
    assert_eq!(order(&train(&config, inputs.clone(), |_| {}).expect("good rows")), [0, 10, 1, 2, 20, 21, 22]);
    assert_eq!(order(&read_once(&config, inputs.join(",")).expect("good rows")), [0, 1, 2, 10, 20, 21, 22]);
}

#[test]
fn the_last_short_batch_can_be_dropped_in_training() {
    let config = config("batch_size: 4 num_epochs: 1 drop_remainder: true");
    let files = Files::new(&[("a", lines(0..10).as_bytes())]);
    let sizes = |batches: Vec<Batch>| batches.iter().map(|batch| batch.features.rows).collect::<Vec<_>>();
    assert_eq!(sizes(train(&config, vec![files.path("a")], |_| {}).expect("good rows")), [4, 4]);
    assert_eq!(sizes(read_once(&config, files.path("a")).expect("good rows")), [4, 4, 2]);
}

#[test]
fn resuming_at_any_batch_gives_the_same_rows() {
    let files = Files::new(&[("a", lines(0..9).as_bytes()), ("b", lines(9..14).as_bytes()), ("c", lines(14..20).as_bytes())]);
    for (epochs, buffer, names) in [(1, 1, "a"), (3, 4, "a"), (2, 1, "a b c"), (3, 7, "a b c"), (2, 100, "b c")] {
        let inputs: Vec<String> = names.split(' ').map(|name| files.path(name)).collect();
        for batch_size in [1, 3, 20] {
            let config = config(&format!("batch_size: {batch_size} num_epochs: {epochs} shuffle_buffer_size: {buffer}"));
            let whole = train(&config, inputs.clone(), |_| {}).expect("good rows");
            for taken in 0..whole.len() {
                let position = whole[taken].position;
                let text = serde_json::to_string(&position).expect("JSON");
                let position: Position = serde_json::from_str(&text).expect("JSON");
                let rest = train(&config, inputs.clone(), |options| options.position = Some(position)).expect("good rows");
                assert_eq!(rest, whole[taken + 1..], "{epochs} epochs, buffer {buffer}, {names}, batch {batch_size}, after {taken}");
            }
        }
    }
}

#[test]
fn resuming_evaluation_and_behind_the_end() {
    let config = config("batch_size: 3");
    let files = Files::new(&[("a", lines(0..8).as_bytes())]);
    let whole = read_once(&config, files.path("a")).expect("good rows");
    let mut options = ReaderOptions::sequential(&config, vec![files.path("a")]).expect("a good config");
    options.position = Some(whole[0].position);
    assert_eq!(read(&config, options.clone()).expect("good rows"), whole[1..]);
    options.position = Some(Position { epoch: 0, rows: 9, seed: 0 });
    let error = read(&config, options).expect_err("beyond the end").to_string();
    assert!(error.contains("has only 8 rows in that epoch, 9 were read"), "{error}");
}

#[test]
fn any_batch_size_gives_the_same_rows() {
    let files = Files::new(&[("a", lines(0..40).as_bytes())]);
    let run = |size: usize| {
        let config = config(&format!("batch_size: {size} num_epochs: 2 shuffle_buffer_size: 5"));
        contents(&train(&config, vec![files.path("a")], |_| {}).expect("good rows"))
    };
    let expected = run(1);
    assert_eq!(expected.len(), 80);
    for size in [2, 7, 40, 64, 1000] {
        assert_eq!(run(size), expected);
    }
}

#[test]
fn compressed_files_equal_plain_ones_whatever_their_names() {
    let config = config("batch_size: 100");
    let text = lines(0..5000);
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let zstandard = |text: &str| ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    let (head, tail) = text.split_at(text.len() / 3);
    let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let files = Files::new(&[
        ("plain", text.as_bytes()),
        ("gzip.csv", &gzip(&text)),
        ("members", &[gzip(head), gzip(tail)].concat()),
        ("zstandard.gz", &zstandard(&text)),
        ("frames", &[zstandard(head), skippable, zstandard(tail)].concat()),
        ("plain.zst", text.as_bytes()),
    ]);
    let expected = read_once(&config, files.path("plain")).expect("good rows");
    assert_eq!(order(&expected), (0..5000).collect::<Vec<_>>());
    for name in ["gzip.csv", "members", "zstandard.gz", "frames", "plain.zst"] {
        assert_eq!(read_once(&config, files.path(name)).expect(name), expected, "{name}");
    }
}

#[test]
fn line_ends_headers_and_empty_files() {
    let files = Files::new(&[
        ("unix", b"1\ta\n2\tb\n"),
        ("windows", b"1\ta\r\n2\tb\r\n"),
        ("open", b"1\ta\n2\tb"),
        ("empty", b""),
        ("header", b"x\tother\tn\r\na\tz\t1\r\nb\tz\t2"),
    ]);
    let plain = config("");
    let expected = contents(&read_once(&plain, files.path("unix")).expect("good rows"));
    assert_eq!(expected.len(), 2);
    for name in ["windows", "open"] {
        assert_eq!(contents(&read_once(&plain, files.path(name)).expect("good rows")), expected, "{name}");
    }
    let headed = config("with_header: true");
    assert_eq!(contents(&read_once(&headed, files.path("header")).expect("good rows")), expected);
    assert_eq!(read_once(&plain, files.path("empty")).expect("no rows"), []);
    assert_eq!(train(&plain, vec![files.path("empty")], |_| {}).expect("no rows, and no endless search for them"), []);
    let all = contents(&read_once(&plain, files.path("empty") + "," + &files.path("unix")).expect("good rows"));
    assert_eq!(all, expected);
}

#[test]
fn a_directory_stands_for_its_files() {
    let files = Files::new(&[("part-1", lines(5..8).as_bytes()), ("part-0", lines(0..5).as_bytes()), ("_SUCCESS", b"")]);
    let batches = read_once(&config(""), files.directory().to_string_lossy().into_owned()).expect("good rows");
    assert_eq!(order(&batches), (0..8).collect::<Vec<_>>());
}

#[test]
fn rows_are_named_by_file_and_line_after_shuffling() {
    let config = config("batch_size: 2 num_epochs: 1 shuffle_buffer_size: 50");
    let files = Files::new(&[("a", lines(0..9).as_bytes()), ("b", format!("{}x\ty\n{}", lines(9..13), lines(13..20)).as_bytes())]);
    let error = train(&config, vec![files.path("a"), files.path("b")], |_| {}).expect_err("a bad row");
    assert_eq!((error.file, error.row, error.column.as_deref()), (files.path("b"), 5, Some("n")));
}

#[test]
fn a_reader_of_endless_epochs_can_be_dropped() {
    let config = config("batch_size: 5 num_epochs: 0 prefetch_size: 3");
    let files = Files::new(&[("a", lines(0..12).as_bytes())]);
    let options = ReaderOptions::train(&config, vec![files.path("a")], 1).expect("a good config");
    let mut reader = Reader::new(options, FeatureSet::new(&config).expect("a good config")).expect("opened");
    for _ in 0..50 {
        assert_eq!(reader.next().expect("a batch").expect("good rows").features.rows, 5);
    }
    assert_eq!(reader.report().rows, 250);
    assert_eq!(reader.statistics()[0].rows, 250);
    assert_eq!(reader.files().len(), 1);
    let supply = reader.supply();
    assert_eq!((supply.requests, supply.capacity), (50, 3));
    assert!((0.0..=3.0).contains(&supply.mean_ready()), "{supply:?}");
    drop(reader);
}

#[test]
fn progress_goes_from_0_to_1() {
    let config = config("batch_size: 10 num_epochs: 2");
    let files = Files::new(&[("a", lines(0..30).as_bytes())]);
    let options = ReaderOptions::train(&config, vec![files.path("a")], 1).expect("a good config");
    let mut reader = Reader::new(options, FeatureSet::new(&config).expect("a good config")).expect("opened");
    assert!((0.0..=1.0).contains(&reader.progress()));
    assert_eq!(reader.by_ref().count(), 6);
    assert_eq!(reader.progress(), 1.0);
}

#[test]
fn supply_counts_the_batches_that_were_asked_for_but_not_the_end() {
    let config = config("batch_size: 10 prefetch_size: 2");
    let files = Files::new(&[("a", lines(0..30).as_bytes())]);
    let options = ReaderOptions::sequential(&config, vec![files.path("a")]).expect("a good config");
    let mut reader = Reader::new(options, FeatureSet::new(&config).expect("a good config")).expect("opened");
    assert_eq!(reader.supply(), Supply { capacity: 2, ..Supply::default() });
    assert_eq!(reader.supply().mean_ready(), 0.0);
    assert_eq!(reader.by_ref().count(), 3);
    let supply = reader.supply();
    assert_eq!(supply.requests, 3);
    assert!(supply.ready <= 3 * 2, "{supply:?}");
    assert!(reader.next().is_none());
    assert_eq!(reader.supply(), supply);
}

#[test]
fn csv_input_ex_splits_without_quotes_and_has_no_defaults() {
    let config =
        pipeline("n:INT32 x:STRING", "", &["input_names: 'x' feature_type: IdFeature hash_bucket_size: 97 embedding_dim: 2"]).to_text();
    let config = config.replace("CSVInput", "CSVInputEx").replace("'\\t'", "';|'").replace("\"\\t\"", "\";|\"");
    let config = Pipeline::parse("test.config", &config, &rankmill_config::Edits::default()).expect("a good config");
    let files = Files::new(&[("a", b"4294967296;a\"b\n2|c\n"), ("b", b";a\n")]);
    assert_eq!(order(&read_once(&config, files.path("a")).expect("good rows")), [4_294_967_296, 2]);
    let error = read_once(&config, files.path("b")).expect_err("an empty number");
    assert_eq!(
        error.to_string(),
        format!("{}:1: field `n`: value \"\" is empty where a number is needed; give the field a default_val", files.path("b"))
    );
}

#[test]
fn formats_that_do_not_fit() {
    for (data, message) in [("batch_size: 0", "must be above 0"), ("shuffle_buffer_size: -1", "must not be negative")] {
        let problems = ReaderOptions::train(&config(data), vec!["a".to_string()], 0).expect_err(message).to_string();
        assert!(problems.contains(message), "{problems}");
    }
    for (from, to, message) in [
        ("\"\\t\"", "\"ab\"", "must be one byte"),
        ("\"\\t\"", "\"\"", "is empty"),
        ("CSVInput", "KafkaInput", "KafkaInput reads from a service, which Rankmill does not talk to"),
    ] {
        let text = config("").to_text();
        assert!(text.contains(from), "{text}");
        let changed = Pipeline::parse("test.config", &text.replace(from, to), &rankmill_config::Edits::default()).expect("readable");
        let problems = ReaderOptions::sequential(&changed, vec!["a".to_string()]).expect_err(message).to_string();
        assert!(problems.contains(message), "{problems}");
    }
}

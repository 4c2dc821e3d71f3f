//! The same rows in every format give the same batches, bit for bit: in any order, cut anywhere, resumed anywhere.
//!
//! The files were written by other people's software; `fixtures/make.py` says how.

mod common;

use std::fs::File;
use std::path::Path;

use common::{Files, pipeline, read, read_once};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rankmill_config::Pipeline;
use rankmill_data::{Batch, DataError, FeatureBatch, FeatureSet, Position, Reader, ReaderOptions, Rule};

const ROWS: usize = 120;

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).to_string_lossy().into_owned()
}

/// A config of the fixtures' rows, with these further settings of `data_config`.
fn config(data: &str) -> Pipeline {
    let fields = "label:INT32 user:INT64 age:INT32=-1 word:STRING price:FLOAT score:DOUBLE=0.5 member:BOOL tags:STRING weights:STRING \
                  marks:STRING vector:STRING weight:FLOAT device.os:STRING=none device.version:INT32";
    let features = [
        "input_names: 'user' feature_type: IdFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'age' feature_type: IdFeature num_buckets: 50 embedding_dim: 2",
        "input_names: 'word' feature_type: IdFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'price' feature_type: RawFeature",
        "input_names: 'score' feature_type: RawFeature",
        "input_names: 'member' feature_type: IdFeature hash_bucket_size: 10 embedding_dim: 2",
        "input_names: 'tags' feature_type: TagFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'tags' input_names: 'weights' feature_type: TagFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'marks' feature_type: TagFeature kv_separator: ':' hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'vector' feature_type: RawFeature raw_input_dim: 3",
        "input_names: 'device.os' feature_type: IdFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'device.version' feature_type: IdFeature num_buckets: 20 embedding_dim: 2",
        "input_names: 'user' feature_type: IdFeature hash_bucket_size: 7 embedding_dim: 2",
    ];
    pipeline(fields, &format!("separator: ',' sample_weight: 'weight' {data}"), &features)
}

/// Files, and the settings they need.
const FORMATS: [(&str, &str); 15] = [
    ("rows.csv", ""),
    ("header.csv", "with_header: true"),
    ("rows.jsonl", ""),
    ("rows.parquet", "input_type: ParquetInput"),
    ("plain.parquet", "input_type: ParquetInputV2"),
    ("gzip.parquet", "input_type: ParquetInputV3"),
    ("lz4.parquet", "input_type: HiveParquetInput"),
    ("lz4.parquet", ""),
    ("zstd.parquet", "input_type: ParquetInputV3"),
    ("rows.tfrecord", "input_type: TFRecordInput"),
    ("rows.tfrecord.gz", "input_type: TFRecordInput data_compression_type: 'GZIP'"),
    ("rows.tfrecord", "input_type: ParquetInput"),
    ("batch.tfrecord", "input_type: BatchTFRecordInput n_data_batch_tfrecord: 4"),
    ("rows.rtp", "input_type: RTPInput separator: '\\x02' selected_cols: '1,2'"),
    ("pairs.rtp", "input_type: RTPInputV2"),
];

fn features(batches: &[Batch]) -> Vec<(FeatureBatch, Position)> {
    batches.iter().map(|batch| (batch.features.clone(), batch.position)).collect()
}

fn train(config: &Pipeline, inputs: Vec<String>, position: Option<Position>) -> Result<Vec<Batch>, DataError> {
    let mut options = ReaderOptions::train(config, inputs, 7).expect("a good config");
    options.position = position;
    read(config, options)
}

#[test]
fn every_format_gives_the_same_batches() {
    let expected = features(&read_once(&config("batch_size: 50"), fixture("rows.csv")).expect("good rows"));
    assert_eq!(expected.iter().map(|(batch, _)| batch.rows).collect::<Vec<_>>(), [50, 50, 20]);
    // Something is missing and something is out of range, or the comparison says little.
    let counts = &expected[0].0.observed.features;
    assert!(counts.iter().filter(|counts| counts.missing > 0).count() >= 8, "{counts:?}");
    assert!(counts[1].out_of_range > 0, "{counts:?}");
    for (name, settings) in FORMATS {
        let found = read_once(&config(&format!("batch_size: 50 {settings}")), fixture(name)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(features(&found), without_wrapping(&expected, settings), "{name} {settings}");
    }
}

/// EasyRec's first two Parquet inputs take `age` modulo its 50 buckets, and `device.version`, which is always below its 20.
fn without_wrapping(expected: &[(FeatureBatch, Position)], settings: &str) -> Vec<(FeatureBatch, Position)> {
    let mut expected = expected.to_vec();
    if settings.contains("ParquetInput") && !settings.contains("V3") && !settings.contains("Hive") {
        let wrapped = pipeline_of_wrapped_ages();
        let mut at = 0;
        for (batch, _) in &mut expected {
            let ages = &wrapped[at..at + batch.rows];
            at += batch.rows;
            let rankmill_data::Column::Ids(column) = &mut batch.columns[1] else { panic!("ids") };
            column.offsets = vec![0];
            column.ids.clear();
            for age in ages {
                column.ids.extend(age);
                column.offsets.push(column.ids.len() as u32);
            }
            batch.observed.features[1].out_of_range = 0;
            let missing = ages.iter().filter(|age| age.is_none()).count() as u64;
            // An empty number counts as missing, and once more when its default -1 is.
            batch.observed.features[1].missing = 2 * missing;
        }
    }
    expected
}

/// The ages of the rows modulo 50; `None` where there is none, since the default -1 means that.
fn pipeline_of_wrapped_ages() -> Vec<Option<u32>> {
    let text = std::fs::read_to_string(fixture("rows.csv")).expect("readable");
    let age = |line: &str| line.split(',').nth(2).and_then(|age| age.parse::<i32>().ok()).map(|age| age.rem_euclid(50) as u32);
    text.lines().map(age).collect()
}

#[test]
fn every_format_is_shuffled_alike() {
    let settings = "batch_size: 33 num_epochs: 2 shuffle_buffer_size: 20";
    let expected = features(&train(&config(settings), vec![fixture("rows.csv")], None).expect("good rows"));
    for (name, more) in FORMATS.iter().filter(|(_, more)| !more.contains("ParquetInput") || more.contains("V3")) {
        let config = config(&format!("{settings} {more}"));
        let found = train(&config, vec![fixture(name)], None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(features(&found), expected, "{name} {more}");
    }
}

#[test]
fn every_format_resumes_at_any_row_with_any_batch_size() {
    for (name, more) in FORMATS {
        let rows_of = |batch_size: usize, position: Option<Position>| -> Vec<FeatureBatch> {
            let config = config(&format!("batch_size: {batch_size} num_epochs: 1 shuffle_buffer_size: 9 {more}"));
            let batches = train(&config, vec![fixture(name)], position).expect("good rows");
            batches.into_iter().map(|batch| batch.features).collect()
        };
        let single = rows_of(1, None);
        assert_eq!(single.len(), ROWS);
        for rows in [4, 34, ROWS - 1] {
            let position = Position { epoch: 0, rows: rows as u64, seed: 7 };
            assert_eq!(rows_of(1, Some(position)), single[rows..], "{name} from {rows}");
        }
        for size in [7, 64] {
            let labels: Vec<f32> = rows_of(size, None).iter().flat_map(|batch| batch.labels[0].clone()).collect();
            let weights: Vec<f32> = rows_of(size, None).iter().flat_map(|batch| batch.sample_weights.clone().expect("weights")).collect();
            assert_eq!(labels, single.iter().map(|batch| batch.labels[0][0]).collect::<Vec<_>>(), "{name} by {size}");
            assert_eq!(weights, single.iter().map(|batch| batch.sample_weights.as_ref().expect("weights")[0]).collect::<Vec<_>>());
        }
    }
}

/// The rows of a span of a file, as a file of their own.
type Part = fn(&str, &std::ops::Range<usize>) -> Vec<u8>;

/// Cuts behind these rows.
fn cuts(sizes: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut start = 0;
    let mut spans: Vec<_> = sizes.iter().map(|&size| (start, start += size).0..start).collect();
    spans.push(start..ROWS);
    spans
}

fn lines_of(name: &str, span: &std::ops::Range<usize>) -> Vec<u8> {
    let text = std::fs::read_to_string(fixture(name)).expect("readable");
    text.split_inclusive('\n').skip(span.start).take(span.len()).collect::<String>().into_bytes()
}

fn records_of(name: &str, span: &std::ops::Range<usize>) -> Vec<u8> {
    let bytes = std::fs::read(fixture(name)).expect("readable");
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    while let Some(length) = rest.first_chunk::<8>() {
        let (record, behind) = rest.split_at(u64::from_le_bytes(*length) as usize + 16);
        records.push(record);
        rest = behind;
    }
    records[span.clone()].concat()
}

fn rows_of_parquet(name: &str, span: &std::ops::Range<usize>) -> Vec<u8> {
    let file = File::open(fixture(name)).expect("opened");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").with_batch_size(ROWS).build().expect("Parquet");
    let batches: Vec<_> = reader.map(|batch| batch.expect("rows")).collect();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batches[0].schema(), None).expect("in memory");
    let mut start = 0;
    for batch in &batches {
        let first = span.start.clamp(start, start + batch.num_rows());
        let end = span.end.clamp(start, start + batch.num_rows());
        writer.write(&batch.slice(first - start, end - first)).expect("in memory");
        start += batch.num_rows();
    }
    writer.close().expect("in memory");
    bytes
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    #[test]
    fn files_may_be_split_anywhere(sizes in proptest::collection::vec(0_usize..60, 1..3), batch_size in 1_usize..70) {
        let expected = read_once(&config(&format!("batch_size: {batch_size}")), fixture("rows.csv")).expect("good rows");
        let split: [(&str, Part); 4] =
            [("rows.csv", lines_of), ("rows.jsonl", lines_of), ("rows.tfrecord", records_of), ("rows.parquet", rows_of_parquet)];
        for (name, part) in split {
            let parts: Vec<(String, Vec<u8>)> = cuts(&sizes).iter().enumerate().map(|(at, span)| (format!("{at}"), part(name, span))).collect();
            let parts: Vec<(&str, &[u8])> = parts.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
            let files = Files::new(&parts);
            let config = config(&format!("batch_size: {batch_size}"));
            let found = read_once(&config, files.directory().to_string_lossy().into_owned()).expect("good rows");
            proptest::prop_assert_eq!(features(&found), features(&expected), "{}", name);
        }
    }
}

#[test]
fn criteo_files_are_one_input() {
    let fields: Vec<String> = (1..=13).map(|at| format!("f{at}:FLOAT")).chain((1..=26).map(|at| format!("c{at}:INT64"))).collect();
    let declared = format!("label:INT32 {}", fields.join(" "));
    let features: Vec<String> = (1..=13)
        .map(|at| format!("input_names: 'f{at}' feature_type: RawFeature"))
        .chain((1..=26).map(|at| format!("input_names: 'c{at}' feature_type: IdFeature hash_bucket_size: 1000 embedding_dim: 2")))
        .collect();
    let features: Vec<&str> = features.iter().map(String::as_str).collect();
    let csv = pipeline(&declared, "separator: ',' batch_size: 9", &features);
    let binary = pipeline(&declared, "input_type: CriteoInput batch_size: 9 num_epochs: 1", &features);
    let expected = read_once(&csv, fixture("criteo.csv")).expect("good rows");
    let triple = ["label", "dense", "category"].map(|part| fixture(&format!("criteo_*_{part}.bin"))).join(";");
    for input in [triple, fixture("criteo_*_label.bin"), format!("{},{}", fixture("criteo_0_label.bin"), fixture("criteo_1_label.bin"))] {
        let found = read_once(&binary, input.clone()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self::features(&found), self::features(&expected), "{input}");
        let trained = train(&binary, vec![input], None).expect("good rows");
        let rows = |batches: &[Batch]| batches.iter().map(|batch| batch.features.clone()).collect::<Vec<_>>();
        assert_eq!(rows(&trained).len(), rows(&expected).len());
    }
    let error =
        read_once(&binary, [fixture("criteo_0_label.bin"), fixture("criteo_1_dense.bin"), fixture("criteo_0_category.bin")].join(";"));
    assert!(matches!(error.expect_err("other rows").rule, Rule::OtherRowCount { .. }));
    let error = read_once(&binary, [fixture("criteo_0_label.bin"), fixture("criteo_0_dense.bin")].join(";"));
    assert_eq!(error.expect_err("two files").rule, Rule::CriteoPaths);
}

#[test]
fn parquet_lists_of_ids_are_what_easyrec_makes_of_them() {
    let features = [
        "input_names: 'id' feature_type: IdFeature num_buckets: 1000 embedding_dim: 2",
        "input_names: 'ids' feature_type: TagFeature num_buckets: 1000 embedding_dim: 2",
        "input_names: 'dense' feature_type: RawFeature raw_input_dim: 3",
    ];
    let parquet = pipeline("label:INT32 id:INT64 ids:INT64 dense:FLOAT", "input_type: ParquetInputV2", &features);
    let csv = pipeline("label:INT32 id:INT64 ids:STRING dense:STRING", "separator: ','", &features);
    let expected = self::features(&read_once(&csv, fixture("ids.csv")).expect("good rows"));
    assert_eq!(self::features(&read_once(&parquet, fixture("ids.parquet")).expect("good rows")), expected);
    let single = pipeline("label:INT32 id:INT64 ids:INT64 dense:FLOAT", "input_type: ParquetInputV3", &features[1..2]);
    assert!(read_once(&single, fixture("ids.parquet")).is_ok());
    let wrong = "input_names: 'ids' feature_type: IdFeature num_buckets: 1000 embedding_dim: 2";
    let wrong = pipeline("label:INT32 id:INT64 ids:INT64 dense:FLOAT", "input_type: ParquetInputV2", &[wrong]);
    let error = read_once(&wrong, fixture("ids.parquet")).expect_err("several ids");
    assert_eq!(error.rule, Rule::SeveralValues { field: "ids".into() });
}

#[test]
fn a_dummy_pass_is_one_batch_of_defaults() {
    let config = config("input_type: DummyInput batch_size: 5 num_epochs: 3");
    let batches = train(&config, vec!["DummyInput".into()], None).expect("rows from nowhere");
    assert_eq!(batches.iter().map(|batch| batch.features.rows).collect::<Vec<_>>(), [5, 5, 5]);
    assert_eq!(common::dense(&batches[0].features.columns[4]), [0.5; 5]);
}

#[test]
fn only_the_columns_that_are_read_have_to_be_there() {
    let features = ["input_names: 'age' feature_type: IdFeature num_buckets: 50 embedding_dim: 2"];
    let sparse = pipeline("label:INT32 gone:INT32 age:INT32 also_gone:STRING=x", "input_type: ParquetInputV3", &features);
    let mut options = ReaderOptions::sequential(&sparse, vec![fixture("rows.parquet")]).expect("a good config");
    options.keep = vec!["gone".into(), "age".into()];
    let batches = read(&sparse, options).expect("good rows");
    assert_eq!(batches[0].features.kept[0].row(0), b"");
    assert_eq!(batches[0].features.kept[1].row(0), b"8");
    let needs = pipeline("gone:INT32 age:INT32", "", &features);
    let error = read_once(&needs, fixture("rows.parquet")).expect_err("no label");
    assert!(error.to_string().contains("rows.parquet: has no column `gone`, which is needed; it has label, unused, user"), "{error}");
    let dates =
        pipeline("label:INT32 unused:INT32", "", &["input_names: 'unused' feature_type: IdFeature num_buckets: 50 embedding_dim: 2"]);
    let error = read_once(&dates, fixture("rows.parquet")).expect_err("a date");
    assert!(error.to_string().contains("has the column `unused` of the type Date32, which is not supported"), "{error}");
}

#[test]
fn what_files_are_is_not_a_matter_of_names() {
    let text = std::fs::read(fixture("rows.csv")).expect("readable");
    let parquet = std::fs::read(fixture("rows.parquet")).expect("readable");
    let files = Files::new(&[("a.parquet", &text), ("b.csv", &parquet), ("c.json", b"")]);
    assert!(read_once(&config(""), files.path("a.parquet")).is_ok());
    assert!(read_once(&config(""), files.path("b.csv")).is_ok());
    assert_eq!(read_once(&config(""), files.path("c.json")).expect("no rows"), []);
    let error = |data: &str, path: String| read_once(&config(data), path).expect_err("another format").to_string();
    let message = error("input_type: ParquetInput", files.path("a.parquet"));
    assert!(message.ends_with("a.parquet: is not a Parquet file, as data_config.input_type says"), "{message}");
    let message = error("", format!("{},{}", files.path("a.parquet"), files.path("b.csv")));
    assert!(message.contains("b.csv: is a Parquet file, but"), "{message}");
    assert!(message.contains("a.parquet is a text file of separated fields; files that are read together"), "{message}");
}

#[test]
fn rows_that_can_not_be_used_are_skipped_and_counted_whatever_the_format() {
    let features = ["input_names: 'tags' feature_type: TagFeature hash_bucket_size: 10 embedding_dim: 2"];
    let config = |data: &str| pipeline("label:INT32 tags:STRING", data, &features);
    let lines = [
        r#"{"label": 1, "tags": ["a", "b"]}"#,
        r#"{"label": 1, "tags": ["a|b"]}"#,
        "{\"label\"",
        r#"{"label": "x"}"#,
        "[1]",
        r#"{"label":0}"#,
    ];
    let files = Files::new(&[("rows", lines.join("\n").as_bytes())]);
    let options = ReaderOptions::sequential(&config("ignore_error: true"), vec![files.path("rows")]).expect("a good config");
    let mut reader = Reader::new(options, FeatureSet::new(&config("ignore_error: true")).expect("a good config")).expect("opened");
    assert_eq!(reader.by_ref().map(|batch| batch.expect("good rows").features.rows).sum::<usize>(), 2);
    let causes: Vec<(&str, u64, u64)> =
        reader.report().causes.iter().map(|(name, cause)| (name.as_str(), cause.rows, cause.first.row)).collect();
    assert_eq!(causes, [("a separator within a value", 1, 2), ("field `label`: not an INT32", 1, 4), ("not a JSON object", 2, 3)]);
    let error = read_once(&config(""), files.path("rows")).expect_err("a bad row").to_string();
    assert!(error.ends_with("rows:2: has the value \"a|b\" in `tags`, with the separator \"|\" in it"), "{error}");
}

#[test]
fn damaged_files_stop_the_run() {
    let config = config("");
    for name in ["rows.parquet", "rows.tfrecord", "rows.tfrecord.gz"] {
        let whole = std::fs::read(fixture(name)).expect("readable");
        let mut flipped = whole.clone();
        flipped[whole.len() / 3] ^= 0x55;
        let files = Files::new(&[("cut", &whole[..whole.len() / 2]), ("flipped", &flipped)]);
        let error = read_once(&config, files.path("cut")).expect_err("cut off");
        assert!(matches!(error.rule, Rule::Damaged { .. }), "{name}: {error}");
        // Parquet pages have no checksums as pyarrow writes them; nothing may panic, though.
        let outcome = read_once(&config, files.path("flipped"));
        assert!(name == "rows.parquet" || outcome.is_err(), "{name}");
    }
}

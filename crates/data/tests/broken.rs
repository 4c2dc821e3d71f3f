//! Broken rows and files: the exact message and place, and what is left when such rows are skipped.

mod common;

use common::{Files, pipeline, read_once};
use rankmill_config::Pipeline;
use rankmill_data::{FeatureSet, Reader, ReaderOptions};

const FIELDS: &str = "y:FLOAT i:INT32 l:INT64 d:DOUBLE b:BOOL s:STRING t:STRING w:STRING k:STRING r:STRING v:STRING";
const GOOD: &str = "1\t2\t3\t4.5\ttrue\t7\t1|2\t0.5|1\ta:1\t0.5\t1|2";

fn config(data: &str) -> Pipeline {
    let features = [
        "input_names: 's' feature_type: IdFeature embedding_dim: 2 num_buckets: 9",
        "input_names: 't' input_names: 'w' feature_type: TagFeature embedding_dim: 2 num_buckets: 9",
        "input_names: 'k' feature_type: TagFeature embedding_dim: 2 hash_bucket_size: 9 kv_separator: ':'",
        "input_names: 'r' feature_type: RawFeature",
        "input_names: 'v' feature_type: RawFeature raw_input_dim: 2",
    ];
    pipeline(FIELDS, data, &features)
}

/// The good line with one field replaced.
fn with(column: usize, value: &str) -> String {
    let mut fields: Vec<&str> = GOOD.split('\t').collect();
    fields[column] = value;
    fields.join("\t")
}

const INT32: &str = "is not an INT32: a whole number from -2147483648 to 2147483647 without `+`";
const INT64: &str = "is not an INT64: a whole number from -9223372036854775808 to 9223372036854775807 without `+`";
const FLOAT: &str = "is not a FLOAT: a number of at most 31 characters";
const DOUBLE: &str = "is not a DOUBLE: a number of at most 31 characters";
const UNQUOTED: &str = "has a quote or carriage return inside an unquoted field; quote the field and double its quotes";

/// Each broken line and its message behind `FILE:3:`.
fn broken_lines() -> Vec<(String, String)> {
    let field = |column: usize, value: &str, rule: &str| {
        let name = FIELDS.split_whitespace().nth(column).and_then(|field| field.split(':').next()).expect("a field");
        (with(column, value), format!(" field `{name}`: value \"{value}\" {rule}"))
    };
    let long = "9".repeat(40);
    let mut cases = vec![
        field(0, "x", FLOAT),
        field(0, "1,5", FLOAT),
        field(0, "1.5.5", FLOAT),
        field(0, "infinity", FLOAT),
        field(0, "0x", FLOAT),
        field(0, "1e", FLOAT),
        field(0, &long, FLOAT),
        field(1, "1.0", INT32),
        field(1, "+1", INT32),
        field(1, "1e3", INT32),
        field(1, "2147483648", INT32),
        field(1, "-2147483649", INT32),
        field(1, "0x10", INT32),
        field(1, "nan", INT32),
        field(1, " ", INT32),
        field(1, "1 2", INT32),
        field(1, "1_000", INT32),
        field(1, "１", INT32),
        field(2, "9223372036854775808", INT64),
        field(2, "-9223372036854775809", INT64),
        field(2, "abc", INT64),
        field(2, &long, INT64),
        field(3, "1d", DOUBLE),
        field(3, "--1", DOUBLE),
        field(3, &long, DOUBLE),
        field(4, "yes", "is not a BOOL: true, false, 1 or 0"),
        field(4, "2", "is not a BOOL: true, false, 1 or 0"),
        field(5, "seven", INT32),
        field(5, "7.0", INT32),
        field(6, "1|x", "has the tag \"x\", which is not an INT32; tags with num_buckets are whole numbers"),
        field(6, "1|2.0", "has the tag \"2.0\", which is not an INT32; tags with num_buckets are whole numbers"),
        field(7, "0.5|heavy", "has the weight \"heavy\", which is not a number"),
        field(7, "0.5", "has 1 weights for the 2 ids of `f1`"),
        field(7, "1|2|3", "has 3 weights for the 2 ids of `f1`"),
        field(7, "", "has 0 weights for the 2 ids of `f1`"),
        field(8, "a", "has the tag \"a\", which does not have exactly one \":\" between key and weight"),
        field(8, "a:1:2", "has the tag \"a:1:2\", which does not have exactly one \":\" between key and weight"),
        field(8, "a:", "has the weight \"\", which is not a number"),
        field(8, "a:1|b:x", "has the weight \"x\", which is not a number"),
        field(9, "", "is empty where a number is needed; give the field a default_val"),
        field(9, "?", FLOAT),
        field(10, "1|?", "has the number \"?\", which is not a number of at most 31 characters"),
        field(10, "1|2|3", "has 3 numbers; raw_input_dim allows 2"),
    ];
    cases.extend([
        (String::new(), " has 0 fields; data_config.input_fields declares 11".to_string()),
        ("1".to_string(), " has 1 fields; data_config.input_fields declares 11".to_string()),
        (GOOD.replace('\t', ","), " has 1 fields; data_config.input_fields declares 11".to_string()),
        (format!("{GOOD}\t"), " has 12 fields; data_config.input_fields declares 11".to_string()),
        (with(5, "a\"b"), format!(" {UNQUOTED}")),
        (with(5, "\"a\"b"), " has a quote inside a quoted field that is not doubled".to_string()),
        (with(10, "\"a"), " has a quoted field that does not end with a quote before the separator or the end of the line".to_string()),
        (with(1, "\u{1}\u{7f}"), format!(" field `i`: value \"\\u{{1}}\\u{{7f}}\" {INT32}")),
        (with(1, &"x".repeat(70)), format!(" field `i`: value \"{}…\" {INT32}", "x".repeat(60))),
        (with(0, "x").replace("2\t3", "z\t3"), format!(" field `y`: value \"x\" {FLOAT}")),
    ]);
    cases
}

#[test]
fn every_broken_row_stops_with_its_place_and_rule() {
    let config = config("");
    let cases = broken_lines();
    assert!(cases.len() >= 40);
    for (line, message) in cases {
        let files = Files::new(&[("rows.tsv", format!("{GOOD}\n{GOOD}\n{line}\n{GOOD}\n").as_bytes())]);
        let path = files.path("rows.tsv");
        let error = read_once(&config, path.clone()).expect_err(&line);
        assert_eq!(error.to_string(), format!("{path}:3:{message}"));
    }
}

#[test]
fn every_broken_row_is_skipped_and_counted_with_ignore_error() {
    let config = config("ignore_error: true batch_size: 7");
    let cases = broken_lines();
    let mut text = format!("{GOOD}\n");
    for (line, _) in &cases {
        text += &format!("{line}\n{GOOD}\n");
    }
    let files = Files::new(&[("rows.tsv", text.as_bytes())]);
    let options = ReaderOptions::sequential(&config, vec![files.path("rows.tsv")]).expect("a good config");
    let mut reader = Reader::new(options, FeatureSet::new(&config).expect("a good config")).expect("opened");
    let mut rows = 0;
    for batch in &mut reader {
        let batch = batch.expect("no error stops the reading").features;
        assert!(batch.labels[0].iter().all(|&label| label == 1.0));
        rows += batch.rows;
    }
    assert_eq!(rows, cases.len() + 1);
    let report = reader.report();
    assert_eq!((report.rows, report.skipped), (rows as u64, cases.len() as u64));
    assert_eq!(report.causes.values().map(|cause| cause.rows).sum::<u64>(), cases.len() as u64);
    assert_eq!(report.causes["wrong number of fields"].rows, 4);
    assert_eq!(report.causes["field `t`: a tag that is not an INT32"].rows, 2);
    assert_eq!(report.causes["field `y`: not a FLOAT"].first.row, 2);
    assert!(report.to_string().starts_with(&format!("{} rows read, {} skipped\n", rows, cases.len())));
    assert!(reader.statistics().iter().all(|feature| feature.rows == rows as u64));
}

#[test]
fn broken_files() {
    let config = config("");
    let gzip = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for _ in 0..2000 {
            writeln!(encoder, "{GOOD}").expect("in memory");
        }
        encoder.finish().expect("in memory")
    };
    let zstandard =
        ruzstd::encoding::compress_to_vec(format!("{GOOD}\n").repeat(2000).as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    let mut garbled = gzip.clone();
    // The checksum stands 8 bytes before the end.
    let checksum = garbled.len() - 8;
    garbled[checksum] ^= 1;
    let files = Files::new(&[
        ("cut.gz", &gzip[..gzip.len() - 9]),
        ("garbled.gz", &garbled),
        ("cut.zst", &zstandard[..zstandard.len() - 9]),
        ("head.zst", &[0x28, 0xb5, 0x2f, 0xfd]),
    ]);
    for (name, format) in [("cut.gz", "gzip"), ("garbled.gz", "gzip"), ("cut.zst", "Zstandard"), ("head.zst", "Zstandard")] {
        let error = read_once(&config, files.path(name)).expect_err(name).to_string();
        assert!(error.starts_with(&files.path(name)) && error.contains(&format!("is not valid {format} data")), "{error}");
    }
    let error = read_once(&config, files.path("gone.tsv")).expect_err("no such file");
    assert_eq!(error.to_string(), format!("{}: matches no file", files.path("gone.tsv")));
}

#[test]
fn broken_headers() {
    let config = pipeline("label:INT32 x:FLOAT", "with_header: true", &["input_names: 'x' feature_type: RawFeature"]);
    let files = Files::new(&[("a.tsv", b"label\tz\n1\t2\n"), ("b.tsv", b"x\tlabel\n"), ("c.tsv", b"label\tx\n"), ("d.tsv", b"")]);
    for (names, at, message) in [
        ("a.tsv", "a.tsv", "has no column `x` in its header; data_config.input_fields declares it".to_string()),
        ("d.tsv", "d.tsv", "has no column `label` in its header; data_config.input_fields declares it".to_string()),
        ("b.tsv c.tsv", "c.tsv", format!("has another header than {}", files.path("b.tsv"))),
    ] {
        let inputs: Vec<String> = names.split(' ').map(|name| files.path(name)).collect();
        let error = read_once(&config, inputs.join(",")).expect_err(names);
        assert_eq!(error.to_string(), format!("{}:1: {message}", files.path(at)));
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(proptest::prop_oneof![
        proptest::sample::select(b"\t\n\r\"|:;0123456789.-+eaxn".to_vec()),
        proptest::num::u8::ANY,
    ], 0..400)) {
        let files = Files::new(&[("rows", &bytes)]);
        for ignore in ["", "ignore_error: true"] {
            let outcome = read_once(&config(ignore), files.path("rows"));
            if ignore.is_empty() {
                let _ = outcome.map_err(|error| error.to_string());
            } else if let Err(error) = outcome {
                proptest::prop_assert!(error.to_string().contains("is not valid"), "{}", error);
            }
        }
    }
}

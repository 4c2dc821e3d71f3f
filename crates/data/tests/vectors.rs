//! TensorFlow's own answers: hashes, numbers, CSV lines, tags and buckets, measured on TensorFlow 2.12.

mod common;

use std::sync::Arc;

use common::{dense, ids, pipeline, sequences, transform};
use rankmill_data::number::{parse_float32, parse_float64, parse_int32, parse_int64, write_float};
use rankmill_data::{Origin, Quotes, RawRows, Splitting};
use rankmill_kernels::fingerprint::{fingerprint_cat64, fingerprint64, hash_bucket};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/data/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("a vector file")).expect("JSON")
}

#[test]
fn fingerprints_of_every_length() {
    let vectors = vectors("fingerprint64");
    let rows = vectors["rows"].as_array().expect("rows");
    assert!(rows.len() > 300);
    for row in rows {
        let (key, expected) = (row[0].as_str().expect("a key"), row[1].as_str().expect("a hash"));
        assert_eq!(fingerprint64(key.as_bytes()).to_string(), expected, "{key:?}, {} bytes", key.len());
    }
}

#[test]
fn hash_buckets() {
    let vectors = vectors("hash_bucket_fast");
    let buckets = vectors["buckets"].as_array().expect("buckets");
    for row in vectors["rows"].as_array().expect("rows") {
        let key = row[0].as_str().expect("a key");
        for (at, count) in buckets.iter().enumerate() {
            let expected = row[at + 1].as_u64().expect("a bucket");
            assert_eq!(hash_bucket(key.as_bytes(), count.as_u64().expect("a count")), expected, "{key:?} of {count}");
        }
    }
}

#[test]
fn numbers_from_text() {
    let vectors = vectors("parse");
    let check = |kind: &str, parse: &dyn Fn(&[u8]) -> Option<f64>| {
        let cases = vectors["string_to_number"][kind].as_object().expect("cases");
        assert!(cases.len() > 20);
        for (text, expected) in cases {
            let expected = match expected {
                Value::String(word) if word == "ERR" => None,
                Value::String(number) => Some(number.parse::<f64>().expect("a number")),
                number => Some(number.as_f64().expect("a number")),
            };
            let found = parse(text.as_bytes());
            let same = found == expected || (found.is_some_and(f64::is_nan) && expected.is_some_and(f64::is_nan));
            assert!(same, "{kind} {text:?}: {found:?}, not {expected:?}");
        }
    };
    check("int32", &|text| parse_int32(text).map(f64::from));
    check("int64", &|text| parse_int64(text).map(|value| value as f64));
    check("float32", &|text| parse_float32(text).map(f64::from));
    check("float64", &|text| parse_float64(text));
}

#[test]
fn text_from_numbers() {
    let vectors = vectors("parse");
    let mut text = Vec::new();
    for (number, expected) in vectors["as_string"].as_object().expect("cases") {
        let value: f64 = number.parse().expect("a number");
        for (precision, expected) in expected.as_object().expect("precisions") {
            let (value, precision) = match precision.strip_prefix("f32_") {
                Some(precision) => (f64::from(value as f32), precision),
                None => (value, precision.as_str()),
            };
            write_float(value, precision.parse().expect("a precision"), &mut text);
            assert_eq!(String::from_utf8_lossy(&text), expected.as_str().expect("text"), "{number} with {precision} decimals");
        }
    }
}

#[test]
fn csv_lines() {
    let vectors = vectors("parse");
    let pipeline = pipeline("n:INT32 s:STRING x:FLOAT", "", &["input_names: 'x' feature_type: RawFeature"]);
    let cases = vectors["decode_csv"].as_object().expect("cases");
    assert_eq!(cases.len(), 20);
    for (line, expected) in cases {
        let mut rows = RawRows::new(3, Arc::from([]));
        rows.push_line(line.as_bytes(), &Splitting::new(b"\t", Quotes::Csv), None, Origin::default()).expect("short");
        let found = transform(&pipeline, &[line.as_bytes()]);
        match expected {
            Value::Array(values) => {
                let batch = found.unwrap_or_else(|error| panic!("{line:?}: {error}"));
                assert_eq!(batch.labels[0][0], values[0].as_f64().expect("a number") as f32, "{line:?}");
                assert_eq!(rows.field(0, 1), values[1].as_str().expect("text").as_bytes(), "{line:?}");
                assert_eq!(dense(&batch.columns[0])[0], values[2].as_f64().expect("a number") as f32, "{line:?}");
            }
            _ => assert!(found.is_err(), "{line:?} should be an error"),
        }
    }
}

#[test]
fn tags() {
    let vectors = vectors("parse");
    let inputs: Vec<&str> = vectors["split_inputs"].as_array().expect("inputs").iter().map(|text| text.as_str().expect("text")).collect();
    for (separator, expected) in vectors["split"].as_object().expect("separators") {
        let feature =
            format!("input_names: 's' feature_type: TagFeature embedding_dim: 1 hash_bucket_size: 1000003 separator: '{separator}'");
        let pipeline = pipeline("n:INT32 s:STRING", "", &[&feature]);
        let lines: Vec<String> = inputs.iter().map(|text| format!("0\t{text}")).collect();
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let found = ids(&transform(&pipeline, &lines).expect("good rows").columns[0]);
        let expected = expected["tf.string_split(skip_empty default True) [TagFeature, RawFeature]"].as_array().expect("splits");
        for ((found, expected), input) in found.iter().zip(expected).zip(&inputs) {
            let expected: Vec<u32> = (expected.as_array().expect("tags").iter())
                .map(|tag| hash_bucket(tag.as_str().expect("a tag").as_bytes(), 1_000_003) as u32)
                .collect();
            assert_eq!(*found, expected, "{input:?} at {separator:?}");
        }
    }
}

#[test]
fn positions_of_sequences() {
    let vectors = vectors("parse");
    let inputs: Vec<&str> = vectors["split_inputs"].as_array().expect("inputs").iter().map(|text| text.as_str().expect("text")).collect();
    for (separator, expected) in vectors["split"].as_object().expect("separators") {
        let feature =
            format!("input_names: 's' feature_type: SequenceFeature embedding_dim: 1 hash_bucket_size: 1000003 separator: '{separator}'");
        let pipeline = pipeline("n:INT32 s:STRING", "", &[&feature]);
        let lines: Vec<String> = inputs.iter().map(|text| format!("0\t{text}")).collect();
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let found = sequences(&transform(&pipeline, &lines).expect("good rows").columns[0]);
        let expected = expected["tf.strings.split [SequenceFeature]"].as_array().expect("splits");
        for ((found, expected), input) in found.iter().zip(expected).zip(&inputs) {
            let expected: Vec<Vec<u32>> = (expected.as_array().expect("parts").iter())
                .map(|part| vec![hash_bucket(part.as_str().expect("a part").as_bytes(), 1_000_003) as u32])
                .collect();
            assert_eq!(*found, expected, "{input:?} at {separator:?}");
        }
    }
}

/// Whether an input was given to TensorFlow as a dense tensor: those have one word a row.
fn is_dense(input: &[Vec<&str>]) -> bool {
    input.iter().all(|words| words.len() == 1)
}

/// The words of each row of an input.
fn words(input: &Value) -> Vec<Vec<&str>> {
    (input.as_array().expect("rows").iter())
        .map(|row| row.as_array().expect("words").iter().map(|word| word.as_str().expect("text")).collect())
        .collect()
}

#[test]
fn crossed_fingerprints() {
    const EMPTY_BUCKETS: u64 = (1 << 63) - 1;
    let mut compared = 0;
    for case in vectors("sparse_cross_hashed").as_array().expect("cases") {
        let mut inputs: Vec<_> = case["inputs"].as_array().expect("inputs").iter().map(words).collect();
        inputs.sort_by_key(|input| is_dense(input));
        let buckets = case["num_buckets"].as_u64().expect("a count");
        for (row, expected) in case["output"].as_array().expect("rows").iter().enumerate() {
            let mut found = vec![0x00DE_CAFC_AFFE_u64];
            for input in &inputs {
                let longer = |&prefix: &u64| input[row].iter().map(move |word| fingerprint_cat64(prefix, fingerprint64(word.as_bytes())));
                found = found.iter().flat_map(longer).collect();
            }
            let found: Vec<u64> = found.iter().map(|hash| hash % if buckets == 0 { EMPTY_BUCKETS } else { buckets }).collect();
            let expected: Vec<u64> = expected.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id")).collect();
            assert_eq!(found, expected, "row {row} of {inputs:?} in {buckets} buckets");
            compared += 1;
        }
    }
    assert_eq!(compared, 144);
}

#[test]
fn combinations() {
    for case in vectors("sparse_cross_hashed").as_array().expect("cases") {
        let inputs: Vec<_> = case["inputs"].as_array().expect("inputs").iter().map(words).collect();
        let buckets = case["num_buckets"].as_u64().expect("a count");
        if buckets == 0 {
            continue;
        }
        let dense = inputs.iter().all(|input| is_dense(input));
        let names = ["a", "b", "c"];
        let mut feature = format!("feature_type: ComboFeature embedding_dim: 1 hash_bucket_size: {buckets}");
        for (name, input) in names.iter().zip(&inputs) {
            feature += &format!(" input_names: '{name}'");
            feature += if dense {
                ""
            } else if is_dense(input) {
                " combo_input_seps: ''"
            } else {
                " combo_input_seps: '|'"
            };
        }
        let lines: Vec<String> = (0..inputs[0].len())
            .map(|row| {
                let field = |input: usize| inputs.get(input).map_or(String::new(), |input| input[row].join("|"));
                format!("0\t{}\t{}\t{}", field(0), field(1), field(2))
            })
            .collect();
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let pipeline = pipeline("n:INT32 a:STRING b:STRING c:STRING", "", &[&feature]);
        let found = ids(&transform(&pipeline, &lines).expect("good rows").columns[0]);
        let expected: Vec<Vec<u32>> = serde_json::from_value(case["output"].clone()).expect("ids");
        // An empty word among several is passed over when a text is cut, so only texts without one can be compared.
        let comparable = |row: &usize| inputs.iter().all(|input| is_dense(input) || !input[*row].contains(&""));
        for row in (0..found.len()).filter(comparable) {
            assert_eq!(found[row], expected[row], "row {row} of {inputs:?} in {buckets} buckets");
        }
    }
}

#[test]
fn buckets() {
    let vectors = vectors("bucketize");
    let numbers = |name: &str| vectors[name].as_array().expect("numbers").iter();
    let boundaries: String = numbers("boundaries").rev().map(|boundary| format!(" boundaries: {boundary}")).collect();
    let feature = format!("input_names: 'x' feature_type: RawFeature embedding_dim: 1{boundaries}");
    let pipeline = pipeline("n:INT32 x:FLOAT", "", &[&feature]);
    let lines: Vec<String> = numbers("x").map(|x| format!("0\t{}", x.as_str().expect("a number"))).collect();
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let found = ids(&transform(&pipeline, &lines).expect("good rows").columns[0]);
    let expected: Vec<Vec<u32>> = numbers("bucket").map(|bucket| vec![bucket.as_u64().expect("a bucket") as u32]).collect();
    assert_eq!(found, expected);
}

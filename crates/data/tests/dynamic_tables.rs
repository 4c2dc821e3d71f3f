//! The keys of dynamic tables: what a value becomes that has `ev_params`, for every type of feature with ids.

mod common;

use common::{ids, pipeline, sequences, transform};
use rankmill_data::{FeatureBatch, FeatureSet};
use rankmill_kernels::fingerprint::{fingerprint_cat64, fingerprint64};

const KEYS: u64 = i64::MAX as u64;

fn hash(text: &str) -> u64 {
    fingerprint64(text.as_bytes()) % KEYS
}

fn batch(kind: &str, feature: &str, lines: &[&[u8]]) -> FeatureBatch {
    let feature = format!("embedding_dim: 2 {feature} ev_params {{ filter_freq: 2 }}");
    let pipeline = pipeline(&format!("label:INT32 x:{kind} y:STRING"), "", &[&feature]);
    transform(&pipeline, lines).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn check(kind: &str, feature: &str, cases: &[(&[u8], &[u64])]) {
    let lines: Vec<Vec<u8>> = cases.iter().map(|(fields, _)| [b"1\t", *fields].concat()).collect();
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let batch = batch(kind, feature, &lines);
    let keys = |ids: &Vec<u32>| ids.iter().map(|id| batch.table_keys[0][*id as usize]).collect::<Vec<_>>();
    let found: Vec<Vec<u64>> = ids(&batch.columns[0]).iter().map(keys).collect();
    let expected: Vec<&[u64]> = cases.iter().map(|(_, keys)| *keys).collect();
    assert_eq!(found, expected, "{kind} {feature}");
}

#[test]
fn texts_are_their_fingerprints_whatever_the_size_of_the_table() {
    for size in ["1", "5000000000"] {
        let id = format!("feature_type: IdFeature input_names: 'x' hash_bucket_size: {size}");
        check("STRING", &id, &[(b"a\t", &[hash("a")]), (b"\t", &[]), (b"b\t", &[hash("b")]), (b"a\t", &[hash("a")])]);
        check("INT32", &id, &[(b"7\t", &[hash("7")]), (b"-1\t", &[hash("-1")])]);
        check("BOOL", &id, &[(b"true\t", &[hash("true")])]);
        check("FLOAT", &format!("{id} precision: 2"), &[(b"0.5\t", &[hash("0.50")])]);
        let tags = format!("feature_type: TagFeature input_names: 'x' hash_bucket_size: {size}");
        check("STRING", &tags, &[(b"a|b\t", &[hash("a"), hash("b")]), (b"\t", &[])]);
        check("STRING", &format!("{tags} kv_separator: ':' combiner: 'mean'"), &[(b"a:1|b:-1|c:2\t", &[hash("a"), hash("c")])]);
        let lookup = format!(
            "feature_type: LookupFeature input_names: 'x' input_names: 'y' separator: ',' kv_separator: ':' hash_bucket_size: {size}"
        );
        check("STRING", &lookup, &[(b"a\ta:u,b:v", &[hash("u")])]);
        let combo = format!("feature_type: ComboFeature input_names: 'x' input_names: 'y' hash_bucket_size: {size}");
        let crossed = ["a", "b"].iter().fold(0x00DE_CAFC_AFFE, |prefix, text| fingerprint_cat64(prefix, fingerprint64(text.as_bytes())));
        check("STRING", &combo, &[(b"a\tb", &[crossed % KEYS])]);
        check("STRING", &format!("{combo} combo_join_sep: '-'"), &[(b"a\tb", &[hash("a-b")])]);
    }
}

#[test]
fn numbers_are_themselves_and_words_their_places() {
    let big = i64::MAX as u64 - 1;
    for size in ["", "num_buckets: 3"] {
        let id = format!("feature_type: IdFeature input_names: 'x' {size}");
        check("INT64", &id, &[(b"7\t", &[7]), (b"-1\t", &[]), (b"-2\t", &[0]), (b"9223372036854775806\t", &[big])]);
        check("STRING", &id, &[(b"7\t", &[7]), (b"\t", &[]), (b"9223372036854775806\t", &[big])]);
        check("STRING", &format!("feature_type: TagFeature input_names: 'x' {size}"), &[(b"7|9223372036854775806\t", &[7, big])]);
    }
    let words = "feature_type: IdFeature input_names: 'x' vocab_list: 'a' vocab_list: 'b'";
    check("STRING", words, &[(b"b\t", &[1]), (b"c\t", &[0])]);
    check("FLOAT", "feature_type: RawFeature input_names: 'x' boundaries: 0 boundaries: 1", &[(b"0.5\t", &[1]), (b"2\t", &[2])]);
}

#[test]
fn positions_of_sequences_have_keys() {
    let feature = "feature_type: SequenceFeature input_names: 'x' separator: '|' seq_multi_sep: ';' hash_bucket_size: 9";
    let batch = batch("STRING", feature, &[b"1\ta;b|c\t", b"1\tc\t"]);
    let numbers = sequences(&batch.columns[0]);
    assert_eq!(numbers, [vec![vec![0, 1], vec![2]], vec![vec![3]]]);
    assert_eq!(batch.table_keys, [["a", "b", "c", "c"].map(hash)]);
}

#[test]
fn other_features_have_no_keys() {
    let features =
        ["input_names: 'x' feature_type: IdFeature hash_bucket_size: 9 embedding_dim: 2", "input_names: 'w' feature_type: RawFeature"];
    let transform = |features: &[&str]| transform(&pipeline("n:INT32 x:STRING w:FLOAT", "", features), &[b"1\ta\t2"]).expect("a good row");
    assert!(transform(&features).table_keys.is_empty());
    let dynamic = format!("{} ev_params {{ }}", features[0]);
    assert_eq!(transform(&[features[0], &dynamic, features[1]]).table_keys, [vec![], vec![hash("a")], vec![]]);
}

#[test]
fn what_cannot_be_is_told() {
    let problems = |features: &[&str]| FeatureSet::new(&pipeline("n:INT32 x:STRING", "", features)).expect_err("a bad config").to_string();
    let shared = "input_names: 'x' feature_type: IdFeature hash_bucket_size: 9 embedding_dim: 2 embedding_name: 'e'";
    let found = problems(&[&format!("{shared} ev_params {{ filter_freq: 2 }}"), &format!("{shared} ev_params {{ filter_freq: 3 }}")]);
    assert!(found.contains("feature `f1` shares its table with `f0`; both must have the same ev_params"), "{found}");
    let found = problems(&[&format!("{shared} ev_params {{ max_capacity: 4294967295 }}")]);
    assert!(found.contains("is 4294967295; a dynamic table has room for 1 to 4294967294 ids"), "{found}");
}

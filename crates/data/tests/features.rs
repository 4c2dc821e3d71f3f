//! Tables of (config, raw text) and the ids, weights or numbers that come out.

mod common;

use common::{Files, dense, ids, pipeline, transform, transform_fields, weights};
use rankmill_config::{Edits, Pipeline};
use rankmill_data::{Combiner, FeatureKind, FeatureSet, Statistics};
use rankmill_kernels::fingerprint::{fingerprint64, hash_bucket};

/// The ids of one feature over field `x` of the given type.
#[track_caller]
fn check_ids(kind: &str, feature: &str, cases: &[(&[u8], &[u32])]) {
    let pipeline = pipeline(&format!("label:INT32 x:{kind}"), "", &[&format!("input_names: 'x' embedding_dim: 4 {feature}")]);
    let lines: Vec<Vec<u8>> = cases.iter().map(|(text, _)| [b"1\t", *text].concat()).collect();
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let found = ids(&transform(&pipeline, &lines).unwrap_or_else(|error| panic!("{error}")).columns[0]);
    for ((text, expected), found) in cases.iter().zip(found) {
        assert_eq!(found, *expected, "{kind} {feature}: {:?}", String::from_utf8_lossy(text));
    }
}

fn hash(text: &str, buckets: u64) -> u32 {
    hash_bucket(text.as_bytes(), buckets) as u32
}

#[test]
fn id_feature_by_hash() {
    let feature = "feature_type: IdFeature hash_bucket_size: 37 vocab_list: 'a' num_buckets: 2";
    let long = "x".repeat(5000);
    check_ids(
        "STRING",
        feature,
        &[
            (b"a", &[32]),
            (b"", &[]),
            (b"-1", &[27]),
            (b" ", &[26]),
            (b"\xff\xfe", &[hash_bucket(b"\xff\xfe", 37) as u32]),
            (long.as_bytes(), &[hash(&long, 37)]),
        ],
    );
    check_ids("INT32", feature, &[(b"1", &[25]), (b"", &[19]), (b" 007 ", &[hash("7", 37)]), (b"-1", &[27])]);
    check_ids("INT64", feature, &[(b"9223372036854775807", &[6]), (b"-9223372036854775808", &[34])]);
    check_ids("INT64=5", feature, &[(b"", &[hash("5", 37)])]);
    check_ids("STRING=unk", feature, &[(b"", &[hash("unk", 37)]), (b"a", &[32])]);
    check_ids("BOOL", feature, &[(b"true", &[hash("true", 37)]), (b"0", &[hash("false", 37)]), (b"", &[hash("false", 37)])]);
    let precise = "feature_type: IdFeature hash_bucket_size: 37 precision: 2";
    check_ids("DOUBLE", precise, &[(b"0.125", &[hash("0.12", 37)]), (b"-0.001", &[hash("-0.00", 37)]), (b"", &[hash("0.00", 37)])]);
    check_ids("FLOAT", precise, &[(b"2.675", &[hash("2.67", 37)]), (b"nan", &[hash("nan", 37)]), (b"-inf", &[hash("-inf", 37)])]);
}

#[test]
fn id_feature_by_number() {
    let feature = "feature_type: IdFeature num_buckets: 36";
    check_ids("INT32", feature, &[(b"0", &[0]), (b"35", &[35]), (b"36", &[0]), (b"1995", &[0]), (b"-2", &[0]), (b"-1", &[]), (b"", &[0])]);
    check_ids("STRING", feature, &[(b"7", &[7]), (b" 7", &[7]), (b"-1", &[]), (b"", &[]), (b"99", &[0])]);
    check_ids("INT64", feature, &[(b"4294967297", &[0])]);
    check_ids("BOOL", feature, &[(b"1", &[1]), (b"False", &[0])]);
}

#[test]
fn id_feature_by_vocabulary() {
    let feature = "feature_type: IdFeature vocab_list: 'a' vocab_list: 'x' vocab_list: '中文' num_buckets: 99";
    check_ids("STRING", feature, &[(b"x", &[1]), ("中文".as_bytes(), &[2]), (b"zzz", &[0]), (b"", &[]), (b"X", &[0])]);
    check_ids("INT32", "feature_type: IdFeature vocab_list: '5' vocab_list: '-1'", &[(b"-1", &[1]), (b"5", &[0]), (b"6", &[0])]);
    let files = Files::new(&[("words", b"a\nb b\r\nc"), ("twice", b"a\na\n"), ("none", b"")]);
    let by_file = |name: &str| format!("feature_type: IdFeature vocab_file: '{}'", files.path(name));
    check_ids("STRING", &by_file("words"), &[(b"b b", &[1]), (b"c", &[2]), (b"d", &[0])]);
    for (name, message) in [("twice", "has \"a\" twice: as entries 0 and 1"), ("none", "has no lines"), ("gone", "cannot be read")] {
        let pipeline = pipeline("label:INT32 x:STRING", "", &[&format!("input_names: 'x' embedding_dim: 4 {}", by_file(name))]);
        let problems = FeatureSet::new(&pipeline).expect_err("a bad vocabulary").to_string();
        assert!(problems.contains(message), "{problems}");
    }
}

#[test]
fn tag_feature() {
    let hashed = "feature_type: TagFeature hash_bucket_size: 100";
    check_ids(
        "STRING",
        hashed,
        &[(b"Action|a", &[40, 39]), (b"", &[]), (b"||", &[]), (b"|a||a|", &[39, 39]), (b"a|\xff", &[39, hash_bucket(b"\xff", 100) as u32])],
    );
    check_ids("INT32", hashed, &[(b"12", &[88]), (b"", &[hash("0", 100)])]);
    let numbers = "feature_type: TagFeature num_buckets: 30 separator: ';,'";
    check_ids("STRING", numbers, &[(b"1;2,3", &[1, 2, 3]), (b"-1;30;29", &[0, 0, 29]), (b" 4 ", &[4])]);
    check_ids("STRING", "feature_type: TagFeature vocab_list: 'a' vocab_list: 'b'", &[(b"b|c|a", &[1, 0, 0])]);
}

#[test]
fn weighted_tags() {
    let run = |combiner: &str, lines: &[&str]| {
        let feature =
            format!("input_names: 'x' embedding_dim: 4 feature_type: TagFeature num_buckets: 10 kv_separator: ':' combiner: '{combiner}'");
        let lines: Vec<String> = lines.iter().map(|line| format!("1\t{line}")).collect();
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let column = transform(&pipeline("label:INT32 x:STRING", "", &[&feature]), &lines).expect("good rows").columns.remove(0);
        (ids(&column), weights(&column))
    };
    let lines = ["1:0.5|2:0|3:-1", "4:0", "", "5: 2e0 |99:nan"];
    let (sum_ids, sum_weights) = run("sum", &lines);
    assert_eq!(sum_ids, [vec![1, 2, 3], vec![4], vec![], vec![5, 0]]);
    assert_eq!(sum_weights[0], [0.5, 0.0, -1.0]);
    for combiner in ["mean", "sqrtn"] {
        let (mean_ids, mean_weights) = run(combiner, &lines);
        assert_eq!(mean_ids, [vec![1], vec![], vec![], vec![5]]);
        assert_eq!(mean_weights, [vec![0.5], vec![], vec![], vec![2.0]]);
    }
}

#[test]
fn tags_with_a_column_of_weights() {
    let feature = "input_names: 'x' input_names: 'w' embedding_dim: 4 feature_type: TagFeature hash_bucket_size: 100";
    for (kind, lines) in [("STRING", [&b"1\ta|b\t0.5|2"[..], b"1\t\t"]), ("STRING", [b"1\ta||b|\t|0.5|2", b"1\t|\t|"])] {
        let column =
            transform(&pipeline(&format!("label:INT32 x:STRING w:{kind}"), "", &[feature]), &lines).expect("good").columns.remove(0);
        assert_eq!((ids(&column), weights(&column)), (vec![vec![39, hash("b", 100)], vec![]], vec![vec![0.5, 2.0], vec![]]));
    }
    let column = transform(&pipeline("label:INT32 x:STRING w:FLOAT", "", &[feature]), &[b"1\ta\t3"]).expect("good").columns.remove(0);
    assert_eq!((ids(&column), weights(&column)), (vec![vec![39]], vec![vec![3.0]]));
}

#[track_caller]
fn check_dense(kind: &str, feature: &str, cases: &[(&str, &[f32])]) {
    let pipeline = pipeline(&format!("label:INT32 x:{kind}"), "", &[&format!("input_names: 'x' feature_type: RawFeature {feature}")]);
    let lines: Vec<String> = cases.iter().map(|(text, _)| format!("1\t{text}")).collect();
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let batch = transform(&pipeline, &lines).unwrap_or_else(|error| panic!("{error}"));
    let expected: Vec<f32> = cases.iter().flat_map(|(_, values)| values.iter().copied()).collect();
    assert_eq!(dense(&batch.columns[0]), expected, "{kind} {feature}");
}

#[test]
fn raw_feature_as_numbers() {
    check_dense("FLOAT", "", &[("0.5", &[0.5]), ("", &[0.0]), (" 1e40", &[f32::INFINITY]), ("0x10", &[16.0])]);
    check_dense("INT64", "", &[("16777217", &[16777216.0]), ("-1", &[-1.0]), ("", &[0.0])]);
    check_dense("DOUBLE=2.5", "", &[("", &[2.5]), ("0.1", &[0.1])]);
    check_dense("STRING", "", &[(" 5. ", &[5.0])]);
    check_dense("FLOAT", "min_val: -3 max_val: 100", &[("-3", &[0.0]), ("100", &[1.0]), ("7.5", &[10.5 / 103.0])]);
    check_dense("FLOAT", "min_val: 3 max_val: 3", &[("7", &[7.0])]);
    check_dense("FLOAT", "normalizer_fn: 'tf.math.log1p'", &[("0", &[0.0]), ("1", &[std::f32::consts::LN_2])]);
    check_dense("FLOAT", "normalizer_fn: 'tf.sqrt' max_val: 4", &[("1", &[0.5])]);
    let several = |combiner: &str| format!("seq_multi_sep: ';' combiner: '{combiner}'");
    check_dense("STRING", &several("sum"), &[("1;2;4", &[7.0]), ("", &[0.0]), (";3;", &[3.0])]);
    check_dense("STRING", &several("mean"), &[("1;2;4", &[7.0 / 3.0])]);
    check_dense("STRING", &several("max"), &[("1;-2;4", &[4.0]), ("-1;-2", &[-1.0])]);
    let pairs = format!("{} raw_input_dim: 2 max_val: 2", several("min"));
    check_dense("STRING", &pairs, &[("1|6;4|2", &[0.5, 1.0]), ("", &[0.0, 0.0]), ("4", &[2.0, 0.0])]);
    check_dense("FLOAT", &several("max"), &[("3", &[3.0])]);
    let three = "raw_input_dim: 3 min_val: 1 max_val: 3";
    check_dense(
        "STRING",
        three,
        &[("1|3|2", &[0.0, 1.0, 0.5]), ("3", &[1.0, -0.5, -0.5]), ("", &[-0.5; 3]), ("|3||1|", &[1.0, 0.0, -0.5])],
    );
}

#[test]
fn raw_feature_with_embeddings() {
    let buckets = "feature_type: RawFeature boundaries: 10 boundaries: 1 boundaries: 5 boundaries: 0";
    check_ids("FLOAT", buckets, &[(b"-1", &[0]), (b"0", &[1]), (b"0.5", &[1]), (b"5", &[3]), (b"1e9", &[4]), (b"nan", &[4]), (b"", &[1])]);
    check_ids("STRING", &format!("{buckets} raw_input_dim: 2"), &[(b"0|-7", &[1, 5]), (b"11", &[4, 6])]);
    let even = "feature_type: RawFeature num_buckets: 10 min_val: 0 max_val: 20";
    check_ids("FLOAT", even, &[(b"-0.1", &[0]), (b"0", &[1]), (b"1.9", &[1]), (b"2", &[2]), (b"19.9", &[10]), (b"99", &[10])]);
    let run = |features: &str, line: &[u8]| {
        let feature = format!("input_names: 'x' feature_type: RawFeature embedding_dim: 4 {features}");
        let column = transform(&pipeline("label:INT32 x:STRING", "", &[&feature]), &[line]).expect("good").columns.remove(0);
        (ids(&column).remove(0), weights(&column).remove(0))
    };
    assert_eq!(run("", b"1\t-0.5"), (vec![0], vec![-0.5]));
    assert_eq!(run("raw_input_dim: 3", b"1\t0.5|-1"), (vec![0, 1, 2], vec![0.5, -1.0, 0.0]));
    assert_eq!(run("raw_input_dim: 3 combiner: 'mean'", b"1\t0.5|-1"), (vec![0], vec![0.5]));
}

#[test]
fn specs_have_the_names_of_the_reference() {
    let features = [
        "input_names: 'x' feature_type: IdFeature embedding_dim: 8 hash_bucket_size: 200",
        "input_names: 'x' feature_type: TagFeature embedding_dim: 8 hash_bucket_size: 20 kv_separator: ':' combiner: 'mean'",
        "input_names: 'x' input_names: 'w' feature_type: TagFeature embedding_dim: 8 num_buckets: 30",
        "input_names: 'p' feature_type: RawFeature embedding_dim: 8 boundaries: 0 boundaries: 1",
        "input_names: 'p' feature_type: RawFeature embedding_dim: 8",
        "input_names: 'p' feature_type: RawFeature",
        "input_names: 'x' feature_type: IdFeature embedding_dim: 8 hash_bucket_size: 9 embedding_name: 'shared'",
        "input_names: 'w' feature_type: IdFeature embedding_dim: 8 hash_bucket_size: 9 embedding_name: 'shared'",
        "input_names: 'w' feature_type: IdFeature embedding_dim: 8 hash_bucket_size: 9 embedding_name: 'alone'",
    ];
    let set = FeatureSet::new(&pipeline("label:INT32 x:STRING w:STRING p:FLOAT", "", &features)).expect("a good config");
    let found: Vec<_> =
        set.specs().iter().map(|spec| (spec.table_suffix.as_str(), spec.kind, spec.combiner, spec.embedding_name.as_deref())).collect();
    let rows = |rows, weighted| FeatureKind::Ids { rows, weighted };
    assert_eq!(
        found,
        [
            ("f0_embedding", rows(200, false), Combiner::Sum, None),
            ("f1_weighted_by_f1_w_embedding", rows(20, true), Combiner::Mean, None),
            ("f2_weighted_by_f2_w_embedding", rows(30, true), Combiner::Sum, None),
            ("f3_bucketized_embedding", rows(3, false), Combiner::Sum, None),
            ("f4_weighted_by_f4_raw_proj_val_embedding", rows(1, true), Combiner::Sum, None),
            ("f5_weighted_by_f5_raw_proj_val_embedding", FeatureKind::Dense { width: 1 }, Combiner::Sum, None),
            ("f6_embedding", rows(9, false), Combiner::Sum, Some("shared")),
            ("f7_embedding", rows(9, false), Combiner::Sum, Some("shared")),
            ("f8_embedding", rows(9, false), Combiner::Sum, None),
        ]
    );
    assert_eq!(set.specs()[3].path, "feature_config.features[3]");
}

#[test]
fn labels_that_are_computed() {
    let data =
        "label_fields: 'y' label_fields: 'n' extra_label_func { label_name: 'both' label_func: 'lambda l: l[\\'y\\'] * (l[\\'n\\'] > 1)' }";
    let udf = "user_define_fn: 'tf.math.log1p'";
    let text = |data: &str, udf: &str| {
        format!(
            "data_config {{ separator: ',' input_type: CSVInput {data} input_fields {{ input_name: 'y' input_type: FLOAT {udf} }}
             input_fields {{ input_name: 'n' input_type: INT32 }} }}
             feature_config {{ features {{ input_names: 'n' feature_type: RawFeature }} }}
             model_config {{ feature_groups {{ group_name: 'a' feature_names: 'n' }} }}"
        )
    };
    let pipeline = Pipeline::parse("test.config", &text(data, udf), &Edits::default()).expect("a good config");
    let set = FeatureSet::new(&pipeline).expect("a good config");
    assert_eq!(set.label_names(), ["y", "n", "both"]);
    let batch = transform_fields(set, &[&["1", "2"], &["0", "5"], &["3", "1"]]);
    let log = [1f32.ln_1p(), 0.0, 3f32.ln_1p()];
    assert_eq!(batch.labels, [log.to_vec(), vec![2.0, 5.0, 1.0], vec![log[0], 0.0, 0.0]]);
    for (data, udf, message) in [
        (data, "user_define_fn: 'my.udf'", "`my.udf` is not known"),
        (data, "user_define_fn: 'udf' user_define_fn_path: 'udf.py'", "files of Python are not run"),
        ("label_fields: 'y' extra_label_func { label_name: 'y' label_func: 'lambda l: 1' }", "", "`y` is no new name"),
        ("label_fields: 'y' extra_label_func { label_name: 'z' label_func: 'a.b' }", "", "write a lambda of the labels"),
        ("label_fields: 'y' extra_label_func { label_name: 'z' label_func: 'lambda l: l[\\'n\\']' }", "", "`n` is none of y"),
    ] {
        let pipeline = Pipeline::parse("test.config", &text(data, udf), &Edits::default()).expect("a good config");
        let problems = FeatureSet::new(&pipeline).expect_err(message).to_string();
        assert!(problems.contains(message) && problems.starts_with("test.config:"), "{message}: {problems}");
    }
}

#[test]
fn labels_weights_keys_and_kept_text() {
    let text = "data_config { separator: ',' input_type: CSVInput label_fields: 'y' label_fields: 'z' label_dim: [1, 2] label_sep: ['', ';']
        sample_weight: 'sw' input_fields { input_name: 'y' input_type: STRING } input_fields { input_name: 'z' input_type: STRING }
        input_fields { input_name: 'sw' input_type: INT32 } input_fields { input_name: 'u' input_type: INT64 } }
        feature_config { features { feature_name: 'user' input_names: 'u' feature_type: IdFeature embedding_dim: 2 num_buckets: 4 }
            features { input_names: 'nowhere' feature_type: SequenceFeature } }
        model_config { feature_groups { group_name: 'a' feature_names: 'user' } }
        eval_config { metrics_set { gauc { uid_field: 'user' } } metrics_set { session_auc { session_id_field: 'z' } } metrics_set { gauc { uid_field: 'user' } } }";
    let pipeline = Pipeline::parse("test.config", text, &Edits::default()).expect("a good config");
    let mut set = FeatureSet::new(&pipeline).expect("a good config");
    set.keep(&["z".to_string(), "u".to_string()]).expect("known fields");
    assert_eq!(set.keep(&["q".to_string()]).expect_err("unknown").to_string(), "q: is none of data_config.input_fields: y, z, sw, u");
    let mut rows = rankmill_data::RawRows::new(4, std::sync::Arc::from([]));
    rows.push_fields([&b"0.25"[..], b"1;2", b"3", b"007"], Default::default()).expect("four fields");
    rows.push_fields([&b"1"[..], b";3;4;", b"", b""], Default::default()).expect("four fields");
    let batch = set.transform(&rows).expect("good rows");
    assert_eq!(batch.labels, [vec![0.25, 1.0], vec![1.0, 2.0, 3.0, 4.0]]);
    assert_eq!(batch.sample_weights, Some(vec![3.0, 0.0]));
    assert_eq!(set.key_names(), ["user", "z"]);
    assert_eq!(batch.keys, [vec![fingerprint64(b"7"), fingerprint64(b"0")], vec![fingerprint64(b"1;2"), fingerprint64(b";3;4;")]]);
    assert_eq!((batch.kept[0].row(1), batch.kept[1].row(0), batch.kept[1].row(1)), (&b";3;4;"[..], &b"007"[..], &b""[..]));
}

#[test]
fn statistics_name_missing_out_of_range_and_constant() {
    let features = [
        "input_names: 'year' feature_type: IdFeature embedding_dim: 2 num_buckets: 36",
        "input_names: 'tags' feature_type: TagFeature embedding_dim: 2 num_buckets: 5",
        "input_names: 'x' feature_type: RawFeature",
    ];
    let pipeline = pipeline("label:INT32 year:INT32 tags:STRING x:FLOAT", "", &features);
    let batch = transform(&pipeline, &[b"1\t1995\t1|9\t0.5", b"0\t1996\t\t0.5", b"0\t1997\t2\t0.5"]).expect("good rows");
    let mut statistics = Statistics::new(FeatureSet::new(&pipeline).expect("a good config").specs());
    statistics.observe(&batch);
    statistics.observe(&batch);
    let found: Vec<_> = statistics.features().into_iter().map(|f| (f.name, f.rows, f.missing, f.out_of_range, f.constant)).collect();
    assert_eq!(
        found,
        [
            ("f0".to_string(), 6, 0, 6, Some("row 0 of its table".to_string())),
            ("f1".to_string(), 6, 2, 2, None),
            ("f2".to_string(), 6, 0, 0, Some("the value 0.5".to_string())),
        ]
    );
}

#[test]
fn configs_that_do_not_fit() {
    for (fields, feature, message) in [
        ("label:INT32 x:STRING", "input_names: 'x' feature_type: SequenceFeature embedding_dim: 4", "needs hash_bucket_size"),
        ("label:INT32 x:STRING", "input_names: 'x' feature_type: IdFeature embedding_dim: 4", "needs hash_bucket_size"),
        ("label:INT32 x:STRING", "input_names: 'x' feature_type: IdFeature hash_bucket_size: 4", "needs an embedding_dim above 0"),
        ("label:INT32 x:FLOAT", "input_names: 'x' feature_type: IdFeature embedding_dim: 4 hash_bucket_size: 4", "set precision"),
        (
            "label:INT32 x:FLOAT",
            "input_names: 'x' feature_type: IdFeature embedding_dim: 4 num_buckets: 4",
            "needs hash_bucket_size and precision",
        ),
        ("label:INT32 x:STRING", "input_names: 'y' feature_type: IdFeature embedding_dim: 4 num_buckets: 4", "`y` is none of"),
        ("label:INT32 x:STRING", "feature_type: IdFeature embedding_dim: 4 num_buckets: 4", "has no input_names"),
        (
            "label:INT32 x:STRING",
            "input_names: 'x' feature_type: IdFeature embedding_dim: 4 hash_bucket_size: 5000000000",
            "at most 4294967295",
        ),
        (
            "label:INT32 x:STRING",
            "input_names: 'x' feature_type: TagFeature embedding_dim: 4 num_buckets: 4 combiner: 'max'",
            "`max` is not known",
        ),
        ("label:INT32 x:STRING", "input_names: 'x' feature_type: TagFeature embedding_dim: 4 num_buckets: 4 kv_separator: ''", "is empty"),
        ("label:INT32 x:STRING", "input_names: 'x' feature_type: RawFeature normalizer_fn: 'tf.eval'", "`tf.eval` is not known"),
        ("label:INT32 x:STRING", "input_names: 'x' feature_type: RawFeature embedding_dim: 2 boundaries: 1 boundaries: 1", "has 1 twice"),
        ("label:INT32 x:FLOAT", "input_names: 'x' feature_type: RawFeature raw_input_dim: 2", "needs a STRING input"),
        ("label:INT32 x:INT32=a", "input_names: 'x' feature_type: RawFeature", "\"a\" is not of the type INT32"),
        ("label:INT32 x:INT32 x:INT32", "input_names: 'x' feature_type: RawFeature", "`x` is declared twice"),
    ] {
        let problems = FeatureSet::new(&pipeline(fields, "", &[feature])).expect_err(message).to_string();
        assert!(problems.contains(message) && problems.starts_with("test.config:"), "{message}: {problems}");
    }
}

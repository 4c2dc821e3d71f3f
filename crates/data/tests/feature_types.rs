//! Combined, looked-up and sequential features against references that are as plain as can be, and what they refuse.

mod common;

use common::{dense, ids, pipeline, sequences, transform, weights};
use proptest::prelude::*;
use rankmill_data::{Column, FeatureKind, FeatureSet, Positions, SequenceColumn};
use rankmill_kernels::fingerprint::{fingerprint_cat64, fingerprint64, hash_bucket};

/// The column of one feature over lines of these fields.
fn column(fields: &str, feature: &str, lines: &[String]) -> Column {
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let batch = transform(&pipeline(fields, "", &[&format!("embedding_dim: 4 {feature}")]), &lines);
    batch.unwrap_or_else(|error| panic!("{error}")).columns.remove(0)
}

fn sequence(fields: &str, feature: &str, lines: &[&str]) -> SequenceColumn {
    let lines: Vec<String> = lines.iter().map(|line| format!("1\t{line}")).collect();
    let Column::Sequence(sequence) = column(fields, feature, &lines) else { panic!("no sequences") };
    sequence
}

fn hash(text: &str) -> u32 {
    hash_bucket(text.as_bytes(), 1000) as u32
}

fn crossed(values: &[&str]) -> u32 {
    let combine = |prefix, value: &&str| fingerprint_cat64(prefix, fingerprint64(value.as_bytes()));
    (values.iter().fold(0x00DE_CAFC_AFFE_u64, combine) % 1000) as u32
}

fn tags(text: &str) -> Vec<&str> {
    text.split('|').filter(|tag| !tag.is_empty()).collect()
}

proptest! {
    #[test]
    fn a_combination_for_each_choice_of_values(rows in prop::collection::vec(("[ab|]{0,6}", "[xy]{0,2}", any::<i32>(), "[c|]{0,4}"), 1..8)) {
        let lines: Vec<String> = rows.iter().map(|(a, b, n, c)| format!("1\t{a}\t{b}\t{n}\t{c}")).collect();
        let inputs = "feature_type: ComboFeature hash_bucket_size: 1000 input_names: 'b' input_names: 'a' input_names: 'n' input_names: 'c'";
        let cut = "combo_input_seps: '' combo_input_seps: '|' combo_input_seps: '' combo_input_seps: '|'";
        let fields = "label:INT32 a:STRING b:STRING n:INT32 c:STRING";
        let found = ids(&column(fields, &format!("{inputs} {cut}"), &lines));
        let joined = ids(&column(fields, &format!("{inputs} {cut} combo_join_sep: '-'"), &lines));
        let whole = ids(&column(fields, inputs, &lines));
        let whole_joined = ids(&column(fields, &format!("{inputs} combo_join_sep: '-'"), &lines));
        for (at, (a, b, n, c)) in rows.iter().enumerate() {
            let n = n.to_string();
            let (mut crosses, mut joins) = (Vec::new(), Vec::new());
            for a in tags(a) {
                for c in tags(c) {
                    crosses.push(crossed(&[a, c, b, &n]));
                    joins.push(hash(&format!("{a}_X_{c}_X_{b}_X_{n}")));
                }
            }
            prop_assert_eq!(&found[at], &crosses);
            prop_assert_eq!(&joined[at], &joins);
            prop_assert_eq!(&whole[at], &vec![crossed(&[b, a, &n, c])]);
            prop_assert_eq!(&whole_joined[at], &vec![hash(&format!("{b}-{a}-{n}-{c}"))]);
        }
    }

    #[test]
    fn values_of_a_key(rows in prop::collection::vec(("[kl]?", prop::collection::vec(("[kl]{1,2}", "[a-d]"), 0..8)), 1..8)) {
        let map = |entries: &[(String, String)]| entries.iter().map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>().join(",");
        let lines: Vec<String> = rows.iter().map(|(key, entries)| format!("1\t{key}\t{}", map(entries))).collect();
        let feature = "feature_type: LookupFeature hash_bucket_size: 1000 input_names: 'k' input_names: 'm' separator: ',' \
                       kv_separator: ':' lookup_max_sel_elem_num: 3";
        let found = ids(&column("label:INT32 k:STRING m:STRING", feature, &lines));
        for ((key, entries), found) in rows.iter().zip(found) {
            let expected: Vec<u32> = entries.iter().filter(|(k, _)| k == key).take(3).map(|(_, value)| hash(value)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn positions_and_their_values(texts in prop::collection::vec("[ab;,]{0,12}", 1..8), length in 0usize..9) {
        let rows: Vec<&str> = texts.iter().map(String::as_str).collect();
        let feature = "feature_type: SequenceFeature hash_bucket_size: 1000 input_names: 'x' separator: ';'";
        let single = sequence("label:INT32 x:STRING", feature, &rows);
        let several = sequence("label:INT32 x:STRING", &format!("{feature} seq_multi_sep: ','"), &rows);
        let words = |text: &str| -> Vec<Vec<u32>> { text.split(';').map(|word| vec![hash(word)]).collect() };
        let lists = |text: &str| -> Vec<Vec<u32>> {
            let mut lists: Vec<Vec<u32>> =
                text.split(';').map(|list| list.split(',').filter(|word| !word.is_empty()).map(hash).collect()).collect();
            while lists.last().is_some_and(Vec::is_empty) {
                lists.pop();
            }
            lists
        };
        let longest = rows.iter().map(|text| text.split(';').count()).max().expect("a row");
        prop_assert_eq!((single.longest, several.longest), (longest, longest));
        check_padded(&single, &rows.iter().map(|text| words(text)).collect::<Vec<_>>(), length)?;
        check_padded(&several, &rows.iter().map(|text| lists(text)).collect::<Vec<_>>(), length)?;
    }
}

/// Checks the positions as they are and cut or filled up to `length`.
fn check_padded(column: &SequenceColumn, expected: &[Vec<Vec<u32>>], length: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(&sequences(&Column::Sequence(column.clone())), expected);
    for (row, positions) in expected.iter().enumerate() {
        prop_assert_eq!(column.length(row), positions.len());
    }
    let Positions::Ids(padded) = column.padded(length) else { panic!("sequences of ids") };
    let of_row = |positions: &Vec<Vec<u32>>| {
        let mut positions = positions.clone();
        positions.resize(length, Vec::new());
        positions
    };
    prop_assert_eq!(ids(&Column::Ids(padded)), expected.iter().flat_map(of_row).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn floats_and_truth_values_are_combined_as_text() {
    let lines = ["1\t0.125\ttrue".to_string(), "1\t\t0".to_string()];
    let feature = "feature_type: ComboFeature hash_bucket_size: 1000 precision: 2 input_names: 'x' input_names: 'b'";
    let found = ids(&column("label:INT32 x:DOUBLE b:BOOL", feature, &lines));
    assert_eq!(found, [[crossed(&["0.12", "true"])], [crossed(&["0.00", "false"])]]);
    let words = "feature_type: ComboFeature combo_join_sep: ':' vocab_list: '2:a' vocab_list: '1:b' input_names: 'n' input_names: 's'";
    let lines = ["1\t1\tb".to_string(), "1\t2\ta".to_string(), "1\t3\ta".to_string()];
    assert_eq!(ids(&column("label:INT32 n:INT64 s:STRING", words, &lines)), [[1], [0], [0]]);
}

#[test]
fn keys_that_are_numbers_are_looked_up_by_their_text() {
    let feature = "feature_type: LookupFeature num_buckets: 50 input_names: 'k' input_names: 'm' kv_separator: ':'";
    let lines = ["1\t007\t7:1|70:2|7:60|7:3".to_string(), "1\t\t0:4|:0:5|1:6".to_string()];
    assert_eq!(ids(&column("label:INT32 k:INT32 m:STRING", feature, &lines)), [vec![1, 0, 3], vec![4, 5]]);
}

#[test]
fn sequences_of_ids() {
    let numbers = "feature_type: SequenceFeature num_buckets: 30 input_names: 'x' separator: ';'";
    let found = sequence("label:INT32 x:STRING", numbers, &["1;29;30;-1", "", " 7 "]);
    assert_eq!(sequences(&Column::Sequence(found)), [vec![vec![1], vec![29], vec![0], vec![0]], vec![], vec![vec![7]]]);
    let words = "feature_type: SequenceFeature vocab_list: 'a' vocab_list: 'b' input_names: 'x' separator: '->'";
    let found = sequence("label:INT32 x:STRING", words, &["b->a", "", "b->->c"]);
    assert_eq!(sequences(&Column::Sequence(found)), [vec![vec![1], vec![0]], vec![vec![0]], vec![vec![1], vec![0], vec![0]]]);
    let one = sequence("label:INT32 x:INT64", numbers, &["12", ""]);
    assert_eq!(sequences(&Column::Sequence(one)), [[[12]], [[0]]]);
}

#[test]
fn sequences_of_numbers() {
    let numbers = "feature_type: SequenceFeature sub_feature_type: RawFeature input_names: 'x'";
    let buckets = sequence("label:INT32 x:STRING", &format!("{numbers} boundaries: 2 boundaries: 1"), &["0|1|9|nan", "", "1.5"]);
    assert_eq!(sequences(&Column::Sequence(buckets)), [vec![vec![0], vec![1], vec![2], vec![2]], vec![], vec![vec![1]]]);
    let even = format!("{numbers} num_buckets: 4 min_val: 10 max_val: 18 seq_multi_sep: ','");
    let found = sequence("label:INT32 x:STRING", &even, &["9,10|17.9", "12"]);
    assert_eq!(sequences(&Column::Sequence(found)), [vec![vec![0, 1], vec![4]], vec![vec![2]]]);

    let weighted = sequence("label:INT32 x:STRING", &format!("{numbers} sequence_length: 3"), &["0.5|-2", "", "1|2|3"]);
    assert_eq!((weighted.longest, &weighted.offsets), (3, &vec![0, 3, 6, 9]));
    let Positions::Ids(positions) = &weighted.positions else { panic!("ids") };
    let positions = Column::Ids(positions.clone());
    assert_eq!(ids(&positions), vec![vec![0]; 9]);
    assert_eq!(weights(&positions).concat(), [0.5, -2.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);

    let pairs = format!("{numbers} sequence_length: 2 raw_input_dim: 2 seq_multi_sep: ';' combiner: 'mean'");
    let found = sequence("label:INT32 x:STRING", &pairs, &["1;2|3", "-1;4"]);
    let Positions::Ids(positions) = &found.positions else { panic!("ids") };
    assert_eq!(ids(&Column::Ids(positions.clone())), [vec![0, 0], vec![1], vec![0], vec![]]);
    let long = format!("{numbers} sequence_length: 4 raw_input_dim: 2 seq_multi_sep: ';'");
    let found = sequence("label:INT32 x:STRING", &long, &["1;2|3;4|5;6|7;8"]);
    let Positions::Ids(positions) = &found.positions else { panic!("ids") };
    assert_eq!(ids(&Column::Ids(positions.clone())), [[0, 0], [1, 1], [0, 0], [0, 0]]);

    let lines = [&b"1\t1;2|3"[..], b"1\t"];
    let dense = format!("{numbers} sequence_length: 2 raw_input_dim: 2 seq_multi_sep: ';'");
    let column = transform(&pipeline("label:INT32 x:STRING", "", &[&dense]), &lines).expect("good rows").columns.remove(0);
    let Column::Sequence(column) = column else { panic!("no sequences") };
    let Positions::Dense(dense) = column.padded(3) else { panic!("numbers") };
    assert_eq!(dense.values, [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn specs_of_sequences() {
    let features = [
        "input_names: 'x' feature_type: SequenceFeature embedding_dim: 8 hash_bucket_size: 20 max_seq_len: 5",
        "input_names: 'x' feature_type: SequenceFeature embedding_dim: 8 sub_feature_type: RawFeature boundaries: 1",
        "input_names: 'x' feature_type: SequenceFeature embedding_dim: 8 sub_feature_type: RawFeature sequence_combiner { attention {} }",
        "input_names: 'x' feature_type: SequenceFeature sub_feature_type: RawFeature",
        "input_names: 'x' input_names: 'y' feature_type: ComboFeature embedding_dim: 8 hash_bucket_size: 20",
    ];
    let set = FeatureSet::new(&pipeline("label:INT32 x:STRING y:STRING", "", &features)).expect("a good config");
    let found: Vec<_> = set.specs().iter().map(|spec| (spec.table_suffix.as_str(), spec.kind)).collect();
    assert_eq!(
        found,
        [
            ("f0_embedding", FeatureKind::IdSequence { rows: 20, weighted: false }),
            ("f1_bucketized_embedding", FeatureKind::IdSequence { rows: 2, weighted: false }),
            ("f2_weighted_by_f2_raw_proj_val_embedding", FeatureKind::IdSequence { rows: 1, weighted: true }),
            ("f3_weighted_by_f3_raw_proj_val_embedding", FeatureKind::DenseSequence { width: 1 }),
            ("f4_embedding", FeatureKind::Ids { rows: 20, weighted: false }),
        ]
    );
    let sequences: Vec<_> = set.specs().iter().map(|spec| spec.sequence.as_ref().map(|s| (s.max_seq_len, s.combiner.is_some()))).collect();
    assert_eq!(sequences, [Some((Some(5), false)), Some((None, false)), Some((None, true)), Some((None, false)), None]);
}

#[test]
fn expressions_over_fields_of_all_types() {
    let lines = [&b"1\t3\t0.1\ttrue\t 2.5"[..], b"1\t\t\t\t1e3"];
    let fields = "label:INT32 n:INT64 x:FLOAT b:BOOL s:STRING";
    let features = [
        "feature_type: ExprFeature input_names: 'n' input_names: 's' expression: 'n / 10.0 + s * 2'",
        "feature_type: ExprFeature input_names: 'x' input_names: 'b' expression: '(x > 0.05) & (b == 1)'",
    ];
    let batch = transform(&pipeline(fields, "", &features), &lines).expect("good rows");
    assert_eq!((dense(&batch.columns[0]), dense(&batch.columns[1])), (&[5.3f32, 2000.0][..], &[1.0f32, 0.0][..]));
    let error = transform(&pipeline(fields, "", &features), &[b"1\t3\t0.1\ttrue\tone"]).expect_err("no number").to_string();
    assert_eq!(error, "rows.tsv:1: field `s`: value \"one\" is not a DOUBLE: a number of at most 31 characters");
}

#[test]
fn rows_that_are_refused() {
    let fields = "label:INT32 x:STRING k:STRING";
    for (feature, text, message) in [
        ("feature_type: LookupFeature hash_bucket_size: 9 input_names: 'k' input_names: 'x' kv_separator: ':'", "a:1|b", "the entry \"b\""),
        ("feature_type: LookupFeature hash_bucket_size: 9 input_names: 'k' input_names: 'x' kv_separator: ':'", "a:1:2", "the entry"),
        ("feature_type: LookupFeature num_buckets: 9 input_names: 'k' input_names: 'x' kv_separator: ':'", "k:one", "the tag \"one\""),
        ("feature_type: SequenceFeature num_buckets: 9 input_names: 'x'", "1||2", "the value \"\""),
        ("feature_type: SequenceFeature sub_feature_type: RawFeature boundaries: 1 input_names: 'x'", "1|a", "the number \"a\""),
        ("feature_type: SequenceFeature sub_feature_type: RawFeature sequence_length: 2 input_names: 'x'", "1|2|3", "3 positions"),
        (
            "feature_type: SequenceFeature sub_feature_type: RawFeature raw_input_dim: 2 seq_multi_sep: ',' input_names: 'x'",
            "1,2,3",
            "3 numbers",
        ),
        ("feature_type: SequenceFeature sub_feature_type: RawFeature input_names: 'x'", "one", "the number \"one\""),
    ] {
        let pipeline = pipeline(fields, "", &[&format!("embedding_dim: 4 {feature}")]);
        let error = transform(&pipeline, &[format!("1\t{text}\tk").as_bytes()]).expect_err(message).to_string();
        assert!(error.contains(message) && error.starts_with("rows.tsv:1: field `x`"), "{message}: {error}");
    }
    let many = ["a|".repeat(1025), "b|".repeat(1025)].join("\t");
    let feature = "feature_type: ComboFeature embedding_dim: 4 hash_bucket_size: 9 input_names: 'x' input_names: 'k' \
                   combo_input_seps: '|' combo_input_seps: '|'";
    let error = transform(&pipeline(fields, "", &[feature]), &[format!("1\t{many}").as_bytes()]).expect_err("too many").to_string();
    assert!(error.contains("1050625") && error.contains("above 1048576"), "{error}");
}

#[test]
fn settings_that_do_not_fit() {
    let fields = "label:INT32 x:STRING k:STRING f:FLOAT n:INT32";
    for (feature, message) in [
        ("feature_type: ComboFeature hash_bucket_size: 9 input_names: 'x'", "two inputs or more"),
        ("feature_type: ComboFeature num_buckets: 9 input_names: 'x' input_names: 'k'", "set hash_bucket_size above 0"),
        ("feature_type: ComboFeature hash_bucket_size: 5000000000 input_names: 'x' input_names: 'k'", "at most 4294967295"),
        ("feature_type: ComboFeature hash_bucket_size: 9 input_names: 'x' input_names: 'f'", "set precision"),
        (
            "feature_type: ComboFeature hash_bucket_size: 9 input_names: 'x' input_names: 'k' combo_input_seps: '|'",
            "there are 1 for 2 inputs",
        ),
        (
            "feature_type: ComboFeature hash_bucket_size: 9 input_names: 'x' input_names: 'n' combo_input_seps: '' combo_input_seps: '|'",
            "input 1 is INT32 and cannot be cut",
        ),
        ("feature_type: ComboFeature num_buckets: 9 combo_join_sep: '_' input_names: 'x' input_names: 'k'", "joined texts are no numbers"),
        ("feature_type: LookupFeature hash_bucket_size: 9 input_names: 'x'", "two inputs: the key and the map"),
        ("feature_type: LookupFeature hash_bucket_size: 9 input_names: 'x' input_names: 'n'", "must be a STRING, not INT32"),
        ("feature_type: LookupFeature hash_bucket_size: 9 input_names: 'f' input_names: 'x'", "the first input, the key"),
        ("feature_type: LookupFeature hash_bucket_size: 9 input_names: 'k' input_names: 'x' lookup_max_sel_elem_num: 0", "above 0"),
        ("feature_type: SequenceFeature hash_bucket_size: 9 input_names: 'f'", "must be STRING"),
        ("feature_type: SequenceFeature input_names: 'x'", "needs hash_bucket_size"),
        ("feature_type: SequenceFeature hash_bucket_size: 9 input_names: 'x' seq_multi_sep: ''", "is empty"),
        ("feature_type: SequenceFeature hash_bucket_size: 9 input_names: 'x' sub_feature_type: TagFeature", "not TagFeature"),
        ("feature_type: SequenceFeature hash_bucket_size: 9 input_names: 'x' sub_feature_type: RawFeature", "numbers are not hashed"),
        ("feature_type: SequenceFeature num_buckets: 9 input_names: 'x' sub_feature_type: RawFeature", "max_val above min_val"),
        ("feature_type: SequenceFeature raw_input_dim: 2 input_names: 'x' sub_feature_type: RawFeature", "needs seq_multi_sep"),
        ("feature_type: SequenceFeature seq_multi_sep: ',' input_names: 'x' sub_feature_type: RawFeature", "set raw_input_dim"),
        ("feature_type: SequenceFeature sequence_length: 0 input_names: 'x' sub_feature_type: RawFeature", "must be from 1"),
        ("feature_type: ExprFeature input_names: 'n' expression: 'n +'", "feature `f0`: "),
        ("feature_type: ExprFeature input_names: 'n' expression: 'm + 1'", "`m` is none of the inputs n"),
        ("feature_type: PassThroughFeature input_names: 'x'", "makes no column"),
    ] {
        let pipeline = pipeline(fields, "", &[&format!("embedding_dim: 4 {feature}")]);
        let problems = FeatureSet::new(&pipeline).expect_err(message).to_string();
        assert!(problems.contains(message) && problems.starts_with("test.config:"), "{message}: {problems}");
    }
}

#[test]
fn an_ignored_value_is_none_to_ids_of_parquet_input_v3() {
    let features = [
        "input_names: 'number' feature_type: IdFeature num_buckets: 10 embedding_dim: 2",
        "input_names: 'word' feature_type: IdFeature hash_bucket_size: 10 embedding_dim: 2",
        "input_names: 'price' feature_type: IdFeature hash_bucket_size: 10 precision: 2 embedding_dim: 2",
        "input_names: 'zero' feature_type: IdFeature num_buckets: 10 embedding_dim: 2",
    ];
    let config = |input: &str| {
        let config = pipeline("label:INT32 number:INT32 word:STRING price:FLOAT zero:INT32", "", &features).to_text();
        let with = |config: String, field: &str, value: &str| {
            let (before, behind) = config.split_once(&format!("input_name: \"{field}\"")).expect("the field");
            format!("{before}input_name: \"{field}\" ignore_val: \"{value}\"{behind}")
        };
        let ignored = [("number", "7"), ("word", "none"), ("price", "0.5"), ("zero", "0")];
        let config = ignored.into_iter().fold(config, |config, (field, value)| with(config, field, value));
        let config = config.replace("input_type: CSVInput", &format!("input_type: {input}"));
        rankmill_config::Pipeline::parse("test.config", &config, &rankmill_config::Edits::default()).expect("a good config")
    };
    let lines: [&[u8]; 3] = [b"1\t7\tnone\t0.5\t0", b"0\t3\tx\t0.25\t0", b"1\t17\t\t0.5\t1"];
    let lengths = |batch: &rankmill_data::FeatureBatch| -> Vec<Vec<usize>> {
        batch.columns.iter().map(|column| ids(column).iter().map(Vec::len).collect()).collect()
    };
    let ignoring = transform(&config("ParquetInputV3"), &lines).expect("good rows");
    // 0 is no ignore_val to EasyRec.
    assert_eq!(lengths(&ignoring), [[0, 1, 1], [0, 1, 0], [0, 1, 0], [1, 1, 1]]);
    let missing: Vec<u64> = ignoring.observed.features.iter().map(|counts| counts.missing).collect();
    assert_eq!(missing, [1, 2, 2, 0]);
    let taking = transform(&config("CSVInput"), &lines).expect("good rows");
    assert_eq!(lengths(&taking), [[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 1, 1]]);
    let raw = config("ParquetInputV3").to_text().replacen("IdFeature", "RawFeature", 1);
    let raw = rankmill_config::Pipeline::parse("test.config", &raw, &rankmill_config::Edits::default()).expect("readable");
    let problems = rankmill_data::FeatureSet::new(&raw).expect_err("a number that may be none").to_string();
    assert!(problems.contains("`number` has an ignore_val, and only an IdFeature can leave a value out"), "{problems}");
}

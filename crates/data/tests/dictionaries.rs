//! Columns of Parquet files whose texts are in dictionaries give the batches of a text file, however the pages are written.

mod common;

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use common::{Files, pipeline, read};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::file::properties::WriterProperties;
use rankmill_config::Pipeline;
use rankmill_data::{FeatureBatch, ReaderOptions};

/// A row by the numbers of its words: a word that may be `null` or empty, tags in one text, tags in a list, marks in a map.
type Row = (Option<u16>, Option<Vec<u8>>, Vec<u8>, Option<u8>);

fn word(number: u16) -> String {
    if number == 0 { String::new() } else { format!("word {number}") }
}

fn config(data: &str) -> Pipeline {
    let features = [
        "input_names: 'word' feature_type: IdFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'tags' feature_type: TagFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'list' feature_type: TagFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'map' feature_type: TagFeature kv_separator: ':' hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'other' feature_type: IdFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'word' feature_type: IdFeature hash_bucket_size: 77 embedding_dim: 2",
        "input_names: 'other' input_names: 'weights' feature_type: TagFeature hash_bucket_size: 1000 embedding_dim: 2",
    ];
    pipeline(
        "label:INT64 word:STRING tags:STRING list:STRING map:STRING other:STRING=none weights:FLOAT=1",
        &format!("separator: ',' {data}"),
        &features,
    )
}

fn tags(numbers: &[u8]) -> String {
    numbers.iter().map(|number| format!("t{number}")).collect::<Vec<_>>().join("|")
}

fn csv(rows: &[Row]) -> Vec<u8> {
    let line = |(at, row): (usize, &Row)| {
        let (word_number, texts, list, mark) = row;
        let (word, texts) = (word_number.map(word).unwrap_or_default(), texts.as_deref().map(tags).unwrap_or_default());
        let mark = mark.map(|mark| format!("k{mark}:0.5")).unwrap_or_default();
        format!("{at},{word},{texts},{},{mark},{word},\n", tags(list))
    };
    rows.iter().enumerate().map(line).collect::<String>().into_bytes()
}

fn parquet(rows: &[Row], properties: WriterProperties) -> Vec<u8> {
    let (mut lists, mut maps) = (ListBuilder::new(StringBuilder::new()), MapBuilder::new(None, StringBuilder::new(), StringBuilder::new()));
    for (_, _, list, mark) in rows {
        list.iter().for_each(|number| lists.values().append_value(format!("t{number}")));
        lists.append(true);
        if let Some(mark) = mark {
            maps.keys().append_value(format!("k{mark}"));
            maps.values().append_value("0.5");
        }
        maps.append(mark.is_some()).expect("as many keys as values");
    }
    let words = || rows.iter().map(|row| row.0.map(word)).collect::<StringArray>();
    let columns: [(&str, ArrayRef); 7] = [
        ("label", Arc::new((0..rows.len() as i64).collect::<Int64Array>())),
        ("word", Arc::new(words())),
        ("tags", Arc::new(rows.iter().map(|row| row.1.as_deref().map(tags)).collect::<StringArray>())),
        ("list", Arc::new(lists.finish())),
        ("map", Arc::new(maps.finish())),
        ("other", Arc::new(words())),
        ("weights", Arc::new(rows.iter().map(|_| None::<i64>).collect::<Int64Array>())),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("columns of one length");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).expect("in memory");
    // The writer looks at the size of its dictionary between batches.
    (0..rows.len()).step_by(50).for_each(|from| writer.write(&batch.slice(from, 50.min(rows.len() - from))).expect("in memory"));
    writer.close().expect("in memory");
    bytes
}

fn batches(config: &Pipeline, paths: &[String], train: bool) -> Vec<FeatureBatch> {
    let inputs = paths.to_vec();
    let options = if train { ReaderOptions::train(config, inputs, 3) } else { ReaderOptions::sequential(config, inputs) };
    let batches = read(config, options.expect("a good config")).unwrap_or_else(|error| panic!("{error}"));
    batches.into_iter().map(|batch| batch.features).collect()
}

/// The encodings of the data pages of the column `word`.
fn encodings(bytes: &[u8]) -> Vec<(bool, bool)> {
    let file = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(bytes)).expect("Parquet");
    let groups = file.metadata().row_groups().iter();
    groups
        .map(|group| {
            let mask = group.column(1).page_encoding_stats_mask().expect("the writer says");
            (mask.is_set(Encoding::RLE_DICTIONARY), mask.is_set(Encoding::PLAIN))
        })
        .collect()
}

fn properties(group: usize, dictionary: Option<usize>, page_rows: usize) -> WriterProperties {
    let builder = WriterProperties::builder().set_max_row_group_row_count(Some(group)).set_data_page_row_count_limit(page_rows);
    let builder = builder.set_write_batch_size(16).set_dictionary_enabled(dictionary.is_some());
    builder.set_dictionary_page_size_limit(dictionary.unwrap_or(1 << 20)).build()
}

fn check(rows: &[Row], files: &[WriterProperties], batch_size: usize) {
    let half = rows.len() / 2;
    let parts = [&rows[..half], &rows[half..]];
    let texts = Files::new(&[("0", &csv(parts[0])), ("1", &csv(parts[1]))]);
    let paths = |files: &Files| [files.path("0"), files.path("1")];
    for train in [false, true] {
        let data = format!("batch_size: {batch_size} num_epochs: 2 shuffle_buffer_size: 60 num_parallel_calls: 2");
        let expected = batches(&config(&data), &paths(&texts), train);
        for properties in files {
            let written = parts.map(|part| parquet(part, properties.clone()));
            let written = Files::new(&[("0", &written[0]), ("1", &written[1])]);
            assert_eq!(batches(&config(&data), &paths(&written), train), expected, "shuffled: {train}, {properties:?}");
        }
    }
}

#[test]
fn a_dictionary_that_ends_in_mid_column_is_read_on() {
    let rows: Vec<Row> =
        (0..900_u16).map(|at| (Some(at * 7 % 600), Some(vec![at as u8 % 9, 3]), vec![at as u8 % 5], Some(at as u8 % 3))).collect();
    let falls_back = properties(400, Some(2000), 40);
    let written = encodings(&parquet(&rows, falls_back.clone()));
    assert!(written.contains(&(true, true)), "some pages of a row group are plain and others not: {written:?}");
    let whole = properties(400, Some(1 << 20), 40);
    assert_eq!(encodings(&parquet(&rows, whole.clone())), [(true, false); 3]);
    check(&rows, &[falls_back, whole, properties(400, None, 40)], 128);
}

#[test]
fn rows_without_any_value_are_read() {
    let rows = vec![(None, None, Vec::new(), None); 70];
    check(&rows, &[properties(30, Some(1 << 20), 7), properties(30, None, 7)], 16);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_texts_in_any_pages_are_those_of_a_text_file(
        rows in proptest::collection::vec(
            (
                proptest::option::weighted(0.8, 0_u16..40),
                proptest::option::weighted(0.8, proptest::collection::vec(0_u8..20, 0..3)),
                proptest::collection::vec(0_u8..20, 0..3),
                proptest::option::of(0_u8..5),
            ),
            2..300,
        ),
        group in 20_usize..200,
        limit in 20_usize..400,
        page_rows in 1_usize..60,
        batch_size in 1_usize..70,
    ) {
        check(&rows, &[properties(group, Some(1 << 20), page_rows), properties(group, Some(limit), page_rows)], batch_size);
    }
}

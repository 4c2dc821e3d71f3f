//! Any cut of the rows into files, any compression of these, any batch size, and any row to go on from: the same rows in the same order,
//! for every kind of input.

mod common;

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use common::{Files, pipeline, read};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use rankmill_config::Pipeline;
use rankmill_data::{Batch, Column, FeatureBatch, IdColumn, Mode, Position, Positions, ReaderOptions};

/// Rows of the fixtures that are used.
const ROWS: usize = 60;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("readable")
}

/// A kind of input: its settings, and the bytes of a file with some of its rows (with the number of rows in a row group).
struct Input {
    name: &'static str,
    settings: &'static str,
    /// Rows that stay together.
    together: usize,
    write: fn(&Range<usize>, usize) -> Vec<u8>,
    /// Whether such a file may be compressed as a whole.
    compressible: bool,
}

const INPUTS: [Input; 9] = [
    Input { name: "csv", settings: "", together: 1, write: |rows, _| lines("rows.csv", 0, rows), compressible: true },
    Input {
        name: "csv with a header",
        settings: "with_header: true",
        together: 1,
        write: |rows, _| [lines("header.csv", 0, &(0..1)), lines("header.csv", 1, rows)].concat(),
        compressible: true,
    },
    Input { name: "json", settings: "", together: 1, write: |rows, _| lines("rows.jsonl", 0, rows), compressible: true },
    Input { name: "parquet", settings: "input_type: ParquetInputV3", together: 1, write: parquet, compressible: false },
    Input {
        name: "tf_record",
        settings: "input_type: TFRecordInput",
        together: 1,
        write: |rows, _| records("rows.tfrecord", rows),
        compressible: true,
    },
    Input {
        name: "batch_tf_record",
        settings: "input_type: BatchTFRecordInput n_data_batch_tfrecord: 4",
        together: 4,
        write: |rows, _| records("batch.tfrecord", &(rows.start / 4..rows.end / 4)),
        compressible: true,
    },
    Input {
        name: "rtp",
        settings: "input_type: RTPInput separator: '\\x02' selected_cols: '1,2'",
        together: 1,
        write: |rows, _| lines("rows.rtp", 0, rows),
        compressible: true,
    },
    Input {
        name: "rtp_v2",
        settings: "input_type: RTPInputV2",
        together: 1,
        write: |rows, _| lines("pairs.rtp", 0, rows),
        compressible: true,
    },
    Input { name: "csv_ex", settings: "input_type: CSVInputEx", together: 1, write: |rows, _| whole_lines(rows), compressible: true },
];

/// Lines of a fixture, some way behind its start.
fn lines(name: &str, first: usize, rows: &Range<usize>) -> Vec<u8> {
    fixture(name).split_inclusive(|byte| *byte == b'\n').skip(first + rows.start).take(rows.len()).flatten().copied().collect()
}

/// Rows without quotes and empty numbers, which `CSVInputEx` does not know.
fn whole_lines(rows: &Range<usize>) -> Vec<u8> {
    let line = |at: usize| {
        format!("{},{},{},w{},{at}.5,{}.25,true,t{}|u,1|2,k:1,0.5,1,os,{}\n", at % 2, at * 7, at % 50, at % 5, at * 3, at % 9, at % 20)
    };
    rows.clone().map(line).collect::<String>().into_bytes()
}

fn records(name: &str, records: &Range<usize>) -> Vec<u8> {
    let bytes = fixture(name);
    let (mut rest, mut found) = (&bytes[..], Vec::new());
    while let Some(length) = rest.first_chunk::<8>() {
        let (record, behind) = rest.split_at(u64::from_le_bytes(*length) as usize + 16);
        found.push(record);
        rest = behind;
    }
    found[records.clone()].concat()
}

fn parquet(rows: &Range<usize>, row_group: usize) -> Vec<u8> {
    let source = File::open(path("rows.parquet")).expect("opened");
    let reader = ParquetRecordBatchReaderBuilder::try_new(source).expect("Parquet").with_batch_size(1).build().expect("Parquet");
    let batches: Vec<_> = reader.map(|batch| batch.expect("rows")).collect();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(row_group)).build();
    let mut written = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut written, batches[0].schema(), Some(properties)).expect("in memory");
    batches[rows.clone()].iter().for_each(|batch| writer.write(batch).expect("in memory"));
    writer.close().expect("in memory");
    written
}

fn compressed(bytes: Vec<u8>, way: u8) -> Vec<u8> {
    match way {
        0 => bytes,
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&bytes).expect("in memory");
            encoder.finish().expect("in memory")
        }
        _ => ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest),
    }
}

fn config(data: &str) -> Pipeline {
    let fields = "label:INT32 user:INT64 age:INT32=-1 word:STRING price:FLOAT score:DOUBLE=0.5 member:BOOL tags:STRING weights:STRING \
                  marks:STRING vector:STRING weight:FLOAT device.os:STRING=none device.version:INT32";
    let features = [
        "input_names: 'user' feature_type: IdFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'age' feature_type: IdFeature num_buckets: 50 embedding_dim: 2",
        "input_names: 'price' feature_type: RawFeature",
        "input_names: 'tags' feature_type: TagFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'marks' feature_type: TagFeature kv_separator: ':' hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'tags' feature_type: SequenceFeature hash_bucket_size: 1000 embedding_dim: 2",
    ];
    pipeline(fields, &format!("separator: ',' sample_weight: 'weight' {data}"), &features)
}

/// The rows of all batches, each as text.
fn rows_of(batches: &[Batch]) -> Vec<String> {
    batches.iter().flat_map(|batch| (0..batch.features.rows).map(|row| row_of(&batch.features, row))).collect()
}

fn row_of(batch: &FeatureBatch, row: usize) -> String {
    let mut text = format!("{:?} {:?}", batch.labels[0][row], batch.sample_weights.as_ref().map(|weights| weights[row]));
    let ids = |column: &IdColumn, row: usize| {
        let span = column.offsets[row] as usize..column.offsets[row + 1] as usize;
        format!(" {:?} {:?}", &column.ids[span.clone()], column.weights.as_ref().map(|weights| &weights[span]))
    };
    for column in &batch.columns {
        match column {
            Column::Ids(column) => text += &ids(column, row),
            Column::Dense(column) => text += &format!(" {:?}", &column.values[row * column.width..(row + 1) * column.width]),
            Column::Sequence(sequence) => {
                let Positions::Ids(positions) = &sequence.positions else { panic!("a sequence of numbers") };
                (sequence.offsets[row]..sequence.offsets[row + 1]).for_each(|at| text += &ids(positions, at as usize));
            }
        }
    }
    text
}

/// How rows are cut and read.
#[derive(Clone, Debug)]
struct Cut {
    /// Where files end, before rounding to rows that stay together.
    ends: Vec<usize>,
    compression: Vec<u8>,
    row_group: usize,
    batch_size: usize,
    /// The row to go on from.
    resumed: usize,
    shuffle_buffer: usize,
    interleave: usize,
}

fn cut() -> impl Strategy<Value = Cut> {
    let ends = proptest::collection::vec(0..=ROWS, 0..5);
    (ends, proptest::collection::vec(0..3_u8, 6), 1..70_usize, 1..70_usize, 0..2 * ROWS, 1..90_usize, 1..5_usize).prop_map(
        |(mut ends, compression, row_group, batch_size, resumed, shuffle_buffer, interleave)| {
            ends.sort_unstable();
            Cut { ends, compression, row_group, batch_size, resumed, shuffle_buffer, interleave }
        },
    )
}

/// The files of a cut, and their names.
fn files(input: &Input, cut: &Cut) -> (Files, Vec<String>) {
    let ends = cut.ends.iter().map(|end| end / input.together * input.together).chain([ROWS]);
    let starts = [0].into_iter().chain(ends.clone());
    let content = |(at, (start, end)): (usize, (usize, usize))| {
        let bytes = (input.write)(&(start..end), cut.row_group);
        (format!("part-{at}"), compressed(bytes, if input.compressible { cut.compression[at] } else { 0 }))
    };
    let parts: Vec<(String, Vec<u8>)> = starts.zip(ends).enumerate().map(content).collect();
    let named: Vec<(&str, &[u8])> = parts.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let files = Files::new(&named);
    let paths = parts.iter().map(|(name, _)| files.path(name)).collect();
    (files, paths)
}

fn rows(input: &Input, cut: &Cut, paths: &[String], mode: Mode, position: Option<Position>) -> Vec<String> {
    let config = config(&format!("batch_size: {} {}", cut.batch_size, input.settings));
    let mut options = ReaderOptions::sequential(&config, paths.to_vec()).expect("a good config");
    (options.mode, options.position) = (mode, position);
    rows_of(&read(&config, options).unwrap_or_else(|error| panic!("{}: {error}", input.name)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_rows_in_order(cut in cut()) {
        for input in &INPUTS {
            let single = Cut { ends: Vec::new(), compression: vec![0; 6], row_group: ROWS, batch_size: 1, ..cut.clone() };
            let (_one, whole) = files(input, &single);
            let expected = rows(input, &single, &whole, Mode::Sequential, None);
            prop_assert_eq!(expected.len(), ROWS, "{}", input.name);
            let (_several, paths) = files(input, &cut);
            prop_assert_eq!(&rows(input, &cut, &paths, Mode::Sequential, None), &expected, "{}", input.name);
            let resumed = cut.resumed % ROWS;
            let position = Position { epoch: 0, rows: resumed as u64, seed: 0 };
            prop_assert_eq!(&rows(input, &cut, &paths, Mode::Sequential, Some(position))[..], &expected[resumed..], "{}", input.name);
        }
    }

    #[test]
    fn shuffled_rows_go_on_from_any_row_with_any_batch_size(cut in cut()) {
        for input in &INPUTS {
            let mode = Mode::Train {
                shuffle: true,
                shuffle_buffer_size: cut.shuffle_buffer,
                num_epochs: 2,
                seed: 5,
                interleave: cut.interleave,
                drop_remainder: false,
            };
            let (_several, paths) = files(input, &cut);
            let expected = rows(input, &Cut { batch_size: 1, ..cut.clone() }, &paths, mode, None);
            prop_assert_eq!(expected.len(), 2 * ROWS, "{}", input.name);
            let position = Position { epoch: (cut.resumed / ROWS) as u64, rows: (cut.resumed % ROWS) as u64, seed: 5 };
            prop_assert_eq!(&rows(input, &cut, &paths, mode, Some(position))[..], &expected[cut.resumed..], "{}", input.name);
            let mut epochs: Vec<Vec<&String>> = expected.chunks(ROWS).map(|epoch| epoch.iter().collect()).collect();
            epochs.iter_mut().for_each(|epoch| epoch.sort());
            prop_assert_eq!(&epochs[0], &epochs[1], "each epoch has every row");
        }
    }
}

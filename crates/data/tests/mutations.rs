//! Damaged files and configs: an error or fewer rows, never a panic.
//!
//! Good files are cut, flipped, shortened and repeated at random, and read to the end. Each run makes the same 60 cases of each format;
//! `RANKMILL_FUZZ_SECONDS=600 RANKMILL_FUZZ_SEED=7 cargo test -p rankmill-data --test mutations` goes on for longer, with others.
//! `fuzz/` has the same targets for `cargo fuzz`.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::pipeline;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureSet, Reader, ReaderOptions};

const CASES: usize = 60;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).expect("a fixture")
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Random changes of files.
struct Mutations {
    random: Xoshiro256PlusPlus,
    until: Instant,
}

impl Mutations {
    fn new() -> Mutations {
        let until = Instant::now() + Duration::from_secs(setting("RANKMILL_FUZZ_SECONDS").unwrap_or(0));
        Mutations { random: Xoshiro256PlusPlus::seed_from_u64(setting("RANKMILL_FUZZ_SEED").unwrap_or(1)), until }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random.next_u64() % bound.max(1) as u64) as usize
    }

    /// A damaged copy.
    fn damaged(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + self.below(40)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = [0, 0xff, b'\n', b'"', b'{', 0x7f, 0x80][self.below(7)],
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let copy = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, copy);
                }
                4 => bytes.truncate(at),
                // Lengths and offsets of binary formats stand at their ends.
                _ => {
                    let from_end = self.below(200).min(bytes.len());
                    let at = bytes.len() - from_end;
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = byte.wrapping_add(self.random.next_u64() as u8);
                    }
                }
            }
        }
        bytes
    }

    /// Runs `survive` on damaged copies.
    fn run(mut self, good: &[u8], mut survive: impl FnMut(&[u8])) {
        let mut cases = 0;
        while cases < CASES || Instant::now() < self.until {
            survive(&self.damaged(good));
            cases += 1;
        }
    }
}

/// Reads a file of these bytes to its end or an error.
fn read(config: &Pipeline, bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("written");
    let options = ReaderOptions::sequential(config, vec![file.path().to_string_lossy().into_owned()]).expect("a good config");
    let features = FeatureSet::new(config).expect("a good config");
    if let Ok(reader) = Reader::new(options, features) {
        for batch in reader {
            let Ok(batch) = batch else { break };
            assert!(batch.features.labels[0].len() == batch.features.rows);
        }
    }
}

fn config(data: &str) -> Pipeline {
    let fields = "label:INT32 user:INT64 age:INT32 word:STRING price:FLOAT score:DOUBLE member:BOOL tags:STRING weights:STRING marks:STRING \
                  vector:STRING weight:FLOAT device.os:STRING device.version:INT32";
    let features = [
        "input_names: 'user' feature_type: IdFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'score' feature_type: RawFeature",
        "input_names: 'tags' input_names: 'weights' feature_type: TagFeature hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'marks' feature_type: TagFeature kv_separator: ':' hash_bucket_size: 1000 embedding_dim: 2",
        "input_names: 'vector' feature_type: RawFeature raw_input_dim: 3",
        "input_names: 'device.os' feature_type: IdFeature hash_bucket_size: 1000 embedding_dim: 2",
    ];
    pipeline(fields, &format!("separator: ',' batch_size: 16 ignore_error: true {data}"), &features)
}

fn survives(name: &str, data: &str) {
    let config = config(data);
    Mutations::new().run(&fixture(name), |bytes| read(&config, bytes));
}

#[test]
fn text() {
    survives("rows.csv", "");
    survives("rows.rtp", "input_type: RTPInput separator: '\\x02' selected_cols: '1,2'");
    survives("pairs.rtp", "input_type: RTPInputV2");
}

#[test]
fn json() {
    survives("rows.jsonl", "");
}

#[test]
fn tf_records() {
    survives("rows.tfrecord", "input_type: TFRecordInput");
    survives("rows.tfrecord.gz", "input_type: TFRecordInput");
    survives("batch.tfrecord", "input_type: BatchTFRecordInput n_data_batch_tfrecord: 4");
}

#[test]
fn messages_with_good_checksums() {
    let whole = fixture("rows.tfrecord");
    let length = u64::from_le_bytes(*whole.first_chunk().expect("a length")) as usize;
    let config = config("input_type: TFRecordInput");
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    Mutations::new().run(&whole[12..12 + length], |message| {
        let length = (message.len() as u64).to_le_bytes();
        read(&config, &[&length[..], &masked(&length), message, &masked(message)].concat());
    });
}

#[test]
fn parquet() {
    for name in ["rows.parquet", "plain.parquet", "gzip.parquet", "lz4.parquet", "zstd.parquet", "ids.parquet"] {
        survives(name, "input_type: ParquetInput");
    }
}

#[test]
fn what_fuzzing_found() {
    // The length of a run has more than 64 bits, which the Parquet library shifts too far.
    read(&config("input_type: ParquetInput"), &fixture("found/long_run.parquet"));
}

#[test]
fn configs() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/masknet_on_movielens.config");
    let example = std::fs::read(example).expect("the example");
    Mutations::new().run(&example, |text| {
        if let Ok(pipeline) = Pipeline::parse("damaged.config", &String::from_utf8_lossy(text), &Edits::default()) {
            let _ = (FeatureSet::new(&pipeline), ReaderOptions::train(&pipeline, Vec::new(), 1).is_ok());
        }
    });
}

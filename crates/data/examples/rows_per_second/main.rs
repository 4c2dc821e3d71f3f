//! Prints how many rows a second go from files into feature batches, as one JSON object.
//!
//! `cargo run --release -p rankmill-data --example rows_per_second -- CONFIG INPUT... [--passes N]`
//!
//! - `one_thread`: up to 64 MB of the inputs that are plain text, from memory: lines into fields (`split`), and on into feature batches
//!   (`split_and_features`).
//! - `reader_sequential`, `reader_shuffled`: all rows of all inputs through the reader with its two threads. Batches are taken as fast as
//!   they come, so `mean_ready` of `capacity` is near 0 unless the caller is what holds things up.
//!
//! - `formats`: up to 1,048,576 of these rows, written anew in each format, through the reader in order.
//!
//! A figure is the median of N passes (5), each over all rows.

mod formats;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureSet, Mode, Origin, Quotes, RawRows, Reader, ReaderOptions, Splitting};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How much text the runs on one thread take.
const IN_MEMORY: u64 = 64 * 1024 * 1024;
const USAGE: &str = "usage: rows_per_second CONFIG INPUT... [--passes N]";

/// What to measure.
struct Arguments {
    config: String,
    inputs: Vec<String>,
    passes: usize,
}

#[expect(clippy::print_stdout, reason = "the figures are what this example is for")]
fn main() -> Outcome<()> {
    let arguments = arguments(std::env::args().skip(1))?;
    let pipeline = Pipeline::load(Path::new(&arguments.config), &Edits::default())?;
    let features = FeatureSet::new(&pipeline)?;
    let mut shuffled = ReaderOptions::train(&pipeline, arguments.inputs.clone(), 1)?;
    if let Mode::Train { num_epochs, .. } = &mut shuffled.mode {
        *num_epochs = 1;
    }
    let sequential = ReaderOptions::sequential(&pipeline, arguments.inputs.clone())?;
    let figures = json!({
        "config": arguments.config,
        "passes": arguments.passes,
        "batch_size": sequential.batch_size,
        "one_thread": one_thread(&arguments, &pipeline, &features)?,
        "reader_sequential": reader(&arguments, &sequential, &features)?,
        "reader_shuffled": reader(&arguments, &shuffled, &features)?,
        "formats": by_format(&arguments, &pipeline, &features)?,
    });
    println!("{figures:#}");
    Ok(())
}

fn arguments(mut words: impl Iterator<Item = String>) -> Outcome<Arguments> {
    let mut arguments = Arguments { config: words.next().ok_or(USAGE)?, inputs: Vec::new(), passes: 5 };
    while let Some(word) = words.next() {
        if word == "--passes" {
            arguments.passes = words.next().ok_or(USAGE)?.parse()?;
        } else {
            arguments.inputs.push(word);
        }
    }
    if arguments.inputs.is_empty() || arguments.passes == 0 {
        return Err(USAGE.into());
    }
    Ok(arguments)
}

/// The reader's figures.
fn reader(arguments: &Arguments, options: &ReaderOptions, features: &FeatureSet) -> Outcome<Value> {
    let (mut rows, mut speeds, mut ready) = (0, Vec::new(), Vec::new());
    let mut capacity = 0;
    for _ in 0..arguments.passes {
        let start = Instant::now();
        let mut reader = Reader::new(options.clone(), features.clone())?;
        rows = 0;
        for batch in &mut reader {
            rows += batch?.features.rows;
        }
        speeds.push(per_second(rows, start));
        ready.push(reader.supply().mean_ready());
        capacity = reader.supply().capacity;
    }
    Ok(json!({
        "rows": rows,
        "rows_per_second": median(speeds).round(),
        "mean_ready": median(ready),
        "capacity": capacity,
    }))
}

/// The reader's figures for the same rows in each format.
fn by_format(arguments: &Arguments, pipeline: &Pipeline, features: &FeatureSet) -> Outcome<Value> {
    let folder = tempfile::tempdir()?;
    let mut figures = serde_json::Map::new();
    for (name, path) in formats::write(pipeline, &arguments.inputs, folder.path())? {
        let bytes = std::fs::metadata(&path)?.len();
        let mut figure = reader(arguments, &ReaderOptions::sequential(pipeline, vec![path])?, features)?;
        figure["bytes"] = bytes.into();
        figures.insert(name.to_string(), figure);
    }
    Ok(figures.into())
}

/// The figures of one thread; `null` if no input is text.
fn one_thread(arguments: &Arguments, pipeline: &Pipeline, features: &FeatureSet) -> Outcome<Value> {
    let text = text(&arguments.inputs)?;
    let options = ReaderOptions::sequential(pipeline, arguments.inputs.clone())?;
    let blocks = blocks(&text, options.batch_size);
    let lines: usize = blocks.iter().map(|(_, origins)| origins.len()).sum();
    if lines == 0 {
        return Ok(Value::Null);
    }
    let mut features = features.clone();
    let separator = pipeline.proto.data_config.as_ref().map_or(",", |data| data.separator());
    let splitting = Splitting::new(separator.as_bytes(), Quotes::Csv);
    let mut rows = RawRows::new(features.field_names().len(), Arc::from(["text".to_string()]));
    let (mut split, mut both) = (Vec::new(), Vec::new());
    for _ in 0..arguments.passes {
        let start = Instant::now();
        for (block, origins) in &blocks {
            rows.clear();
            rows.push_lines(block, &splitting, None, origins)?;
        }
        split.push(per_second(lines, start));
        let start = Instant::now();
        for (block, origins) in &blocks {
            rows.clear();
            rows.push_lines(block, &splitting, None, origins)?;
            features.transform(&rows)?;
        }
        both.push(per_second(lines, start));
    }
    Ok(json!({
        "rows": lines,
        "split_rows_per_second": median(split).round(),
        "split_and_features_rows_per_second": median(both).round(),
    }))
}

/// The text cut behind every `count` lines, and the origins of these.
fn blocks(text: &str, count: usize) -> Vec<(&[u8], Vec<Origin>)> {
    let lengths: Vec<usize> = text.split_inclusive('\n').map(str::len).collect();
    let mut rest = text.as_bytes();
    let mut next = |lengths: &[usize]| {
        let (block, behind) = rest.split_at(lengths.iter().sum());
        rest = behind;
        (block, vec![Origin::default(); lengths.len()])
    };
    lengths.chunks(count).map(&mut next).collect()
}

/// Whole lines from the starts of the inputs, but for compressed ones, which are no text.
fn text(inputs: &[String]) -> Outcome<String> {
    let mut text = String::new();
    for input in rankmill_data::expand_inputs(inputs)? {
        let mut bytes = Vec::new();
        File::open(&input.path)?.take(IN_MEMORY - text.len() as u64).read_to_end(&mut bytes)?;
        // The reader drops carriage returns before it cuts lines.
        bytes.retain(|&byte| byte != b'\r');
        bytes.truncate(end_of_last_line(&bytes));
        if let Ok(lines) = String::from_utf8(bytes) {
            text += &lines;
        }
    }
    Ok(text)
}

/// Where the last whole line ends.
fn end_of_last_line(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}

fn per_second(rows: usize, start: Instant) -> f64 {
    rows as f64 / start.elapsed().as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

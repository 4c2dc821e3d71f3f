//! Prints how many rows a second go from files into feature batches.
//!
//! `cargo run --release -p rankmill-data --example rows_per_second -- CONFIG INPUT...` reads the inputs once, first with the reader
//! (two threads), then on one thread from memory: lines to fields to columns.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureSet, Origin, Quotes, RawRows, Reader, ReaderOptions, Splitting};

/// How much of a file the run on one thread takes.
const IN_MEMORY: u64 = 64 * 1024 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let config = arguments.next().ok_or("usage: rows_per_second CONFIG INPUT...")?;
    let inputs: Vec<String> = arguments.collect();
    let pipeline = Pipeline::load(Path::new(&config), &Edits::default())?;
    let features = FeatureSet::new(&pipeline)?;

    let start = Instant::now();
    let mut reader = Reader::new(ReaderOptions::sequential(&pipeline, inputs.clone())?, features.clone())?;
    let mut rows = 0;
    for batch in &mut reader {
        rows += batch?.features.rows;
    }
    report("reader", rows, start);

    let mut shuffled = ReaderOptions::train(&pipeline, inputs.clone(), 1)?;
    if let rankmill_data::Mode::Train { num_epochs, .. } = &mut shuffled.mode {
        *num_epochs = 1;
    }
    let start = Instant::now();
    let mut rows = 0;
    for batch in Reader::new(shuffled, features.clone())? {
        rows += batch?.features.rows;
    }
    report("reader, shuffled", rows, start);

    for input in rankmill_data::expand_inputs(&inputs)? {
        let mut bytes = Vec::new();
        File::open(&input.path)?.take(IN_MEMORY).read_to_end(&mut bytes)?;
        bytes.truncate(bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1));
        // Compressed files are no text.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let separator = pipeline.proto.data_config.as_ref().map_or(",", |data| data.separator());
        one_thread(&text, &Splitting::new(separator.as_bytes(), Quotes::Csv), features.clone())?;
    }
    Ok(())
}

fn one_thread(text: &str, splitting: &Splitting, mut features: FeatureSet) -> Result<(), Box<dyn std::error::Error>> {
    let mut rows = RawRows::new(features.field_names().len(), Arc::from(["text".to_string()]));
    let lines: Vec<&str> = text.lines().collect();
    let start = Instant::now();
    let mut count = 0;
    for block in lines.chunks(1024) {
        rows.clear();
        for line in block {
            rows.push_line(line.as_bytes(), splitting, None, Origin::default())?;
        }
        count += features.transform(&rows)?.rows;
    }
    report("one thread, from memory", count, start);
    let start = Instant::now();
    for block in lines.chunks(1024) {
        rows.clear();
        for line in block {
            rows.push_line(line.as_bytes(), splitting, None, Origin::default())?;
        }
    }
    report("of that, lines to fields", count, start);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are what this example is for")]
fn report(what: &str, rows: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what}: {rows} rows in {seconds:.3} s, {:.2} M rows/s", rows as f64 / seconds / 1e6);
}

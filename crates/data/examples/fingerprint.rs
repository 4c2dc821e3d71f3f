//! Prints a fingerprint of all batches of features that a config makes of some files, as one JSON object.
//!
//! `cargo run -p rankmill-data --example fingerprint -- CONFIG INPUT...`
//!
//! Two inputs have the same fingerprint if their rows have the same bits, of every column, label and weight.

use std::path::Path;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureSet, Reader, ReaderOptions};
use rankmill_kernels::fingerprint::{fingerprint_cat64, fingerprint64};
use serde_json::json;

#[expect(clippy::print_stdout, reason = "the fingerprint is what this example is for")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let config = words.next().ok_or("usage: fingerprint CONFIG INPUT...")?;
    let pipeline = Pipeline::load(Path::new(&config), &Edits::default())?;
    let options = ReaderOptions::sequential(&pipeline, words.collect())?;
    let (mut rows, mut fingerprint) = (0, 0);
    for batch in Reader::new(options, FeatureSet::new(&pipeline)?)? {
        let features = batch?.features;
        rows += features.rows;
        // The shortest text of a number is that of no other one.
        fingerprint = fingerprint_cat64(fingerprint, fingerprint64(format!("{features:?}").as_bytes()));
    }
    println!("{}", json!({ "rows": rows, "fingerprint": format!("{fingerprint:016x}") }));
    Ok(())
}

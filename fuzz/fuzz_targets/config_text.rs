//! Configs: read, checked, and made features of.
#![no_main]

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureSet, ReaderOptions};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    if let Ok(pipeline) = Pipeline::parse("fuzz.config", &String::from_utf8_lossy(text), &Edits::default()) {
        let _ = (FeatureSet::new(&pipeline), ReaderOptions::train(&pipeline, Vec::new(), 1).is_ok());
    }
});

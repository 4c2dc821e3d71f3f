//! Expressions as configs have them, and the formulas that features and labels make of them.
#![no_main]

use rankmill_config::expression::{Function, parse, parse_subscripts};
use rankmill_data::FeatureSet;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let text = String::from_utf8_lossy(text);
    let _ = (parse(&text), parse_subscripts(&text, "x"), Function::parse(&text, 1), Function::subscripts(&text, &["x"]));
    if let Some(config) = rankmill_fuzz::formulas(&text) {
        let _ = FeatureSet::new(&config);
    }
});

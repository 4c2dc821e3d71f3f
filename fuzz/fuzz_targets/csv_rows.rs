//! Lines of separated fields.
#![no_main]

use std::sync::LazyLock;

use rankmill_config::Pipeline;

static CONFIG: LazyLock<Pipeline> = LazyLock::new(|| rankmill_fuzz::config("CSVInput"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rankmill_fuzz::read(&CONFIG, bytes));

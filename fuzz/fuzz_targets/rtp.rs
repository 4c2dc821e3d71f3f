//! Lines of an RTP table: the last field holds the features.
#![no_main]

use std::sync::LazyLock;

use rankmill_config::Pipeline;

static CONFIG: LazyLock<Pipeline> = LazyLock::new(|| rankmill_fuzz::config("RTPInput selected_cols: '0,1'"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rankmill_fuzz::read(&CONFIG, bytes));

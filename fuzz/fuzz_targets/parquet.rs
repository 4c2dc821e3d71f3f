//! Parquet files.
#![no_main]

use std::sync::LazyLock;

use rankmill_config::Pipeline;

static CONFIG: LazyLock<Pipeline> = LazyLock::new(|| rankmill_fuzz::config("ParquetInput"));

libfuzzer_sys::fuzz_target!(init: rankmill_fuzz::pass_over_panics_of_parquet(), |bytes: &[u8]| rankmill_fuzz::read(&CONFIG, bytes));

//! Parquet files.
#![no_main]

use std::sync::LazyLock;

use rankmill_fuzz::Input;

static INPUT: LazyLock<Input> = LazyLock::new(|| Input::new("ParquetInput"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| INPUT.read(bytes));

//! Parquet files.
#![no_main]

use std::sync::LazyLock;

use rankmill_fuzz::Input;

static INPUT: LazyLock<Input> = LazyLock::new(|| Input::new("ParquetInput"));

libfuzzer_sys::fuzz_target!(init: rankmill_fuzz::pass_over_panics_of_parquet(), |bytes: &[u8]| INPUT.read(bytes));

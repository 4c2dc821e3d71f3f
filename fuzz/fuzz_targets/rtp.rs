//! Lines of an RTP table: the last field holds the features.
#![no_main]

use std::sync::LazyLock;

use rankmill_fuzz::Input;

static INPUT: LazyLock<Input> = LazyLock::new(|| Input::new("RTPInput selected_cols: '0,1'"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| INPUT.read(bytes));

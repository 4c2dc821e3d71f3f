//! JSON lines: every line is made an object, so that the file is one of JSON lines.
#![no_main]

use std::sync::LazyLock;

use rankmill_fuzz::Input;

static INPUT: LazyLock<Input> = LazyLock::new(|| Input::new("CSVInput"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| INPUT.read(&[b"{\"label\": 1}\n", bytes].concat()));

//! `tf.train.Example`s in a frame with good checksums.
#![no_main]

use std::sync::LazyLock;

use rankmill_fuzz::Input;

static INPUT: LazyLock<Input> = LazyLock::new(|| Input::new("TFRecordInput"));

fn masked_checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    let length = (message.len() as u64).to_le_bytes();
    INPUT.read(&[&length[..], &masked_checksum(&length), message, &masked_checksum(message)].concat());
});

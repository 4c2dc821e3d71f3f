//! Where the fields of many lines begin and end, found in one scan.
//!
//! Fields are a few bytes long, so a search that starts anew behind each one spends most of its time starting. Here 64 bytes at a time
//! are compared with both the separator and the line end, which gives a bit for each, and the set bits are walked through.

const BLOCK: usize = 64;

/// Adds the spans between the separators and line ends of `text`, shifted by `base`. Behind the last of them there is no span.
pub(super) fn cut(text: &[u8], base: u32, separator: u8, spans: &mut Vec<(u32, u32)>) {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut start = base;
    let mut take = |mut ends: u64, block: usize| {
        while ends != 0 {
            let end = base + (block * BLOCK) as u32 + ends.trailing_zeros();
            spans.push((start, end));
            start = end + 1;
            ends &= ends - 1;
        }
    };
    for (at, block) in blocks.iter().enumerate() {
        take(ends(block, separator), at);
    }
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    // The bytes behind the text could be separators.
    take(ends(&last, separator) & ((1 << rest.len()) - 1), blocks.len());
}

/// Bit `i` is set if byte `i` is the separator or a line end.
#[inline]
fn ends(block: &[u8; BLOCK], separator: u8) -> u64 {
    let mut flags = [0; BLOCK];
    for (flag, &byte) in flags.iter_mut().zip(block) {
        *flag = u8::from(byte == separator) | u8::from(byte == b'\n');
    }
    let (words, _) = flags.as_chunks::<8>();
    words.iter().rev().fold(0, |bits, word| bits << 8 | eight_bits(u64::from_le_bytes(*word)))
}

/// The lowest bits of eight bytes side by side; the other bits must be 0.
#[inline]
fn eight_bits(flags: u64) -> u64 {
    // Bit 8k goes to 56 + k by the factor's bit 56 - 7k; no two products meet in one bit, so nothing is carried.
    flags.wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One byte at a time.
    fn cut_slowly(text: &[u8], base: u32, separator: u8) -> Vec<(u32, u32)> {
        let mut spans = Vec::new();
        let mut start = base;
        for (end, &byte) in (base..).zip(text) {
            if byte == separator || byte == b'\n' {
                spans.push((start, end));
                start = end + 1;
            }
        }
        spans
    }

    #[test]
    fn every_flag_keeps_its_place() {
        for flags in 0..=255_u64 {
            let bytes: [u8; 8] = std::array::from_fn(|at| (flags >> at & 1) as u8);
            assert_eq!(eight_bits(u64::from_le_bytes(bytes)), flags);
        }
    }

    proptest::proptest! {
        #[test]
        fn like_one_byte_at_a_time(
            text in proptest::collection::vec(proptest::sample::select(b"\0\n,\t+\xac\xff".to_vec()), 0..200),
            separator in proptest::sample::select(b"\0,\t\xff".to_vec()),
        ) {
            let mut spans = Vec::new();
            cut(&text, 7, separator, &mut spans);
            proptest::prop_assert_eq!(spans, cut_slowly(&text, 7, separator));
        }
    }
}

//! From one value to a row of an embedding table: by hash, by vocabulary or by number (EasyRec behaviours 6 to 10).

use std::collections::HashMap;

use rankmill_kernels::fingerprint::{Decimal, hash_bucket};

/// How values become rows of a table.
#[derive(Clone, Debug)]
pub(crate) enum IdRule {
    /// Fingerprint64 modulo the buckets.
    Hash { buckets: u64 },
    /// The place in the vocabulary; a value that is not in it is row 0.
    Vocabulary { places: HashMap<Box<[u8]>, u32> },
    /// The number itself; outside 0 .. buckets it is row 0.
    Number { buckets: u64 },
}

impl IdRule {
    /// Rows of the table.
    pub(crate) fn rows(&self) -> u64 {
        match self {
            IdRule::Hash { buckets } | IdRule::Number { buckets } => *buckets,
            IdRule::Vocabulary { places } => places.len() as u64,
        }
    }

    /// The row of a text; `None` if a whole number is needed and `integer` reads none.
    #[inline]
    pub(crate) fn row(&self, text: &[u8], integer: fn(&[u8]) -> Option<i64>, out_of_range: &mut u64) -> Option<u32> {
        match self {
            IdRule::Hash { buckets } => Some(hashed(text, *buckets)),
            IdRule::Vocabulary { places } => Some(in_vocabulary(places, text, out_of_range)),
            IdRule::Number { buckets } => integer(text).map(|value| in_range(value, *buckets, out_of_range)),
        }
    }
}

/// The row of a text in a vocabulary.
#[inline]
pub(crate) fn in_vocabulary(places: &HashMap<Box<[u8]>, u32>, text: &[u8], out_of_range: &mut u64) -> u32 {
    places.get(text).copied().unwrap_or_else(|| {
        *out_of_range += 1;
        0
    })
}

/// The row of a number.
#[inline]
pub(crate) fn in_range(value: i64, buckets: u64, out_of_range: &mut u64) -> u32 {
    match u64::try_from(value) {
        Ok(id) if id < buckets => id as u32,
        _ => {
            *out_of_range += 1;
            0
        }
    }
}

/// The row of a text by hash. Table sizes fit `u32`, so buckets do.
#[inline]
pub(crate) fn hashed(text: &[u8], buckets: u64) -> u32 {
    hash_bucket(text, buckets) as u32
}

/// The row of an integer's decimal text in a vocabulary.
#[inline]
pub(crate) fn integer_in_vocabulary(places: &HashMap<Box<[u8]>, u32>, value: i64, out_of_range: &mut u64) -> u32 {
    in_vocabulary(places, Decimal::new(value).as_bytes(), out_of_range)
}

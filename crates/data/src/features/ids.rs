//! From one value to a row of an embedding table: by hash, by vocabulary or by number (EasyRec behaviours 6 to 10).

use std::collections::HashMap;
use std::fmt::Debug;

use rankmill_kernels::fingerprint::{Decimal, hash_bucket};
use rankmill_kernels::ids::IdColumn;

use crate::number::{parse_int32, parse_int64};

/// What a value becomes: the row of a table, or the key of a dynamic one.
pub(crate) trait Id: Copy + Debug + Default {
    /// The id of a number below the rule's limit, which for rows of a table fits 32 bits.
    fn of(number: u64) -> Self;

    /// The number of an id.
    fn number(self) -> u64;

    /// The column as batches have it: of keys, which it then numbers, there is a list beside it.
    fn split(column: IdColumn<Self>) -> (IdColumn, Vec<u64>);

    /// A column of rows as one of such ids.
    fn from_rows(column: IdColumn) -> IdColumn<Self>;
}

impl Id for u32 {
    #[inline]
    fn of(number: u64) -> u32 {
        number as u32
    }

    fn number(self) -> u64 {
        u64::from(self)
    }

    fn split(column: IdColumn) -> (IdColumn, Vec<u64>) {
        (column, Vec::new())
    }

    fn from_rows(column: IdColumn) -> IdColumn {
        column
    }
}

impl Id for u64 {
    #[inline]
    fn of(number: u64) -> u64 {
        number
    }

    fn number(self) -> u64 {
        self
    }

    fn split(column: IdColumn<u64>) -> (IdColumn, Vec<u64>) {
        let IdColumn { offsets, ids: keys, weights } = column;
        (IdColumn { offsets, ids: (0..keys.len() as u32).collect(), weights }, keys)
    }

    fn from_rows(column: IdColumn) -> IdColumn<u64> {
        let IdColumn { offsets, ids, weights } = column;
        IdColumn { offsets, ids: ids.into_iter().map(u64::from).collect(), weights }
    }
}

/// Keys are below this number, as EasyRec has it (`MAX_HASH_BUCKET_SIZE`): the largest of 64 bits with a sign.
pub(crate) const KEYS: u64 = i64::MAX as u64;

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

    /// The whole number that a text is: of 32 bits, as EasyRec reads it, or of 64 where the numbers are keys.
    pub(crate) fn integer(&self, text: &[u8]) -> Option<i64> {
        match self {
            IdRule::Number { buckets: KEYS } => parse_int64(text),
            _ => parse_int32(text).map(i64::from),
        }
    }

    /// The row of a text; `None` if a whole number is needed and `integer` reads none.
    #[inline]
    pub(crate) fn row<T: Id>(&self, text: &[u8], integer: impl FnOnce(&[u8]) -> Option<i64>, out_of_range: &mut u64) -> Option<T> {
        match self {
            IdRule::Hash { buckets } => Some(hashed(text, *buckets)),
            IdRule::Vocabulary { places } => Some(in_vocabulary(places, text, out_of_range)),
            IdRule::Number { buckets } => integer(text).map(|value| in_range(value, *buckets, out_of_range)),
        }
    }
}

/// The row of a text in a vocabulary.
#[inline]
pub(crate) fn in_vocabulary<T: Id>(places: &HashMap<Box<[u8]>, u32>, text: &[u8], out_of_range: &mut u64) -> T {
    T::of(places.get(text).map_or_else(
        || {
            *out_of_range += 1;
            0
        },
        |place| u64::from(*place),
    ))
}

/// The row of a number.
#[inline]
pub(crate) fn in_range<T: Id>(value: i64, buckets: u64, out_of_range: &mut u64) -> T {
    T::of(match u64::try_from(value) {
        Ok(id) if id < buckets => id,
        _ => {
            *out_of_range += 1;
            0
        }
    })
}

/// The row of a text by hash. Table sizes fit `u32`, so buckets do.
#[inline]
pub(crate) fn hashed<T: Id>(text: &[u8], buckets: u64) -> T {
    T::of(hash_bucket(text, buckets))
}

/// The row of an integer's decimal text in a vocabulary.
#[inline]
pub(crate) fn integer_in_vocabulary<T: Id>(places: &HashMap<Box<[u8]>, u32>, value: i64, out_of_range: &mut u64) -> T {
    in_vocabulary(places, Decimal::new(value).as_bytes(), out_of_range)
}

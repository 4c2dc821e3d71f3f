//! The product of two sparse vectors that are written as texts, `a:0.5|b:2`: the sum over common keys of the products of their numbers.

use std::collections::BTreeMap;

use super::overlap::words;
use crate::number::parse_float32;

/// The product, or `default` if a text has no keys. A key without a number has 1, and so has one whose number is none; a key that comes
/// several times has the sum.
pub(super) fn product([query, document]: [&[u8]; 2], separator: &str, default: f32) -> f32 {
    let (query, document) = (words(query, separator), words(document, separator));
    if query.is_empty() || document.is_empty() {
        return default;
    }
    let mut numbers = BTreeMap::<&[u8], f32>::new();
    for word in document {
        let (key, number) = entry(word);
        *numbers.entry(key).or_default() += number;
    }
    query.into_iter().map(entry).filter_map(|(key, number)| Some(number * numbers.get(key)?)).sum()
}

fn entry(word: &[u8]) -> (&[u8], f32) {
    match memchr::memrchr(b':', word) {
        Some(at) => match parse_float32(&word[at + 1..]) {
            Some(number) => (&word[..at], number),
            None => (word, 1.0),
        },
        None => (word, 1.0),
    }
}

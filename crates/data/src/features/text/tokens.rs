//! The tokens of `TextEncoder` (EasyRec behaviour 136): of the texts `a`, `b` those of `[CLS] a [SEP] b [SEP] `, `separator` between them.
//!
//! The whole is cut at each `separator`, so that there are empty tokens: behind the last separator, and for an empty text. The encoder
//! hides empty tokens, and fills rows up with them.

use std::collections::HashMap;

use crate::features::ids::hashed;
use crate::features::split::PositionSeparator;
use crate::features::vocabulary;

/// How texts become tokens. A token is two numbers: its id less that of the empty token, and 1, or 0 if it is empty. So the zeros that
/// rows are filled up with are empty tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    separator: String,
    splitter: PositionSeparator,
    ids: TokenIds,
    /// The most tokens of a row; those behind are left out. (EasyRec stops there.)
    most: usize,
}

/// From a token to its id.
#[derive(Clone, Debug)]
pub enum TokenIds {
    /// Fingerprint64 modulo so many.
    Hash(u64),
    /// Its line in a file, or `default`.
    Vocabulary {
        /// The line of each token.
        places: HashMap<Box<[u8]>, u32>,
        /// The id of tokens that the file does not have.
        default: u32,
    },
}

impl TokenIds {
    /// The ids of the lines of a file.
    ///
    /// # Errors
    /// In words, if the file can't be read or has a line twice.
    pub fn from_file(path: &str, default: u32) -> Result<TokenIds, String> {
        Ok(TokenIds::Vocabulary { places: vocabulary::from_file(path)?, default })
    }

    /// One more than the largest id.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            TokenIds::Hash(buckets) => *buckets,
            TokenIds::Vocabulary { places, default } => (places.len() as u64).max(u64::from(*default) + 1),
        }
    }

    fn id(&self, token: &[u8]) -> u32 {
        match self {
            TokenIds::Hash(buckets) => hashed(token, *buckets),
            TokenIds::Vocabulary { places, default } => places.get(token).copied().unwrap_or(*default),
        }
    }
}

impl Tokens {
    /// Numbers of a token.
    pub const WIDTH: usize = 2;

    /// Texts with `separator` between their words, at most `most` tokens of each row.
    #[must_use]
    pub fn new(separator: &str, ids: TokenIds, most: usize) -> Tokens {
        Tokens { separator: separator.to_owned(), splitter: PositionSeparator::new(separator), ids, most }
    }

    /// The id of the empty token.
    #[must_use]
    pub fn empty_id(&self) -> u32 {
        self.ids.id(b"")
    }

    /// Adds the numbers of a row's tokens.
    pub(super) fn numbers(&self, texts: &[Vec<u8>], numbers: &mut Vec<f32>) {
        let separator = self.separator.as_bytes();
        let mut whole = [b"[CLS]", separator].concat();
        for text in texts {
            whole.extend_from_slice(text);
            whole.extend_from_slice(separator);
            whole.extend_from_slice(b"[SEP]");
            whole.extend_from_slice(separator);
        }
        let empty = f64::from(self.empty_id());
        let mut left = self.most;
        self.splitter.parts(&whole, |token| {
            if left > 0 {
                left -= 1;
                let difference = f64::from(self.ids.id(token)) - empty;
                numbers.extend([difference as f32, f32::from(u8::from(!token.is_empty()))]);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tokens: &Tokens, texts: &[&str], expected: &[(&str, f32)]) {
        let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let mut found = Vec::new();
        tokens.numbers(&texts, &mut found);
        let ids = |token: &str| f64::from(tokens.ids.id(token.as_bytes())) - f64::from(tokens.empty_id());
        let expected: Vec<f32> = expected.iter().flat_map(|(token, mask)| [ids(token) as f32, *mask]).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn tokens_of_texts() {
        let tokens = Tokens::new(" ", TokenIds::Hash(1000), 100);
        check(&tokens, &["red hat"], &[("[CLS]", 1.0), ("red", 1.0), ("hat", 1.0), ("[SEP]", 1.0), ("", 0.0)]);
        check(&tokens, &["", "a"], &[("[CLS]", 1.0), ("", 0.0), ("[SEP]", 1.0), ("a", 1.0), ("[SEP]", 1.0), ("", 0.0)]);
        check(&Tokens::new(" ", TokenIds::Hash(1000), 2), &["red hat"], &[("[CLS]", 1.0), ("red", 1.0)]);
    }
}

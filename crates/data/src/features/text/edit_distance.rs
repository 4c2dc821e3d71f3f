//! Levenshtein's distance (Levenshtein 1966): the least number of characters to insert, delete or replace that makes one text the other.

/// What a character of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Characters {
    /// A character of UTF-8; what is no UTF-8 counts as U+FFFD.
    Utf8,
    /// A byte.
    Bytes,
}

/// The distance of two texts.
pub(super) fn distance(a: &[u8], b: &[u8], characters: Characters) -> usize {
    match characters {
        Characters::Bytes => of_symbols(a, b),
        Characters::Utf8 if a.is_ascii() && b.is_ascii() => of_symbols(a, b),
        Characters::Utf8 => {
            let [a, b] = [a, b].map(|text| String::from_utf8_lossy(text).chars().collect::<Vec<char>>());
            of_symbols(&a, &b)
        }
    }
}

/// One row of the table of distances between all beginnings at a time (Wagner, Fischer 1974).
fn of_symbols<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

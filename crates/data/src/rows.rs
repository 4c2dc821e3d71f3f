//! Rows as fields, before any meaning is given to them: what every source hands to the features.
//!
//! The rows of a batch are one buffer of bytes and the span of each field in it; a field is text, or a number already (see [`Cell`]). `tf.decode_csv`'s rules (EasyRec behaviour 1) are
//! applied here by an own splitter over `memchr`: the general CSV readers accept what TensorFlow refuses (a quote inside an unquoted
//! field, a quoted field that is not closed) and cannot raise its errors. Lines without quotes are the rule, so a block of them is cut
//! in one scan, and line by line only if there is a quote in it or a line has more or fewer fields than it should.

use std::sync::Arc;

use self::cell::{Cell, Tag};
use crate::error::Rule;
use crate::number::parse_short_digits;

pub(crate) mod cell;
pub(crate) mod example;
pub(crate) mod json;
pub(crate) mod record;
pub(crate) mod rtp;
mod scan;
pub(crate) mod wire;

/// How a line is cut into fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splitting {
    separators: [bool; 256],
    /// The separator if it is one byte.
    single: Option<u8>,
    quotes: Quotes,
}

/// Whether quotes mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// `tf.decode_csv`: a field may be quoted, `""` inside it is a quote.
    Csv,
    /// `tf.string_split`: a quote is a character like any other.
    Plain,
}

impl Splitting {
    /// Cuts at each of the bytes of `separators`.
    #[must_use]
    pub fn new(separators: &[u8], quotes: Quotes) -> Splitting {
        let mut table = [false; 256];
        for &byte in separators {
            table[usize::from(byte)] = true;
        }
        let single = match separators {
            [byte] => Some(*byte),
            _ => None,
        };
        Splitting { separators: table, single, quotes }
    }

    /// The parts of a line where quotes mean nothing.
    pub(crate) fn parts<'a>(&self, line: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        line.split(|byte| self.separators[usize::from(*byte)])
    }

    /// How many fields a line has.
    pub(crate) fn count_fields(&self, line: &[u8]) -> Result<usize, Rule> {
        let mut spans = Vec::new();
        split(&mut line.to_vec(), 0, self, &mut spans)?;
        Ok(spans.len())
    }
}

/// Where a row came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Index of the file's name in the list given to [`RawRows::new`].
    pub file: u32,
    /// The line, counted from 1.
    pub line: u64,
}

/// The rows of a batch as text.
#[derive(Clone, Debug, Default)]
pub struct RawRows {
    bytes: Vec<u8>,
    /// Start and end of each field, row after row; empty fields for a row in `broken`. In place of a number's are the halves of its bits.
    spans: Vec<(u32, u32)>,
    /// What each field is; those that are not there are plain text.
    tags: Vec<Tag>,
    columns: usize,
    origins: Vec<Origin>,
    files: Arc<[String]>,
    broken: Vec<(u32, Rule)>,
}

impl RawRows {
    /// No rows yet, of `columns` fields each: those of `data_config.input_fields`, in that order.
    #[must_use]
    pub fn new(columns: usize, files: Arc<[String]>) -> RawRows {
        RawRows { columns, files, ..RawRows::default() }
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.origins.len()
    }

    /// The number of fields of each row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The text of a field; empty for a number that a file had as such, and for a row that could not be cut into fields.
    ///
    /// # Panics
    /// If there is no such row or column.
    #[inline]
    #[must_use]
    pub fn field(&self, row: usize, column: usize) -> &[u8] {
        if let Cell::Text(text) = self.cell(row, column) { text } else { &[] }
    }

    /// The number that a text is, if it is a few plain digits with enough text before it (see [`parse_short_digits`]).
    #[inline]
    pub(crate) fn short_digits(&self, row: usize, column: usize) -> Option<u32> {
        let (start, end) = self.spans[row * self.columns + column];
        parse_short_digits(&self.bytes, start as usize, end as usize)
    }

    /// Whether a field of any row may be more than plain text.
    pub(crate) fn has_tags(&self) -> bool {
        !self.tags.is_empty()
    }

    /// The file and line of a row.
    #[must_use]
    pub fn place(&self, row: usize) -> (&str, u64) {
        let origin = self.origins[row];
        (self.file(origin), origin.line)
    }

    /// The name of a row's file.
    pub(crate) fn file(&self, origin: Origin) -> &str {
        self.files.get(origin.file as usize).map_or("", String::as_str)
    }

    /// The rows that could not be cut into fields, in order.
    #[must_use]
    pub fn broken(&self) -> &[(u32, Rule)] {
        &self.broken
    }

    /// Whether a row could not be cut into fields.
    pub(crate) fn is_broken(&self, row: usize) -> bool {
        self.broken.binary_search_by_key(&row, |(broken, _)| *broken as usize).is_ok()
    }

    /// The memory that the rows take, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.spans.len() * 8 + self.tags.len() * 4 + self.origins.len() * 16
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.tags.clear();
        self.origins.clear();
        self.broken.clear();
    }

    /// Adds a row of ready fields.
    ///
    /// # Errors
    /// [`Rule::FieldCount`] if there are more or fewer fields than columns, [`Rule::BatchTooLarge`] beyond 4 GB of text.
    pub fn push_fields<'a>(&mut self, fields: impl IntoIterator<Item = &'a [u8]>, origin: Origin) -> Result<(), Rule> {
        let (bytes, spans) = (self.bytes.len(), self.spans.len());
        for field in fields {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(field);
            self.spans.push((start as u32, self.bytes.len() as u32));
        }
        let found = self.spans.len() - spans;
        let result = if self.bytes.len() > u32::MAX as usize {
            Err(Rule::BatchTooLarge)
        } else if found != self.columns {
            Err(Rule::FieldCount { expected: self.columns, found })
        } else {
            self.origins.push(origin);
            return Ok(());
        };
        self.bytes.truncate(bytes);
        self.spans.truncate(spans);
        result
    }

    /// Cuts lines, each ended by `\n`, into fields and adds them as rows, as [`RawRows::push_line`] does one by one. There is an origin for
    /// each line.
    ///
    /// # Errors
    /// [`Rule::BatchTooLarge`] beyond 4 GB of text; the lines before that one are rows.
    ///
    /// # Panics
    /// If there are not as many lines as origins, or the last one has no end.
    pub fn push_lines(&mut self, text: &[u8], splitting: &Splitting, order: Option<&FieldOrder>, origins: &[Origin]) -> Result<(), Rule> {
        assert!(matches!(text, [] | [.., b'\n']), "every line has its end");
        assert_eq!(memchr::memchr_iter(b'\n', text).count(), origins.len(), "every line has an origin");
        if self.push_clean_lines(text, splitting, order, origins) {
            return Ok(());
        }
        let mut start = 0;
        for (end, &origin) in memchr::memchr_iter(b'\n', text).zip(origins) {
            self.push_line(&text[start..end], splitting, order, origin)?;
            start = end + 1;
        }
        Ok(())
    }

    /// The fast way for lines without quotes, all with the fields they should have. For others it changes nothing and returns `false`.
    fn push_clean_lines(&mut self, text: &[u8], splitting: &Splitting, order: Option<&FieldOrder>, origins: &[Origin]) -> bool {
        let width = order.map_or(self.columns, |order| order.width);
        let separator = match splitting.single {
            // An empty line is one empty field to the scan and none to `tf.decode_csv`; with two or more fields both are wrong.
            Some(separator) if separator != b'\n' && width > 1 => separator,
            _ => return false,
        };
        let (base, first) = (self.bytes.len(), self.spans.len());
        let may_be_quoted = splitting.quotes == Quotes::Csv && memchr::memchr2(b'"', b'\r', text).is_some();
        if may_be_quoted || base + text.len() > u32::MAX as usize {
            return false;
        }
        scan::cut(text, base as u32, separator, &mut self.spans);
        let cuts = &self.spans[first..];
        // There are as many line ends as lines. If they are where they should be, no other cut is one.
        let ends_line = |cut: &(u32, u32)| text[cut.1 as usize - base] == b'\n';
        if cuts.len() != width * origins.len() || !cuts.chunks_exact(width).all(|line| ends_line(&line[width - 1])) {
            self.spans.truncate(first);
            return false;
        }
        if let Some(order) = order {
            let cuts = self.spans.split_off(first);
            for line in cuts.chunks_exact(width) {
                self.spans.extend(order.columns.iter().map(|&field| line[field]));
            }
        }
        self.bytes.extend_from_slice(text);
        self.origins.extend_from_slice(origins);
        true
    }

    /// Cuts a line (without its end) into fields and adds them as a row; `order` says which field of the line each column is, for files
    /// whose header has another order. A line that breaks a rule becomes a row of [`RawRows::broken`].
    ///
    /// # Errors
    /// [`Rule::BatchTooLarge`] beyond 4 GB of text.
    pub fn push_line(&mut self, line: &[u8], splitting: &Splitting, order: Option<&FieldOrder>, origin: Origin) -> Result<(), Rule> {
        let base = self.bytes.len();
        if base + line.len() > u32::MAX as usize {
            return Err(Rule::BatchTooLarge);
        }
        self.bytes.extend_from_slice(line);
        let first = self.spans.len();
        self.origins.push(origin);
        let outcome = split(&mut self.bytes[base..], base as u32, splitting, &mut self.spans);
        let expected = order.map_or(self.columns, |order| order.width);
        let found = self.spans.len() - first;
        let outcome = match outcome {
            Ok(()) if found != expected => Err(Rule::FieldCount { expected, found }),
            outcome => outcome,
        };
        match (outcome, order) {
            (Ok(()), None) => {}
            (Ok(()), Some(order)) => {
                let spans: Vec<_> = order.columns.iter().map(|&field| self.spans[first + field]).collect();
                self.spans.truncate(first);
                self.spans.extend(spans);
            }
            (Err(rule), _) => {
                self.spans.truncate(first);
                self.spans.resize(first + self.columns, (0, 0));
                self.broken.push((self.origins.len() as u32 - 1, rule));
            }
        }
        Ok(())
    }
}

/// Which field of a line each column is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldOrder {
    /// How many fields a line has.
    pub width: usize,
    /// For each column its field.
    pub columns: Vec<usize>,
}

/// Adds the spans of a line's fields, shifted by `base`. Quoted fields are unquoted in place: they only get shorter.
fn split(line: &mut [u8], base: u32, splitting: &Splitting, spans: &mut Vec<(u32, u32)>) -> Result<(), Rule> {
    if splitting.quotes == Quotes::Csv {
        if line.is_empty() {
            return Ok(());
        }
        if memchr::memchr2(b'"', b'\r', line).is_some() || memchr::memchr(b'\n', line).is_some() {
            return split_quoted(line, base, splitting, spans);
        }
    }
    let mut start = 0;
    let mut cut = |end: usize| {
        spans.push((base + start as u32, base + end as u32));
        start = end + 1;
    };
    match splitting.single {
        Some(separator) => memchr::memchr_iter(separator, line).for_each(&mut cut),
        None => line.iter().enumerate().filter(|(_, byte)| splitting.separators[usize::from(**byte)]).for_each(|(at, _)| cut(at)),
    }
    cut(line.len());
    Ok(())
}

/// `tf.decode_csv`'s cutting of a line that has quotes or line ends in it.
fn split_quoted(line: &mut [u8], base: u32, splitting: &Splitting, spans: &mut Vec<(u32, u32)>) -> Result<(), Rule> {
    let is_separator = |byte: u8| splitting.separators[usize::from(byte)];
    let length = line.len();
    let mut at = 0;
    while at < length {
        if line[at] == b'\n' || line[at] == b'\r' {
            // TensorFlow passes over line ends before a field.
            at += 1;
            continue;
        }
        if line[at] != b'"' {
            let start = at;
            while at < length && !is_separator(line[at]) {
                if matches!(line[at], b'"' | b'\n' | b'\r') {
                    return Err(Rule::QuoteInUnquoted);
                }
                at += 1;
            }
            spans.push((base + start as u32, base + at as u32));
            at += 1;
            continue;
        }
        at += 1;
        let start = at;
        let mut write = at;
        while at + 1 < length && !(line[at] == b'"' && is_separator(line[at + 1])) {
            if line[at] == b'"' {
                if line[at + 1] != b'"' {
                    return Err(Rule::QuoteNotDoubled);
                }
                at += 1;
            }
            line[write] = line[at];
            write += 1;
            at += 1;
        }
        if at >= length || line[at] != b'"' {
            return Err(Rule::QuoteNotClosed);
        }
        spans.push((base + start as u32, base + write as u32));
        at += 2;
    }
    if is_separator(line[length - 1]) {
        spans.push((base + length as u32, base + length as u32));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<&[&str], Rule>) {
        let mut rows = RawRows::new(expected.as_ref().map_or(3, |fields| fields.len()), Arc::from([]));
        rows.push_line(line.as_bytes(), &Splitting::new(b",", Quotes::Csv), None, Origin::default()).expect("short");
        let found = match rows.broken() {
            [] => Ok((0..rows.columns()).map(|column| std::str::from_utf8(rows.field(0, column)).expect("utf-8")).collect::<Vec<_>>()),
            [(0, rule)] => Err(rule.clone()),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected.map(<[&str]>::to_vec), "{line:?}");
    }

    #[test]
    fn quoting_rules() {
        check("a,b,c", Ok(&["a", "b", "c"]));
        check(",,", Ok(&["", "", ""]));
        check("\"a,b\",\"c\"\"d\",", Ok(&["a,b", "c\"d", ""]));
        check("\"\",x,\"\"", Ok(&["", "x", ""]));
        check("\"a\"\",\"b\",c", Err(Rule::QuoteNotDoubled));
        check("\"a\"\"\",b", Ok(&["a\"", "b"]));
        check("a\"b,c,d", Err(Rule::QuoteInUnquoted));
        check("a,b,c\r", Err(Rule::QuoteInUnquoted));
        check("a,b,\"c", Err(Rule::QuoteNotClosed));
        check("\"", Err(Rule::QuoteNotClosed));
        check("\"a\"b,c,d", Err(Rule::QuoteNotDoubled));
        check("a,b", Err(Rule::FieldCount { expected: 3, found: 2 }));
        check("", Err(Rule::FieldCount { expected: 3, found: 0 }));
    }

    #[test]
    fn plain_splitting_keeps_quotes_and_takes_several_separators() {
        let mut rows = RawRows::new(3, Arc::from([]));
        rows.push_line(b"a\";|b", &Splitting::new(b";|", Quotes::Plain), None, Origin::default()).expect("short");
        assert_eq!((rows.field(0, 0), rows.field(0, 1), rows.field(0, 2)), (&b"a\""[..], &b""[..], &b"b"[..]));
    }

    #[test]
    fn a_header_reorders_the_fields() {
        let order = FieldOrder { width: 3, columns: vec![2, 0] };
        let mut rows = RawRows::new(2, Arc::from([]));
        let splitting = Splitting::new(b",", Quotes::Csv);
        rows.push_line(b"x,unused,y", &splitting, Some(&order), Origin::default()).expect("short");
        rows.push_line(b"x,y", &splitting, Some(&order), Origin::default()).expect("short");
        assert_eq!((rows.field(0, 0), rows.field(0, 1)), (&b"y"[..], &b"x"[..]));
        assert_eq!(rows.broken(), [(1, Rule::FieldCount { expected: 3, found: 2 })]);
    }

    #[test]
    fn ready_fields_must_match_the_columns() {
        let mut rows = RawRows::new(2, Arc::from(["request".to_string()]));
        assert_eq!(rows.push_fields([&b"a"[..]], Origin::default()), Err(Rule::FieldCount { expected: 2, found: 1 }));
        assert_eq!(rows.push_fields([&b"a"[..], b"b"], Origin { file: 0, line: 9 }), Ok(()));
        assert_eq!((rows.rows(), rows.field(0, 1), rows.place(0)), (1, &b"b"[..], ("request", 9)));
    }

    #[track_caller]
    fn check_lines(lines: &[&[u8]], columns: usize, splitting: &Splitting, order: Option<&FieldOrder>) {
        let mut single = RawRows::new(columns, Arc::from([]));
        let mut together = single.clone();
        // Rows that are there already shift everything.
        for rows in [&mut single, &mut together] {
            rows.push_fields(vec![&b"xy"[..]; columns], Origin::default()).expect("short");
        }
        let origins: Vec<Origin> = (1..=lines.len() as u64).map(|line| Origin { file: 0, line }).collect();
        for (line, &origin) in lines.iter().zip(&origins) {
            single.push_line(line, splitting, order, origin).expect("short");
        }
        let text: Vec<u8> = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
        together.push_lines(&text, splitting, order, &origins).expect("short");
        assert_eq!((&single.origins, &single.broken), (&together.origins, &together.broken));
        for row in 0..single.rows() {
            for column in 0..columns {
                assert_eq!(single.field(row, column), together.field(row, column), "{lines:?}");
            }
        }
    }

    #[test]
    fn many_lines_at_once_are_like_one_by_one() {
        let swapped = FieldOrder { width: 3, columns: vec![2, 0] };
        for quotes in [Quotes::Csv, Quotes::Plain] {
            let comma = Splitting::new(b",", quotes);
            check_lines(&[], 3, &comma, None);
            check_lines(&[b"a,b,c", b"d,e,f"], 3, &comma, None);
            check_lines(&[b"a,b,c", b"d,e,f"], 2, &comma, Some(&swapped));
            check_lines(&[b"a,b", b"c,d,e,f"], 3, &comma, None);
            check_lines(&[b"a,b,c", b"", b"d,\"e,f\",g"], 3, &comma, None);
            check_lines(&[b"a", b"", b"b"], 1, &comma, None);
            check_lines(&[b"a;b", b"c|d"], 2, &Splitting::new(b";|", quotes), None);
            check_lines(&[b"a\0b", b"c\0d"], 2, &Splitting::new(b"\0", quotes), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn many_clean_lines_at_once_are_like_one_by_one(
            lines in proptest::collection::vec("[ab\r]?[a-z\u{80}-\u{ff}]{0,40},[0-9]{0,5},(x,){0,1}", 0..40),
            separator in proptest::sample::select(b",\0a\xc3".to_vec()),
            plain: bool,
        ) {
            let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            let quotes = if plain { Quotes::Plain } else { Quotes::Csv };
            check_lines(&lines, 3, &Splitting::new(&[separator], quotes), None);
            check_lines(&lines, 2, &Splitting::new(&[separator], quotes), Some(&FieldOrder { width: 3, columns: vec![1, 0] }));
        }

        #[test]
        fn any_lines_at_once_are_like_one_by_one(
            lines in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(b"a,,\",\r".to_vec()), 0..6), 0..8),
            columns in 1_usize..4,
            plain: bool,
        ) {
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let quotes = if plain { Quotes::Plain } else { Quotes::Csv };
            check_lines(&lines, columns, &Splitting::new(b",", quotes), None);
        }

        #[test]
        fn any_bytes_are_survived(lines in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(b"a\",\r\n".to_vec()), 0..12), 0..8)) {
            let mut rows = RawRows::new(2, Arc::from([]));
            for line in &lines {
                rows.push_line(line, &Splitting::new(b",", Quotes::Csv), None, Origin::default()).expect("short");
            }
            proptest::prop_assert_eq!(rows.rows(), lines.len());
            for row in 0..rows.rows() {
                let _ = (rows.field(row, 0), rows.field(row, 1));
            }
        }
    }
}

//! Rows of ready fields as one record: what formats yield whose rows are taken apart while they are read.
//!
//! For each column there are 8 bytes (little-endian), then for each 4 bytes of what it is (its [`Tag`]), then come the texts of all columns.
//! The 8 bytes are a number, or say where the column's text starts and ends, from the start of the texts. So all but the texts has the same
//! size in every row, and can be made for many rows at once, column by column.

use super::cell::{CellKind, NUMBER, Packed, Tag};
use super::{Origin, RawRows};
use crate::error::Rule;

/// The size of a column's part in front of the texts.
const COLUMN: usize = NUMBER + size_of::<Tag>();

/// The parts of many rows in front of the texts.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    columns: usize,
    bytes: Vec<u8>,
}

impl Heads {
    /// Empty fields.
    pub(crate) fn clear(&mut self, columns: usize, rows: usize) {
        self.columns = columns;
        self.bytes.clear();
        self.bytes.resize(rows * columns * COLUMN, 0);
    }

    /// Makes a column of numbers; where there is none, the field is empty. Returns whether each is a number that cells can be.
    #[inline]
    pub(crate) fn fill<V>(&mut self, column: usize, values: impl Iterator<Item = Option<V>>, pack: impl Fn(V) -> Option<Packed>) -> bool {
        let (cell, tag) = (column * NUMBER, self.columns * NUMBER + column * size_of::<Tag>());
        self.bytes.chunks_exact_mut(self.columns * COLUMN).zip(values).all(|(head, value)| {
            let Some(value) = value else { return true };
            let Some(packed) = pack(value) else { return false };
            head[cell..][..NUMBER].copy_from_slice(&packed.bits.to_le_bytes());
            head[tag..][..size_of::<Tag>()].copy_from_slice(&Tag::of(packed.kind).to_bytes());
            true
        })
    }

    fn row(&self, row: usize) -> &[u8] {
        let size = self.columns * COLUMN;
        &self.bytes[row * size..][..size]
    }
}

/// Writes a row as a record, which replaces what was in `record`: `write` appends the cell of a column, text or the bytes of a number.
///
/// # Errors
/// What `write` says, [`Rule::BatchTooLarge`] beyond 4 GB.
pub(crate) fn encode(
    record: &mut Vec<u8>,
    columns: usize,
    mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<CellKind, Rule>,
) -> Result<(), Rule> {
    record.clear();
    record.resize(columns * COLUMN, 0);
    (0..columns).try_for_each(|column| finish(record, columns, column, |text| write(column, text).map(Tag::of)))
}

/// The same with a head that has been made; `write` appends those of the other columns.
pub(crate) fn encode_texts(
    record: &mut Vec<u8>,
    heads: &Heads,
    row: usize,
    texts: &[usize],
    mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<Tag, Rule>,
) -> Result<(), Rule> {
    record.clear();
    record.extend_from_slice(heads.row(row));
    texts.iter().try_for_each(|&column| finish(record, heads.columns, column, |text| write(column, text)))
}

/// Writes the cell of a column behind the others and says in front where it is.
#[inline]
fn finish(record: &mut Vec<u8>, columns: usize, column: usize, write: impl FnOnce(&mut Vec<u8>) -> Result<Tag, Rule>) -> Result<(), Rule> {
    let start = record.len();
    let tag = write(record)?;
    let cell = match number(record, start, tag) {
        Some(number) => number,
        None => span(start - columns * COLUMN, record.len() - columns * COLUMN).ok_or(Rule::BatchTooLarge)?,
    };
    record[column * NUMBER..][..NUMBER].copy_from_slice(&cell);
    record[columns * NUMBER + column * size_of::<Tag>()..][..size_of::<Tag>()].copy_from_slice(&tag.to_bytes());
    Ok(())
}

/// Takes a number away from the end of the bytes; `None` for a text.
#[inline]
fn number(bytes: &mut Vec<u8>, start: usize, tag: Tag) -> Option<[u8; NUMBER]> {
    if tag.is_text() {
        return None;
    }
    let number = bytes[start..].try_into().expect("a number has 8 bytes");
    bytes.truncate(start);
    Some(number)
}

#[inline]
fn span(start: usize, end: usize) -> Option<[u8; NUMBER]> {
    let end = u32::try_from(end).ok()?;
    Some((u64::from(end) << 32 | start as u64).to_le_bytes())
}

/// The halves of a cell.
#[inline]
fn halves(cell: [u8; NUMBER]) -> (u32, u32) {
    let bits = u64::from_le_bytes(cell);
    (bits as u32, (bits >> 32) as u32)
}

impl RawRows {
    /// Adds the row of a record that [`encode`] made of as many columns.
    ///
    /// # Errors
    /// [`Rule::BatchTooLarge`] beyond 4 GB of text.
    ///
    /// # Panics
    /// If the record has fewer columns.
    pub(crate) fn push_encoded(&mut self, record: &[u8], origin: Origin) -> Result<(), Rule> {
        let (cells, rest) = record.split_at(self.columns * NUMBER);
        let (tags, texts) = rest.split_at(self.columns * size_of::<Tag>());
        let base = self.bytes.len();
        if base + texts.len() > u32::MAX as usize {
            return Err(Rule::BatchTooLarge);
        }
        let base = base as u32;
        self.bytes.extend_from_slice(texts);
        self.tags.resize(self.spans.len(), Tag::default());
        let (cells, tags) = (cells.as_chunks::<NUMBER>().0, tags.as_chunks::<{ size_of::<Tag>() }>().0);
        self.tags.extend(tags.iter().map(|tag| Tag::from_bytes(*tag)));
        self.spans.extend(cells.iter().zip(tags).map(|(cell, tag)| {
            let shift = if Tag::from_bytes(*tag).is_text() { base } else { 0 };
            let (start, end) = halves(*cell);
            (start.wrapping_add(shift), end.wrapping_add(shift))
        }));
        self.origins.push(origin);
        Ok(())
    }

    /// Adds a row whose columns `write` appends; a rule that it returns makes it a row of [`RawRows::broken`].
    ///
    /// # Errors
    /// [`Rule::BatchTooLarge`] beyond 4 GB of text.
    pub(crate) fn push_row(
        &mut self,
        origin: Origin,
        mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<CellKind, Rule>,
    ) -> Result<(), Rule> {
        let (bytes, spans) = (self.bytes.len(), self.spans.len());
        for column in 0..self.columns {
            let start = self.bytes.len();
            let tag = match write(column, &mut self.bytes) {
                Ok(kind) => Tag::of(kind),
                Err(rule) => {
                    self.forget_beyond(bytes, spans);
                    self.push_broken(rule, origin);
                    return Ok(());
                }
            };
            if let Some(number) = number(&mut self.bytes, start, tag) {
                self.tags.resize(self.spans.len(), Tag::default());
                self.tags.push(tag);
                self.spans.push(halves(number));
                continue;
            }
            let Some(span) = span(start, self.bytes.len()) else {
                self.forget_beyond(bytes, spans);
                return Err(Rule::BatchTooLarge);
            };
            self.spans.push(halves(span));
        }
        self.origins.push(origin);
        Ok(())
    }

    fn forget_beyond(&mut self, bytes: usize, spans: usize) {
        self.bytes.truncate(bytes);
        self.spans.truncate(spans);
        self.tags.truncate(spans);
    }

    /// Adds a row that breaks a rule.
    pub(crate) fn push_broken(&mut self, rule: Rule, origin: Origin) {
        self.spans.resize(self.spans.len() + self.columns, (0, 0));
        self.broken.push((self.origins.len() as u32, rule));
        self.origins.push(origin);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    use crate::rows::cell::Cell;

    /// A cell of each kind by the bytes that it is made of.
    fn cell(bytes: &[u8]) -> Cell<'_> {
        match bytes {
            [0, rest @ ..] if rest.len() == 8 => Cell::Integer(i64::from_le_bytes(rest.try_into().expect("8 bytes"))),
            [1, rest @ ..] if rest.len() == 8 => Cell::Double(f64::from_le_bytes(rest.try_into().expect("8 bytes"))),
            [2, rest @ ..] if rest.len() == 4 => Cell::Float(f32::from_le_bytes(rest.try_into().expect("4 bytes"))),
            text => Cell::Text(text),
        }
    }

    fn pack(cell: Cell<'_>) -> Option<Packed> {
        match cell {
            Cell::Text(_) => None,
            Cell::Integer(value) => Some(Packed::integer(value)),
            Cell::Float(value) => Some(Packed::float(value)),
            Cell::Double(value) => Some(Packed::double(value)),
        }
    }

    fn write_cell(cell: Cell<'_>, bytes: &mut Vec<u8>) -> CellKind {
        match (cell, pack(cell)) {
            (_, Some(packed)) => packed.write(bytes),
            (Cell::Text(text), None) => {
                bytes.extend_from_slice(text);
                CellKind::Text
            }
            _ => unreachable!("all but text is packed"),
        }
    }

    proptest::proptest! {
        #[test]
        fn records_read_back(
            fields in proptest::collection::vec(proptest::collection::vec(0..4_u8, 0..10), 0..7),
            text in proptest::collection::vec(proptest::num::u8::ANY, 0..9),
            code in 0..=Tag::LAST_CODE,
        ) {
            let mut rows = RawRows::new(fields.len(), Arc::from([]));
            let mut record = b"what was there".to_vec();
            let write = |column: usize, bytes: &mut Vec<u8>| -> Result<CellKind, Rule> { Ok(write_cell(cell(&fields[column]), bytes)) };
            encode(&mut record, fields.len(), write).expect("short");
            // The second of two rows, with the numbers in its head.
            let (mut heads, mut with_head) = (Heads::default(), Vec::new());
            heads.clear(fields.len(), 2);
            let is_number = |column: &usize| pack(cell(&fields[*column])).is_some();
            let (numbers, texts): (Vec<usize>, Vec<usize>) = (0..fields.len()).partition(is_number);
            for column in numbers {
                let value = cell(&fields[column]);
                proptest::prop_assert!(heads.fill(column, [None, Some(value)].into_iter(), pack));
            }
            encode_texts(&mut with_head, &heads, 1, &texts, |column, text| {
                text.extend_from_slice(&fields[column]);
                Ok(Tag::coded(code))
            }).expect("short");
            for _ in 0..2 {
                rows.push_encoded(&record, Origin::default()).expect("short");
                rows.push_fields(fields.iter().map(|_| &text[..]), Origin::default()).expect("short");
                rows.push_row(Origin::default(), write).expect("short");
                rows.push_encoded(&with_head, Origin::default()).expect("short");
            }
            for row in 0..8 {
                for (column, field) in fields.iter().enumerate() {
                    let expected = if row % 4 == 1 { Cell::Text(&text) } else { cell(field) };
                    // Not a number is no equal of itself.
                    proptest::prop_assert_eq!(format!("{:?}", rows.cell(row, column)), format!("{expected:?}"));
                    let has_code = row % 4 == 3 && matches!(expected, Cell::Text(_));
                    proptest::prop_assert_eq!(rows.code(row, column), if has_code { code } else { 0 });
                }
            }
            rows.forget_codes();
            proptest::prop_assert!((0..8).all(|row| (0..fields.len()).all(|column| rows.code(row, column) == 0)));
        }
    }

    #[test]
    fn a_row_that_breaks_a_rule_leaves_nothing_behind() {
        let mut rows = RawRows::new(2, Arc::from([]));
        let refuse = |column: usize, text: &mut Vec<u8>| {
            text.extend_from_slice(&[b'x'; 8]);
            if column == 1 { Err(Rule::NotBool) } else { Ok(CellKind::Integer) }
        };
        rows.push_row(Origin::default(), refuse).expect("short");
        rows.push_fields([&b"a"[..], b"b"], Origin::default()).expect("short");
        assert_eq!(rows.broken(), [(0, Rule::NotBool)]);
        assert_eq!((rows.field(0, 0), rows.field(1, 0), rows.field(1, 1)), (&b""[..], &b"a"[..], &b"b"[..]));
    }
}

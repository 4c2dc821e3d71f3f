//! Rows of ready fields as one record: what formats yield whose rows are taken apart while they are read.
//!
//! For each column 4 bytes say where its cell ends (little-endian, from the start of the cells), then a byte for each of what kind it is,
//! then come the cells of all columns.

use super::cell::CellKind;
use super::{Origin, RawRows};
use crate::error::Rule;

const END: usize = size_of::<u32>();

/// Writes a row as a record, which replaces what was in `record`: `write` appends the cell of a column.
///
/// # Errors
/// What `write` says, [`Rule::BatchTooLarge`] beyond 4 GB.
pub(crate) fn encode(
    record: &mut Vec<u8>,
    columns: usize,
    mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<CellKind, Rule>,
) -> Result<(), Rule> {
    record.clear();
    record.resize(columns * (END + 1), 0);
    for column in 0..columns {
        let kind = write(column, record)?;
        let end = u32::try_from(record.len() - columns * (END + 1)).map_err(|_| Rule::BatchTooLarge)?;
        record[column * END..][..END].copy_from_slice(&end.to_le_bytes());
        record[columns * END + column] = kind as u8;
    }
    Ok(())
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
        let (ends, rest) = record.split_at(self.columns * END);
        let (kinds, cells) = rest.split_at(self.columns);
        let base = self.bytes.len();
        if base + cells.len() > u32::MAX as usize {
            return Err(Rule::BatchTooLarge);
        }
        self.bytes.extend_from_slice(cells);
        self.kinds.resize(self.spans.len(), CellKind::Text);
        self.kinds.extend(kinds.iter().map(|kind| CellKind::from_byte(*kind)));
        let mut start = base as u32;
        let (ends, _) = ends.as_chunks::<END>();
        self.spans.extend(ends.iter().map(|end| {
            let span = (start, base as u32 + u32::from_le_bytes(*end));
            start = span.1;
            span
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
        let mut start = bytes;
        for column in 0..self.columns {
            let kind = match write(column, &mut self.bytes) {
                Ok(kind) => kind,
                Err(rule) => {
                    self.forget_beyond(bytes, spans);
                    self.push_broken(rule, origin);
                    return Ok(());
                }
            };
            let end = self.bytes.len();
            if end > u32::MAX as usize {
                self.forget_beyond(bytes, spans);
                return Err(Rule::BatchTooLarge);
            }
            if kind != CellKind::Text {
                self.kinds.resize(self.spans.len(), CellKind::Text);
                self.kinds.push(kind);
            }
            self.spans.push((start as u32, end as u32));
            start = end;
        }
        self.origins.push(origin);
        Ok(())
    }

    fn forget_beyond(&mut self, bytes: usize, spans: usize) {
        self.bytes.truncate(bytes);
        self.spans.truncate(spans);
        self.kinds.truncate(spans);
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

    fn write_cell(cell: Cell<'_>, bytes: &mut Vec<u8>) -> CellKind {
        match cell {
            Cell::Text(text) => bytes.extend_from_slice(text),
            Cell::Integer(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            Cell::Float(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            Cell::Double(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        }
        match cell {
            Cell::Text(_) => CellKind::Text,
            Cell::Integer(_) => CellKind::Integer,
            Cell::Float(_) => CellKind::Float,
            Cell::Double(_) => CellKind::Double,
        }
    }

    proptest::proptest! {
        #[test]
        fn records_read_back(
            fields in proptest::collection::vec(proptest::collection::vec(0..4_u8, 0..10), 0..7),
            text in proptest::collection::vec(proptest::num::u8::ANY, 0..9),
        ) {
            let mut rows = RawRows::new(fields.len(), Arc::from([]));
            let mut record = b"what was there".to_vec();
            let write = |column: usize, bytes: &mut Vec<u8>| -> Result<CellKind, Rule> { Ok(write_cell(cell(&fields[column]), bytes)) };
            encode(&mut record, fields.len(), write).expect("short");
            for _ in 0..2 {
                rows.push_encoded(&record, Origin::default()).expect("short");
                rows.push_fields(fields.iter().map(|_| &text[..]), Origin::default()).expect("short");
                rows.push_row(Origin::default(), write).expect("short");
            }
            for row in 0..6 {
                for (column, field) in fields.iter().enumerate() {
                    let expected = if row % 3 == 1 { Cell::Text(&text) } else { cell(field) };
                    // Not a number is no equal of itself.
                    proptest::prop_assert_eq!(format!("{:?}", rows.cell(row, column)), format!("{expected:?}"));
                }
            }
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

//! Rows of ready fields as one record: what formats yield whose rows are taken apart while they are read.
//!
//! For each column 4 bytes say where its text ends (little-endian, from the start of the text), then comes the text of all columns.

use super::{Origin, RawRows};
use crate::error::Rule;

const END: usize = size_of::<u32>();

/// Writes a row as a record, which replaces what was in `record`: `write` appends the text of a column.
///
/// # Errors
/// What `write` says, [`Rule::BatchTooLarge`] beyond 4 GB.
pub(crate) fn encode(
    record: &mut Vec<u8>,
    columns: usize,
    mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<(), Rule>,
) -> Result<(), Rule> {
    record.clear();
    record.resize(columns * END, 0);
    for column in 0..columns {
        write(column, record)?;
        let end = u32::try_from(record.len() - columns * END).map_err(|_| Rule::BatchTooLarge)?;
        record[column * END..][..END].copy_from_slice(&end.to_le_bytes());
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
        let (ends, text) = record.split_at(self.columns * END);
        let base = self.bytes.len();
        if base + text.len() > u32::MAX as usize {
            return Err(Rule::BatchTooLarge);
        }
        self.bytes.extend_from_slice(text);
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
    pub(crate) fn push_row(&mut self, origin: Origin, mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<(), Rule>) -> Result<(), Rule> {
        let (bytes, spans) = (self.bytes.len(), self.spans.len());
        let mut start = bytes;
        for column in 0..self.columns {
            if let Err(rule) = write(column, &mut self.bytes) {
                self.bytes.truncate(bytes);
                self.spans.truncate(spans);
                self.push_broken(rule, origin);
                return Ok(());
            }
            let end = self.bytes.len();
            if end > u32::MAX as usize {
                self.bytes.truncate(bytes);
                self.spans.truncate(spans);
                return Err(Rule::BatchTooLarge);
            }
            self.spans.push((start as u32, end as u32));
            start = end;
        }
        self.origins.push(origin);
        Ok(())
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

    proptest::proptest! {
        #[test]
        fn records_read_back(fields in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..9), 0..7)) {
            let mut rows = RawRows::new(fields.len(), Arc::from([]));
            let mut record = b"what was there".to_vec();
            let write = |column: usize, text: &mut Vec<u8>| -> Result<(), Rule> {
                text.extend_from_slice(&fields[column]);
                Ok(())
            };
            encode(&mut record, fields.len(), write).expect("short");
            for _ in 0..2 {
                rows.push_encoded(&record, Origin::default()).expect("short");
                rows.push_row(Origin::default(), write).expect("short");
            }
            for row in 0..4 {
                for (column, field) in fields.iter().enumerate() {
                    proptest::prop_assert_eq!(rows.field(row, column), &field[..]);
                }
            }
        }
    }

    #[test]
    fn a_row_that_breaks_a_rule_leaves_nothing_behind() {
        let mut rows = RawRows::new(2, Arc::from([]));
        let refuse = |column: usize, text: &mut Vec<u8>| {
            text.push(b'x');
            if column == 1 { Err(Rule::NotBool) } else { Ok(()) }
        };
        rows.push_row(Origin::default(), refuse).expect("short");
        rows.push_fields([&b"a"[..], b"b"], Origin::default()).expect("short");
        assert_eq!(rows.broken(), [(0, Rule::NotBool)]);
        assert_eq!((rows.field(0, 0), rows.field(1, 0), rows.field(1, 1)), (&b""[..], &b"a"[..], &b"b"[..]));
    }
}

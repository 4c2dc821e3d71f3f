//! Rows by the names of their fields: what programs and requests bring that have no file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Rule;
use crate::rows::{Origin, RawRows};

/// The names of `data_config.input_fields`, and the place of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldNames {
    names: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl FieldNames {
    /// These names, in that order.
    #[must_use]
    pub fn new(names: Vec<String>) -> FieldNames {
        let places = names.iter().cloned().enumerate().map(|(place, name)| (name, place)).collect();
        FieldNames { names, places }
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of a field.
    ///
    /// # Errors
    /// [`Rule::UnknownColumn`] if there is no such field.
    pub fn place(&self, name: &str) -> Result<usize, Rule> {
        self.places.get(name).copied().ok_or_else(|| Rule::UnknownColumn { known: self.names.join(", ") })
    }
}

/// Where a text lies among those of [`FieldRows`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextSpan {
    start: u32,
    end: u32,
}

/// Rows as texts by field. A field that a row does not have is empty, which is what a missing value is in a file; one text can be that of
/// many rows.
#[derive(Clone, Debug, Default)]
pub struct FieldRows {
    fields: Arc<FieldNames>,
    bytes: Vec<u8>,
    /// Row after row, a span for each field.
    spans: Vec<TextSpan>,
    rows: usize,
}

impl FieldRows {
    /// No rows yet.
    #[must_use]
    pub fn new(fields: Arc<FieldNames>) -> FieldRows {
        FieldRows { fields, ..FieldRows::default() }
    }

    /// The fields.
    #[must_use]
    pub fn fields(&self) -> &Arc<FieldNames> {
        &self.fields
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of all texts.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a row from names and texts.
    ///
    /// # Errors
    /// [`Rule::UnknownColumn`] for a name that is no field, [`Rule::BatchTooLarge`] beyond 4 GB of text; the row is not added then.
    pub fn push<'a>(&mut self, values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), Rule> {
        let row = self.add_rows(1);
        for (name, text) in values {
            let set = self.fields.place(name).and_then(|field| Ok((field, self.store(text.as_bytes())?)));
            match set {
                Ok((field, span)) => self.set(row, field, span),
                Err(rule) => {
                    self.rows -= 1;
                    self.spans.truncate(self.rows * self.fields.names.len());
                    return Err(rule);
                }
            }
        }
        Ok(())
    }

    /// Adds rows whose fields are all empty, and says which is the first of them.
    pub fn add_rows(&mut self, count: usize) -> usize {
        let first = self.rows;
        self.rows += count;
        self.spans.resize(self.rows * self.fields.names.len(), TextSpan::default());
        first
    }

    /// Keeps a text, for any number of fields.
    ///
    /// # Errors
    /// [`Rule::BatchTooLarge`] beyond 4 GB of text.
    pub fn store(&mut self, text: &[u8]) -> Result<TextSpan, Rule> {
        let start = self.bytes.len();
        let end = u32::try_from(start + text.len()).map_err(|_| Rule::BatchTooLarge)?;
        self.bytes.extend_from_slice(text);
        Ok(TextSpan { start: start as u32, end })
    }

    /// Gives a field of a row a text that [`FieldRows::store`] kept.
    ///
    /// # Panics
    /// If there is no such row or field.
    pub fn set(&mut self, row: usize, field: usize, text: TextSpan) {
        let width = self.fields.names.len();
        assert!(field < width, "field {field} of {width}");
        self.spans[row * width + field] = text;
    }

    /// Gives a field the same text in all rows where it is empty.
    ///
    /// # Panics
    /// If there is no such field.
    pub fn broadcast(&mut self, field: usize, text: TextSpan) {
        let width = self.fields.names.len();
        assert!(field < width, "field {field} of {width}");
        for span in self.spans.iter_mut().skip(field).step_by(width).filter(|span| span.start == span.end) {
            *span = text;
        }
    }

    /// The text of a field.
    ///
    /// # Panics
    /// If there is no such row or field.
    #[must_use]
    pub fn text(&self, row: usize, field: usize) -> &[u8] {
        self.text_of(self.spans[row * self.fields.names.len() + field])
    }

    fn text_of(&self, span: TextSpan) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// Adds some of the rows to those of a batch; their lines are counted from 1 here.
    ///
    /// # Errors
    /// [`Rule::BatchTooLarge`] beyond 4 GB of text.
    ///
    /// # Panics
    /// If there are no such rows, or the batch has another number of columns.
    pub fn append_to(&self, range: Range<usize>, batch: &mut RawRows) -> Result<(), Rule> {
        self.append(range, |_| true, batch)
    }

    /// The same with the texts of some fields; the others are empty.
    ///
    /// # Errors
    /// As [`FieldRows::append_to`].
    ///
    /// # Panics
    /// As [`FieldRows::append_to`], and if there is not a choice for each field.
    pub fn append_some_to(&self, range: Range<usize>, fields: &[bool], batch: &mut RawRows) -> Result<(), Rule> {
        assert_eq!(fields.len(), self.fields.names.len(), "a choice for each field");
        self.append(range, |field| fields[field], batch)
    }

    fn append(&self, range: Range<usize>, is_wanted: impl Fn(usize) -> bool, batch: &mut RawRows) -> Result<(), Rule> {
        let width = self.fields.names.len();
        for row in range {
            let spans = self.spans[row * width..(row + 1) * width].iter().enumerate();
            let fields = spans.map(|(field, span)| if is_wanted(field) { self.text_of(*span) } else { &[] });
            batch.push_fields(fields, Origin { file: 0, line: row as u64 + 1 })?;
        }
        Ok(())
    }

    /// For each field whether it has the same text in all of these rows.
    ///
    /// # Panics
    /// If there are no such rows.
    #[must_use]
    pub fn equal_fields(&self, range: Range<usize>) -> Vec<bool> {
        let width = self.fields.names.len();
        let mut rows = self.spans[range.start * width..range.end * width].chunks_exact(width.max(1));
        let Some(first) = rows.next() else { return vec![true; width] };
        let mut equal = vec![true; width];
        for row in rows {
            for ((equal, first), span) in equal.iter_mut().zip(first).zip(row) {
                *equal = *equal && (first == span || self.text_of(*first) == self.text_of(*span));
            }
        }
        equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Arc<FieldNames> {
        Arc::new(FieldNames::new(vec!["a".into(), "b".into()]))
    }

    #[test]
    fn rows_come_back_as_they_were_given() {
        let mut rows = FieldRows::new(fields());
        rows.push([("b", "2"), ("a", "1")]).expect("known");
        rows.push([("b", "3")]).expect("known");
        let context = rows.store(b"ctx").expect("short");
        rows.broadcast(0, context);
        let mut batch = RawRows::new(2, Arc::from(["rows".to_owned()]));
        rows.append_to(0..2, &mut batch).expect("short");
        let texts: Vec<&[u8]> =
            (0..2).flat_map(|row| (0..2).map(move |field| (row, field))).map(|(row, field)| batch.field(row, field)).collect();
        assert_eq!(texts, [&b"1"[..], b"2", b"ctx", b"3"]);
        assert_eq!(batch.place(1), ("rows", 2));
    }

    #[test]
    fn fields_are_equal_by_their_texts() {
        let mut rows = FieldRows::new(fields());
        for (a, b) in [("1", "x"), ("1", "x"), ("1", "y"), ("2", "y")] {
            rows.push([("a", a), ("b", b)]).expect("known");
        }
        assert_eq!(rows.equal_fields(0..2), [true, true]);
        assert_eq!(rows.equal_fields(0..3), [true, false]);
        assert_eq!(rows.equal_fields(2..4), [false, true]);
        assert_eq!(rows.equal_fields(3..3), [true, true]);
        let mut batch = RawRows::new(2, Arc::from(["rows".to_owned()]));
        rows.append_some_to(2..3, &[false, true], &mut batch).expect("short");
        assert_eq!((batch.field(0, 0), batch.field(0, 1), batch.place(0)), (&b""[..], &b"y"[..], ("rows", 3)));
    }

    #[test]
    fn an_unknown_field_adds_no_row() {
        let mut rows = FieldRows::new(fields());
        assert_eq!(rows.push([("a", "1"), ("c", "2")]), Err(Rule::UnknownColumn { known: "a, b".into() }));
        assert_eq!(rows.rows(), 0);
        rows.push([("a", "5")]).expect("known");
        assert_eq!((rows.rows(), rows.text(0, 0), rows.text(0, 1)), (1, &b"5"[..], &b""[..]));
    }
}

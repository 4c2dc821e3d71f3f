//! Cells: fields of rows that may be numbers already.
//!
//! Text formats have nothing but text. Where a format has numbers, a field that features take for a number of just that type is handed
//! to them as it is, without being written and read again. A cell is a number only if its text would have been read as that very
//! number; what is not so sure is written as text, so that every format takes the same way.

use super::RawRows;

/// What a field of a row holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    /// Its text; empty where there is nothing.
    Text(&'a [u8]),
    /// The value of an INT32 or INT64.
    Integer(i64),
    /// The value of a FLOAT.
    Float(f32),
    /// The value of a DOUBLE.
    Double(f64),
}

/// How the bytes of a cell are to be taken: as text, or as a number, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CellKind {
    Text,
    Integer,
    Float,
    Double,
}

impl CellKind {
    /// The kind that was written as this byte.
    pub(super) fn from_byte(byte: u8) -> CellKind {
        [CellKind::Text, CellKind::Integer, CellKind::Float, CellKind::Double][usize::from(byte & 3)]
    }
}

/// A type of number that a cell can be.
pub(crate) trait Number: Copy {
    /// The number of a cell of this type.
    fn of(cell: Cell<'_>) -> Option<Self>;
}

impl Number for i64 {
    #[inline]
    fn of(cell: Cell<'_>) -> Option<i64> {
        if let Cell::Integer(value) = cell { Some(value) } else { None }
    }
}

impl Number for f32 {
    #[inline]
    fn of(cell: Cell<'_>) -> Option<f32> {
        if let Cell::Float(value) = cell { Some(value) } else { None }
    }
}

impl Number for f64 {
    #[inline]
    fn of(cell: Cell<'_>) -> Option<f64> {
        if let Cell::Double(value) = cell { Some(value) } else { None }
    }
}

impl RawRows {
    /// What a field holds; an empty text for a row that could not be cut into fields.
    #[inline]
    pub(crate) fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        let at = row * self.columns + column;
        let (start, end) = self.spans[at];
        let bytes = &self.bytes[start as usize..end as usize];
        // Kinds are kept only where a cell is no text.
        match (self.kinds.get(at), bytes.as_array::<8>(), bytes.as_array::<4>()) {
            (Some(CellKind::Integer), Some(bytes), _) => Cell::Integer(i64::from_le_bytes(*bytes)),
            (Some(CellKind::Double), Some(bytes), _) => Cell::Double(f64::from_le_bytes(*bytes)),
            (Some(CellKind::Float), _, Some(bytes)) => Cell::Float(f32::from_le_bytes(*bytes)),
            _ => Cell::Text(bytes),
        }
    }

    /// Appends the text of a field: of a number the shortest one that reads back to it.
    pub(crate) fn write_text(&self, row: usize, column: usize, text: &mut Vec<u8>) {
        match self.cell(row, column) {
            Cell::Text(bytes) => text.extend_from_slice(bytes),
            Cell::Integer(value) => text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            Cell::Float(value) => text.extend_from_slice(without_decimals_of_whole_numbers(zmij::Buffer::new().format(value)).as_bytes()),
            Cell::Double(value) => text.extend_from_slice(without_decimals_of_whole_numbers(zmij::Buffer::new().format(value)).as_bytes()),
        }
    }
}

/// `3.0` is written `3`, as an INT32 must be.
pub(crate) fn without_decimals_of_whole_numbers(number: &str) -> &str {
    number.strip_suffix(".0").unwrap_or(number)
}

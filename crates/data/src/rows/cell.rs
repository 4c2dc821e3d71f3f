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

/// How a cell is to be taken: as text, or as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellKind {
    Text,
    Integer,
    Float,
    Double,
}

/// The bytes of a number where the text of a field would be: the bits of an `i64`, an `f64` or, in the low half, an `f32`,
/// little-endian.
pub(crate) const NUMBER: usize = 8;

/// A number and its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) kind: CellKind,
    pub(crate) bits: u64,
}

impl Packed {
    #[inline]
    pub(crate) fn integer(value: i64) -> Packed {
        Packed { kind: CellKind::Integer, bits: value.cast_unsigned() }
    }

    /// There is one NaN in text.
    #[inline]
    pub(crate) fn float(value: f32) -> Packed {
        let value = if value.is_nan() { f32::NAN } else { value };
        Packed { kind: CellKind::Float, bits: u64::from(value.to_bits()) }
    }

    #[inline]
    pub(crate) fn double(value: f64) -> Packed {
        let value = if value.is_nan() { f64::NAN } else { value };
        Packed { kind: CellKind::Double, bits: value.to_bits() }
    }

    /// Appends the number.
    #[inline]
    pub(crate) fn write(self, cell: &mut Vec<u8>) -> CellKind {
        cell.extend_from_slice(&self.bits.to_le_bytes());
        self.kind
    }
}

/// What a cell is: its kind, and of a text perhaps a code. Texts of one code are equal, so what is made of one can be kept for the others.
///
/// A code belongs to an entry of a dictionary of a file while that is read; no two dictionaries of a process share any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tag(u32);

impl Tag {
    /// The largest code.
    pub(crate) const LAST_CODE: u32 = u32::MAX >> 2;

    #[inline]
    pub(crate) fn of(kind: CellKind) -> Tag {
        Tag(kind as u32)
    }

    /// A text with a code, or with 0, which is none.
    #[inline]
    pub(crate) fn coded(code: u32) -> Tag {
        Tag(code << 2)
    }

    #[inline]
    pub(crate) fn kind(self) -> CellKind {
        [CellKind::Text, CellKind::Integer, CellKind::Float, CellKind::Double][(self.0 & 3) as usize]
    }

    #[inline]
    pub(crate) fn is_text(self) -> bool {
        self.0 & 3 == 0
    }

    /// The code of a text; 0 if it has none.
    #[inline]
    pub(crate) fn code(self) -> u32 {
        self.0 >> 2
    }

    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 4]) -> Tag {
        Tag(u32::from_le_bytes(bytes))
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
        let bits = u64::from(end) << 32 | u64::from(start);
        // Tags are kept only where there is more than plain text.
        match self.tags.get(at).map_or(CellKind::Text, |tag| tag.kind()) {
            CellKind::Text => Cell::Text(&self.bytes[start as usize..end as usize]),
            CellKind::Integer => Cell::Integer(bits.cast_signed()),
            CellKind::Float => Cell::Float(f32::from_bits(start)),
            CellKind::Double => Cell::Double(f64::from_bits(bits)),
        }
    }

    /// The code of a field's text; 0 if it has none. See [`Tag`].
    #[inline]
    pub(crate) fn code(&self, row: usize, column: usize) -> u32 {
        self.tags.get(row * self.columns + column).map_or(0, |tag| if tag.is_text() { tag.code() } else { 0 })
    }

    /// Forgets the codes: those of rows that were kept while dictionaries came and went.
    pub(crate) fn forget_codes(&mut self) {
        self.tags.iter_mut().filter(|tag| tag.is_text()).for_each(|tag| *tag = Tag::default());
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

//! Input fields with their types: text into numbers, and what an empty field stands for (EasyRec behaviours 1 and 2).

use rankmill_config::proto::dataset_config::FieldType;
use rankmill_kernels::fingerprint::{Decimal, fingerprint64};

use crate::error::{DataError, Rule, shown};
use crate::number::{parse_bool, parse_float32, parse_float64, parse_int32, parse_int64, write_float};
use crate::rows::RawRows;
use crate::rows::cell::{Cell, Number};

/// The rows of a batch that are still good: indices into the raw rows.
pub(crate) type LiveRows = [u32];

/// An input field as `data_config.input_fields` declares it.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Its place among the columns of the raw rows.
    pub(crate) column: usize,
    pub(crate) name: String,
    pub(crate) kind: FieldType,
    pub(crate) default: FieldDefault,
    /// The value that is none: `ignore_val`, which EasyRec's `ParquetInputV3` alone reads.
    pub(crate) ignored: Option<FieldDefault>,
    /// Whether an empty number takes the default; in `CSVInputEx` it is an error.
    pub(crate) empty_numbers: EmptyNumbers,
}

/// What an empty number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmptyNumbers {
    Default,
    Error,
}

/// A value of a field that the config says: that of an empty field, or the one that is none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FieldDefault {
    Integer(i64),
    Number(f64),
    Text(Vec<u8>),
}

impl FieldDefault {
    /// `default_val` read as Python's `int`, `float` or string; `None` if it is not of the field's type.
    pub(crate) fn new(kind: FieldType, default_val: &str) -> Option<FieldDefault> {
        let text = default_val.trim();
        Some(match kind {
            FieldType::String => FieldDefault::Text(default_val.as_bytes().to_vec()),
            FieldType::Float | FieldType::Double if text.is_empty() => FieldDefault::Number(0.0),
            FieldType::Float | FieldType::Double => FieldDefault::Number(text.parse().ok()?),
            FieldType::Bool => FieldDefault::Integer(i64::from(text.eq_ignore_ascii_case("true"))),
            FieldType::Int32 | FieldType::Int64 if text.is_empty() => FieldDefault::Integer(0),
            FieldType::Int32 => FieldDefault::Integer(i64::from(text.parse::<i32>().ok()?)),
            FieldType::Int64 => FieldDefault::Integer(text.parse().ok()?),
        })
    }

    /// Whether Python takes it for false.
    pub(crate) fn is_falsy(&self) -> bool {
        match self {
            FieldDefault::Integer(value) => *value == 0,
            FieldDefault::Number(value) => *value == 0.0,
            FieldDefault::Text(text) => text.is_empty(),
        }
    }
}

/// The values of one field over the live rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values<'a> {
    Text(TextValues<'a>),
    /// The values and the cells they were read from.
    Integers(&'a [i64], TextValues<'a>),
    /// Like integers, 0 and 1, but written `false` and `true`.
    Booleans(&'a [i64]),
    Floats(&'a [f32]),
    Doubles(&'a [f64]),
}

impl Values<'_> {
    /// Appends the text of the live row `at` as `tf.strings.as_string` writes it, floating-point numbers with `precision` decimals.
    pub(crate) fn write_text(self, at: usize, precision: usize, text: &mut Vec<u8>) {
        let mut float = |value| {
            let mut digits = Vec::new();
            write_float(value, precision, &mut digits);
            text.extend_from_slice(&digits);
        };
        match self {
            Values::Text(texts) => text.extend_from_slice(texts.at(at)),
            Values::Integers(values, _) => text.extend_from_slice(Decimal::new(values[at]).as_bytes()),
            Values::Booleans(values) => text.extend_from_slice(truth(values[at])),
            Values::Floats(values) => float(f64::from(values[at])),
            Values::Doubles(values) => float(values[at]),
        }
    }

    /// Whether the value of the live row `at` is this one.
    pub(crate) fn equals(self, at: usize, value: &FieldDefault) -> bool {
        match (self, value) {
            (Values::Integers(values, _) | Values::Booleans(values), FieldDefault::Integer(value)) => values[at] == *value,
            (Values::Floats(values), FieldDefault::Number(value)) => values[at] == *value as f32,
            (Values::Doubles(values), FieldDefault::Number(value)) => values[at] == *value,
            (Values::Text(texts), FieldDefault::Text(text)) => texts.at(at) == text,
            _ => false,
        }
    }

    /// The fingerprints of the texts that [`Values::write_text`] writes.
    pub(crate) fn fingerprints(self, precision: usize) -> Vec<u64> {
        let mut text = Vec::new();
        let mut float = |value| {
            write_float(value, precision, &mut text);
            fingerprint64(&text)
        };
        match self {
            Values::Text(texts) => texts.iter().map(fingerprint64).collect(),
            Values::Integers(values, texts) => integer_fingerprints(values, texts).collect(),
            Values::Booleans(values) => values.iter().map(|&value| fingerprint64(truth(value))).collect(),
            Values::Floats(values) => values.iter().map(|&value| float(f64::from(value))).collect(),
            Values::Doubles(values) => values.iter().map(|&value| float(value)).collect(),
        }
    }
}

/// The text of a truth value.
pub(crate) fn truth(value: i64) -> &'static [u8] {
    if value == 0 { b"false" } else { b"true" }
}

/// The texts of a field over the live rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextValues<'a> {
    pub(crate) rows: &'a RawRows,
    pub(crate) live: &'a LiveRows,
    pub(crate) column: usize,
    pub(crate) default: &'a [u8],
}

impl<'a> TextValues<'a> {
    /// The text of each row, the default where it is empty (or a number).
    #[inline]
    pub(crate) fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        (0..self.live.len()).map(move |at| self.at(at))
    }

    /// Whether texts may have codes.
    pub(crate) fn may_have_codes(self) -> bool {
        self.rows.has_tags()
    }

    /// The code of the text of the live row `at`, as it is in the file; 0 if it has none.
    #[inline]
    pub(crate) fn code(self, at: usize) -> u32 {
        self.rows.code(self.live[at] as usize, self.column)
    }

    /// The text of the live row `at`, the default where it is empty.
    #[inline]
    pub(crate) fn at(self, at: usize) -> &'a [u8] {
        let text = self.rows.field(self.live[at] as usize, self.column);
        if text.is_empty() { self.default } else { text }
    }
}

/// The parsed values of a number field, kept from batch to batch for their memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parsed {
    integers: Vec<i64>,
    floats: Vec<f32>,
    doubles: Vec<f64>,
    /// Rows whose field was empty.
    pub(crate) empty: u64,
}

impl Parsed {
    /// Parses the field of every live row.
    pub(crate) fn parse(&mut self, field: &Field, rows: &RawRows, live: &LiveRows, errors: &mut RowErrors<'_>) {
        self.empty = 0;
        let integer_default = if let FieldDefault::Integer(value) = field.default { value } else { 0 };
        let number_default = if let FieldDefault::Number(value) = field.default { value } else { 0.0 };
        let mut reading = Reading { field, rows, live, empty: &mut self.empty, errors };
        match field.kind {
            FieldType::String => {}
            FieldType::Int32 => {
                reading.integers(&mut self.integers, integer_default, |text| parse_int32(text).map(i64::from), Rule::NotInt32);
            }
            FieldType::Int64 => reading.integers(&mut self.integers, integer_default, parse_int64, Rule::NotInt64),
            FieldType::Bool => {
                reading.numbers(&mut self.integers, integer_default, |text| parse_bool(text).map(i64::from), Rule::NotBool);
            }
            FieldType::Float => reading.numbers(&mut self.floats, number_default as f32, parse_float32, Rule::NotFloat),
            FieldType::Double => reading.numbers(&mut self.doubles, number_default, parse_float64, Rule::NotDouble),
        }
    }

    /// The values that were parsed, or the texts of a STRING field.
    pub(crate) fn values<'a>(&'a self, field: &'a Field, rows: &'a RawRows, live: &'a LiveRows) -> Values<'a> {
        let default = if let FieldDefault::Text(text) = &field.default { text } else { &[][..] };
        let texts = TextValues { rows, live, column: field.column, default };
        match field.kind {
            FieldType::Int32 | FieldType::Int64 => Values::Integers(&self.integers, texts),
            FieldType::Bool => Values::Booleans(&self.integers),
            FieldType::Float => Values::Floats(&self.floats),
            FieldType::Double => Values::Doubles(&self.doubles),
            FieldType::String => Values::Text(texts),
        }
    }
}

/// The fingerprints of integers in decimal. `texts` is what they were read from, which is that decimal already as a rule if it is text.
pub(crate) fn integer_fingerprints<'a>(values: &'a [i64], texts: TextValues<'a>) -> impl ExactSizeIterator<Item = u64> {
    let mut decimal = itoa::Buffer::new();
    values.iter().zip(texts.iter()).map(move |(&value, text)| {
        if is_decimal_of_its_value(text) { fingerprint64(text) } else { fingerprint64(decimal.format(value).as_bytes()) }
    })
}

/// Whether a text that is an integer is written without blanks, signs and leading zeros; blanks can only be around the digits.
fn is_decimal_of_its_value(text: &[u8]) -> bool {
    matches!(text, [b'0'..=b'9'] | [b'1'..=b'9', .., b'0'..=b'9'])
}

struct Reading<'a, 'b> {
    field: &'a Field,
    rows: &'a RawRows,
    live: &'a LiveRows,
    empty: &'a mut u64,
    errors: &'a mut RowErrors<'b>,
}

impl Reading<'_, '_> {
    /// Integers of text are nearly always a few digits, which need no call of `parse`.
    fn integers(&mut self, values: &mut Vec<i64>, default: i64, parse: impl Fn(&[u8]) -> Option<i64>, rule: Rule) {
        if self.rows.has_tags() {
            return self.numbers(values, default, parse, rule);
        }
        let (rows, column) = (self.rows, self.field.column);
        values.clear();
        values.extend(self.live.iter().enumerate().map(|(at, &row)| match rows.short_digits(row as usize, column) {
            Some(value) => i64::from(value),
            None => self.number(at, row, default, &parse, &rule),
        }));
    }

    fn numbers<T: Number>(&mut self, values: &mut Vec<T>, default: T, parse: impl Fn(&[u8]) -> Option<T>, rule: Rule) {
        values.clear();
        values.extend(self.live.iter().enumerate().map(|(at, &row)| self.number(at, row, default, &parse, &rule)));
    }

    #[inline]
    fn number<T: Number>(&mut self, at: usize, row: u32, default: T, parse: impl Fn(&[u8]) -> Option<T>, rule: &Rule) -> T {
        let text = match self.rows.cell(row as usize, self.field.column) {
            Cell::Text(text) => text,
            cell => return T::of(cell).expect("a cell that is a number has the type of its field"),
        };
        if text.is_empty() {
            *self.empty += 1;
            if self.field.empty_numbers == EmptyNumbers::Error {
                self.errors.push(at, &self.field.name, text, Rule::EmptyNumber);
            }
            return default;
        }
        parse(text).unwrap_or_else(|| {
            self.errors.push(at, &self.field.name, text, rule.clone());
            default
        })
    }
}

/// The errors of a batch, at most one per row.
#[derive(Debug)]
pub(crate) struct RowErrors<'a> {
    rows: &'a RawRows,
    live: &'a LiveRows,
    found: Vec<(u32, DataError)>,
}

impl<'a> RowErrors<'a> {
    pub(crate) fn new(rows: &'a RawRows, live: &'a LiveRows) -> RowErrors<'a> {
        RowErrors { rows, live, found: Vec::new() }
    }

    /// An error of the live row `at`.
    #[cold]
    pub(crate) fn push(&mut self, at: usize, column: &str, value: &[u8], rule: Rule) {
        let row = self.live[at];
        let (file, line) = self.rows.place(row as usize);
        let (column, value) = (Some(column.to_string()), Some(shown(value)));
        self.found.push((row, DataError { file: file.to_string(), row: line, column, value, rule }));
    }

    /// The first error of each row that has one, by row.
    pub(crate) fn into_first_of_each_row(mut self) -> Vec<(u32, DataError)> {
        self.found.sort_by_key(|(row, _)| *row);
        self.found.dedup_by_key(|(row, _)| *row);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rows::Origin;

    proptest::proptest! {
        #[test]
        fn integers_hash_as_their_decimal_however_they_are_written(texts in proptest::collection::vec("[ \\t]{0,2}-?[0-9]{1,18}[ \\t]{0,2}|", 1..20)) {
            let mut rows = RawRows::new(1, Arc::from([]));
            for text in &texts {
                rows.push_fields([text.as_bytes()], Origin::default()).expect("short");
            }
            let live: Vec<u32> = (0..rows.rows() as u32).collect();
            let values: Vec<i64> = texts.iter().map(|text| text.trim().parse().unwrap_or(-7)).collect();
            let found: Vec<u64> = integer_fingerprints(&values, TextValues { rows: &rows, live: &live, column: 0, default: &[] }).collect();
            let expected: Vec<u64> = values.iter().map(|value| fingerprint64(value.to_string().as_bytes())).collect();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}

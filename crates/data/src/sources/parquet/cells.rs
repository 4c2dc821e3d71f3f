//! The values of a Parquet column as fields. A number is that number where the features take the field for one of that type; all else is
//! text.
//!
//! | column | text |
//! |---|---|
//! | whole numbers, floating-point numbers, decimals | the number |
//! | booleans | `true`, `false`; `1`, `0` for a field of numbers |
//! | text, bytes | as it is |
//! | lists, lists of lists | the values, joined |
//! | maps | keys and values, joined |
//!
//! There is no text that dates, times and intervals would obviously have: a file with one of these in a field is refused.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    ListArray, MapArray, StringArray, StructArray, UInt64Array,
};
use arrow_schema::DataType;

use super::dictionary::{code, place};
use crate::error::Rule;
use crate::rows::cell::{CellKind, Tag};
use crate::rows::record::Heads;
use crate::sources::{List, SourceField, entry};

/// The cells of a column.
pub(super) enum Cells {
    Booleans(BooleanArray),
    Integers(Int64Array),
    Unsigned(UInt64Array),
    Floats(Float32Array),
    Doubles(Float64Array),
    Decimals(Decimal128Array),
    Text(StringArray),
    Bytes(BinaryArray),
    FixedBytes(FixedSizeBinaryArray),
    /// Texts or bytes by their places in a dictionary whose first entry has the code `first`, which is 0 if they have none.
    Coded {
        places: Int32Array,
        entries: Box<Cells>,
        first: u32,
    },
    Lists(ListArray, Box<Cells>),
    Maps(MapArray, Box<Cells>, Box<Cells>),
    /// A member of a struct, which may be `null` as a whole.
    Within(StructArray, Box<Cells>),
}

/// Whether a field can be read from a column of that type.
pub(super) fn is_supported(kind: &DataType) -> bool {
    match kind {
        DataType::List(value) => match value.data_type() {
            DataType::List(inner) => is_value(inner.data_type()),
            kind => is_value(kind),
        },
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(members) => members.iter().all(|member| is_value(member.data_type())),
            _ => false,
        },
        DataType::Dictionary(_, value) => is_value(value),
        kind => is_value(kind),
    }
}

fn is_value(kind: &DataType) -> bool {
    kind.is_integer()
        || kind.is_floating()
        || matches!(kind, DataType::Boolean | DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(_) | DataType::Decimal128(_, _))
}

impl Cells {
    /// The cells of an array; `None` if its type is not supported.
    pub(super) fn new(array: &ArrayRef) -> Option<Cells> {
        Some(match array.data_type() {
            DataType::Boolean => Cells::Booleans(array.as_boolean().clone()),
            DataType::Int8 => Cells::Integers(array.as_primitive::<Int8Type>().unary(i64::from)),
            DataType::Int16 => Cells::Integers(array.as_primitive::<Int16Type>().unary(i64::from)),
            DataType::Int32 => Cells::Integers(array.as_primitive::<Int32Type>().unary(i64::from)),
            DataType::Int64 => Cells::Integers(array.as_primitive::<Int64Type>().clone()),
            DataType::UInt8 => Cells::Integers(array.as_primitive::<UInt8Type>().unary(i64::from)),
            DataType::UInt16 => Cells::Integers(array.as_primitive::<UInt16Type>().unary(i64::from)),
            DataType::UInt32 => Cells::Integers(array.as_primitive::<UInt32Type>().unary(i64::from)),
            DataType::UInt64 => Cells::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float16 => Cells::Floats(array.as_primitive::<Float16Type>().unary(|value| value.to_f32())),
            DataType::Float32 => Cells::Floats(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Cells::Doubles(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(_, _) => Cells::Decimals(array.as_primitive::<Decimal128Type>().clone()),
            DataType::Utf8 => Cells::Text(array.as_string().clone()),
            DataType::Binary => Cells::Bytes(array.as_binary().clone()),
            DataType::FixedSizeBinary(_) => Cells::FixedBytes(array.as_fixed_size_binary().clone()),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                Cells::Lists(lists.clone(), Box::new(Cells::new(lists.values())?))
            }
            DataType::Map(_, _) => {
                let maps = array.as_map();
                Cells::Maps(maps.clone(), Box::new(Cells::new(maps.keys())?), Box::new(Cells::new(maps.values())?))
            }
            _ => return None,
        })
    }

    /// Makes a column of numbers at once; `false` if its cells have to be written one by one.
    pub(super) fn fill(&self, column: usize, field: &SourceField, heads: &mut Heads) -> bool {
        if field.number.is_none() {
            return false;
        }
        match self {
            Cells::Integers(values) if values.null_count() == 0 => {
                heads.fill(column, values.values().iter().copied().map(Some), |value| field.pack_integer(value))
            }
            Cells::Integers(values) => heads.fill(column, values.iter(), |value| field.pack_integer(value)),
            Cells::Floats(values) => heads.fill(column, values.iter(), |value| field.pack_float(value)),
            Cells::Doubles(values) => heads.fill(column, values.iter(), |value| field.pack_double(value)),
            _ => false,
        }
    }

    /// Appends the cell of a row's field.
    #[inline]
    pub(super) fn write(&self, row: usize, field: &SourceField, cell: &mut Vec<u8>) -> Result<Tag, Rule> {
        let kind = match self {
            Cells::Coded { places, entries, first } => {
                let Some(place) = place(places, row) else { return Ok(Tag::default()) };
                entries.write_value(place, field, cell)?;
                return Ok(code(*first, place));
            }
            Cells::Integers(values) if values.is_valid(row) => field.integer_cell(values.value(row), cell),
            Cells::Floats(values) if values.is_valid(row) => field.float_cell(values.value(row), cell),
            Cells::Doubles(values) if values.is_valid(row) => field.double_cell(values.value(row), cell),
            Cells::Within(members, cells) if members.is_valid(row) => return cells.write(row, field, cell),
            cells => {
                cells.write_text(row, field, cell)?;
                CellKind::Text
            }
        };
        Ok(Tag::of(kind))
    }

    /// Appends the text of a row's field.
    fn write_text(&self, row: usize, field: &SourceField, text: &mut Vec<u8>) -> Result<(), Rule> {
        match self {
            Cells::Lists(lists, values) if lists.is_valid(row) => {
                let mut list = List::new(field);
                let offsets = lists.value_offsets();
                (offsets[row]..offsets[row + 1]).try_for_each(|at| list.value(text, |text| values.write_inner(at as usize, field, text)))
            }
            Cells::Maps(maps, keys, values) if maps.is_valid(row) => {
                let mut list = List::new(field);
                let offsets = maps.value_offsets();
                (offsets[row] as usize..offsets[row + 1] as usize).try_for_each(|at| {
                    let key = |text: &mut Vec<u8>| keys.write_value(at, field, text);
                    list.value(text, |text| entry(field, text, key, |text| values.write_value(at, field, text)))
                })
            }
            cells => cells.write_value(row, field, text),
        }
    }

    /// Appends a value of a list.
    fn write_inner(&self, at: usize, field: &SourceField, text: &mut Vec<u8>) -> Result<(), Rule> {
        match self {
            Cells::Lists(lists, values) if lists.is_valid(at) => {
                let mut list = List::within(field);
                let offsets = lists.value_offsets();
                (offsets[at]..offsets[at + 1]).try_for_each(|at| list.value(text, |text| values.write_value(at as usize, field, text)))
            }
            cells => cells.write_value(at, field, text),
        }
    }

    /// Appends one value; nothing where there is none.
    #[inline]
    fn write_value(&self, at: usize, field: &SourceField, text: &mut Vec<u8>) -> Result<(), Rule> {
        match self {
            Cells::Integers(values) if values.is_valid(at) => field.integer(values.value(at), text),
            Cells::Text(values) if values.is_valid(at) => field.text(values.value(at).as_bytes(), text),
            Cells::Floats(values) if values.is_valid(at) => field.float(values.value(at), text),
            Cells::Doubles(values) if values.is_valid(at) => field.double(values.value(at), text),
            Cells::Unsigned(values) if values.is_valid(at) => field.unsigned(values.value(at), text),
            Cells::Booleans(values) if values.is_valid(at) => field.boolean(values.value(at), text),
            Cells::Bytes(values) if values.is_valid(at) => field.text(values.value(at), text),
            Cells::FixedBytes(values) if values.is_valid(at) => field.text(values.value(at), text),
            Cells::Decimals(values) if values.is_valid(at) => {
                let decimal = values.value_as_string(at);
                let decimal = if decimal.contains('.') { decimal.trim_end_matches('0').trim_end_matches('.') } else { &decimal };
                text.extend_from_slice(decimal.as_bytes());
            }
            Cells::Lists(lists, _) if lists.is_valid(at) => return Err(Rule::NestedTooDeep { field: field.name.clone() }),
            Cells::Maps(maps, _, _) if maps.is_valid(at) => return Err(Rule::NestedTooDeep { field: field.name.clone() }),
            _ => {}
        }
        Ok(())
    }
}

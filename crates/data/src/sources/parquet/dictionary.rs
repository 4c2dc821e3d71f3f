//! Columns of text whose pages hold places in a dictionary: they are read as such, so that the dictionary is decoded and checked once, and
//! its entries get codes, by which what features make of one is kept (see [`Tag`]).
//!
//! Where a page does not, Arrow would make a dictionary of the texts, which takes longer than the texts. So the column is read as text as
//! soon as a single page is known for one, or the file does not say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ::parquet::basic::{ConvertedType, Encoding};
use ::parquet::file::metadata::ParquetMetaData;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, Int32Array};
use arrow_schema::{DataType, Field, Schema};

use super::cells::Cells;
use super::leaf_count;
use crate::rows::cell::Tag;

/// A larger dictionary has no codes: its entries come too seldom.
const MOST_ENTRIES: u32 = 1 << 16;
/// The first code that no dictionary of this process has had.
static NEXT_CODE: AtomicU32 = AtomicU32::new(1);

/// The schema by which columns with dictionaries are read as such; only those outside of structs, lists and maps.
pub(super) fn with_dictionaries(schema: &Schema, metadata: &ParquetMetaData) -> Schema {
    let mut leaf = 0;
    let columns = schema.fields().iter().map(|column| {
        let first = leaf;
        leaf += leaf_count(column.data_type());
        if !matches!(column.data_type(), DataType::Utf8 | DataType::Binary) || !has_dictionaries(metadata, first, column.data_type()) {
            return Arc::clone(column);
        }
        let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(column.data_type().clone()));
        Arc::new(Field::clone(column).with_data_type(kind))
    });
    Schema::new_with_metadata(columns.collect::<Vec<_>>(), schema.metadata().clone())
}

/// Whether all pages of a column hold places in a dictionary.
fn has_dictionaries(metadata: &ParquetMetaData, leaf: usize, kind: &DataType) -> bool {
    let schema = metadata.file_metadata().schema_descr();
    // Texts of a dictionary are checked for UTF-8 by the older of the two ways in which a file can call them text.
    let is_text = schema.num_columns() > leaf && schema.column(leaf).converted_type() == ConvertedType::UTF8;
    let is_coded =
        |mask: &::parquet::basic::EncodingMask| mask.is_only(Encoding::PLAIN_DICTIONARY) || mask.is_only(Encoding::RLE_DICTIONARY);
    is_text == (*kind == DataType::Utf8)
        && metadata.num_row_groups() > 0
        && metadata.row_groups().iter().all(|group| group.column(leaf).page_encoding_stats_mask().is_some_and(is_coded))
}

/// A dictionary and the code of its first entry.
#[derive(Clone, Debug)]
pub(super) struct Coded {
    dictionary: ArrayRef,
    first: u32,
}

/// The cells of places in a dictionary; `last` is the dictionary of the rows before, which mostly goes on.
pub(super) fn coded_cells(array: &ArrayRef, last: &mut Option<Coded>) -> Option<Cells> {
    let array = array.as_dictionary_opt::<Int32Type>()?;
    let dictionary = array.values();
    let coded = match last {
        Some(coded) if is_same(&coded.dictionary, dictionary) => coded.clone(),
        _ => Coded { dictionary: Arc::clone(dictionary), first: codes(dictionary.len()) },
    };
    *last = Some(coded.clone());
    Some(Cells::Coded { places: array.keys().clone(), entries: Box::new(Cells::new(dictionary)?), first: coded.first })
}

/// Whether two dictionaries are the same memory. It is not freed in between, since one of them is held.
fn is_same(a: &ArrayRef, b: &ArrayRef) -> bool {
    a.data_type() == b.data_type() && a.to_data().ptr_eq(&b.to_data())
}

/// The first of so many codes that are nobody's; 0 if there are none left.
fn codes(entries: usize) -> u32 {
    let Some(entries) = u32::try_from(entries).ok().filter(|entries| (1..=MOST_ENTRIES).contains(entries)) else { return 0 };
    let after = |first: u32| first.checked_add(entries).filter(|after| *after <= Tag::LAST_CODE);
    NEXT_CODE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).unwrap_or(0)
}

/// The code of a place.
#[inline]
pub(super) fn code(first: u32, place: usize) -> Tag {
    Tag::coded(if first == 0 { 0 } else { first + place as u32 })
}

/// The place in the dictionary; `None` where there is no value.
#[inline]
pub(super) fn place(places: &Int32Array, row: usize) -> Option<usize> {
    places.is_valid(row).then(|| places.value(row) as usize)
}

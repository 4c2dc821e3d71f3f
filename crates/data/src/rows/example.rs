//! Fields from TensorFlow's `tf.train.Example`.
//!
//! ```text
//! Example      { Features features = 1 }
//! Features     { map<string, Feature> feature = 1 }             an entry: { string key = 1, Feature value = 2 }
//! Feature      { bytes_list = 1 | float_list = 2 | int64_list = 3 }   each { repeated value = 1 }, numbers packed or not
//! FeatureLists { map<string, FeatureList> feature_list = 1 },   FeatureList { repeated Feature feature = 1 }
//! ```
//! A feature that an example lacks, or that is empty, is an empty field. Several values are joined as those of a list are.
//! (`TFRecordInput` of EasyRec takes one value per feature.)

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cell::CellKind;
use super::wire::{Message, Value};
use super::{Origin, RawRows};
use crate::error::Rule;
use crate::sources::{List, SourceField};

/// Fields by their names.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub(crate) fields: Arc<[SourceField]>,
    by_name: BTreeMap<Vec<u8>, usize>,
}

impl Columns {
    pub(crate) fn new(fields: &Arc<[SourceField]>) -> Columns {
        let read = fields.iter().enumerate().filter(|(_, field)| field.is_read());
        let by_name = read.map(|(column, field)| (field.name.clone().into_bytes(), column)).collect();
        Columns { fields: Arc::clone(fields), by_name }
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

/// Adds an example as a row; one that is none becomes a broken row.
///
/// # Errors
/// [`Rule::BatchTooLarge`] beyond 4 GB of text.
pub(crate) fn push_example(rows: &mut RawRows, columns: &Columns, example: &[u8], origin: Origin) -> Result<(), Rule> {
    let mut features: Vec<&[u8]> = vec![&[]; columns.fields.len()];
    match find_features(example, columns, &mut features) {
        Ok(()) => rows.push_row(origin, |column, text| write_feature(&columns.fields[column], features[column], text)),
        Err(rule) => {
            rows.push_broken(rule, origin);
            Ok(())
        }
    }
}

/// Finds the `Feature` of each column in an `Example`.
fn find_features<'a>(example: &'a [u8], columns: &Columns, features: &mut [&'a [u8]]) -> Result<(), Rule> {
    let mut example = Message(example);
    while let Some(field) = example.next()? {
        if let (1, Value::Bytes(map)) = field {
            find_entries(map, columns, |column, feature| features[column] = feature)?;
        }
    }
    Ok(())
}

/// Hands the values of a map that are columns to `take`.
pub(crate) fn find_entries<'a>(map: &'a [u8], columns: &Columns, mut take: impl FnMut(usize, &'a [u8])) -> Result<(), Rule> {
    let mut map = Message(map);
    while let Some(field) = map.next()? {
        let (1, Value::Bytes(entry)) = field else { continue };
        let (mut entry, mut key, mut value) = (Message(entry), &[][..], &[][..]);
        while let Some(part) = entry.next()? {
            match part {
                (1, Value::Bytes(bytes)) => key = bytes,
                (2, Value::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        if let Some(column) = columns.find(key) {
            take(column, value);
        }
    }
    Ok(())
}

/// Appends the values of a `Feature`: of a field that is one number that number itself, else the text of all.
pub(crate) fn write_feature(field: &SourceField, feature: &[u8], cell: &mut Vec<u8>) -> Result<CellKind, Rule> {
    let mut list = List::of_feature(field);
    let mut cell_kind = CellKind::Text;
    let mut feature = Message(feature);
    while let Some((kind, value)) = feature.next()? {
        let Value::Bytes(values) = value else { continue };
        let mut values = Message(values);
        while let Some(value) = values.next()? {
            match (kind, value) {
                (1, (1, Value::Bytes(bytes))) => put(&mut list, cell, |text| text.extend_from_slice(bytes))?,
                (2, (1, Value::Fixed32(bytes))) => {
                    put(&mut list, cell, |cell| cell_kind = field.float_cell(f32::from_le_bytes(bytes), cell))?
                }
                (2, (1, Value::Bytes(packed))) => {
                    for bytes in packed.as_chunks::<4>().0 {
                        put(&mut list, cell, |cell| cell_kind = field.float_cell(f32::from_le_bytes(*bytes), cell))?;
                    }
                }
                (3, (1, Value::Varint(value))) => put(&mut list, cell, |cell| cell_kind = field.integer_cell(value.cast_signed(), cell))?,
                (3, (1, Value::Bytes(packed))) => {
                    let mut packed = Message(packed);
                    while !packed.0.is_empty() {
                        let value = packed.varint()?.cast_signed();
                        put(&mut list, cell, |cell| cell_kind = field.integer_cell(value, cell))?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(cell_kind)
}

fn put(list: &mut List<'_>, text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Rule> {
    list.value(text, |text| {
        write(text);
        Ok(())
    })
}

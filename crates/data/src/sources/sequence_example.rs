//! `BatchTFRecordInput`: records that hold several rows each.
//!
//! A record is a `tf.train.SequenceExample`, `{ Features context = 1, FeatureLists feature_lists = 2 }`. Its feature lists have
//! `n_data_batch_tfrecord` features, one for each row; the context is not read. A feature list that is not there leaves the field empty.
//! Rows are shuffled one by one here; EasyRec keeps the rows of a record together.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::fields::SourceField;
use super::record::{Record, RecordFile};
use super::tf_record::TfRecordFile;
use crate::error::{DataError, Rule};
use crate::rows::cell::CellKind;
use crate::rows::example::{Columns, find_entries, write_feature};
use crate::rows::record::encode;
use crate::rows::wire::{Message, Value};

/// An open file of sequence examples.
pub(crate) struct SequenceExampleFile {
    records: TfRecordFile,
    columns: Columns,
    /// Rows of each record.
    rows: usize,
    /// The rows of the current record that are still to come, last first.
    pending: Vec<Result<Vec<u8>, Rule>>,
    /// Rows handed out.
    number: u64,
    row: Vec<u8>,
}

impl SequenceExampleFile {
    pub(crate) fn open(
        path: &str,
        rows: usize,
        fields: &Arc<[SourceField]>,
        progress: &Arc<AtomicU64>,
    ) -> Result<SequenceExampleFile, DataError> {
        let records = TfRecordFile::open(path, progress)?;
        Ok(SequenceExampleFile { records, columns: Columns::new(fields), rows, pending: Vec::new(), number: 0, row: Vec::new() })
    }
}

impl RecordFile for SequenceExampleFile {
    fn next_record(&mut self) -> Result<Option<(Record<'_>, u64)>, DataError> {
        if self.pending.is_empty() {
            let Some((record, _)) = self.records.next_bytes()? else {
                return Ok(None);
            };
            match rows_of(record, &self.columns, self.rows) {
                Ok(rows) => self.pending.extend(rows.into_iter().rev()),
                // Which rows it holds is unknown: all of them are lost.
                Err(rule) => self.pending.extend((0..self.rows).map(|_| Err(rule.clone()))),
            }
        }
        self.number += 1;
        Ok(match self.pending.pop() {
            Some(Ok(row)) => {
                self.row = row;
                Some((Record::Row(&self.row), self.number))
            }
            Some(Err(rule)) => Some((Record::Broken(Box::new(rule)), self.number)),
            None => None,
        })
    }
}

/// The rows of a record.
fn rows_of(record: &[u8], columns: &Columns, rows: usize) -> Result<Vec<Result<Vec<u8>, Rule>>, Rule> {
    let mut lists: Vec<Vec<&[u8]>> = vec![Vec::new(); columns.fields.len()];
    let mut example = Message(record);
    while let Some(field) = example.next()? {
        let (2, Value::Bytes(map)) = field else { continue };
        let mut found = Vec::new();
        find_entries(map, columns, |column, list| found.push((column, list)))?;
        for (column, list) in found {
            lists[column] = features(list)?;
        }
    }
    for (field, list) in columns.fields.iter().zip(&lists) {
        if !list.is_empty() && list.len() != rows {
            return Err(Rule::FeatureListLength { field: field.name.clone(), expected: rows, found: list.len() });
        }
    }
    let row = |at: usize| {
        let mut record = Vec::new();
        let write = |column: usize, text: &mut Vec<u8>| match lists[column].get(at) {
            Some(feature) => write_feature(&columns.fields[column], feature, text),
            None => Ok(CellKind::Text),
        };
        encode(&mut record, lists.len(), write).map(|()| record)
    };
    Ok((0..rows).map(row).collect())
}

/// The features of a `FeatureList`.
fn features(list: &[u8]) -> Result<Vec<&[u8]>, Rule> {
    let mut found = Vec::new();
    let mut list = Message(list);
    while let Some(field) = list.next()? {
        if let (1, Value::Bytes(feature)) = field {
            found.push(feature);
        }
    }
    Ok(found)
}

//! Parquet files: row groups one after the other, of each the columns that are read.
//!
//! A field is the column of its name; `a.b` is the member `b` of the struct `a`, unless there is a column `a.b`. What is `null` is an
//! empty field. Numbers become the shortest text that reads back to them, so they are the same numbers as in a text file; see
//! [`Cells`] for the types.

mod cells;
mod dictionary;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::errors::ParquetError;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Fields};

use self::cells::{Cells, is_supported};
use self::dictionary::{Coded, coded_cells, with_dictionaries};
use super::fields::SourceField;
use super::files::InputFile;
use super::record::{Record, RecordFile};
use super::storage;
use crate::error::{DataError, Rule};
use crate::panics::panics_as_errors;
use crate::rows::cell::Tag;
use crate::rows::record::{Heads, encode_texts};

/// What a Parquet file begins with.
pub(crate) const MAGIC: [u8; 4] = *b"PAR1";
/// Rows decoded at once.
const CHUNK: usize = 4096;

/// An open Parquet file.
pub(crate) struct ParquetFile {
    path: String,
    reader: ParquetRecordBatchReader,
    fields: Arc<[SourceField]>,
    /// The current rows; `None` for fields that are not read or not there.
    columns: Vec<Option<Cells>>,
    /// The dictionary that each column had last.
    dictionaries: Vec<Option<Coded>>,
    /// The numbers of the current rows.
    heads: Heads,
    /// The columns that are not in `heads`.
    texts: Vec<usize>,
    rows: usize,
    taken: usize,
    /// Rows handed out.
    number: u64,
    record: Vec<u8>,
    progress: Arc<AtomicU64>,
    /// Bytes and rows of the file that are not read yet.
    rest: (u64, u64),
}

impl ParquetFile {
    pub(crate) fn open(file: &InputFile, fields: &Arc<[SourceField]>, progress: &Arc<AtomicU64>) -> Result<ParquetFile, DataError> {
        let path = &file.path;
        let source = storage::open(path).map_err(|error| DataError::file(path, Rule::Unreadable(error.to_string())))?;
        // Without the writer's own schema, a type is what Parquet says it is: text is text, and not a dictionary or a view of it.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = caught(|| {
            let plain = ArrowReaderMetadata::load(&source, options)?;
            let schema = Arc::new(with_dictionaries(plain.schema(), plain.metadata()));
            let coded = ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), ArrowReaderOptions::new().with_schema(schema))?;
            Ok::<_, ParquetError>(ParquetRecordBatchReaderBuilder::new_with_metadata(source, coded))
        });
        let builder = builder.map_err(|problem| damaged(path, problem))?;
        let leaves = leaves_of_fields(builder.schema().fields(), fields).map_err(|rule| DataError::file(path, rule))?;
        let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves);
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let reader = caught(|| builder.with_projection(mask).with_batch_size(CHUNK).build());
        let reader = reader.map_err(|problem| damaged(path, problem))?;
        Ok(ParquetFile {
            path: path.clone(),
            reader,
            fields: Arc::clone(fields),
            columns: Vec::new(),
            dictionaries: vec![None; fields.len()],
            heads: Heads::default(),
            texts: Vec::new(),
            rows: 0,
            taken: 0,
            number: 0,
            record: Vec::new(),
            progress: Arc::clone(progress),
            rest: (file.bytes, rows),
        })
    }

    /// Decodes the next rows; `false` at the end.
    fn fill(&mut self) -> Result<bool, DataError> {
        let batch = match caught(|| self.reader.next().transpose()) {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(false),
            Err(problem) => return Err(DataError { row: self.number + 1, ..damaged(&self.path, problem) }),
        };
        let read = self.fields.iter().zip(&mut self.dictionaries);
        self.columns = read.map(|(field, last)| field.is_read().then(|| column(&batch, &field.name, last)).flatten()).collect();
        (self.rows, self.taken) = (batch.num_rows(), 0);
        self.fill_heads();
        let (bytes, rows) = self.rest;
        let share = (u128::from(bytes) * self.rows as u128 / u128::from(rows.max(1))) as u64;
        self.rest = (bytes.saturating_sub(share), rows.saturating_sub(self.rows as u64));
        self.progress.fetch_add(share, Ordering::Relaxed);
        Ok(true)
    }

    fn fill_heads(&mut self) {
        self.heads.clear(self.fields.len(), self.rows);
        self.texts.clear();
        for (at, (cells, field)) in self.columns.iter().zip(&*self.fields).enumerate() {
            if cells.as_ref().is_some_and(|cells| !cells.fill(at, field, &mut self.heads)) {
                self.texts.push(at);
            }
        }
    }
}

impl RecordFile for ParquetFile {
    fn next_record(&mut self) -> Result<Option<(Record<'_>, u64)>, DataError> {
        while self.taken == self.rows {
            if !self.fill()? {
                return Ok(None);
            }
        }
        let (row, columns, fields) = (self.taken, &self.columns, &self.fields);
        let outcome = encode_texts(&mut self.record, &self.heads, row, &self.texts, |at, text| match &columns[at] {
            Some(cells) => cells.write(row, &fields[at], text),
            None => Ok(Tag::default()),
        });
        self.taken += 1;
        self.number += 1;
        let record = match outcome {
            Ok(()) => Record::Row(&self.record),
            Err(rule) => Record::Broken(Box::new(rule)),
        };
        Ok(Some((record, self.number)))
    }
}

fn damaged(path: &str, problem: String) -> DataError {
    DataError::file(path, Rule::Damaged { format: "Parquet".into(), problem })
}

/// What the crate `parquet` returns, or what is wrong with the file.
fn caught<T, E: std::fmt::Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    panics_as_errors(read)?.map_err(|error| error.to_string())
}

/// The place of a field: the numbers of the column and of the members within it.
fn locate(columns: &Fields, name: &str) -> Option<Vec<usize>> {
    if let Some((at, _)) = columns.find(name) {
        return Some(vec![at]);
    }
    columns.iter().enumerate().find_map(|(at, column)| {
        let member = name.strip_prefix(column.name().as_str())?.strip_prefix('.')?;
        let DataType::Struct(members) = column.data_type() else { return None };
        let mut place = locate(members, member)?;
        place.insert(0, at);
        Some(place)
    })
}

/// The leaves of Parquet's schema that the fields are made of.
fn leaves_of_fields(columns: &Fields, fields: &[SourceField]) -> Result<Vec<usize>, Rule> {
    let mut leaves = Vec::new();
    for field in fields.iter().filter(|field| field.is_read()) {
        let Some(place) = locate(columns, &field.name) else {
            if !field.is_needed() {
                continue;
            }
            let known = columns.iter().map(|column| column.name().as_str()).collect::<Vec<_>>().join(", ");
            return Err(Rule::ColumnMissing { column: field.name.clone(), known });
        };
        let (mut first, mut within, mut kind) = (0, columns, &DataType::Null);
        for at in place {
            if let DataType::Struct(members) = kind {
                within = members;
            }
            first += within[..at].iter().map(|column| leaf_count(column.data_type())).sum::<usize>();
            kind = within[at].data_type();
        }
        if !is_supported(kind) {
            return Err(Rule::ColumnType { column: field.name.clone(), kind: kind.to_string() });
        }
        leaves.extend(first..first + leaf_count(kind));
    }
    Ok(leaves)
}

fn leaf_count(kind: &DataType) -> usize {
    match kind {
        DataType::Struct(members) => members.iter().map(|member| leaf_count(member.data_type())).sum(),
        DataType::List(value) | DataType::LargeList(value) | DataType::FixedSizeList(value, _) | DataType::Map(value, _) => {
            leaf_count(value.data_type())
        }
        _ => 1,
    }
}

/// A field's column in rows of the columns that are read; `last` is the dictionary that it had before.
fn column(batch: &RecordBatch, name: &str, last: &mut Option<Coded>) -> Option<Cells> {
    let schema = batch.schema();
    let place = locate(schema.fields(), name)?;
    let (first, rest) = place.split_first()?;
    let array = batch.column(*first);
    if rest.is_empty() && matches!(array.data_type(), DataType::Dictionary(_, _)) {
        return coded_cells(array, last);
    }
    within(array, rest)
}

fn within(array: &ArrayRef, place: &[usize]) -> Option<Cells> {
    let Some((first, rest)) = place.split_first() else {
        return Cells::new(array);
    };
    let members = array.as_any().downcast_ref::<arrow_array::StructArray>()?;
    Some(Cells::Within(members.clone(), Box::new(within(members.column(*first), rest)?)))
}

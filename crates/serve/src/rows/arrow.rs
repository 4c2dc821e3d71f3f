//! Rows as an Arrow IPC stream or file, and scores as a stream.

use std::fmt::Write;
use std::io::Cursor;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, FixedSizeListArray, Float32Array, RecordBatch};
use arrow_ipc::reader::{FileReader, StreamDecoder};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema as ArrowSchema};
use bytes::Bytes;
use rankmill_data::{TextSpan, panics_as_errors, shown};
use rankmill_model::OutputValues;

use super::json::JsonRows;
use crate::error::{ErrorKind, ServeError};
use crate::tensors::join;

/// What a file begins with, and a stream does not.
const FILE_MAGIC: &[u8] = b"ARROW1";

/// Reads the columns that have the names of fields.
pub(crate) fn read(all: &mut JsonRows<'_>, body: Bytes) -> Result<(), ServeError> {
    let batches = panics_as_errors(|| decode(body)).and_then(|decoded| decoded.map_err(|error| error.to_string()));
    let batches = batches.map_err(|problem| ServeError::invalid(format!("the body is not Arrow IPC: {}", shown(problem.as_bytes()))))?;
    for batch in &batches {
        let first = all.rows.add_rows(batch.num_rows());
        all.limits.check_rows(all.rows.rows())?;
        let schema = batch.schema();
        let places = schema.fields().iter().map(|field| all.schema.place(field.name())).collect::<Result<Vec<_>, _>>()?;
        all.check_columns(&places)?;
        for (place, column) in places.into_iter().zip(batch.columns()) {
            fill(all, place, first, column)?;
        }
    }
    Ok(())
}

fn decode(body: Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    if body.starts_with(FILE_MAGIC) {
        return FileReader::try_new(Cursor::new(body), None)?.collect();
    }
    let mut decoder = StreamDecoder::new();
    let mut buffer = body.into();
    let mut batches = Vec::new();
    while let Some(batch) = decoder.decode(&mut buffer)? {
        batches.push(batch);
    }
    decoder.finish()?;
    Ok(batches)
}

fn fill(all: &mut JsonRows<'_>, place: usize, first: usize, column: &ArrayRef) -> Result<(), ServeError> {
    let Some(dictionary) = column.as_any_dictionary_opt() else {
        for row in 0..column.len() {
            let span = store(all, place, column, row)?;
            all.rows.set(first + row, place, span);
        }
        return Ok(());
    };
    // Every value is stored once, however many rows have it.
    let values = dictionary.values();
    let spans = (0..values.len()).map(|at| store(all, place, values, at)).collect::<Result<Vec<_>, _>>()?;
    let keys = if values.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
    for (row, key) in keys.into_iter().enumerate() {
        if !column.is_null(row) {
            all.rows.set(first + row, place, spans[key]);
        }
    }
    Ok(())
}

/// Stores a value, or the elements of a list as a file would have them.
fn store(all: &mut JsonRows<'_>, place: usize, column: &ArrayRef, row: usize) -> Result<TextSpan, ServeError> {
    let field = &all.schema.fields[place];
    let problem = |problem: String| ServeError::invalid(format!("field `{}`: {problem}", field.name));
    let mut text = Vec::new();
    let list = match column.data_type() {
        _ if column.is_null(row) => None,
        DataType::List(_) => Some(column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(column.as_fixed_size_list().value(row)),
        _ => None,
    };
    match list {
        None => write_value(column, row, &mut text).map_err(problem)?,
        Some(list) => {
            let mut elements = vec![Vec::new(); list.len()];
            for (at, element) in elements.iter_mut().enumerate() {
                write_value(&list, at, element).map_err(problem)?;
            }
            join(&mut text, field, elements.iter().map(Vec::as_slice)).map_err(problem)?;
        }
    }
    all.limits.check_text(&field.name, text.len())?;
    all.rows.store(&text).map_err(|rule| problem(rule.to_string()))
}

/// The text of a value; none if it is null.
fn write_value(column: &ArrayRef, row: usize, text: &mut Vec<u8>) -> Result<(), String> {
    if column.is_null(row) {
        return Ok(());
    }
    match column.data_type() {
        // Every value of it is null, though it has no bits that say so.
        DataType::Null => {}
        DataType::Utf8 => text.extend_from_slice(column.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => text.extend_from_slice(column.as_string::<i64>().value(row).as_bytes()),
        DataType::Utf8View => text.extend_from_slice(column.as_string_view().value(row).as_bytes()),
        DataType::Binary => text.extend_from_slice(column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => text.extend_from_slice(column.as_binary::<i64>().value(row)),
        DataType::BinaryView => text.extend_from_slice(column.as_binary_view().value(row)),
        DataType::Boolean => text.extend_from_slice(if column.as_boolean().value(row) { b"true" } else { b"false" }),
        DataType::Int8 => write_number::<Int8Type>(column, row, text),
        DataType::Int16 => write_number::<Int16Type>(column, row, text),
        DataType::Int32 => write_number::<Int32Type>(column, row, text),
        DataType::Int64 => write_number::<Int64Type>(column, row, text),
        DataType::UInt8 => write_number::<UInt8Type>(column, row, text),
        DataType::UInt16 => write_number::<UInt16Type>(column, row, text),
        DataType::UInt32 => write_number::<UInt32Type>(column, row, text),
        DataType::UInt64 => write_number::<UInt64Type>(column, row, text),
        DataType::Float16 => {
            let mut number = String::new();
            write!(number, "{:?}", column.as_primitive::<Float16Type>().value(row).to_f32()).expect("a String takes all");
            text.extend_from_slice(number.as_bytes());
        }
        DataType::Float32 => write_number::<Float32Type>(column, row, text),
        DataType::Float64 => write_number::<Float64Type>(column, row, text),
        other => {
            return Err(format!("columns of type {other} are not read; texts, numbers, booleans, and lists and dictionaries of those are"));
        }
    }
    Ok(())
}

fn write_number<T: ArrowPrimitiveType>(column: &ArrayRef, row: usize, text: &mut Vec<u8>) {
    let mut number = String::new();
    write!(number, "{:?}", column.as_primitive::<T>().value(row)).expect("a String takes all");
    text.extend_from_slice(number.as_bytes());
}

/// Scores as a stream of one batch.
pub(crate) fn write(outputs: &[OutputValues]) -> Result<Vec<u8>, ServeError> {
    let internal = |error: ArrowError| ServeError::new(ErrorKind::Internal, error.to_string());
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for output in outputs {
        let values: ArrayRef = Arc::new(Float32Array::from(output.values.clone()));
        let column = if output.width == 1 {
            values
        } else {
            let item = Arc::new(Field::new("item", DataType::Float32, false));
            let width = i32::try_from(output.width).map_err(|error| ServeError::new(ErrorKind::Internal, error.to_string()))?;
            Arc::new(FixedSizeListArray::try_new(item, width, values, None).map_err(internal)?)
        };
        fields.push(Field::new(&output.name, column.data_type().clone(), false));
        columns.push(column);
    }
    let schema = Arc::new(ArrowSchema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(internal)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(internal)?;
    writer.write(&batch).map_err(internal)?;
    writer.into_inner().map_err(internal)
}

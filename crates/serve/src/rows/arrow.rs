//! Rows as an Arrow IPC stream, and scores as one.

use std::fmt::Write;
use std::panic::catch_unwind;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, FixedSizeListArray, Float32Array, RecordBatch};
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema as ArrowSchema};
use bytes::Bytes;
use rankmill_data::{FieldRows, shown};
use rankmill_model::OutputValues;

use crate::error::{ErrorKind, ServeError};
use crate::limits::Limits;
use crate::schema::Schema;
use crate::tensors::join;

/// Reads the columns that have the names of fields.
pub(crate) fn read(schema: &Schema, limits: &Limits, body: Bytes) -> Result<FieldRows, ServeError> {
    // Arrow's reader is written for data of friends: what it does not expect may panic.
    let batches = catch_unwind(|| decode(body));
    let batches = batches.map_err(|_| ServeError::invalid("the body is not an Arrow IPC stream"))?;
    let batches = batches.map_err(|error| {
        let text = shown(error.to_string().as_bytes());
        ServeError::invalid(format!("the body is not an Arrow IPC stream: {text}"))
    })?;
    let mut rows = FieldRows::new(Arc::clone(&schema.names));
    for batch in &batches {
        let first = rows.add_rows(batch.num_rows());
        limits.check_rows(rows.rows())?;
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let place = schema.place(field.name())?;
            fill(&mut rows, limits, schema, place, first, column)?;
        }
        if let Some(missing) = schema.needed().find(|field| batch.column_by_name(&field.name).is_none()) {
            return Err(ServeError::invalid(format!("field `{}` is not among the columns", missing.name)));
        }
    }
    Ok(rows)
}

fn decode(body: Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut decoder = StreamDecoder::new();
    let mut buffer = body.into();
    let mut batches = Vec::new();
    while let Some(batch) = decoder.decode(&mut buffer)? {
        batches.push(batch);
    }
    decoder.finish()?;
    Ok(batches)
}

fn fill(rows: &mut FieldRows, limits: &Limits, schema: &Schema, place: usize, first: usize, column: &ArrayRef) -> Result<(), ServeError> {
    let field = &schema.fields[place];
    let problem = |problem: String| ServeError::invalid(format!("field `{}`: {problem}", field.name));
    let mut text = Vec::new();
    for row in 0..column.len() {
        text.clear();
        if let DataType::List(_) = column.data_type() {
            if !column.is_null(row) {
                let list = column.as_list::<i32>().value(row);
                let mut elements = Vec::with_capacity(list.len());
                for at in 0..list.len() {
                    let mut element = Vec::new();
                    write_value(&list, at, &mut element).map_err(problem)?;
                    elements.push(element);
                }
                join(&mut text, field, elements.iter().map(Vec::as_slice)).map_err(problem)?;
            }
        } else {
            write_value(column, row, &mut text).map_err(problem)?;
        }
        limits.check_text(&field.name, text.len())?;
        let span = rows.store(&text).map_err(|rule| problem(rule.to_string()))?;
        rows.set(first + row, place, span);
    }
    Ok(())
}

/// The text of a value; none if it is null.
fn write_value(column: &ArrayRef, row: usize, text: &mut Vec<u8>) -> Result<(), String> {
    if column.is_null(row) {
        return Ok(());
    }
    match column.data_type() {
        DataType::Utf8 => text.extend_from_slice(column.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => text.extend_from_slice(column.as_string::<i64>().value(row).as_bytes()),
        DataType::Utf8View => text.extend_from_slice(column.as_string_view().value(row).as_bytes()),
        DataType::Binary => text.extend_from_slice(column.as_binary::<i32>().value(row)),
        DataType::Boolean => text.extend_from_slice(if column.as_boolean().value(row) { b"true" } else { b"false" }),
        DataType::Int8 => write_number::<Int8Type>(column, row, text),
        DataType::Int16 => write_number::<Int16Type>(column, row, text),
        DataType::Int32 => write_number::<Int32Type>(column, row, text),
        DataType::Int64 => write_number::<Int64Type>(column, row, text),
        DataType::UInt8 => write_number::<UInt8Type>(column, row, text),
        DataType::UInt16 => write_number::<UInt16Type>(column, row, text),
        DataType::UInt32 => write_number::<UInt32Type>(column, row, text),
        DataType::UInt64 => write_number::<UInt64Type>(column, row, text),
        DataType::Float32 => write_number::<Float32Type>(column, row, text),
        DataType::Float64 => write_number::<Float64Type>(column, row, text),
        other => return Err(format!("columns of type {other} are not read; texts, numbers, booleans and lists of those are")),
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

//! Parquet: text columns are strings, scores are 32-bit floats, none of them nullable; Snappy-compressed row groups.

use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, Float32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::{AsideFile, SinkColumn, SinkColumnKind, SinkError, SinkValues, texts};

/// Rows of a row group: the writer holds one row group in memory, a reader decodes one at a time.
const ROW_GROUP_ROWS: usize = 1 << 18;

pub(super) struct ParquetSink {
    schema: SchemaRef,
    writer: ArrowWriter<AsideFile>,
    replaced_texts: u64,
}

impl std::fmt::Debug for ParquetSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetSink").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl ParquetSink {
    pub(super) fn create(path: &Path, columns: &[SinkColumn]) -> Result<ParquetSink, SinkError> {
        let fields = columns.iter().map(|column| {
            let kind = match column.kind {
                SinkColumnKind::Text => DataType::Utf8,
                SinkColumnKind::Float => DataType::Float32,
            };
            Field::new(&column.name, kind, false)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties =
            WriterProperties::builder().set_compression(Compression::SNAPPY).set_max_row_group_row_count(Some(ROW_GROUP_ROWS)).build();
        let file = AsideFile::create(path).map_err(|source| SinkError::io(path, source))?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|error| failed(path, error))?;
        Ok(ParquetSink { schema, writer, replaced_texts: 0 })
    }

    pub(super) fn write(&mut self, path: &Path, chunk: &[SinkValues<'_>]) -> Result<(), SinkError> {
        let columns = chunk.iter().map(|values| self.array(values)).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| SinkError::Chunk { path: path.to_owned(), what: error.to_string() })?;
        self.writer.write(&batch).map_err(|error| failed(path, error))
    }

    /// The size of the file in bytes and how many texts were not UTF-8.
    pub(super) fn finish(self, path: &Path) -> Result<(u64, u64), SinkError> {
        let file = self.writer.into_inner().map_err(|error| failed(path, error))?;
        let bytes = file.commit().map_err(|source| SinkError::io(path, source))?;
        Ok((bytes, self.replaced_texts))
    }

    fn array(&mut self, values: &SinkValues<'_>) -> ArrayRef {
        match values {
            SinkValues::Float(values) => Arc::new(Float32Array::from(values.to_vec())),
            SinkValues::Text { offsets, bytes } => {
                let mut builder = StringBuilder::with_capacity(offsets.len(), bytes.len());
                for text in texts(offsets, bytes) {
                    self.replaced_texts += u64::from(std::str::from_utf8(text).is_err());
                    builder.append_value(String::from_utf8_lossy(text));
                }
                Arc::new(builder.finish())
            }
        }
    }
}

fn failed(path: &Path, error: ParquetError) -> SinkError {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => SinkError::io(path, *source),
            Err(other) => SinkError::Parquet { path: path.to_owned(), message: other.to_string() },
        },
        other => SinkError::Parquet { path: path.to_owned(), message: other.to_string() },
    }
}

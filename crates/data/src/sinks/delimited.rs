//! CSV and TSV: a header, then a line per row, quoted where a value needs it. Numbers are written in the fewest digits that
//! read back as the same 32-bit float.

use std::io::{self, Write};
use std::path::Path;

use super::{AsideFile, SinkColumn, SinkError, SinkValues, texts};

#[derive(Debug)]
pub(super) struct DelimitedSink {
    writer: csv::Writer<AsideFile>,
    number: Vec<u8>,
}

impl DelimitedSink {
    pub(super) fn create(path: &Path, delimiter: u8, columns: &[SinkColumn]) -> Result<DelimitedSink, SinkError> {
        let file = AsideFile::create(path).map_err(|source| SinkError::io(path, source))?;
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(file);
        writer.write_record(columns.iter().map(|column| &column.name)).map_err(|error| from_csv(path, error))?;
        Ok(DelimitedSink { writer, number: Vec::new() })
    }

    pub(super) fn write(&mut self, path: &Path, rows: usize, chunk: &[SinkValues<'_>]) -> Result<(), SinkError> {
        for row in 0..rows {
            for values in chunk {
                match values {
                    SinkValues::Float(values) => {
                        self.number.clear();
                        write!(self.number, "{:?}", values[row]).map_err(|source| SinkError::io(path, source))?;
                        self.writer.write_field(&self.number)
                    }
                    SinkValues::Text { offsets, bytes } => match texts(&offsets[row..row + 2], bytes).next() {
                        Some(text) => self.writer.write_field(text),
                        None => self.writer.write_field([]),
                    },
                }
                .map_err(|error| from_csv(path, error))?;
            }
            self.writer.write_record(None::<&[u8]>).map_err(|error| from_csv(path, error))?;
        }
        Ok(())
    }

    pub(super) fn finish(self, path: &Path) -> Result<u64, SinkError> {
        let file = self.writer.into_inner().map_err(|error| SinkError::io(path, into_io(error.into_error().into())))?;
        file.commit().map_err(|source| SinkError::io(path, source))
    }
}

fn from_csv(path: &Path, error: csv::Error) -> SinkError {
    SinkError::io(path, into_io(error))
}

fn into_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => source,
        other => io::Error::other(format!("{other:?}")),
    }
}

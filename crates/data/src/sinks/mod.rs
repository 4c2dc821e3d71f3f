//! Writers of prediction results: CSV, TSV and Parquet, chosen by the output file's extension.
//!
//! Rows arrive chunk by chunk, so that any number of them needs the memory of one chunk (Parquet: of one row group). The
//! file is written aside and renamed when it is complete: a run that fails leaves no half-written result behind.

mod aside;
mod delimited;
mod parquet;

use std::io;
use std::path::{Path, PathBuf};

pub use aside::AsideFile;

use self::delimited::DelimitedSink;
use self::parquet::ParquetSink;

/// The extensions of [`PredictionSink`], for messages and help texts.
pub const EXTENSIONS: [&str; 3] = ["csv", "tsv", "parquet"];

/// A column of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkColumn {
    /// Its heading.
    pub name: String,
    /// What it holds.
    pub kind: SinkColumnKind,
}

impl SinkColumn {
    /// A column of text, such as an input column that is kept.
    pub fn text(name: impl Into<String>) -> SinkColumn {
        SinkColumn { name: name.into(), kind: SinkColumnKind::Text }
    }

    /// A column of numbers, such as `probs`.
    pub fn float(name: impl Into<String>) -> SinkColumn {
        SinkColumn { name: name.into(), kind: SinkColumnKind::Float }
    }
}

/// What a column of the result holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkColumnKind {
    /// Text: the bytes of the input.
    Text,
    /// 32-bit floats.
    Float,
}

/// The values of one column for a chunk of rows.
#[derive(Clone, Copy, Debug)]
pub enum SinkValues<'a> {
    /// Row `i` is `bytes[offsets[i]..offsets[i + 1]]`: one more offset than rows.
    Text {
        /// Where each row starts.
        offsets: &'a [u32],
        /// The text of all rows.
        bytes: &'a [u8],
    },
    /// One number per row.
    Float(&'a [f32]),
}

impl<'a> SinkValues<'a> {
    fn kind(&self) -> SinkColumnKind {
        match self {
            SinkValues::Text { .. } => SinkColumnKind::Text,
            SinkValues::Float(_) => SinkColumnKind::Float,
        }
    }

    /// The number of rows, or `None` if the offsets do not fit the bytes.
    fn rows(&self) -> Option<usize> {
        match self {
            SinkValues::Float(values) => Some(values.len()),
            SinkValues::Text { offsets, bytes } => {
                let ascending = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
                let inside = *offsets.last()? as usize <= bytes.len();
                (ascending && inside).then(|| offsets.len() - 1)
            }
        }
    }
}

/// The text of each row of a text column; the offsets have been checked by [`SinkValues::rows`].
fn texts<'a>(offsets: &'a [u32], bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    offsets.windows(2).map(|pair| &bytes[pair[0] as usize..pair[1] as usize])
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkSummary {
    /// Rows, without the header.
    pub rows: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Text values that were not UTF-8 and were written with replacement characters; CSV keeps every byte, so only in Parquet.
    pub replaced_texts: u64,
}

/// Why a result could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The extension names no known format.
    #[error("{}: the format is chosen by the extension; expected .csv, .tsv or .parquet", path.display())]
    UnknownFormat {
        /// The output file.
        path: PathBuf,
    },
    /// The file system refused: no space, no permission, no such folder.
    #[error("{}: cannot be written: {source}", path.display())]
    Io {
        /// The output file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The Parquet writer failed.
    #[error("{}: cannot be written: {message}", path.display())]
    Parquet {
        /// The output file.
        path: PathBuf,
        /// The writer's reason.
        message: String,
    },
    /// Two columns have one name.
    #[error("{}: two columns are named `{name}`", path.display())]
    DuplicateColumn {
        /// The output file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A chunk does not fit the declared columns.
    #[error("{}: chunk does not fit: {what}", path.display())]
    Chunk {
        /// The output file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
}

impl SinkError {
    fn io(path: &Path, source: io::Error) -> SinkError {
        SinkError::Io { path: path.to_owned(), source }
    }
}

/// A result file that is being written.
#[derive(Debug)]
pub struct PredictionSink {
    path: PathBuf,
    columns: Vec<SinkColumn>,
    rows: u64,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Delimited(DelimitedSink),
    Parquet(ParquetSink),
}

impl PredictionSink {
    /// Starts the file `path` with the given columns.
    ///
    /// # Errors
    /// If the extension names no format, two columns share a name, or the file cannot be made.
    pub fn create(path: &Path, columns: Vec<SinkColumn>) -> Result<PredictionSink, SinkError> {
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        for (index, column) in columns.iter().enumerate() {
            if columns[..index].iter().any(|earlier| earlier.name == column.name) {
                return Err(SinkError::DuplicateColumn { path: path.to_owned(), name: column.name.clone() });
            }
        }
        let format = match extension.as_deref() {
            Some("csv") => Format::Delimited(DelimitedSink::create(path, b',', &columns)?),
            Some("tsv") => Format::Delimited(DelimitedSink::create(path, b'\t', &columns)?),
            Some("parquet") => Format::Parquet(ParquetSink::create(path, &columns)?),
            _ => return Err(SinkError::UnknownFormat { path: path.to_owned() }),
        };
        Ok(PredictionSink { path: path.to_owned(), columns, rows: 0, format })
    }

    /// Appends a chunk: the values of every column, in the order of the columns.
    ///
    /// # Errors
    /// If the chunk does not fit the columns or the file cannot be written.
    pub fn write(&mut self, chunk: &[SinkValues<'_>]) -> Result<(), SinkError> {
        let rows = self.check(chunk)?;
        match &mut self.format {
            Format::Delimited(sink) => sink.write(&self.path, rows, chunk)?,
            Format::Parquet(sink) => sink.write(&self.path, chunk)?,
        }
        self.rows += rows as u64;
        Ok(())
    }

    /// Completes the file and moves it to its place.
    ///
    /// # Errors
    /// If the rest cannot be written.
    pub fn finish(self) -> Result<SinkSummary, SinkError> {
        let (bytes, replaced_texts) = match self.format {
            Format::Delimited(sink) => (sink.finish(&self.path)?, 0),
            Format::Parquet(sink) => sink.finish(&self.path)?,
        };
        Ok(SinkSummary { rows: self.rows, bytes, replaced_texts })
    }

    fn check(&self, chunk: &[SinkValues<'_>]) -> Result<usize, SinkError> {
        let fail = |what: String| SinkError::Chunk { path: self.path.clone(), what };
        if chunk.len() != self.columns.len() {
            return Err(fail(format!("{} columns instead of {}", chunk.len(), self.columns.len())));
        }
        let mut rows = None;
        for (column, values) in self.columns.iter().zip(chunk) {
            let name = &column.name;
            if values.kind() != column.kind {
                return Err(fail(format!("column `{name}` is {:?}, not {:?}", values.kind(), column.kind)));
            }
            let Some(found) = values.rows() else {
                return Err(fail(format!("column `{name}` has offsets that do not fit its bytes")));
            };
            let expected = *rows.get_or_insert(found);
            if found != expected {
                return Err(fail(format!("column `{name}` has {found} rows instead of {expected}")));
            }
        }
        Ok(rows.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests;

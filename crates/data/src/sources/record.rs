//! Records: rows on their way from files to the decoder of their format.
//!
//! Every format has two halves. A [`RecordFile`] yields the rows of one file, one at a time, as bytes; it runs in the reading thread, and
//! shuffling, interleaving, resuming and batches know nothing more of it. A [`Decoder`](super::decoder::Decoder) makes text fields of
//! these bytes, in the order of `data_config.input_fields`; it runs in the thread that makes columns. A format whose rows have to be
//! taken apart while they are read (columns of Parquet) yields rows of ready fields instead, see [`FieldRecord`](crate::rows::FieldRecord).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::criteo::CriteoFile;
use super::dummy::DummyFile;
use super::fields::SourceField;
use super::files::InputFile;
use super::order::Position;
use super::parquet::ParquetFile;
use super::sequence_example::SequenceExampleFile;
use super::text::TextFile;
use super::tf_record::TfRecordFile;
use crate::cache::CacheFile;
use crate::error::{DataError, Rule};
use crate::rows::Origin;

/// A row of a file.
pub(crate) enum Record<'a> {
    /// Its bytes, as the decoder takes them.
    Row(&'a [u8]),
    /// It can't be used.
    Broken(Box<Rule>),
}

impl Record<'_> {
    /// What the row takes in a file of lines.
    pub(crate) fn text_bytes(&self) -> u64 {
        match self {
            Record::Row(bytes) => bytes.len() as u64 + 1,
            Record::Broken(_) => 0,
        }
    }
}

/// The rows of one open file, in order.
pub(crate) trait RecordFile: Send {
    /// The next row and its number, counted from 1; `None` at the end.
    ///
    /// # Errors
    /// A file that is damaged or can't be read.
    fn next_record(&mut self) -> Result<Option<(Record<'_>, u64)>, DataError>;
}

/// How the records of a block are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each ends with `\n`, which is in none of them.
    #[default]
    Lines,
    /// By their ends.
    Ends,
}

/// What a file is opened as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Lines {
        /// Lines to pass over at the start.
        header_lines: u64,
    },
    TfRecord,
    SequenceExamples {
        /// Rows in each record.
        rows: usize,
    },
    Parquet,
    Criteo,
    Dummy {
        rows: u64,
    },
    /// Features that were made before.
    Cached,
}

/// Opens the files of an input.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(crate) kind: FileKind,
    pub(crate) fields: Arc<[SourceField]>,
    /// Counts the bytes that are read.
    pub(crate) progress: Arc<AtomicU64>,
}

impl Opener {
    pub(crate) fn framing(&self) -> Framing {
        if matches!(self.kind, FileKind::Lines { .. }) { Framing::Lines } else { Framing::Ends }
    }

    /// Whether files are opened as text of lines.
    pub(crate) fn has_lines(&self) -> bool {
        self.framing() == Framing::Lines
    }

    /// Opens a file in front of its first row.
    pub(crate) fn open(&self, file: &InputFile) -> Result<Box<dyn RecordFile>, DataError> {
        let (progress, fields) = (&self.progress, &self.fields);
        Ok(match self.kind {
            FileKind::Lines { header_lines } => {
                let mut text = TextFile::open(&file.path, progress)?;
                for _ in 0..header_lines {
                    text.next_line()?;
                }
                Box::new(text)
            }
            FileKind::TfRecord => Box::new(TfRecordFile::open(&file.path, progress)?),
            FileKind::SequenceExamples { rows } => Box::new(SequenceExampleFile::open(&file.path, rows, fields, progress)?),
            FileKind::Parquet => Box::new(ParquetFile::open(file, fields, progress)?),
            FileKind::Criteo => Box::new(CriteoFile::open(file, fields, progress)?),
            FileKind::Cached => Box::new(CacheFile::open(&file.path, progress)?),
            FileKind::Dummy { rows } => Box::new(DummyFile::new(rows, fields.len())),
        })
    }
}

/// Rows on their way to a batch.
#[derive(Debug, Default)]
pub(crate) struct RecordBlock {
    pub(crate) framing: Framing,
    /// The records, one behind the other.
    pub(crate) bytes: Vec<u8>,
    /// Where each record ends; empty with [`Framing::Lines`].
    pub(crate) ends: Vec<usize>,
    /// Where each row is from.
    pub(crate) origins: Vec<Origin>,
    /// The rows that can't be used, in order; their records are empty.
    pub(crate) broken: Vec<(usize, Rule)>,
    /// Where the stream stands after these rows.
    pub(crate) position: Position,
    /// Bytes of all lines of the epoch up to here, with their ends.
    pub(crate) text_bytes: u64,
}

impl RecordBlock {
    pub(crate) fn new(framing: Framing) -> RecordBlock {
        RecordBlock { framing, ..RecordBlock::default() }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.origins.clear();
        self.broken.clear();
    }

    pub(crate) fn push(&mut self, record: Record<'_>, origin: Origin) {
        match record {
            Record::Row(bytes) => self.bytes.extend_from_slice(bytes),
            Record::Broken(rule) => self.broken.push((self.origins.len(), *rule)),
        }
        match self.framing {
            Framing::Lines => self.bytes.push(b'\n'),
            Framing::Ends => self.ends.push(self.bytes.len()),
        }
        self.origins.push(origin);
    }

    pub(crate) fn copy(&mut self, other: &RecordBlock) {
        self.framing = other.framing;
        self.bytes.clone_from(&other.bytes);
        self.ends.clone_from(&other.ends);
        self.origins.clone_from(&other.origins);
        self.broken.clone_from(&other.broken);
        (self.position, self.text_bytes) = (other.position, other.text_bytes);
    }

    /// Whether the records are lines of text.
    pub(crate) fn has_lines(&self) -> bool {
        self.framing == Framing::Lines
    }

    pub(crate) fn len(&self) -> usize {
        self.origins.len()
    }

    /// The records with their origins; those of unusable rows come with the rule they break.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Record<'_>, Origin)> {
        let lines = matches!(self.framing, Framing::Lines).then(|| memchr::memchr_iter(b'\n', &self.bytes));
        let ends = lines.into_iter().flatten().map(|end| (end, end + 1)).chain(self.ends.iter().map(|&end| (end, end)));
        let mut broken = self.broken.iter().peekable();
        let mut start = 0;
        ends.zip(&self.origins).enumerate().map(move |(row, ((end, next), &origin))| {
            let bytes = &self.bytes[start..end];
            start = next;
            let record = match broken.next_if(|(at, _)| *at == row) {
                Some((_, rule)) => Record::Broken(Box::new(rule.clone())),
                None => Record::Row(bytes),
            };
            (record, origin)
        })
    }
}

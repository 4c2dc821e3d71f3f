//! The lines of one text file, one at a time, with a buffer of bounded size.
//!
//! As in `tf.data.TextLineDataset`, a line ends at `\n` or at the end of the file, and every carriage return is dropped.

use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::decode::{Decoded, open};
use super::record::{Record, RecordFile};
use crate::error::{DataError, Rule};

const BUFFER: usize = 256 * 1024;
/// A longer line is taken for a file that is no text.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// An open text file.
pub(crate) struct TextFile {
    path: String,
    source: Decoded,
    buffer: Vec<u8>,
    /// The part of `buffer` that holds text not yet handed out.
    pending: Range<usize>,
    at_end: bool,
    /// Lines handed out.
    line: u64,
}

impl TextFile {
    pub(crate) fn open(path: &str, progress: &Arc<AtomicU64>) -> Result<TextFile, DataError> {
        Ok(TextFile::new(path, open(path, progress)?))
    }

    /// The text that `source` yields.
    pub(crate) fn new(path: &str, source: Decoded) -> TextFile {
        TextFile { path: path.to_string(), source, buffer: vec![0; BUFFER], pending: 0..0, at_end: false, line: 0 }
    }

    /// The next line and its number, counted from 1; `None` at the end of the file.
    pub(crate) fn next_line(&mut self) -> Result<Option<(&[u8], u64)>, DataError> {
        let mut searched = 0;
        loop {
            let text = &self.buffer[self.pending.clone()];
            if let Some(length) = memchr::memchr(b'\n', &text[searched..]) {
                let start = self.pending.start;
                let end = start + searched + length;
                self.pending.start = end + 1;
                self.line += 1;
                return Ok(Some((&self.buffer[start..end], self.line)));
            }
            searched = text.len();
            if self.at_end {
                if searched == 0 {
                    return Ok(None);
                }
                let last = self.pending.clone();
                self.pending.start = last.end;
                self.line += 1;
                return Ok(Some((&self.buffer[last], self.line)));
            }
            self.fill()?;
        }
    }

    /// Reads more text behind the pending part, which moves to the front of the buffer.
    fn fill(&mut self) -> Result<(), DataError> {
        self.buffer.copy_within(self.pending.clone(), 0);
        self.pending = 0..self.pending.len();
        if self.pending.end == self.buffer.len() {
            if self.buffer.len() >= LONGEST_LINE {
                let row = self.line + 1;
                return Err(DataError { row, ..DataError::file(&*self.path, Rule::LineTooLong { limit: LONGEST_LINE }) });
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let count = loop {
            match self.source.read(&mut self.buffer[self.pending.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => break outcome.map_err(|error| self.damage(&error))?,
            }
        };
        self.at_end = count == 0;
        let fresh = self.pending.end..self.pending.end + count;
        let kept = drop_carriage_returns(&mut self.buffer[fresh]);
        self.pending.end += kept;
        Ok(())
    }

    fn damage(&self, error: &std::io::Error) -> DataError {
        DataError { row: self.line + 1, ..DataError::file(&*self.path, self.source.damage(error)) }
    }
}

impl RecordFile for TextFile {
    fn next_record(&mut self) -> Result<Option<(Record<'_>, u64)>, DataError> {
        Ok(self.next_line()?.map(|(line, number)| (Record::Row(line), number)))
    }
}

/// Moves the other bytes together and returns how many there are.
fn drop_carriage_returns(text: &mut [u8]) -> usize {
    let Some(first) = memchr::memchr(b'\r', text) else {
        return text.len();
    };
    let mut kept = first;
    for at in first..text.len() {
        if text[at] != b'\r' {
            text[kept] = text[at];
            kept += 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn lines(content: &[u8]) -> Vec<(String, u64)> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), content).expect("written");
        let mut text = TextFile::open(&file.path().to_string_lossy(), &Arc::default()).expect("opened");
        let mut found = Vec::new();
        while let Some((line, number)) = text.next_line().expect("readable") {
            found.push((String::from_utf8_lossy(line).into_owned(), number));
        }
        found
    }

    #[test]
    fn line_ends() {
        let two = vec![("a".to_string(), 1), ("b".to_string(), 2)];
        assert_eq!(lines(b"a\nb\n"), two);
        assert_eq!(lines(b"a\nb"), two);
        assert_eq!(lines(b"a\r\nb\r\n"), two);
        assert_eq!(lines(b"\ra\n\rb"), two);
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n\n"), [(String::new(), 1), (String::new(), 2)]);
    }

    #[test]
    fn lines_longer_than_the_buffer() {
        let long = "x".repeat(3 * BUFFER + 17);
        assert_eq!(lines(format!("a\n{long}\nb").as_bytes()), [("a".to_string(), 1), (long, 2), ("b".to_string(), 3)]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), [b"a\n".as_slice(), &vec![b'x'; LONGEST_LINE + 1]].concat()).expect("written");
        let mut text = TextFile::open(&file.path().to_string_lossy(), &Arc::default()).expect("opened");
        assert!(text.next_line().is_ok_and(|line| line.is_some()));
        let error = text.next_line().expect_err("too long");
        assert_eq!((error.row, error.rule), (2, Rule::LineTooLong { limit: LONGEST_LINE }));
    }
}

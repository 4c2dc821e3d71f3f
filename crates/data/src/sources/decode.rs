//! Opening a file (on disk or in an object store) or standard input: gzip and Zstandard are recognised by their first bytes, whatever the file's name.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::standard_input::{self, STANDARD_INPUT};
use super::storage;
use crate::error::{DataError, Rule};

pub(super) const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
pub(super) const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Bytes read from disk at once.
const READ_AHEAD: usize = 256 * 1024;

/// A file's rows as text, decompressed.
pub(crate) struct Decoded {
    reader: Box<dyn Read + Send>,
    /// The format, for messages; `None` for plain text.
    pub(crate) format: Option<&'static str>,
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Decoded {
    /// The rule that data breaks which can't be read on.
    pub(crate) fn damage(&self, error: &io::Error) -> Rule {
        match self.format {
            Some(format) => Rule::Damaged { format: format.to_string(), problem: error.to_string() },
            None => Rule::Unreadable(error.to_string()),
        }
    }

    /// Reads until `buffer` is full or the data end; returns how much there was.
    pub(crate) fn read_full(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < buffer.len() {
            match self.reader.read(&mut buffer[count..]) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}

/// Opens `path` to read its rows; the bytes read from disk are added to `progress`.
pub(crate) fn open(path: &str, progress: &Arc<AtomicU64>) -> Result<Decoded, DataError> {
    let unreadable = |error: io::Error| DataError::file(path, Rule::Unreadable(error.to_string()));
    if path == STANDARD_INPUT {
        return decode(standard_input::take()?, progress).map_err(unreadable);
    }
    storage::open(path).and_then(|file| decode(file.stream(), progress)).map_err(unreadable)
}

/// Opens `path` to look at its beginning; standard input can be read from its beginning afterwards.
pub(crate) fn peek(path: &str) -> Result<Decoded, DataError> {
    if path == STANDARD_INPUT {
        let unreadable = |error: io::Error| DataError::file(path, Rule::Unreadable(error.to_string()));
        return decode(standard_input::peek()?, &Arc::default()).map_err(unreadable);
    }
    open(path, &Arc::default())
}

fn decode(source: impl Read + Send + 'static, progress: &Arc<AtomicU64>) -> io::Result<Decoded> {
    let file = Counted { source, progress: Arc::clone(progress) };
    let mut file = BufReader::with_capacity(READ_AHEAD, file);
    let start = file.fill_buf()?;
    if start.starts_with(&GZIP) {
        return Ok(Decoded { reader: Box::new(MultiGzDecoder::new(file)), format: Some("gzip") });
    }
    if start.starts_with(&ZSTANDARD) {
        return Ok(Decoded { reader: Box::new(Zstandard { state: Some(Frame::Between(file)) }), format: Some("Zstandard") });
    }
    Ok(Decoded { reader: Box::new(file), format: None })
}

/// Counts the bytes that pass.
struct Counted<R> {
    source: R,
    progress: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.progress.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// All frames of a Zstandard file; the decoder below reads one.
struct Zstandard<R: Read> {
    /// `None` after an error.
    state: Option<Frame<R>>,
}

enum Frame<R: Read> {
    Between(R),
    Within(Box<StreamingDecoder<R, FrameDecoder>>),
}

impl<R: BufRead> Read for Zstandard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state.take() {
                None => return Ok(0),
                Some(Frame::Between(mut source)) => {
                    if source.fill_buf()?.is_empty() {
                        self.state = Some(Frame::Between(source));
                        return Ok(0);
                    }
                    self.state = Some(start_frame(source)?);
                }
                Some(Frame::Within(mut decoder)) => match decoder.read(buffer)? {
                    0 => self.state = Some(Frame::Between(decoder.into_inner())),
                    count => {
                        self.state = Some(Frame::Within(decoder));
                        return Ok(count);
                    }
                },
            }
        }
    }
}

/// Starts the frame at `source`, which is not at its end. A skippable frame (metadata) is passed over.
fn start_frame<R: BufRead>(mut source: R) -> io::Result<Frame<R>> {
    let skippable = source.fill_buf()?.first().is_some_and(|byte| byte & 0xf0 == 0x50);
    if !skippable {
        return Ok(Frame::Within(Box::new(StreamingDecoder::new(source).map_err(io::Error::other)?)));
    }
    let mut header = [0u8; 8];
    source.read_exact(&mut header)?;
    let [_, _, _, _, length @ ..] = header;
    let length = u64::from(u32::from_le_bytes(length));
    if io::copy(&mut source.by_ref().take(length), &mut io::sink())? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Frame::Between(source))
}

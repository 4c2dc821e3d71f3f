//! Where files are: on disk, or behind a URL (feature `cloud`).

#[cfg(feature = "cloud")]
mod remote;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::UNIX_EPOCH;

use ::parquet::errors::Result as ParquetResult;
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;

#[cfg(feature = "cloud")]
use self::remote::RemoteFile;

/// An open file.
pub(crate) enum Stored {
    Disk(File),
    #[cfg(feature = "cloud")]
    Remote(RemoteFile),
}

/// Whether a path is a URL, such as `s3://bucket/rows.csv`.
pub(crate) fn is_url(path: &str) -> bool {
    path.split_once("://").is_some_and(|(scheme, _)| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Opens a file.
pub(crate) fn open(path: &str) -> io::Result<Stored> {
    if is_url(path) { open_url(path) } else { File::open(path).map(Stored::Disk) }
}

/// The URLs of the files that a URL names: a file, a pattern or a folder, as with paths.
#[cfg(feature = "cloud")]
pub(crate) use self::remote::expand;

#[cfg(feature = "cloud")]
fn open_url(url: &str) -> io::Result<Stored> {
    RemoteFile::open(url).map(Stored::Remote)
}

/// The URLs of the files that a URL names.
#[cfg(not(feature = "cloud"))]
pub(crate) fn expand(url: &str) -> io::Result<Vec<String>> {
    open_url(url).map(|_| Vec::new())
}

#[cfg(not(feature = "cloud"))]
fn open_url(_: &str) -> io::Result<Stored> {
    let message = "this program was built without object stores; build it with `--features cloud`, or copy the files to disk";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

impl Stored {
    /// The size in bytes.
    pub(crate) fn size(&self) -> io::Result<u64> {
        match self {
            Stored::Disk(file) => file.metadata().map(|data| data.len()),
            #[cfg(feature = "cloud")]
            Stored::Remote(file) => Ok(file.size()),
        }
    }

    /// Some bytes; fewer at the end of the file.
    pub(crate) fn bytes(&mut self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        match self {
            Stored::Disk(file) => {
                let mut bytes = Vec::new();
                file.seek(SeekFrom::Start(start))?;
                file.take(length).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            #[cfg(feature = "cloud")]
            Stored::Remote(file) => file.bytes(start..(start + length).min(file.size())).map(Vec::from),
        }
    }

    /// What changes when the file does: the time of the last change, or the version that the store names.
    pub(crate) fn version(&self) -> io::Result<String> {
        match self {
            Stored::Disk(file) => {
                let changed = file.metadata().and_then(|data| data.modified())?;
                Ok(changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string())
            }
            #[cfg(feature = "cloud")]
            Stored::Remote(file) => Ok(file.version()),
        }
    }

    /// The bytes in order.
    pub(crate) fn stream(self) -> Box<dyn Read + Send> {
        match self {
            Stored::Disk(file) => Box::new(file),
            #[cfg(feature = "cloud")]
            Stored::Remote(file) => Box::new(file.stream()),
        }
    }
}

impl Length for Stored {
    fn len(&self) -> u64 {
        self.size().unwrap_or(0)
    }
}

impl ChunkReader for Stored {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> ParquetResult<Box<dyn Read>> {
        match self {
            Stored::Disk(file) => file.get_read(start).map(|read| Box::new(read) as Box<dyn Read>),
            #[cfg(feature = "cloud")]
            Stored::Remote(file) => Ok(Box::new(file.blocks_from(start))),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        match self {
            Stored::Disk(file) => file.get_bytes(start, length),
            #[cfg(feature = "cloud")]
            Stored::Remote(file) => Ok(file.blocks_of(start..start + length as u64)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_scheme() {
        for url in ["s3://bucket/key", "https://host/rows.csv", "s3a://b/*"] {
            assert!(is_url(url), "{url}");
        }
        for path in ["rows.csv", "C:\\rows.csv", "./a://b", "://", "data/s3"] {
            assert!(!is_url(path), "{path}");
        }
    }

    #[cfg(not(feature = "cloud"))]
    #[test]
    fn a_build_without_object_stores_says_so() {
        let message = expand("s3://bucket/rows.csv").map(|_| ()).expect_err("no object stores").to_string();
        assert!(message.contains("build it with `--features cloud`"), "{message}");
    }
}

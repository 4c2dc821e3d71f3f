//! Why a data set could not be made.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::DataError;

/// Why a data set could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// A file or folder could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file, or `ARCHIVE/MEMBER`.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// One of the original files is not there.
    #[error("{}: holds no `{name}` (nor `{name}.zst` or `{name}.gz`); expected users.dat, movies.dat and ratings.dat", from.display())]
    Missing {
        /// The folder or archive.
        from: PathBuf,
        /// The file's name.
        name: &'static str,
    },
    /// A text file could not be read.
    #[error(transparent)]
    Text(#[from] DataError),
    /// The file is neither a folder nor a ZIP archive.
    #[error("{}: neither a folder nor a ZIP archive: {message}", path.display())]
    NotAnArchive {
        /// The file.
        path: PathBuf,
        /// The reader's reason.
        message: String,
    },
    /// A line of one of the original files cannot be used.
    #[error("{}:{line}: {what}; the line is \"{text}\"", path.display())]
    Line {
        /// The file, or `ARCHIVE/MEMBER`.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong and what was expected.
        what: String,
        /// The line, cut.
        text: String,
    },
}

impl SynthError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> SynthError + '_ {
        move |source| SynthError::Read { path: path.to_owned(), source }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> SynthError + '_ {
        move |source| SynthError::Write { path: path.to_owned(), source }
    }
}

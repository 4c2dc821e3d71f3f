//! The lines of the original files, from a folder or a ZIP archive.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;

use crate::sources::TextFile;
use crate::synth::SynthError;

/// The longest part of a line that a message shows, in characters.
const SHOWN_CHARACTERS: usize = 80;

/// Where the files are.
pub(super) enum Members {
    Folder(PathBuf),
    Archive(PathBuf, Box<ZipArchive<BufReader<File>>>),
}

/// One line, decoded.
pub(super) struct Line<'a> {
    text: &'a str,
}

impl<'a> Line<'a> {
    /// The `N` fields between `::`, which are named by `expected` in messages.
    pub(super) fn fields<const N: usize>(&self, expected: &str) -> Result<[&'a str; N], String> {
        let fields: Vec<&str> = self.text.split("::").collect();
        let count = fields.len();
        fields.try_into().map_err(|_| format!("{count} fields; expected {N}: {expected}"))
    }
}

impl Members {
    /// Looks whether `from` is a folder or an archive.
    pub(super) fn open(from: &Path) -> Result<Members, SynthError> {
        if from.is_dir() {
            return Ok(Members::Folder(from.to_owned()));
        }
        let file = BufReader::new(File::open(from).map_err(SynthError::read(from))?);
        let archive =
            ZipArchive::new(file).map_err(|error| SynthError::NotAnArchive { path: from.to_owned(), message: error.to_string() })?;
        Ok(Members::Archive(from.to_owned(), Box::new(archive)))
    }

    /// Gives every line of the file `name` to `visit`, which says what is wrong with a line.
    pub(super) fn lines(&mut self, name: &'static str, visit: &mut dyn FnMut(&Line<'_>) -> Result<(), String>) -> Result<(), SynthError> {
        match self {
            Members::Folder(folder) => {
                let candidates = ["", ".zst", ".gz"].map(|extension| folder.join(format!("{name}{extension}")));
                let Some(path) = candidates.into_iter().find(|path| path.exists()) else {
                    return Err(SynthError::Missing { from: folder.clone(), name });
                };
                let mut file = TextFile::open(&path.to_string_lossy(), &Arc::default())?;
                while let Some((bytes, line)) = file.next_line()? {
                    visit_line(&path, line, bytes, visit)?;
                }
                Ok(())
            }
            Members::Archive(archive, zip) => {
                let is_named = |member: &str| member.rsplit('/').next() == Some(name);
                let members = zip.file_names().filter_map(Result::ok);
                let Some(member) = members.map(String::from).find(|member| is_named(member)) else {
                    return Err(SynthError::Missing { from: archive.clone(), name });
                };
                let path = archive.join(&member);
                let opened = zip.by_name(&member).map_err(|error| SynthError::read(&path)(io::Error::other(error)))?;
                let mut reader = BufReader::new(opened);
                let mut bytes = Vec::new();
                for line in 1.. {
                    bytes.clear();
                    if reader.read_until(b'\n', &mut bytes).map_err(SynthError::read(&path))? == 0 {
                        break;
                    }
                    visit_line(&path, line, &bytes, visit)?;
                }
                Ok(())
            }
        }
    }
}

fn visit_line(path: &Path, line: u64, bytes: &[u8], visit: &mut dyn FnMut(&Line<'_>) -> Result<(), String>) -> Result<(), SynthError> {
    // In ISO-8859-1 a byte is the character of that number.
    let text: String = bytes.iter().copied().map(char::from).collect();
    let text = text.trim_end_matches(['\n', '\r']);
    visit(&Line { text }).map_err(|what| {
        let text = text.chars().take(SHOWN_CHARACTERS).flat_map(char::escape_debug).collect();
        SynthError::Line { path: path.to_owned(), line, what, text }
    })
}

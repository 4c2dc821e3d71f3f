//! A file that is written aside and takes its place only when it is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A buffered file `.NAME.partial` that [`AsideFile::commit`] renames to `NAME`; dropped before that, it is removed.
#[derive(Debug)]
pub struct AsideFile {
    path: PathBuf,
    aside: PathBuf,
    /// `None` once committed.
    file: Option<BufWriter<File>>,
}

impl AsideFile {
    /// Opens the file aside, beside its later place.
    ///
    /// # Errors
    /// If the file system refuses, or the path names no file.
    pub fn create(path: &Path) -> io::Result<AsideFile> {
        let Some(name) = path.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
        };
        if path.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".partial");
        let aside = path.with_file_name(hidden);
        let file = BufWriter::with_capacity(1 << 18, File::create(&aside)?);
        Ok(AsideFile { path: path.to_owned(), aside, file: Some(file) })
    }

    /// Writes out everything and moves the file to its place; returns its size in bytes.
    ///
    /// # Errors
    /// If the file system refuses; the file aside is then removed.
    pub fn commit(mut self) -> io::Result<u64> {
        let writer = self.writer()?;
        writer.flush()?;
        writer.get_ref().sync_all()?;
        let bytes = writer.get_ref().metadata()?.len();
        fs::rename(&self.aside, &self.path)?;
        self.file = None;
        Ok(bytes)
    }

    fn writer(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.file.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for AsideFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer()?.flush()
    }
}

impl Seek for AsideFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.writer()?.seek(to)
    }
}

impl Drop for AsideFile {
    fn drop(&mut self) {
        if let Some(writer) = self.file.take() {
            // The buffer belongs to a file that is thrown away: writing it out would only repeat the error that led here.
            drop(writer.into_parts());
            // Nothing can be done about a leftover that cannot be removed, and the error that led here matters more.
            let _ = fs::remove_file(&self.aside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appears_only_when_committed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        let mut file = AsideFile::create(&path).unwrap();
        file.write_all(b"hello").unwrap();
        assert!(!path.exists());
        assert_eq!(file.commit().unwrap(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"hello");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_abandoned_file_leaves_the_old_one_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        fs::write(&path, "old").unwrap();
        let mut file = AsideFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn directories_and_missing_folders_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(AsideFile::create(dir.path()).is_err());
        assert!(AsideFile::create(&dir.path().join("no/such/out.csv")).is_err());
        assert!(AsideFile::create(Path::new("/")).is_err());
    }
}

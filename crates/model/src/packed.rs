//! A bundle as one file: a ZIP archive of its config, variables and manifest, stored as they are. The variables begin at a page, so that
//! they can be mapped into memory. The config has the words of vocabulary files in itself; anything that reads ZIP takes the file apart.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use rankmill_config::Pipeline;
use rankmill_data::read_vocabulary;
use rankmill_data::sinks::AsideFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::bundle::{Bundle, BundleError, CONFIG_FILE, KEYS_FILE, MANIFEST_FILE, VARIABLES_FILE, feature_configs};
use crate::calibration::CALIBRATION_FILE;

/// Where the variables begin: at a multiple of this many bytes.
const PAGE: u16 = 4096;

/// The files of a bundle, in a directory or packed.
pub(crate) enum Files {
    /// The directory.
    Directory(PathBuf),
    /// The archive and its path.
    Packed(PathBuf, ZipArchive<BufReader<File>>),
}

impl Files {
    /// Opens a packed bundle.
    pub(crate) fn packed(path: &Path) -> Result<Files, BundleError> {
        let file = File::open(path).map_err(BundleError::io(path))?;
        let archive = ZipArchive::new(BufReader::new(file));
        let archive = archive.map_err(|error| BundleError::damaged(path, format!("this is no packed bundle: {error}")))?;
        Ok(Files::Packed(path.to_owned(), archive))
    }

    /// Where they are.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Files::Directory(path) | Files::Packed(path, _) => path,
        }
    }

    /// The content of one.
    pub(crate) fn read(&mut self, name: &str) -> Result<Vec<u8>, BundleError> {
        let path = self.path().join(name);
        let mut bytes = Vec::new();
        self.with(name, |file| file.read_to_end(&mut bytes)).map_err(BundleError::io(&path))?;
        Ok(bytes)
    }

    /// The content of a text.
    pub(crate) fn read_text(&mut self, name: &str) -> Result<String, BundleError> {
        let path = self.path().join(name);
        String::from_utf8(self.read(name)?).map_err(|error| BundleError::damaged(&path, error))
    }

    /// The content of a text that need not be there.
    pub(crate) fn read_text_if_there(&mut self, name: &str) -> Result<Option<String>, BundleError> {
        match self.read_text(name) {
            Ok(text) => Ok(Some(text)),
            Err(BundleError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn with<T>(&mut self, name: &str, read: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> io::Result<T> {
        match self {
            Files::Directory(path) => read(&mut File::open(path.join(name))?),
            Files::Packed(_, archive) => read(&mut archive.by_name(name)?),
        }
    }
}

/// Packs a bundle, or the newest checkpoint of a model directory, into `file`; gives its size in bytes.
///
/// # Errors
/// If there is no bundle, it is damaged, a vocabulary is not UTF-8, or the file system refuses. A file that was there before is then
/// untouched.
pub fn pack(model: &Path, file: &Path) -> Result<u64, BundleError> {
    let Bundle { path, pipeline, manifest, calibration, .. } = Bundle::open(model)?;
    let mut files = if path.is_dir() { Files::Directory(path) } else { Files::packed(&path)? };
    let config = with_vocabularies(pipeline)?.to_text();
    let mut aside = AsideFile::create(file).map_err(BundleError::io(file))?;
    let mut archive = ZipWriter::new(&mut aside);
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    let write = || {
        archive.start_file(CONFIG_FILE, stored)?;
        archive.write_all(config.as_bytes())?;
        archive.start_file(MANIFEST_FILE, stored)?;
        files.with(MANIFEST_FILE, |source| io::copy(source, &mut archive))?;
        if let Some(text) = &calibration {
            archive.start_file(CALIBRATION_FILE, stored)?;
            archive.write_all(text.as_bytes())?;
        }
        archive.start_file(VARIABLES_FILE, stored.with_alignment(PAGE))?;
        files.with(VARIABLES_FILE, |source| io::copy(source, &mut archive))?;
        if manifest.keys.is_some() {
            archive.start_file(KEYS_FILE, stored)?;
            files.with(KEYS_FILE, |source| io::copy(source, &mut archive))?;
        }
        archive.finish().map(|_| ()).map_err(io::Error::from)
    };
    write().map_err(BundleError::io(file))?;
    aside.commit().map_err(BundleError::io(file))
}

/// The config with the words of vocabulary files in place of their names.
fn with_vocabularies(mut pipeline: Pipeline) -> Result<Pipeline, BundleError> {
    for config in feature_configs(&mut pipeline) {
        let Some(file) = config.vocab_file.take_if(|file| !file.is_empty()) else { continue };
        // A list wins over a file, also where both are set.
        if !config.vocab_list.is_empty() {
            continue;
        }
        let damaged = |reason: String| BundleError::damaged(Path::new(&file), reason);
        for word in read_vocabulary(&file).map_err(damaged)? {
            let word = String::from_utf8(word).map_err(|error| damaged(format!("a word is not UTF-8: {error}")))?;
            config.vocab_list.push(word);
        }
    }
    Ok(pipeline)
}

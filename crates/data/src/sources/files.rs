//! The files that inputs name.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use rankmill_kernels::fingerprint::fingerprint64;

use super::decode::{GZIP, ZSTANDARD};
use crate::error::{DataError, Rule};

/// How many bytes from each end of a file go into its fingerprint.
const FINGERPRINTED: u64 = 64 * 1024;

/// A file to read rows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Its path as the messages show it.
    pub path: String,
    /// Its size on disk, compressed if it is.
    pub bytes: u64,
    /// Its size as text: of a compressed file what it says of itself, if it does.
    pub text_bytes: Option<u64>,
    /// Fingerprint64 of its size, its first and its last 64 KB: enough to notice that it is another file.
    pub fingerprint: u64,
}

/// The files of `inputs`, in order. Each input is a list of paths separated by commas; a path may be a file, a pattern with `*`, `?`
/// or `[..]`, or a directory, which stands for its files. The files of a pattern or directory are sorted by name; in a directory,
/// names that start with `.` or `_` are passed over.
///
/// # Errors
/// If a path names no file, or a file cannot be opened.
pub fn expand_inputs(inputs: &[String]) -> Result<Vec<InputFile>, DataError> {
    let mut files = Vec::new();
    for path in inputs.iter().flat_map(|input| input.split(',')).map(str::trim).filter(|path| !path.is_empty()) {
        if Path::new(path).is_dir() {
            add_directory(path, &mut files)?;
        } else if Path::new(path).exists() {
            files.push(describe(path)?);
        } else {
            add_pattern(path, &mut files)?;
        }
    }
    if files.is_empty() {
        return Err(DataError::file(format!("\"{}\"", inputs.join(",")), Rule::NoFile));
    }
    Ok(files)
}

fn add_directory(path: &str, files: &mut Vec<InputFile>) -> Result<(), DataError> {
    let entries = fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(path, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && !name.starts_with(['.', '_']) {
            names.push(entry.path().to_string_lossy().into_owned());
        }
    }
    if names.is_empty() {
        return Err(DataError::file(path, Rule::EmptyDirectory));
    }
    names.sort_unstable();
    for name in names {
        files.push(describe(&name)?);
    }
    Ok(())
}

fn add_pattern(path: &str, files: &mut Vec<InputFile>) -> Result<(), DataError> {
    let matches = glob::glob(path).map_err(|error| DataError::file(path, Rule::Pattern(error.msg.to_string())))?;
    let before = files.len();
    for found in matches {
        let found = found.map_err(|error| unreadable(path, error.error()))?;
        if found.is_file() {
            files.push(describe(&found.to_string_lossy())?);
        }
    }
    if files.len() == before {
        return Err(DataError::file(path, Rule::NoFile));
    }
    Ok(())
}

fn unreadable(path: &str, error: &std::io::Error) -> DataError {
    DataError::file(path, Rule::Unreadable(error.to_string()))
}

fn describe(path: &str) -> Result<InputFile, DataError> {
    let measure = || -> std::io::Result<InputFile> {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut sample = bytes.to_le_bytes().to_vec();
        file.by_ref().take(FINGERPRINTED).read_to_end(&mut sample)?;
        file.seek(SeekFrom::Start(bytes.saturating_sub(FINGERPRINTED)))?;
        file.by_ref().take(FINGERPRINTED).read_to_end(&mut sample)?;
        let fingerprint = fingerprint64(&sample);
        Ok(InputFile { path: path.to_string(), bytes, text_bytes: text_bytes(&sample[8..], bytes), fingerprint })
    };
    measure().map_err(|error| unreadable(path, &error))
}

/// The size of a file as text, from its first and last bytes: that of the first frame of a Zstandard file (RFC 8878, section 3.1.1.1), that of
/// the last member of a gzip file (RFC 1952, section 2.3.1), which is kept modulo 4 GB. Both are whole files as a rule; what depends on the
/// size is only shown.
fn text_bytes(sample: &[u8], bytes: u64) -> Option<u64> {
    if sample.starts_with(&GZIP) {
        let last = sample.last_chunk::<4>()?;
        return (bytes < 1 << 28).then(|| u64::from(u32::from_le_bytes(*last)));
    }
    if !sample.starts_with(&ZSTANDARD) {
        return Some(bytes);
    }
    let descriptor = *sample.get(4)?;
    let single_segment = usize::from(descriptor >> 5 & 1);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = [single_segment, 2, 4, 8][usize::from(descriptor >> 6)];
    let start = 5 + (1 - single_segment) + dictionary;
    let field = sample.get(start..start + length).filter(|field| !field.is_empty())?;
    let size = field.iter().rev().fold(0, |size, byte| size << 8 | u64::from(*byte));
    Some(if length == 2 { size + 256 } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_files_tell_how_much_text_they_hold() {
        assert_eq!(text_bytes(b"a,b\n", 4), Some(4));
        let mut gzip = vec![0x1f, 0x8b, 8, 0];
        gzip.extend(1_000_000_u32.to_le_bytes());
        assert_eq!(text_bytes(&gzip, 300_000), Some(1_000_000));
        assert_eq!(text_bytes(&gzip, 1 << 30), None, "the size is kept modulo 4 GB");
        let frame = |rest: &[u8]| text_bytes(&[&ZSTANDARD, rest].concat(), 100);
        assert_eq!(frame(&[0x20, 77]), Some(77));
        assert_eq!(frame(&[0x60, 0, 1]), Some(512));
        assert_eq!(frame(&[0x80, 9, 1, 0, 0, 1]), Some((1 << 24) + 1));
        assert_eq!(frame(&[0x00, 9]), None, "the frame doesn't tell");
        assert_eq!(frame(&[0xe3, 1, 2]), None, "cut off");
    }

    #[test]
    fn lists_patterns_and_directories() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        for name in ["b.csv", "a.csv", "c.txt", ".hidden", "_SUCCESS"] {
            fs::write(at(name), name).expect("written");
        }
        fs::create_dir(at("empty")).expect("created");
        let names = |inputs: &[String]| -> Result<Vec<String>, String> {
            expand_inputs(inputs)
                .map(|files| files.iter().map(|file| file.path.rsplit('/').next().unwrap_or_default().to_string()).collect())
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            names(&[at("c.txt") + "," + &at("*.csv"), at("a.csv")]),
            Ok(["c.txt", "a.csv", "b.csv", "a.csv"].map(String::from).to_vec())
        );
        assert_eq!(names(&[at("")]), Ok(["a.csv", "b.csv", "c.txt"].map(String::from).to_vec()));
        assert_eq!(names(&[at("none.csv")]), Err(format!("{}: matches no file", at("none.csv"))));
        assert_eq!(names(&[at("*.parquet")]), Err(format!("{}: matches no file", at("*.parquet"))));
        assert_eq!(names(&[at("empty")]), Err(format!("{}: is a directory without files", at("empty"))));
        assert_eq!(names(&[at("[")]).map_err(|error| error.starts_with(&format!("{}: is not a valid file pattern", at("[")))), Err(true));
        assert_eq!(names(&[String::new()]), Err("\"\": matches no file".to_string()));
    }

    #[test]
    fn a_fingerprint_notices_a_change_at_either_end() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("rows").to_string_lossy().into_owned();
        let mut content = vec![b'x'; 200_000];
        let mut seen = Vec::new();
        for change in [None, Some(0), Some(199_999), Some(150_000)] {
            if let Some(at) = change {
                content[at] = b'y';
            }
            fs::write(&path, &content).expect("written");
            seen.push(describe(&path).expect("readable").fingerprint);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }
}

//! The files that inputs name.

use std::fs;
use std::path::Path;

use rankmill_config::Pipeline;
use rankmill_config::proto::BinaryDataInput;
use rankmill_config::proto::dataset_config::InputType;
use rankmill_config::proto::easy_rec_config::{EvalPath, TrainPath};
use rankmill_kernels::fingerprint::fingerprint64;

use super::criteo::PARTS;
use super::decode::{GZIP, ZSTANDARD};
use super::standard_input::STANDARD_INPUT;
use super::storage;
use crate::error::{DataError, Rule};

/// How many bytes from each end of a file go into its fingerprint.
const FINGERPRINTED: u64 = 64 * 1024;

/// A file to read rows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Its path or URL as the messages show it; `-` for standard input.
    pub path: String,
    /// The files beside it that hold other fields of the same rows, as those of `CriteoInput` do.
    pub beside: Vec<String>,
    /// Its size on disk, compressed if it is.
    pub bytes: u64,
    /// Its size as text: of a compressed file what it says of itself, if it does.
    pub text_bytes: Option<u64>,
    /// Fingerprint64 of its size, its first and its last 64 KB: enough to notice that it is another file.
    pub fingerprint: u64,
}

impl InputFile {
    /// A source of rows that is no file on disk.
    pub(crate) fn without_content(path: &str) -> InputFile {
        InputFile { path: path.to_string(), beside: Vec::new(), bytes: 0, text_bytes: None, fingerprint: 0 }
    }
}

/// What rows are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Training.
    Train,
    /// Evaluation.
    Eval,
}

/// The inputs that a config names: `train_input_path`, `parquet_train_input`, `binary_train_input`, or those for evaluation; none if it
/// names none. `DummyInput` needs no path and has its own name for one.
#[must_use]
pub fn declared_inputs(pipeline: &Pipeline, side: Side) -> Vec<String> {
    let config = &pipeline.proto;
    if config.data_config.as_ref().is_some_and(|data| data.input_type() == InputType::DummyInput) {
        return vec!["DummyInput".to_string()];
    }
    let path = |path: &String| if path.is_empty() { Vec::new() } else { vec![path.clone()] };
    match side {
        Side::Train => match &config.train_path {
            Some(TrainPath::TrainInputPath(input) | TrainPath::ParquetTrainInput(input)) => path(input),
            Some(TrainPath::BinaryTrainInput(input)) => triples(input),
            _ => Vec::new(),
        },
        Side::Eval => match &config.eval_path {
            Some(EvalPath::EvalInputPath(input) | EvalPath::ParquetEvalInput(input)) => path(input),
            Some(EvalPath::BinaryEvalInput(input)) => triples(input),
            _ => Vec::new(),
        },
    }
}

/// `LABEL;DENSE;CATEGORY`, as [`expand_criteo_inputs`] takes them.
fn triples(input: &BinaryDataInput) -> Vec<String> {
    let rest = input.dense_path.iter().zip(&input.category_path);
    input.label_path.iter().zip(rest).map(|(label, (dense, category))| format!("{label};{dense};{category}")).collect()
}

/// The files of `CriteoInput`, each with the two beside it. An input is `LABEL;DENSE;CATEGORY`, three paths or patterns that name equally
/// many files, or one path or pattern of label files, whose names hold `label` where those beside them hold `dense` and `category`.
///
/// # Errors
/// If a path names no file, or the three don't match.
pub(crate) fn expand_criteo_inputs(inputs: &[String]) -> Result<Vec<InputFile>, DataError> {
    let mut files = Vec::new();
    for input in inputs.iter().flat_map(|input| input.split(',')).map(str::trim).filter(|input| !input.is_empty()) {
        let paths: Vec<&str> = input.split(';').collect();
        let [mut labels, dense, category] = match paths[..] {
            [label, dense, category] => [expand(label)?, expand(dense)?, expand(category)?],
            [label] => {
                let labels = expand(label)?;
                let beside = |part: usize| -> Result<Vec<InputFile>, DataError> {
                    labels.iter().map(|file| describe(&beside(&file.path, PARTS[part].0)?)).collect()
                };
                let (dense, category) = (beside(1)?, beside(2)?);
                [labels, dense, category]
            }
            _ => return Err(DataError::file(input, Rule::CriteoPaths)),
        };
        if labels.len() != dense.len() || labels.len() != category.len() {
            return Err(DataError::file(input, Rule::CriteoPaths));
        }
        for (file, (dense, category)) in labels.iter_mut().zip(dense.into_iter().zip(category)) {
            file.bytes += dense.bytes + category.bytes;
            file.fingerprint ^= dense.fingerprint.rotate_left(1) ^ category.fingerprint.rotate_left(2);
            file.text_bytes = None;
            file.beside = vec![dense.path, category.path];
        }
        files.extend(labels);
    }
    if files.is_empty() {
        return Err(DataError::file(format!("\"{}\"", inputs.join(",")), Rule::NoFile));
    }
    Ok(files)
}

fn expand(path: &str) -> Result<Vec<InputFile>, DataError> {
    expand_inputs(&[path.to_string()])
}

/// The name of another part beside a label file.
fn beside(label: &str, part: &str) -> Result<String, DataError> {
    let (before, behind) = label.rsplit_once(PARTS[0].0).ok_or_else(|| DataError::file(label, Rule::CriteoPaths))?;
    Ok(format!("{before}{part}{behind}"))
}

/// The files of `inputs`, in order. Each input is a list of paths separated by commas; a path may be a file, a pattern with `*`, `?`
/// or `[..]`, or a directory, which stands for its files, or `-` for standard input, or a URL such as `s3://bucket/part-*` (in a build with
/// the feature `cloud`). The files of a pattern or directory are sorted by
/// name; in a directory, names that start with `.` or `_` are passed over.
///
/// # Errors
/// If a path names no file, or a file cannot be opened.
pub fn expand_inputs(inputs: &[String]) -> Result<Vec<InputFile>, DataError> {
    let mut files = Vec::new();
    for path in inputs.iter().flat_map(|input| input.split(',')).map(str::trim).filter(|path| !path.is_empty()) {
        if path == STANDARD_INPUT {
            files.push(InputFile::without_content(path));
        } else if storage::is_url(path) {
            add_url(path, &mut files)?;
        } else if Path::new(path).is_dir() {
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

fn add_url(url: &str, files: &mut Vec<InputFile>) -> Result<(), DataError> {
    let urls = storage::expand(url).map_err(|error| unreadable(url, &error))?;
    if urls.is_empty() {
        return Err(DataError::file(url, Rule::NoFile));
    }
    for url in urls {
        files.push(describe(&url)?);
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
        let mut file = storage::open(path)?;
        let bytes = file.size()?;
        let mut sample = bytes.to_le_bytes().to_vec();
        sample.extend(file.bytes(0, FINGERPRINTED)?);
        sample.extend(file.bytes(bytes.saturating_sub(FINGERPRINTED), FINGERPRINTED)?);
        let fingerprint = fingerprint64(&sample);
        Ok(InputFile { path: path.to_string(), beside: Vec::new(), bytes, text_bytes: text_bytes(&sample[8..], bytes), fingerprint })
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

//! TensorBoard event files, with EasyRec's tags.
//!
//! A file is a row of records `u64 length | masked crc32c(length) | bytes | masked crc32c(bytes)`, all little-endian, where the mask of
//! a checksum c is rotate_right(c, 15) + 0xa282ead8 (TensorFlow's `record_writer`). Each record is one `Event` message of TensorFlow's
//! `event.proto`; the first one says `brain.Event:2`.
//! A file is never opened again: a resumed run adds a new one beside it, and TensorBoard reads all of them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// Tag of the learning rate.
pub const LEARNING_RATE: &str = "learning_rate";
/// Tag of the training speed in steps per second.
pub const STEPS_PER_SECOND: &str = "global_step/sec";
/// Name of the sum of all losses.
pub const TOTAL_LOSS: &str = "total_loss";
/// Folder in the model directory for the events of evaluations; metrics are tagged there by their plain names, losses as in training.
pub const EVALUATION_FOLDER: &str = "eval_val";

const FILE_VERSION: &str = "brain.Event:2";
const CHECKSUM_MASK: u32 = 0xa282_ead8;

/// Tag of a loss term, in training and in evaluation. TensorFlow puts the family before the name twice.
pub fn loss_tag(name: &str) -> String {
    format!("loss/loss/{name}")
}

/// Tag of a metric that is updated during training (`eval_config.eval_online`).
pub fn online_metric_tag(metric: &str) -> String {
    format!("{metric}/batch")
}

/// Why events could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The folder could not be made.
    #[error("cannot create the event folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file could not be created.
    #[error("cannot create the event file {}: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file could not be written, for instance because the disk is full.
    #[error("cannot write the event file {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Writes scalars to one new event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Creates `events.out.tfevents.<seconds>.<host>` in `folder`, which is made if it is missing. A file that exists is left alone:
    /// a number is appended to the new name instead.
    ///
    /// # Errors
    /// [`EventError`] with the path.
    pub fn create(folder: &Path) -> Result<Self, EventError> {
        fs::create_dir_all(folder).map_err(|source| EventError::Folder { path: folder.to_owned(), source })?;
        let name = format!("events.out.tfevents.{:010}.{}", wall_time() as u64, host_name());
        let mut path = folder.join(&name);
        let mut number = 0;
        loop {
            match File::create_new(&path) {
                Ok(file) => return Self::start(path, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    number += 1;
                    path = folder.join(format!("{name}.{number}"));
                }
                Err(source) => return Err(EventError::Create { path, source }),
            }
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one value for each tag at a step. TensorBoard keeps float32.
    ///
    /// # Errors
    /// [`EventError::Write`]. Since events are buffered, some errors show at a later call or at [`EventWriter::flush`].
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), EventError> {
        let value = |&(tag, value): &(&str, f64)| Value { tag: tag.to_owned(), simple_value: Some(value as f32) };
        let summary = Summary { value: values.iter().map(value).collect() };
        self.write(&Event { wall_time: wall_time(), step: step as i64, file_version: None, summary: Some(summary) })
    }

    /// Hands everything to the operating system, so that TensorBoard sees it. Dropping the writer does so too, but hides errors.
    ///
    /// # Errors
    /// [`EventError::Write`].
    pub fn flush(&mut self) -> Result<(), EventError> {
        self.file.flush().map_err(|source| EventError::Write { path: self.path.clone(), source })
    }

    fn start(path: PathBuf, file: File) -> Result<Self, EventError> {
        let mut writer = Self { path, file: BufWriter::new(file) };
        let version = Some(FILE_VERSION.to_owned());
        writer.write(&Event { wall_time: wall_time(), step: 0, file_version: version, summary: None })?;
        writer.flush()?;
        Ok(writer)
    }

    fn write(&mut self, event: &Event) -> Result<(), EventError> {
        let record = record(&event.encode_to_vec());
        self.file.write_all(&record).map_err(|source| EventError::Write { path: self.path.clone(), source })
    }
}

/// `tensorflow.Event`, the fields that are written.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `tensorflow.Summary.Value`. The value is optional since it is in a `oneof` there: 0 must be written too.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// A TFRecord of these bytes.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(bytes.len() + 16);
    record.extend(length);
    record.extend(masked_checksum(&length).to_le_bytes());
    record.extend(bytes);
    record.extend(masked_checksum(bytes).to_le_bytes());
    record
}

fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(CHECKSUM_MASK)
}

/// Seconds since 1970; 0 if the clock is set before that.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The host's name as far as it can be found without a system library, fit for a file name.
fn host_name() -> String {
    let found = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .or_else(|_| std::env::var("HOSTNAME"))
        .or_else(|_| std::env::var("COMPUTERNAME"))
        .unwrap_or_default();
    file_name_part(found.trim())
}

fn file_name_part(host: &str) -> String {
    if host.is_empty() {
        return "localhost".to_owned();
    }
    host.chars().map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Reads records back from the format's definition, checking every checksum with its own bitwise CRC-32C.
    fn read(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).expect("the file was written");
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes")) as usize;
            assert_eq!(unmasked(&rest[8..12]), slow_crc32c(&rest[..8]), "checksum of a length");
            let payload = &rest[12..12 + length];
            assert_eq!(unmasked(&rest[12 + length..16 + length]), slow_crc32c(payload), "checksum of a payload");
            events.push(Event::decode(payload).expect("an Event message"));
            rest = &rest[16 + length..];
        }
        events
    }

    fn unmasked(stored: &[u8]) -> u32 {
        let masked = u32::from_le_bytes(stored.try_into().expect("4 bytes"));
        masked.wrapping_sub(0xa282_ead8).rotate_left(15)
    }

    fn slow_crc32c(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
    }

    #[test]
    fn checksum_is_that_of_rfc_3720() {
        assert_eq!(slow_crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked_checksum(b"123456789").wrapping_sub(CHECKSUM_MASK).rotate_left(15), 0xe306_9283);
    }

    #[test]
    fn bytes_of_a_scalar_event_are_those_of_event_proto() {
        let value = Value { tag: "auc".to_owned(), simple_value: Some(0.0) };
        let event = Event { wall_time: 1.0, step: 300, file_version: None, summary: Some(Summary { value: vec![value] }) };
        let expected = [
            &[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f][..], // field 1, double 1.0
            &[0x10, 0xac, 0x02],                       // field 2, varint 300
            &[0x2a, 12, 0x0a, 10],                     // field 5: Summary; its field 1: Value
            &[0x0a, 3, b'a', b'u', b'c'],              // field 1, tag
            &[0x15, 0, 0, 0, 0],                       // field 2, float 0, written although it is the default
        ];
        assert_eq!(event.encode_to_vec(), expected.concat());
    }

    #[test]
    fn scalars_are_read_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut writer = EventWriter::create(&folder.path().join("model/eval_val")).expect("created");
        writer.scalars(0, &[(LEARNING_RATE, 0.001), (&loss_tag("total_loss"), 0.0)]).expect("written");
        writer.scalars(1 << 40, &[("auc", f64::NAN)]).expect("written");
        writer.scalars(7, &[]).expect("written");
        writer.flush().expect("flushed");
        let name = writer.path().file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        assert!(name.starts_with("events.out.tfevents.") && name.split('.').nth(3).is_some_and(|seconds| seconds.len() == 10), "{name}");

        let events = read(writer.path());
        assert_eq!(events.len(), 4);
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!(events[0].summary, None);
        let values = |event: &Event| event.summary.clone().expect("a summary").value;
        let found: Vec<_> = values(&events[1]).into_iter().map(|value| (value.tag, value.simple_value)).collect();
        assert_eq!(found, [("learning_rate".to_owned(), Some(0.001)), ("loss/loss/total_loss".to_owned(), Some(0.0))]);
        assert_eq!((events[1].step, events[2].step, events[3].step), (0, 1 << 40, 7));
        assert!(values(&events[2])[0].simple_value.is_some_and(f32::is_nan));
        assert!(values(&events[3]).is_empty());
        assert!(events[0].wall_time > 1.7e9 && events[0].wall_time <= events[3].wall_time);
    }

    #[test]
    fn a_second_writer_adds_a_file_and_leaves_the_first_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut paths = Vec::new();
        for step in 0..3 {
            let mut writer = EventWriter::create(folder.path()).expect("created");
            writer.scalars(step, &[("auc", 0.5)]).expect("written");
            writer.flush().expect("flushed");
            paths.push(writer.path().to_owned());
        }
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 3);
        for (step, path) in paths.iter().enumerate() {
            assert_eq!(read(path).iter().map(|event| event.step).collect::<Vec<_>>(), [0, step as i64]);
        }
    }

    #[test]
    fn errors_name_the_path() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a-file");
        fs::write(&file, "").expect("written");
        let error = EventWriter::create(&file).expect_err("a file is no folder");
        assert!(matches!(&error, EventError::Folder { path, .. } if *path == file), "{error}");
        assert!(error.to_string().contains("a-file"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_with_the_path() {
        let path = PathBuf::from("/dev/full");
        let file = File::options().write(true).open(&path).expect("Linux has /dev/full");
        let error = EventWriter::start(path, file).expect_err("no space");
        assert!(matches!(&error, EventError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{error}");
        assert!(error.to_string().starts_with("cannot write the event file /dev/full: "), "{error}");
    }

    #[test]
    fn host_names_are_made_fit_for_file_names() {
        assert_eq!(file_name_part(""), "localhost");
        assert_eq!(file_name_part("a/b c:d-1.x"), "a_b_c_d-1.x");
    }

    /// Runs `tests/tensorboard_reads.py` with `RANKMILL_PYTHON` or `python3`, where that has TensorBoard; says so where it has not.
    #[expect(clippy::print_stderr, reason = "a skipped check must be seen")]
    #[test]
    fn tensorboard_reads_the_file() {
        let python = std::env::var("RANKMILL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let has_tensorboard = Command::new(&python).args(["-c", "import tensorboard"]).output().is_ok_and(|out| out.status.success());
        if !has_tensorboard {
            eprintln!("SKIPPED: `{python}` has no tensorboard package; set RANKMILL_PYTHON to one that has");
            return;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut writer = EventWriter::create(folder.path()).expect("created");
        for step in 0..3 {
            writer.scalars(step * 10, &[("auc", 0.5 + step as f64 / 8.0), (&loss_tag("total_loss"), 0.0)]).expect("written");
        }
        writer.flush().expect("flushed");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tensorboard_reads.py");
        let output = Command::new(&python).arg(script).arg(folder.path()).output().expect("python runs");
        let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said, "auc 0:0.5 10:0.625 20:0.75\nloss/loss/total_loss 0:0.0 10:0.0 20:0.0\n");
    }
}

//! TensorFlow's records, one message each:
//! `u64 length | masked crc32c(length) | bytes | masked crc32c(bytes)`, all little-endian, where the mask of a checksum c is
//! rotate_right(c, 15) + 0xa282ead8 (`tensorflow/core/lib/io/record_writer.h`).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::decode::{Decoded, open};
use super::record::{Record, RecordFile};
use crate::error::{DataError, Rule};

const HEADER: usize = 12;
const FOOTER: usize = 4;
const CHECKSUM_MASK: u32 = 0xa282_ead8;
/// A longer record is taken for a damaged one, although its length has a checksum.
const LONGEST_RECORD: u64 = 1 << 30;
/// Memory is asked for in steps of this: a damaged length costs no more.
const STEP: usize = 1 << 20;

/// An open file of records.
pub(crate) struct TfRecordFile {
    path: String,
    source: Decoded,
    record: Vec<u8>,
    /// Records handed out.
    number: u64,
}

/// Whether a file that begins with these bytes is one of records: whether the first length has its checksum.
pub(crate) fn is_tf_record(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(|header| length(header).is_some())
}

/// The length that a record's header tells, if its checksum fits.
fn length(header: &[u8; HEADER]) -> Option<u64> {
    let (length, checksum) = header.split_first_chunk::<8>()?;
    (masked_checksum(length).to_le_bytes() == *checksum).then(|| u64::from_le_bytes(*length))
}

fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(CHECKSUM_MASK)
}

impl TfRecordFile {
    pub(crate) fn open(path: &str, progress: &Arc<AtomicU64>) -> Result<TfRecordFile, DataError> {
        Ok(TfRecordFile { path: path.to_string(), source: open(path, progress)?, record: Vec::new(), number: 0 })
    }

    /// The bytes of the next record and its number, counted from 1; `None` at the end.
    pub(crate) fn next_bytes(&mut self) -> Result<Option<(&[u8], u64)>, DataError> {
        let mut header = [0; HEADER];
        match self.read(&mut header)? {
            0 => return Ok(None),
            HEADER => {}
            _ => return Err(self.damaged("the last record is cut off")),
        }
        let Some(length) = length(&header) else {
            return Err(self.damaged("the length of a record does not have its checksum"));
        };
        if length > LONGEST_RECORD {
            return Err(self.damaged("a record is longer than 1 GB"));
        }
        let length = length as usize + FOOTER;
        let mut filled = 0;
        while filled < length {
            let end = length.min(filled + STEP);
            if self.record.len() < end {
                self.record.resize(end, 0);
            }
            let mut record = std::mem::take(&mut self.record);
            let outcome = self.read(&mut record[filled..end]);
            self.record = record;
            if outcome? < end - filled {
                return Err(self.damaged("the last record is cut off"));
            }
            filled = end;
        }
        let (bytes, checksum) = self.record[..length].split_at(length - FOOTER);
        if masked_checksum(bytes).to_le_bytes() != *checksum {
            return Err(self.damaged("a record does not have its checksum"));
        }
        self.number += 1;
        Ok(Some((&self.record[..length - FOOTER], self.number)))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DataError> {
        self.source.read_full(buffer).map_err(|error| {
            let rule = self.source.damage(&error);
            DataError { row: self.number + 1, ..DataError::file(&*self.path, rule) }
        })
    }

    fn damaged(&self, problem: &str) -> DataError {
        let rule = Rule::Damaged { format: "TFRecord".into(), problem: problem.to_string() };
        DataError { row: self.number + 1, ..DataError::file(&*self.path, rule) }
    }
}

impl RecordFile for TfRecordFile {
    fn next_record(&mut self) -> Result<Option<(Record<'_>, u64)>, DataError> {
        Ok(self.next_bytes()?.map(|(bytes, number)| (Record::Row(bytes), number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in records {
            let length = (record.len() as u64).to_le_bytes();
            bytes.extend_from_slice(&length);
            bytes.extend_from_slice(&masked_checksum(&length).to_le_bytes());
            bytes.extend_from_slice(record);
            bytes.extend_from_slice(&masked_checksum(record).to_le_bytes());
        }
        bytes
    }

    fn read(content: &[u8]) -> Result<Vec<Vec<u8>>, DataError> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), content).expect("written");
        let mut records = TfRecordFile::open(&file.path().to_string_lossy(), &Arc::default())?;
        let mut found = Vec::new();
        while let Some((record, number)) = records.next_bytes()? {
            found.push(record.to_vec());
            assert_eq!(number, found.len() as u64);
        }
        Ok(found)
    }

    #[test]
    fn the_masked_checksum_is_that_of_tensorflow() {
        // The header of an empty record.
        assert_eq!(masked_checksum(&0_u64.to_le_bytes()).to_le_bytes(), [0x29, 0x03, 0x98, 0x07]);
    }

    #[test]
    fn records_of_any_length() {
        let long = vec![7; 3 * STEP + 5];
        let cases: [&[&[u8]]; 4] = [&[], &[b""], &[b"a", b"", b"bcd"], &[b"a", &long, b"b"]];
        for records in cases {
            assert_eq!(read(&framed(records)), Ok(records.iter().map(|record| record.to_vec()).collect()));
        }
        assert!(is_tf_record(&framed(&[b"a"])));
        assert!(!is_tf_record(b"1,2,3,4,5,6,7"));
        assert!(!is_tf_record(b""));
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let good = framed(&[b"ab", b"c"]);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(matches!(read(&bad), Err(DataError { rule: Rule::Damaged { .. }, .. })), "byte {at}");
        }
        for length in 1..good.len() {
            let whole = length == framed(&[b"ab"]).len();
            assert_eq!(read(&good[..length]).is_ok(), whole, "{length} bytes");
        }
    }
}

//! `DummyInput`: rows of default values, without any file, to see how fast everything else is.
//!
//! All fields are empty, so each has its `default_val`, or else 0 or an empty text. A pass is one batch.

use super::record::{Record, RecordFile};
use crate::error::DataError;
use crate::rows::cell::CellKind;
use crate::rows::record::encode;

/// The rows of a pass.
pub(crate) struct DummyFile {
    rows: u64,
    number: u64,
    record: Vec<u8>,
}

impl DummyFile {
    pub(crate) fn new(rows: u64, columns: usize) -> DummyFile {
        let mut record = Vec::new();
        encode(&mut record, columns, |_, _| Ok(CellKind::Text)).expect("no text is not too much");
        DummyFile { rows, number: 0, record }
    }
}

impl RecordFile for DummyFile {
    fn next_record(&mut self) -> Result<Option<(Record<'_>, u64)>, DataError> {
        if self.number == self.rows {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some((Record::Row(&self.record), self.number)))
    }
}

//! The rows of a file of the cache.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{BROKEN, HEADER};
use crate::error::{DataError, Rule};
use crate::sources::{Decoded, Record, RecordFile, open};

/// An open file of the cache.
pub(crate) struct CacheFile {
    path: String,
    source: Decoded,
    record: Vec<u8>,
}

impl CacheFile {
    pub(crate) fn open(path: &str, progress: &Arc<AtomicU64>) -> Result<CacheFile, DataError> {
        Ok(CacheFile { path: path.to_string(), source: open(path, progress)?, record: Vec::new() })
    }

    fn damaged(&self) -> DataError {
        DataError::file(&*self.path, Rule::DamagedCache)
    }
}

impl RecordFile for CacheFile {
    fn next_record(&mut self) -> Result<Option<(Record<'_>, u64)>, DataError> {
        let mut header = [0; HEADER];
        match self.source.read_full(&mut header) {
            Ok(0) => return Ok(None),
            Ok(HEADER) => {}
            _ => return Err(self.damaged()),
        }
        let [number @ .., l0, l1, l2, l3] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        self.record.resize(length, 0);
        if self.source.read_full(&mut self.record).ok() != Some(length) {
            return Err(self.damaged());
        }
        let number = u64::from_le_bytes(number);
        if let Some((&BROKEN, rule)) = self.record.split_first() {
            let rule: Rule = serde_json::from_slice(rule).map_err(|_| self.damaged())?;
            return Ok(Some((Record::Broken(Box::new(rule)), number)));
        }
        Ok(Some((Record::Row(&self.record), number)))
    }
}

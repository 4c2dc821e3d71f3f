//! A file of the rows that were left out, one JSON object a line: where the row stands, what is wrong, and the row itself.
//!
//! ```text
//! {"file": "rows.tsv", "row": 7, "field": "age", "value": "1.0", "cause": "field `age`: not an INT32", "problem": "…", "line": "…"}
//! ```
//! Rows of text have their `line`; rows of other formats the texts of their `fields` in the order of `data_config.input_fields`, if they
//! got as far as that. A row that is met again in a later epoch is not written again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::error::{DataError, Rule};

/// Rows remembered as written; beyond that many a row may be written again.
const REMEMBERED: usize = 1 << 20;

/// The file; clones write to the same one.
#[derive(Clone, Debug)]
pub struct Rejected(Arc<Mutex<RejectedFile>>);

#[derive(Debug)]
struct RejectedFile {
    path: String,
    file: BufWriter<File>,
    written: BTreeSet<(String, u64)>,
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RejectedRow {
    pub(crate) error: DataError,
    pub(crate) content: Content,
}

/// What is left of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Line(String),
    Fields(Vec<String>),
    Lost,
}

#[derive(Serialize)]
struct Entry<'a> {
    file: &'a str,
    row: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    cause: String,
    problem: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a [String]>,
}

impl Rejected {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn create(path: &Path) -> Result<Rejected, DataError> {
        let name = path.display().to_string();
        let file = File::create(path).map_err(|error| unwritable(&name, &error))?;
        Ok(Rejected(Arc::new(Mutex::new(RejectedFile { path: name, file: BufWriter::new(file), written: BTreeSet::new() }))))
    }

    /// Writes rows.
    pub(crate) fn write(&self, rows: &[RejectedRow]) -> Result<(), DataError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = rows.iter().try_for_each(|row| file.write(row)).and_then(|()| file.file.flush());
        outcome.map_err(|error| unwritable(&file.path, &error))
    }
}

impl RejectedFile {
    fn write(&mut self, row: &RejectedRow) -> io::Result<()> {
        let error = &row.error;
        let place = (error.file.clone(), error.row);
        if self.written.contains(&place) {
            return Ok(());
        }
        if self.written.len() < REMEMBERED {
            self.written.insert(place);
        }
        let entry = Entry {
            file: &error.file,
            row: error.row,
            field: error.column.as_deref(),
            value: error.value.as_deref(),
            cause: error.cause(),
            problem: error.rule.to_string(),
            line: if let Content::Line(line) = &row.content { Some(line) } else { None },
            fields: if let Content::Fields(fields) = &row.content { Some(fields) } else { None },
        };
        serde_json::to_writer(&mut self.file, &entry)?;
        self.file.write_all(b"\n")
    }
}

fn unwritable(path: &str, error: &io::Error) -> DataError {
    DataError::file(path, Rule::Unwritable(error.to_string()))
}

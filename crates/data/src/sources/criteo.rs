//! `CriteoInput`: the binary form of the Criteo data set, in three files with the same rows.
//!
//! | file | each row, little-endian | fields |
//! |---|---|---|
//! | labels | 1 `i32` | `label` |
//! | dense | 13 `f32` | `f1` to `f13` |
//! | category | 26 `u32` | `c1` to `c26` |
//!
//! As in EasyRec, rows are never shuffled.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::decode::{Decoded, open};
use super::fields::SourceField;
use super::files::InputFile;
use super::record::{Record, RecordFile};
use crate::error::{DataError, Rule};
use crate::rows::cell::CellKind;
use crate::rows::record::encode;

const NUMBER: usize = 4;
/// What the three files are called in messages, and their numbers in a row.
pub(crate) const PARTS: [(&str, usize); 3] = [("label", 1), ("dense", 13), ("category", 26)];
/// Rows read at once.
const CHUNK: usize = 1024;

/// Where a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Label,
    Dense(usize),
    Category(usize),
}

/// The three files, open.
pub(crate) struct CriteoFile {
    paths: Vec<String>,
    sources: Vec<Decoded>,
    chunks: [Vec<u8>; 3],
    /// Rows of the chunks, and how many of them were handed out.
    rows: usize,
    taken: usize,
    number: u64,
    fields: Arc<[SourceField]>,
    places: Vec<Place>,
    record: Vec<u8>,
}

impl CriteoFile {
    pub(crate) fn open(file: &InputFile, fields: &Arc<[SourceField]>, progress: &Arc<AtomicU64>) -> Result<CriteoFile, DataError> {
        let paths: Vec<String> = std::iter::once(&file.path).chain(&file.beside).cloned().collect();
        let sources = paths.iter().map(|path| open(path, progress)).collect::<Result<_, _>>()?;
        let chunks = PARTS.map(|(_, numbers)| vec![0; CHUNK * numbers * NUMBER]);
        let places = fields.iter().map(|field| place(&field.name)).collect();
        let fields = Arc::clone(fields);
        Ok(CriteoFile { paths, sources, chunks, rows: 0, taken: 0, number: 0, fields, places, record: Vec::new() })
    }

    /// Reads the next rows of all files, which must be equally many.
    fn fill(&mut self) -> Result<(), DataError> {
        self.taken = 0;
        let mut rows = [0; 3];
        for part in 0..PARTS.len() {
            let (name, numbers) = PARTS[part];
            let row = self.number + 1;
            let fail = |rule: Rule| DataError { row, ..DataError::file(&*self.paths[part], rule) };
            let source = &mut self.sources[part];
            let bytes = source.read_full(&mut self.chunks[part]).map_err(|error| fail(source.damage(&error)))?;
            if bytes % (numbers * NUMBER) != 0 {
                return Err(fail(Rule::Damaged {
                    format: "Criteo".into(),
                    problem: format!("the last row of the {name} file is cut off"),
                }));
            }
            rows[part] = bytes / (numbers * NUMBER);
        }
        for part in 1..PARTS.len() {
            if rows[part] != rows[0] {
                let rule = Rule::OtherRowCount { file: self.paths[0].clone() };
                return Err(DataError::file(&*self.paths[part], rule));
            }
        }
        self.rows = rows[0];
        Ok(())
    }
}

impl RecordFile for CriteoFile {
    fn next_record(&mut self) -> Result<Option<(Record<'_>, u64)>, DataError> {
        if self.taken == self.rows {
            self.fill()?;
            if self.rows == 0 {
                return Ok(None);
            }
        }
        let (row, fields, places, chunks) = (self.taken, &self.fields, &self.places, &self.chunks);
        let number = |part: usize, at: usize| -> [u8; NUMBER] {
            let (numbers, _) = chunks[part].as_chunks::<NUMBER>();
            numbers[row * PARTS[part].1 + at]
        };
        let outcome = encode(&mut self.record, fields.len(), |column, text| {
            Ok(match places[column] {
                Place::Nowhere => CellKind::Text,
                Place::Label => fields[column].integer_cell(i64::from(i32::from_le_bytes(number(0, 0))), text),
                Place::Dense(at) => fields[column].float_cell(f32::from_le_bytes(number(1, at)), text),
                Place::Category(at) => fields[column].integer_cell(i64::from(u32::from_le_bytes(number(2, at))), text),
            })
        });
        self.taken += 1;
        self.number += 1;
        let record = match outcome {
            Ok(()) => Record::Row(&self.record),
            Err(rule) => Record::Broken(Box::new(rule)),
        };
        Ok(Some((record, self.number)))
    }
}

fn place(name: &str) -> Place {
    let numbered = |prefix: char, count: usize| {
        let number: usize = name.strip_prefix(prefix)?.parse().ok()?;
        (1..=count).contains(&number).then(|| number - 1)
    };
    if name == "label" {
        return Place::Label;
    }
    let dense = numbered('f', PARTS[1].1).map(Place::Dense);
    dense.or_else(|| numbered('c', PARTS[2].1).map(Place::Category)).unwrap_or(Place::Nowhere)
}

/// Whether `CriteoInput` has a field of that name.
pub(crate) fn has_field(name: &str) -> bool {
    place(name) != Place::Nowhere
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_by_name() {
        assert_eq!(place("label"), Place::Label);
        assert_eq!(
            (place("f1"), place("f13"), place("f14"), place("f0")),
            (Place::Dense(0), Place::Dense(12), Place::Nowhere, Place::Nowhere)
        );
        assert_eq!((place("c26"), place("c27"), place("x")), (Place::Category(25), Place::Nowhere, Place::Nowhere));
    }
}

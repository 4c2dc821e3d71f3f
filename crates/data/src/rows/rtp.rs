//! Fields from the lines of RTP, the feature generator around EasyRec.
//!
//! - `RTPInput`: a line is cut at `rtp_separator` into columns. The last of `selected_cols` is the number of the column with all features,
//!   which is cut again at `separator`, in the order of the input fields that are no labels. The others of `selected_cols` are the columns
//!   of `label_fields`, one by one.
//! - `RTPInputV2`: a line is a list of `name \x03 value`, separated by `\x02`. Several values of one name are joined with commas.
//!
//! An empty field, and a name that is not there, stand for the field's default. Quotes are characters like any other. A whole number may
//! be written as a floating-point one (`3.0`, `1e3`), as EasyRec reads it as a double.

use std::sync::Arc;

use super::cell::CellKind;
use super::example::Columns;
use super::{Origin, RawRows, Splitting};
use crate::error::Rule;
use crate::number::parse_float64;
use crate::sources::SourceField;

/// Where a field of `RTPInput` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RtpPlace {
    /// In that column of the line.
    Column(usize),
    /// In that place of the features.
    Feature(usize),
}

/// Makes rows of `RTPInput`'s lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RtpRows {
    /// Cuts lines into columns.
    pub(crate) columns: Splitting,
    /// The column of the features.
    pub(crate) features_column: usize,
    /// Cuts that column into features.
    pub(crate) features: Splitting,
    /// How many features there are.
    pub(crate) feature_count: usize,
    /// For each field where it is.
    pub(crate) places: Vec<RtpPlace>,
    /// For each field whether it is a whole number.
    pub(crate) whole: Vec<bool>,
}

impl RtpRows {
    /// Adds a line as a row; one with too few columns or another number of features becomes a broken row.
    ///
    /// # Errors
    /// [`Rule::BatchTooLarge`] beyond 4 GB of text.
    pub(crate) fn push(&self, rows: &mut RawRows, line: &[u8], origin: Origin) -> Result<(), Rule> {
        let columns: Vec<&[u8]> = self.columns.parts(line).collect();
        let furthest = |place: &RtpPlace| if let RtpPlace::Column(at) = place { *at } else { 0 };
        let needed = self.places.iter().map(furthest).max().unwrap_or(0).max(self.features_column) + 1;
        if columns.len() < needed {
            rows.push_broken(Rule::RtpColumns { needed, found: columns.len() }, origin);
            return Ok(());
        }
        let features: Vec<&[u8]> = self.features.parts(columns[self.features_column]).collect();
        if features.len() != self.feature_count {
            rows.push_broken(Rule::RtpFeatures { expected: self.feature_count, found: features.len() }, origin);
            return Ok(());
        }
        rows.push_row(origin, |field, text| {
            let value = match self.places[field] {
                RtpPlace::Column(at) => columns[at],
                RtpPlace::Feature(at) => features[at],
            };
            match parse_float64(value).filter(|_| self.whole[field] && memchr::memchr3(b'.', b'e', b'E', value).is_some()) {
                Some(number) => text.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes()),
                None => text.extend_from_slice(value),
            }
            Ok(CellKind::Text)
        })
    }
}

/// Makes rows of `RTPInputV2`'s lines.
#[derive(Clone, Debug)]
pub(crate) struct RtpPairs(Columns);

impl RtpPairs {
    pub(crate) fn new(fields: &Arc<[SourceField]>) -> RtpPairs {
        RtpPairs(Columns::new(fields))
    }

    /// Adds a line as a row; one with a part that is no pair becomes a broken row.
    ///
    /// # Errors
    /// [`Rule::BatchTooLarge`] beyond 4 GB of text.
    pub(crate) fn push(&self, rows: &mut RawRows, line: &[u8], origin: Origin) -> Result<(), Rule> {
        let mut values: Vec<Vec<u8>> = vec![Vec::new(); self.0.fields.len()];
        for part in line.split(|byte| *byte == 2).filter(|part| !part.is_empty()) {
            let mut halves = part.split(|byte| *byte == 3);
            let (Some(name), Some(value), None) = (halves.next(), halves.next(), halves.next()) else {
                rows.push_broken(Rule::RtpPair, origin);
                return Ok(());
            };
            if let Some(column) = self.0.find(name) {
                if !values[column].is_empty() {
                    values[column].push(b',');
                }
                values[column].extend_from_slice(value);
            }
        }
        rows.push_row(origin, |column, text| {
            text.extend_from_slice(&values[column]);
            Ok(CellKind::Text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Quotes;

    #[test]
    fn features_within_a_column() {
        let rtp = RtpRows {
            columns: Splitting::new(b";", Quotes::Plain),
            features_column: 3,
            features: Splitting::new(b"\x02", Quotes::Plain),
            feature_count: 3,
            places: vec![RtpPlace::Column(0), RtpPlace::Feature(0), RtpPlace::Feature(1), RtpPlace::Column(1), RtpPlace::Feature(2)],
            whole: vec![true, false, false, false, false],
        };
        let mut rows = RawRows::new(5, Arc::from([]));
        for line in [&b"1e0;2.5;x;a\x02\x02\"c"[..], b"1;2;x;a\x02b", b"1;2"] {
            rows.push(&rtp, line);
        }
        let fields: Vec<&[u8]> = (0..5).map(|column| rows.field(0, column)).collect();
        assert_eq!(fields, [&b"1"[..], b"a", b"", b"2.5", b"\"c"]);
        let expected = [(1, Rule::RtpFeatures { expected: 3, found: 2 }), (2, Rule::RtpColumns { needed: 4, found: 2 })];
        assert_eq!(rows.broken(), expected);
    }

    impl RawRows {
        fn push(&mut self, rtp: &RtpRows, line: &[u8]) {
            rtp.push(self, line, Origin::default()).expect("short");
        }
    }
}

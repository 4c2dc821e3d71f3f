//! What can be wrong with the data: the file, the row, the field, the value and the rule it broke.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest part of a value that a message shows, in characters.
const SHOWN_CHARACTERS: usize = 60;

/// A file, row or field that cannot be used.
///
/// Shown as ``FILE:ROW: field `NAME`: value "VALUE" RULE``; a part that does not apply is left out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct DataError {
    /// The path of the file, or the name of another source of rows.
    pub file: String,
    /// The row of the file, counted from 1 (in text its line, with the header); 0 when the whole file is meant.
    pub row: u64,
    /// The name of the input field.
    pub column: Option<String>,
    /// The field's text, cut to 60 characters.
    pub value: Option<String>,
    /// What was expected.
    pub rule: Rule,
}

impl DataError {
    /// An error about a whole file.
    #[must_use]
    pub fn file(file: impl Into<String>, rule: Rule) -> DataError {
        DataError { file: file.into(), row: 0, column: None, value: None, rule }
    }

    /// The error without its place: what rows skipped for the same cause have in common.
    pub(crate) fn cause(&self) -> String {
        match &self.column {
            Some(column) => format!("field `{column}`: {}", self.rule.cause()),
            None => self.rule.cause().to_string(),
        }
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.row > 0 {
            write!(f, "{}:", self.row)?;
        }
        if let Some(column) = &self.column {
            write!(f, " field `{column}`:")?;
        }
        if let Some(value) = &self.value {
            write!(f, " value \"{value}\"")?;
        }
        write!(f, " {}", self.rule)
    }
}

/// A field's bytes as a message shows them: control characters and bytes that are no UTF-8 escaped, cut to 60 characters.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (count, character) in String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_CHARACTERS + 4)]).chars().enumerate() {
        if count == SHOWN_CHARACTERS {
            text.push('…');
            break;
        }
        if character.is_control() || character == '"' {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

/// The rules that data can break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each message says what the rule and its numbers mean")]
pub enum Rule {
    #[error("has {found} fields; data_config.input_fields declares {expected}")]
    FieldCount { expected: usize, found: usize },
    #[error("has a quote or carriage return inside an unquoted field; quote the field and double its quotes")]
    QuoteInUnquoted,
    #[error("has a quote inside a quoted field that is not doubled")]
    QuoteNotDoubled,
    #[error("has a quoted field that does not end with a quote before the separator or the end of the line")]
    QuoteNotClosed,
    #[error("is not an INT32: a whole number from -2147483648 to 2147483647 without `+`")]
    NotInt32,
    #[error("is not an INT64: a whole number from -9223372036854775808 to 9223372036854775807 without `+`")]
    NotInt64,
    #[error("is not a FLOAT: a number of at most 31 characters")]
    NotFloat,
    #[error("is not a DOUBLE: a number of at most 31 characters")]
    NotDouble,
    #[error("is not a BOOL: true, false, 1 or 0")]
    NotBool,
    #[error("is empty where a number is needed; give the field a default_val")]
    EmptyNumber,
    #[error("has the tag \"{tag}\", which is not an INT32; tags with num_buckets are whole numbers")]
    TagNotInteger { tag: String },
    #[error("has the tag \"{tag}\", which does not have exactly one \"{separator}\" between key and weight")]
    KeyValue { tag: String, separator: String },
    #[error("has the value \"{value}\", which is not an INT64; sequences with num_buckets are whole numbers")]
    PositionNotInteger { value: String },
    #[error("has {found} positions; sequence_length allows {allowed}")]
    TooManyPositions { allowed: usize, found: usize },
    #[error("has the entry \"{entry}\", which is not one key and one value with \"{separator}\" between them")]
    MapEntry { entry: String, separator: String },
    #[error("is the number of combinations, which is above {most}")]
    TooManyCombinations { most: usize },
    #[error("has the weight \"{weight}\", which is not a number")]
    WeightNotNumber { weight: String },
    #[error("has {weights} weights for the {ids} ids of `{feature}`")]
    WeightCount { weights: usize, ids: usize, feature: String },
    #[error("has the number \"{number}\", which is not a number of at most 31 characters")]
    ElementNotNumber { number: String },
    #[error("has {found} numbers; raw_input_dim allows {allowed}")]
    TooManyNumbers { allowed: usize, found: usize },
    #[error("has {found} labels; label_dim is {expected}")]
    LabelCount { expected: usize, found: usize },
    #[error("is longer than {limit} bytes")]
    LineTooLong { limit: usize },
    #[error("has several values in `{field}`, and no feature that reads it takes several, or they are separated in different ways")]
    SeveralValues { field: String },
    #[error("has the value \"{value}\" in `{field}`, with the separator \"{separator}\" in it")]
    SeparatorInValue { field: String, value: String, separator: String },
    #[error("has keys with values in `{field}`, and no feature that reads it has a kv_separator")]
    KeysWithoutSeparator { field: String },
    #[error("has lists or maps in `{field}` that are nested too deep")]
    NestedTooDeep { field: String },
    #[error("is not a JSON object: {problem}")]
    NotJson { problem: String },
    #[error("is not a tf.train.Example: {problem}")]
    NotExample { problem: String },
    #[error("has {found} values in the feature list `{field}`; n_data_batch_tfrecord is {expected}")]
    FeatureListLength { field: String, expected: usize, found: usize },
    #[error("has {found} columns; selected_cols needs {needed}; check rtp_separator")]
    RtpColumns { needed: usize, found: usize },
    #[error("has {found} features; data_config.input_fields declares {expected} besides the labels; check separator")]
    RtpFeatures { expected: usize, found: usize },
    #[error("has a part that is not one name, \\x03 and one value")]
    RtpPair,
    #[error("needs more than 4 GB for one batch; use a smaller batch_size")]
    BatchTooLarge,
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("cannot be written: {0}")]
    Unwritable(String),
    #[error("is not valid {format} data: {problem}")]
    Damaged { format: String, problem: String },
    #[error("matches no file")]
    NoFile,
    #[error("is a directory without files")]
    EmptyDirectory,
    #[error("is not a valid file pattern: {0}")]
    Pattern(String),
    #[error("is not {expected}, as data_config.input_type says")]
    OtherContent { expected: String },
    #[error("is {this}, but {first} is {other}; files that are read together must have one format")]
    MixedContent { this: String, first: String, other: String },
    #[error("is a Parquet file, which can be read from a plain file only: neither compressed as a whole nor from standard input")]
    WrappedParquet,
    #[error("has no column `{column}`, which is needed; it has {known}")]
    ColumnMissing { column: String, known: String },
    #[error("has the column `{column}` of the type {kind}, which is not supported; write it as a number or a text")]
    ColumnType { column: String, kind: String },
    #[error("has not as many rows as {file}")]
    OtherRowCount { file: String },
    #[error(
        "must name equally many label, dense and category files: LABEL;DENSE;CATEGORY, or label files alone with `label` in their names"
    )]
    CriteoPaths,
    #[error("is no whole cache of features; remove its folder")]
    DamagedCache,
    #[error("is standard input, which can be read only once; training, and evaluation during it, need files")]
    StandardInputTwice,
    #[error("is none of data_config.input_fields: {known}")]
    UnknownColumn { known: String },
    #[error("has no column `{column}` in its header; data_config.input_fields declares it")]
    HeaderLacks { column: String },
    #[error("has another header than {first}")]
    HeaderDiffers { first: String },
    #[error("changed since the position to resume from was saved: it has only {rows} rows in that epoch, {wanted} were read")]
    ResumeBeyondEnd { rows: u64, wanted: u64 },
}

impl Rule {
    /// A few words for the summary of skipped rows.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Rule::FieldCount { .. } => "wrong number of fields",
            Rule::QuoteInUnquoted | Rule::QuoteNotDoubled | Rule::QuoteNotClosed => "broken quotes",
            Rule::NotInt32 => "not an INT32",
            Rule::NotInt64 => "not an INT64",
            Rule::NotFloat => "not a FLOAT",
            Rule::NotDouble => "not a DOUBLE",
            Rule::NotBool => "not a BOOL",
            Rule::EmptyNumber => "empty where a number is needed",
            Rule::TagNotInteger { .. } => "a tag that is not an INT32",
            Rule::KeyValue { .. } => "a tag without exactly one key and weight",
            Rule::PositionNotInteger { .. } => "a position that is not an INT64",
            Rule::TooManyPositions { .. } => "more positions than sequence_length",
            Rule::MapEntry { .. } => "an entry of a map without exactly one key and value",
            Rule::TooManyCombinations { .. } => "too many combinations",
            Rule::WeightNotNumber { .. } => "a weight that is not a number",
            Rule::WeightCount { .. } => "as many weights as ids are needed",
            Rule::ElementNotNumber { .. } => "an element that is not a number",
            Rule::TooManyNumbers { .. } => "more numbers than raw_input_dim",
            Rule::LabelCount { .. } => "another number of labels than label_dim",
            Rule::LineTooLong { .. } => "line too long",
            Rule::SeveralValues { .. } => "several values where one is read",
            Rule::SeparatorInValue { .. } => "a separator within a value",
            Rule::KeysWithoutSeparator { .. } => "keys where none are read",
            Rule::NestedTooDeep { .. } => "lists or maps nested too deep",
            Rule::NotJson { .. } => "not a JSON object",
            Rule::NotExample { .. } => "not a tf.train.Example",
            Rule::FeatureListLength { .. } => "wrong number of values in a feature list",
            Rule::RtpColumns { .. } => "too few columns",
            Rule::RtpFeatures { .. } => "wrong number of features",
            Rule::RtpPair => "a part without one name and one value",
            Rule::BatchTooLarge => "batch too large",
            Rule::Unreadable(_) => "unreadable file",
            Rule::Unwritable(_) => "unwritable file",
            Rule::Damaged { .. } => "damaged file",
            Rule::OtherContent { .. } | Rule::MixedContent { .. } | Rule::WrappedParquet => "another format",
            Rule::ColumnMissing { .. } | Rule::ColumnType { .. } => "unusable columns",
            Rule::OtherRowCount { .. } | Rule::CriteoPaths => "files that do not match",
            Rule::DamagedCache => "damaged cache",
            Rule::StandardInputTwice => "standard input read twice",
            Rule::NoFile => "no file",
            Rule::EmptyDirectory => "empty directory",
            Rule::Pattern(_) => "bad file pattern",
            Rule::UnknownColumn { .. } => "unknown column",
            Rule::HeaderLacks { .. } | Rule::HeaderDiffers { .. } => "wrong header",
            Rule::ResumeBeyondEnd { .. } => "changed file",
        }
    }
}

/// Rows that were left out under `data_config.ignore_error`, by cause.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Rows delivered.
    pub rows: u64,
    /// Rows left out.
    pub skipped: u64,
    /// The causes in alphabetical order.
    pub causes: BTreeMap<String, SkippedCause>,
}

/// One cause for which rows were left out.
#[derive(Clone, Debug, PartialEq)]
pub struct SkippedCause {
    /// How many rows.
    pub rows: u64,
    /// The first of them.
    pub first: DataError,
}

impl Report {
    /// Counts a batch of `rows` delivered rows and the rows that were left out of it.
    pub fn observe(&mut self, rows: usize, skipped: &[DataError]) {
        self.rows += rows as u64;
        self.skipped += skipped.len() as u64;
        for error in skipped {
            self.causes.entry(error.cause()).or_insert_with(|| SkippedCause { rows: 0, first: error.clone() }).rows += 1;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows read, {} skipped", self.rows, self.skipped)?;
        for (cause, skipped) in &self.causes {
            write!(f, "\n  {} x {cause}; first: {}", skipped.rows, skipped.first)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_file_row_field_value_and_rule() {
        let error =
            DataError { file: "rows.tsv".into(), row: 7, column: Some("age".into()), value: Some(shown(b"1.0")), rule: Rule::NotInt32 };
        assert_eq!(
            error.to_string(),
            "rows.tsv:7: field `age`: value \"1.0\" is not an INT32: a whole number from -2147483648 to 2147483647 without `+`"
        );
        assert_eq!(DataError::file("gone.tsv", Rule::NoFile).to_string(), "gone.tsv: matches no file");
    }

    #[test]
    fn long_and_binary_values_are_cut_and_escaped() {
        assert_eq!(shown(&[b'x'; 200]), format!("{}…", "x".repeat(60)));
        assert_eq!(shown(b"a\t\"\xff"), "a\\t\\\"\u{fffd}");
    }

    #[test]
    fn skipped_rows_are_counted_by_cause() {
        let bad = |row, column: &str| DataError {
            file: "f".into(),
            row,
            column: Some(column.into()),
            value: Some("x".into()),
            rule: Rule::NotInt32,
        };
        let mut report = Report::default();
        report.observe(10, &[bad(1, "a"), bad(5, "b")]);
        report.observe(3, &[bad(9, "a")]);
        assert_eq!((report.rows, report.skipped), (13, 3));
        let causes: Vec<_> = report.causes.iter().map(|(cause, c)| (cause.as_str(), c.rows, c.first.row)).collect();
        assert_eq!(causes, [("field `a`: not an INT32", 2, 1), ("field `b`: not an INT32", 1, 5)]);
    }
}

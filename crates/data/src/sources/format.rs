//! How the lines of text files are cut into fields: the CSV settings of `data_config`.

use std::sync::Arc;

use rankmill_config::proto::dataset_config::InputType;
use rankmill_config::{Diagnostics, Pipeline};

use super::files::InputFile;
use super::lines::read_header;
use crate::error::{DataError, Rule};
use crate::rows::{FieldOrder, Origin, Quotes, RawRows, Splitting};

/// The format of text files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFormat {
    pub(crate) splitting: Splitting,
    pub(crate) columns: Vec<String>,
    pub(crate) header: Header,
}

/// Whether files start with a line of column names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    None,
    FirstLine,
}

impl TextFormat {
    /// The format that `data_config` describes: `CSVInput` and `CSVInputV2` with quotes, `CSVInputEx` without.
    ///
    /// # Errors
    /// An `input_type` that is no text format, a `separator` that does not fit.
    pub fn new(pipeline: &Pipeline) -> Result<TextFormat, Diagnostics> {
        let mut problems = Vec::new();
        let data = pipeline.proto.data_config.clone().unwrap_or_default();
        let quotes = match data.input_type() {
            InputType::CsvInput | InputType::CsvInputV2 => Quotes::Csv,
            InputType::CsvInputEx => Quotes::Plain,
            other => {
                let message = format!("{} is not supported yet; CSVInput, CSVInputV2 and CSVInputEx are", other.as_str_name());
                problems.push(pipeline.error("data_config.input_type", message));
                Quotes::Csv
            }
        };
        let separator = data.separator();
        let problem = match (quotes, separator.as_bytes()) {
            (_, []) => Some("is empty"),
            (Quotes::Csv, [b'"' | b'\n' | b'\r']) => Some("cannot be a quote or the end of a line"),
            (Quotes::Csv, [_, _, ..]) => Some("must be one byte; CSVInputEx takes several, each of them a separator"),
            _ => None,
        };
        problems.extend(problem.map(|problem| pipeline.error("data_config.separator", problem)));
        if !problems.is_empty() {
            return Err(Diagnostics(problems));
        }
        let header = if data.with_header() { Header::FirstLine } else { Header::None };
        let columns = pipeline.input_fields().into_iter().map(|field| field.name).collect();
        Ok(TextFormat { splitting: Splitting::new(separator.as_bytes(), quotes), columns, header })
    }

    /// The order of the fields that the files' header gives. All files must have the same one; without header there is none.
    pub(crate) fn field_order(&self, files: &[InputFile]) -> Result<Option<FieldOrder>, DataError> {
        let (Header::FirstLine, Some(first)) = (self.header, files.first()) else {
            return Ok(None);
        };
        let header = read_header(&first.path)?;
        for file in &files[1..] {
            if read_header(&file.path)? != header {
                return Err(DataError { row: 1, ..DataError::file(&*file.path, Rule::HeaderDiffers { first: first.path.clone() }) });
            }
        }
        let names = self.header_names(&header).map_err(|rule| DataError { row: 1, ..DataError::file(&*first.path, rule) })?;
        let find = |column: &String| {
            names.iter().position(|name| name == column).ok_or_else(|| {
                let rule = Rule::HeaderLacks { column: column.clone() };
                DataError { row: 1, ..DataError::file(&*first.path, rule) }
            })
        };
        Ok(Some(FieldOrder { width: names.len(), columns: self.columns.iter().map(find).collect::<Result<_, _>>()? }))
    }

    fn header_names(&self, header: &[u8]) -> Result<Vec<String>, Rule> {
        let count = self.splitting.count_fields(header)?;
        let mut row = RawRows::new(count, Arc::from([]));
        row.push_line(header, &self.splitting, None, Origin::default())?;
        Ok((0..count).map(|column| String::from_utf8_lossy(row.field(0, column)).into_owned()).collect())
    }
}

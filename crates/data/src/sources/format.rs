//! From `data_config` to a [`Source`]: what the files of an input are opened as, and what makes fields of their rows.
//!
//! `input_type` has the last word only where files don't say what they are: Parquet files, TensorFlow's records and JSON lines are
//! recognised by their first bytes under any `input_type` of files, like gzip and Zstandard. What is none of these has to be text of
//! separated fields, and so `input_type` one of the CSV ones.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rankmill_config::proto::DatasetConfig;
use rankmill_config::proto::dataset_config::{FieldType, InputType};
use rankmill_config::{Diagnostic, Diagnostics, Pipeline};

use super::criteo;
use super::decode::peek;
use super::decoder::Decoder;
use super::fields::{Reading, SourceField, source_fields};
use super::files::{InputFile, expand_criteo_inputs, expand_inputs};
use super::parquet::MAGIC;
use super::record::{FileKind, Opener};
use super::standard_input::STANDARD_INPUT;
use super::text::TextFile;
use super::tf_record::is_tf_record;
use crate::error::{DataError, Rule};
use crate::features::FeatureSet;
use crate::rows::example::Columns;
use crate::rows::json::JsonRows;
use crate::rows::rtp::{RtpPairs, RtpPlace, RtpRows};
use crate::rows::{FieldOrder, Origin, Quotes, RawRows, Splitting};

/// How many bytes of a file are looked at.
const LOOKED_AT: usize = 64;

/// The input that `data_config` describes.
#[derive(Clone, Debug)]
pub struct InputFormat {
    declared: Declared,
    fields: Arc<[SourceField]>,
}

/// What `input_type` and its settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Declared {
    Text { splitting: Box<Splitting>, header: Header },
    Parquet,
    TfRecord,
    SequenceExamples { rows: usize },
    Rtp(Box<RtpRows>),
    RtpPairs,
    Criteo,
    Dummy { rows: u64 },
}

/// Whether files start with a line of column names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    None,
    FirstLine,
}

/// What a file's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Parquet,
    TfRecord,
    Json,
    Text,
}

impl Content {
    fn name(self) -> &'static str {
        match self {
            Content::Parquet => "a Parquet file",
            Content::TfRecord => "a TFRecord file",
            Content::Json => "a file of JSON lines",
            Content::Text => "a text file of separated fields",
        }
    }
}

/// Files with what reads them.
pub(crate) struct Source {
    pub(crate) files: Arc<[InputFile]>,
    pub(crate) opener: Opener,
    pub(crate) decoder: Decoder,
}

impl InputFormat {
    /// The input that `data_config` describes.
    ///
    /// # Errors
    /// An `input_type` that is a service, settings that do not fit.
    pub fn new(pipeline: &Pipeline) -> Result<InputFormat, Diagnostics> {
        let data = pipeline.proto.data_config.clone().unwrap_or_default();
        let fields: Arc<[SourceField]> = source_fields(pipeline).into();
        let declared = declared(pipeline, &data, &fields).map_err(Diagnostics)?;
        Ok(InputFormat { declared, fields })
    }

    /// Whether rows may be shuffled; those of `CriteoInput` never are.
    pub(crate) fn may_be_shuffled(&self) -> bool {
        self.declared != Declared::Criteo
    }

    /// Finds the files of `inputs` and looks at their first bytes. The fields in `kept` are handed through besides those that the features
    /// need.
    pub(crate) fn source(
        &self,
        inputs: &[String],
        features: &FeatureSet,
        kept: &[String],
        progress: &Arc<AtomicU64>,
    ) -> Result<Source, DataError> {
        let mut fields = self.fields.to_vec();
        for field in fields.iter_mut().filter(|field| kept.contains(&field.name)) {
            field.reading = Reading::Kept;
            // What is handed through is the text of the file.
            field.number = None;
        }
        for name in features.needed_fields() {
            fields.iter_mut().filter(|field| field.name == name).for_each(|field| field.reading = Reading::Needed);
        }
        let fields: Arc<[SourceField]> = fields.into();
        let files = match self.declared {
            Declared::Dummy { .. } => vec![InputFile::without_content("DummyInput")],
            Declared::Criteo => expand_criteo_inputs(inputs)?,
            _ => expand_inputs(inputs)?,
        };
        let (kind, decoder) = self.resolve(&files, &fields)?;
        Ok(Source { files: files.into(), opener: Opener { kind, fields, progress: Arc::clone(progress) }, decoder })
    }

    fn resolve(&self, files: &[InputFile], fields: &Arc<[SourceField]>) -> Result<(FileKind, Decoder), DataError> {
        let lines = FileKind::Lines { header_lines: 0 };
        match &self.declared {
            Declared::Dummy { rows } => return Ok((FileKind::Dummy { rows: *rows }, Decoder::Fields)),
            Declared::Criteo => return criteo_fields(files, fields).map(|()| (FileKind::Criteo, Decoder::Fields)),
            Declared::Rtp(rtp) => return Ok((lines, Decoder::Rtp(rtp.clone()))),
            Declared::RtpPairs => return Ok((lines, Decoder::RtpPairs(RtpPairs::new(fields)))),
            Declared::Text { .. } | Declared::Parquet | Declared::TfRecord | Declared::SequenceExamples { .. } => {}
        }
        Ok(match (content(files)?, &self.declared) {
            (Some(Content::Parquet), _) => (FileKind::Parquet, Decoder::Fields),
            (Some(Content::Json), _) => (lines, Decoder::Json(JsonRows::new(fields))),
            (Some(Content::TfRecord) | None, Declared::SequenceExamples { rows }) => {
                (FileKind::SequenceExamples { rows: *rows }, Decoder::Fields)
            }
            (Some(Content::TfRecord), _) | (None, Declared::TfRecord) => (FileKind::TfRecord, Decoder::Examples(Columns::new(fields))),
            (_, Declared::Text { splitting, header }) => {
                let order = match header {
                    Header::FirstLine => header_order(files, splitting, fields)?,
                    Header::None => None,
                };
                let header_lines = u64::from(*header == Header::FirstLine);
                (FileKind::Lines { header_lines }, Decoder::Text { splitting: splitting.clone(), order })
            }
            (_, declared) => {
                let expected = if *declared == Declared::Parquet { Content::Parquet } else { Content::TfRecord };
                let path = files.first().map_or("", |file| file.path.as_str());
                return Err(DataError::file(path, Rule::OtherContent { expected: expected.name().to_string() }));
            }
        })
    }
}

/// What the files are, by their first bytes; `None` if all are empty.
fn content(files: &[InputFile]) -> Result<Option<Content>, DataError> {
    let mut known: Option<(Content, &str)> = None;
    for file in files {
        let Some(content) = content_of(file)? else { continue };
        match known {
            None => known = Some((content, &file.path)),
            Some((first, path)) if first != content => {
                let rule =
                    Rule::MixedContent { this: content.name().to_string(), first: path.to_string(), other: first.name().to_string() };
                return Err(DataError::file(&*file.path, rule));
            }
            Some(_) => {}
        }
    }
    Ok(known.map(|(content, _)| content))
}

fn content_of(file: &InputFile) -> Result<Option<Content>, DataError> {
    let mut source = peek(&file.path)?;
    let mut start = [0; LOOKED_AT];
    let count = source.read_full(&mut start).map_err(|error| DataError::file(&*file.path, source.damage(&error)))?;
    let start = &start[..count];
    let content = match start {
        [] => return Ok(None),
        _ if start.starts_with(&MAGIC) => Content::Parquet,
        _ if is_tf_record(start) => Content::TfRecord,
        // In text of separated fields a quote can't follow there.
        [b'{', rest @ ..] if matches!(rest.trim_ascii_start(), [b'"' | b'}', ..]) => Content::Json,
        _ => Content::Text,
    };
    if content == Content::Parquet && (source.format.is_some() || file.path == STANDARD_INPUT) {
        return Err(DataError::file(&*file.path, Rule::WrappedParquet));
    }
    Ok(Some(content))
}

fn declared(pipeline: &Pipeline, data: &DatasetConfig, fields: &[SourceField]) -> Result<Declared, Vec<Diagnostic>> {
    let problem = |place: &str, message: String| vec![pipeline.error(&format!("data_config.{place}"), message)];
    Ok(match data.input_type() {
        InputType::CsvInput | InputType::CsvInputV2 => text(data, Quotes::Csv).map_err(|message| problem("separator", message))?,
        InputType::CsvInputEx => text(data, Quotes::Plain).map_err(|message| problem("separator", message))?,
        InputType::ParquetInput | InputType::ParquetInputV2 | InputType::ParquetInputV3 | InputType::HiveParquetInput => Declared::Parquet,
        InputType::TfRecordInput => Declared::TfRecord,
        InputType::BatchTfRecordInput => match data.n_data_batch_tfrecord() {
            0 => return Err(problem("n_data_batch_tfrecord", "must say how many rows a record of BatchTFRecordInput holds".into())),
            rows => Declared::SequenceExamples { rows: rows as usize },
        },
        InputType::RtpInput => Declared::Rtp(Box::new(rtp(data, fields).map_err(|(place, message)| problem(place, message))?)),
        InputType::RtpInputV2 => Declared::RtpPairs,
        InputType::CriteoInput => Declared::Criteo,
        InputType::DummyInput => Declared::Dummy { rows: u64::from(data.batch_size()) },
        service => {
            let message = format!(
                "{} reads from a service, which Rankmill does not talk to; export the rows to files, and set input_type to CSVInput, \
                 ParquetInput or TFRecordInput",
                service.as_str_name()
            );
            return Err(problem("input_type", message));
        }
    })
}

/// Checks that `CriteoInput` has all fields that are needed.
fn criteo_fields(files: &[InputFile], fields: &[SourceField]) -> Result<(), DataError> {
    let Some(field) = fields.iter().find(|field| field.is_needed() && !criteo::has_field(&field.name)) else {
        return Ok(());
    };
    let rule = Rule::ColumnMissing { column: field.name.clone(), known: "label, f1 to f13 and c1 to c26".to_string() };
    Err(DataError::file(files.first().map_or("", |file| file.path.as_str()), rule))
}

fn text(data: &DatasetConfig, quotes: Quotes) -> Result<Declared, String> {
    let separator = data.separator().as_bytes();
    let problem = match (quotes, separator) {
        (_, []) => Some("is empty"),
        (Quotes::Csv, [b'"' | b'\n' | b'\r']) => Some("cannot be a quote or the end of a line"),
        (Quotes::Csv, [_, _, ..]) => Some("must be one byte; CSVInputEx takes several, each of them a separator"),
        _ => None,
    };
    let header = if data.with_header() { Header::FirstLine } else { Header::None };
    problem.map_or(Ok(Declared::Text { splitting: Box::new(Splitting::new(separator, quotes)), header }), |problem| Err(problem.into()))
}

/// The columns of `RTPInput`; or the setting that does not fit, and why.
fn rtp(data: &DatasetConfig, fields: &[SourceField]) -> Result<RtpRows, (&'static str, String)> {
    for (place, separator) in [("rtp_separator", data.rtp_separator()), ("separator", data.separator())] {
        if separator.is_empty() {
            return Err((place, "is empty".into()));
        }
    }
    let numbers: Result<Vec<usize>, _> = data.selected_cols().split(',').map(|number| number.trim().parse()).collect();
    let numbers = numbers.map_err(|_| {
        let message = "must be the numbers of columns, counted from 0: those of the labels, then that of the features, such as \"0,1,4\"";
        ("selected_cols", message.to_string())
    })?;
    let (features_column, labels) = numbers.split_last().expect("a text that is split has a part");
    if labels.len() != data.label_fields.len() {
        let message = format!(
            "must have a column for each of the {} label_fields and the one of the features; it has {}",
            data.label_fields.len(),
            numbers.len()
        );
        return Err(("selected_cols", message));
    }
    let mut feature_count = 0;
    let place = |field: &SourceField| match data.label_fields.iter().position(|label| *label == field.name) {
        Some(label) => RtpPlace::Column(labels[label]),
        None => {
            feature_count += 1;
            RtpPlace::Feature(feature_count - 1)
        }
    };
    let places = fields.iter().map(place).collect();
    Ok(RtpRows {
        columns: Splitting::new(data.rtp_separator().as_bytes(), Quotes::Plain),
        features_column: *features_column,
        features: Splitting::new(data.separator().as_bytes(), Quotes::Plain),
        feature_count,
        places,
        whole: fields.iter().map(|field| matches!(field.kind, FieldType::Int32 | FieldType::Int64)).collect(),
    })
}

/// The order of the fields that the files' header gives. All files must have the same one.
fn header_order(files: &[InputFile], splitting: &Splitting, fields: &[SourceField]) -> Result<Option<FieldOrder>, DataError> {
    let Some((first, others)) = files.split_first() else {
        return Ok(None);
    };
    let header = read_header(&first.path)?;
    for file in others {
        if read_header(&file.path)? != header {
            return Err(DataError { row: 1, ..DataError::file(&*file.path, Rule::HeaderDiffers { first: first.path.clone() }) });
        }
    }
    let names = header_names(&header, splitting).map_err(|rule| DataError { row: 1, ..DataError::file(&*first.path, rule) })?;
    let find = |field: &SourceField| {
        names.iter().position(|name| *name == field.name).ok_or_else(|| {
            let rule = Rule::HeaderLacks { column: field.name.clone() };
            DataError { row: 1, ..DataError::file(&*first.path, rule) }
        })
    };
    Ok(Some(FieldOrder { width: names.len(), columns: fields.iter().map(find).collect::<Result<_, _>>()? }))
}

/// The first line of a file, without the blanks around it.
fn read_header(path: &str) -> Result<Vec<u8>, DataError> {
    let mut text = TextFile::new(path, peek(path)?);
    Ok(text.next_line()?.map(|(line, _)| line.trim_ascii().to_vec()).unwrap_or_default())
}

fn header_names(header: &[u8], splitting: &Splitting) -> Result<Vec<String>, Rule> {
    let count = splitting.count_fields(header)?;
    let mut row = RawRows::new(count, Arc::from([]));
    row.push_line(header, splitting, None, Origin::default())?;
    Ok((0..count).map(|column| String::from_utf8_lossy(row.field(0, column)).into_owned()).collect())
}

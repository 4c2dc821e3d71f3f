//! `POST /score`: rows in the simplest forms there are, scores in the same form.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::Response;
use bytes::Bytes;
use rankmill_model::OutputValues;

use super::body::{Target, content_type, read};
use super::of_version;
use crate::app::App;
use crate::error::{ErrorKind, ServeError};
use crate::explanation::Answer;
use crate::metrics::Stage;
use crate::registry::Version;
use crate::rows::json::JsonRows;
use crate::rows::request::{self, Keys};
use crate::rows::{arrow, csv as csv_rows};

/// Values of all rows as a JSON object, for bodies that have no place for them.
static CONTEXT: HeaderName = HeaderName::from_static("rankmill-context");

/// The forms that rows and scores can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `{"context": {...}, "rows": [{...}, ...]}`.
    Json,
    /// An object a line.
    JsonLines,
    Csv,
    Arrow,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Form, ServeError> {
        match content_type(headers).as_str() {
            "application/json" => Ok(Form::Json),
            "application/x-ndjson" | "application/jsonl" | "application/jsonlines" | "application/x-jsonlines" => Ok(Form::JsonLines),
            "text/csv" | "application/csv" => Ok(Form::Csv),
            "application/vnd.apache.arrow.stream" | "application/vnd.apache.arrow.file" => Ok(Form::Arrow),
            other => {
                let known = "application/json, application/x-ndjson, text/csv or application/vnd.apache.arrow.stream";
                let other = rankmill_data::shown(other.as_bytes());
                Err(ServeError::new(ErrorKind::UnsupportedType, format!("the body is `{other}`, but must be {known}")))
            }
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::JsonLines => "application/x-ndjson",
            Form::Csv => "text/csv",
            Form::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// Adds the rows of a body to `rows`, which has a context or is empty.
    fn read(self, rows: &mut JsonRows<'_>, body: Bytes) -> Result<(), ServeError> {
        match self {
            Form::Json => request::read(rows, Keys::Score, &body).map(drop),
            Form::JsonLines => rows.read_lines(&body),
            Form::Csv => csv_rows::read(rows, &body),
            Form::Arrow => arrow::read(rows, body),
        }
    }

    fn write(self, version: &Version, scores: &[OutputValues]) -> Result<Vec<u8>, ServeError> {
        match self {
            Form::Arrow => arrow::write(scores),
            form => write_text(form, version, scores).map_err(|error| ServeError::new(ErrorKind::Internal, error.to_string())),
        }
    }
}

pub(super) async fn score(State(app): State<Arc<App>>, target: Target, headers: HeaderMap, body: Body) -> Result<Response, ServeError> {
    let choice = app.registry.choose(target.model(), target.wanted())?;
    let form = Form::of(&headers)?;
    let answer = Answer::of_header(&headers)?;
    answer.outputs(&choice.version).map(drop)?;
    let body = read(body, &headers, &app.limits).await?;
    let version = &choice.version;
    let parse = || {
        let mut rows = JsonRows::new(&version.schema, &app.limits);
        if let Some(context) = headers.get(&CONTEXT) {
            rows.read_context(context.as_bytes(), "the header Rankmill-Context")?;
        }
        form.read(&mut rows, body)?;
        Ok((rows.finish(), answer))
    };
    let scores = app.score(&choice, parse).await?;
    let body = app.timed(Stage::Encode, || form.write(version, &scores))?;
    Ok(of_version(version, ([(header::CONTENT_TYPE, form.content_type())], body)))
}

fn write_text(form: Form, version: &Version, scores: &[OutputValues]) -> std::io::Result<Vec<u8>> {
    let rows = scores.first().map_or(0, |output| output.values.len() / output.width);
    let mut body = Vec::with_capacity(64 * rows + 128);
    match form {
        Form::Csv => {
            let mut header = csv::Writer::from_writer(&mut body);
            header.write_record(scores.iter().flat_map(column_names))?;
            header.flush()?;
        }
        Form::Json => {
            let name = serde_json::to_string(&version.model)?;
            write!(body, "{{\"model_name\":{name},\"model_version\":\"{}\",\"scores\":[", version.number)?;
        }
        Form::JsonLines | Form::Arrow => {}
    }
    for row in 0..rows {
        if form == Form::Csv {
            let values = scores.iter().flat_map(|output| &output.values[row * output.width..(row + 1) * output.width]);
            for (i, value) in values.enumerate() {
                write!(body, "{}{value:?}", if i == 0 { "" } else { "," })?;
            }
            body.push(b'\n');
            continue;
        }
        if form == Form::Json && row > 0 {
            body.push(b',');
        }
        write_object(&mut body, scores, row)?;
        if form == Form::JsonLines {
            body.push(b'\n');
        }
    }
    if form == Form::Json {
        body.extend_from_slice(b"]}");
    }
    Ok(body)
}

fn column_names(output: &OutputValues) -> Vec<String> {
    match output.width {
        1 => vec![output.name.clone()],
        width => (0..width).map(|i| format!("{}_{i}", output.name)).collect(),
    }
}

/// The scores of a row, by name.
pub(super) fn write_object(body: &mut Vec<u8>, scores: &[OutputValues], row: usize) -> std::io::Result<()> {
    for (i, output) in scores.iter().enumerate() {
        body.push(if i == 0 { b'{' } else { b',' });
        write_name(body, output)?;
        write_values(body, output, row)?;
    }
    body.push(b'}');
    Ok(())
}

/// The key of an output. Its name may have any characters that a feature's name in the config has.
pub(super) fn write_name(body: &mut Vec<u8>, output: &OutputValues) -> std::io::Result<()> {
    serde_json::to_writer(&mut *body, &output.name)?;
    body.push(b':');
    Ok(())
}

/// A number, or an array of them where an output has several.
pub(super) fn write_values(body: &mut Vec<u8>, output: &OutputValues, row: usize) -> std::io::Result<()> {
    let values = &output.values[row * output.width..(row + 1) * output.width];
    if output.width > 1 {
        body.push(b'[');
    }
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        // Not finite is null.
        serde_json::to_writer(&mut *body, value)?;
    }
    if output.width > 1 {
        body.push(b']');
    }
    Ok(())
}

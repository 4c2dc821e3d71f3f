//! TensorFlow Serving's REST interface: status, metadata and `:predict` in its row form (`instances`) and column form (`inputs`).
//! `context`, which TensorFlow Serving has for `:classify`, gives values for all instances.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use rankmill_data::FieldRows;
use rankmill_model::OutputValues;
use serde::Serialize;
use serde_json::{Value, json};

use super::body::read;
use super::of_version;
use super::score::{write_name, write_object, write_values};
use crate::app::App;
use crate::error::{ErrorKind, ServeError};
use crate::explanation::Answer;
use crate::limits::Limits;
use crate::metrics::Stage;
use crate::registry::{Model, Version, Wanted};
use crate::rows::json::JsonRows;
use crate::rows::request::{self, Keys};
use crate::schema::Schema;
use crate::tensors::{self, Tensor};
use crate::texts::Texts;

/// What stands behind `/v1/models/`.
struct Target<'a> {
    model: &'a str,
    wanted: Wanted<'a>,
    /// `metadata`, or the verb.
    rest: Option<&'a str>,
}

/// Reads `NAME[/versions/N|/labels/L]`, then `/metadata` or `:VERB`.
fn target<'a>(path: &'a str, rest_mark: char) -> Result<Target<'a>, ServeError> {
    let (path, rest) = match path.rsplit_once(rest_mark) {
        Some((path, rest)) if rest_mark == ':' || rest == "metadata" => (path, Some(rest)),
        _ => (path, None),
    };
    let parts: Vec<&str> = path.split('/').collect();
    let (model, wanted) = match parts[..] {
        [model] => (model, Wanted::Any),
        [model, "versions", number] => {
            let number = number.parse().map_err(|_| ServeError::invalid("the version in the path is not a number"))?;
            (model, Wanted::Number(number))
        }
        [model, "labels", label] => (model, Wanted::Label(label)),
        _ => return Err(ServeError::new(ErrorKind::NotFound, "the path is none of TensorFlow Serving's")),
    };
    Ok(Target { model, wanted, rest })
}

/// Every page behind `/v1/models/`: axum's paths know no `:` after a name.
pub(super) async fn page(
    State(app): State<Arc<App>>,
    method: Method,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let Path(path) = path.map_err(|error| ServeError::invalid(format!("the path: {error}")))?;
    let has_verb = path.rsplit('/').next().is_some_and(|last| last.contains(':'));
    match (has_verb, method) {
        (false, Method::GET | Method::HEAD) => look(&app, &path),
        (true, Method::POST) => predict(&app, &path, &headers, body).await,
        (has_verb, _) => {
            let allow = [(header::ALLOW, if has_verb { "POST" } else { "GET,HEAD" })];
            Ok((allow, super::no_method().await).into_response())
        }
    }
}

fn look(app: &App, path: &str) -> Result<Response, ServeError> {
    let target = target(path, '/')?;
    let model = app.registry.model(Some(target.model))?;
    match target.rest {
        None => status(&model, target.wanted),
        Some(_) => Ok(super::json(&metadata(model.version(target.wanted)?))),
    }
}

#[derive(Serialize)]
struct Status {
    model_version_status: Vec<VersionStatus>,
}

#[derive(Serialize)]
struct VersionStatus {
    version: String,
    state: &'static str,
    status: StatusText,
}

#[derive(Serialize)]
struct StatusText {
    error_code: &'static str,
    error_message: String,
}

fn status(model: &Model, wanted: Wanted<'_>) -> Result<Response, ServeError> {
    let one = match wanted {
        Wanted::Any => None,
        Wanted::Number(number) if model.refused.contains_key(&number) => Some(number),
        wanted => Some(model.version(wanted)?.number),
    };
    let describe = |version: u64, state, error_code, error_message: &str| VersionStatus {
        version: version.to_string(),
        state,
        status: StatusText { error_code, error_message: error_message.to_owned() },
    };
    let is_wanted = |number: &u64| one.is_none_or(|one| one == *number);
    let served = model.versions.keys().filter(|number| is_wanted(number)).map(|number| describe(*number, "AVAILABLE", "OK", ""));
    let refused = model.refused.iter().filter(|(number, _)| is_wanted(number) && !model.versions.contains_key(number));
    let refused = refused.map(|(number, reason)| describe(*number, "END", "FAILED_PRECONDITION", reason));
    Ok(super::json(&Status { model_version_status: served.chain(refused).collect() }))
}

fn metadata(version: &Version) -> Value {
    let tensor = |name: &str, dtype: &str, sizes: &[i64]| {
        let dim: Vec<Value> = sizes.iter().map(|size| json!({"size": size.to_string(), "name": ""})).collect();
        json!({"dtype": dtype, "tensor_shape": {"dim": dim, "unknown_rank": false}, "name": name})
    };
    let inputs: BTreeMap<&str, Value> =
        version.schema.needed().map(|field| (field.name.as_str(), tensor(&field.name, field.tensorflow_type(), &[-1]))).collect();
    let outputs: BTreeMap<&str, Value> = version
        .schema
        .outputs
        .iter()
        .map(|output| {
            let shape = super::kserve::output_shape(-1, output.width as i64);
            (output.name.as_str(), tensor(&output.name, "DT_FLOAT", &shape))
        })
        .collect();
    let signature = json!({"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict"});
    json!({
        "model_spec": {"name": version.model, "signature_name": "", "version": version.number.to_string()},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    })
}

async fn predict(app: &App, path: &str, headers: &HeaderMap, body: Body) -> Result<Response, ServeError> {
    let target = target(path, ':')?;
    match target.rest {
        Some("predict") => {}
        Some("classify" | "regress") => return Err(ServeError::invalid("models here have no signature for this verb; use `:predict`")),
        _ => return Err(ServeError::new(ErrorKind::NotFound, "the path has no verb of TensorFlow Serving's; `:predict` is one")),
    }
    let choice = app.registry.choose(Some(target.model), target.wanted)?;
    let answer = Answer::of_header(headers)?;
    answer.outputs(&choice.version).map(drop)?;
    let body = read(body, headers, &app.limits).await?;
    let mut form = Form::Rows;
    let parse = || {
        let (rows, found) = read_request(&choice.version.schema, &app.limits, &body)?;
        form = found;
        Ok((rows, answer))
    };
    let scores = app.score(&choice, parse).await?;
    let body = app.timed(Stage::Encode, || write(form, &scores));
    let body = body.map_err(|error| ServeError::new(ErrorKind::Internal, error.to_string()))?;
    Ok(of_version(&choice.version, ([(header::CONTENT_TYPE, "application/json")], body)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Rows,
    Columns,
}

fn read_request(schema: &Schema, limits: &Limits, body: &[u8]) -> Result<(FieldRows, Form), ServeError> {
    let mut rows = JsonRows::new(schema, limits);
    let found = request::read(&mut rows, Keys::TensorFlow, body)?;
    match (found.columns, found.rows) {
        (None, true) => Ok((rows.finish(), Form::Rows)),
        (Some(_), false) if found.context => {
            Err(ServeError::invalid("`context` goes with `instances`; in `inputs` an input of one row is that of all rows"))
        }
        (Some(columns), false) => {
            let tensors = columns.into_iter().map(|(name, values)| column(schema, name, values)).collect::<Result<Vec<_>, _>>()?;
            Ok((tensors::rows(schema, limits, &tensors)?, Form::Columns))
        }
        _ => Err(ServeError::invalid("the body needs either `instances` or `inputs`")),
    }
}

/// The shape of a column follows from its arrays.
fn column(schema: &Schema, name: String, values: Texts) -> Result<Tensor, ServeError> {
    // The types are those of the fields; what does not fit is found with the row it is in.
    schema.place(&name)?;
    let shape = match values.depth {
        0 => vec![1],
        1 => vec![values.outer as i64],
        2 => vec![values.outer as i64, values.inner.unwrap_or(1) as i64],
        _ => return Err(ServeError::invalid(format!("input `{name}`: it has more than two dimensions"))),
    };
    let datatype = match values.kinds {
        kinds if kinds.texts => "BYTES",
        kinds if kinds.booleans => "BOOL",
        kinds if kinds.fractions => "FP64",
        _ => "INT64",
    };
    Ok(Tensor { name, shape, datatype: datatype.to_owned(), values })
}

/// A single output has no name.
fn write(form: Form, scores: &[OutputValues]) -> std::io::Result<Vec<u8>> {
    let rows = scores.first().map_or(0, |output| output.values.len() / output.width);
    let mut body = Vec::with_capacity(64 * rows + 64);
    match form {
        Form::Rows => {
            body.extend_from_slice(b"{\"predictions\":[");
            for row in 0..rows {
                if row > 0 {
                    body.push(b',');
                }
                match scores {
                    [only] => write_values(&mut body, only, row)?,
                    all => write_object(&mut body, all, row)?,
                }
            }
            body.extend_from_slice(b"]}");
        }
        Form::Columns => {
            body.extend_from_slice(b"{\"outputs\":");
            if let [only] = scores {
                write_column(&mut body, only)?;
            } else {
                for (i, output) in scores.iter().enumerate() {
                    body.push(if i == 0 { b'{' } else { b',' });
                    write_name(&mut body, output)?;
                    write_column(&mut body, output)?;
                }
                body.push(b'}');
            }
            body.push(b'}');
        }
    }
    Ok(body)
}

fn write_column(body: &mut Vec<u8>, output: &OutputValues) -> std::io::Result<()> {
    body.push(b'[');
    for row in 0..output.values.len() / output.width {
        if row > 0 {
            body.push(b',');
        }
        write_values(body, output, row)?;
    }
    body.push(b']');
    Ok(())
}

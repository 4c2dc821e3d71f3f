//! KServe's Open Inference Protocol v2 over REST, with Triton's extension for binary tensors.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rankmill_model::OutputValues;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::{Target, content_type, read};
use super::{json, of_version};
use crate::app::App;
use crate::error::{ErrorKind, ServeError};
use crate::explanation::{self, Answer};
use crate::metrics::Stage;
use crate::registry::Version;
use crate::tensors::{self, Datatype, Tensor};
use crate::texts::Texts;

/// What both protocols call the server.
pub(crate) const SERVER: &str = "rankmill";
/// The extensions of the protocol.
pub(crate) const EXTENSIONS: [&str; 3] = ["binary_tensor_data", "model_configuration", "statistics"];
/// What both protocols call the kind of model.
pub(crate) const PLATFORM: &str = "rankmill_bundle";

static HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    ready: bool,
}

#[derive(Serialize)]
struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 3],
}

#[derive(Serialize)]
struct ModelMetadata<'a> {
    name: &'a str,
    versions: Vec<String>,
    platform: &'static str,
    inputs: Vec<TensorMetadata<'a>>,
    outputs: Vec<TensorMetadata<'a>>,
}

#[derive(Serialize)]
struct TensorMetadata<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: Vec<i64>,
}

type Parameters = BTreeMap<String, Value>;

#[derive(Deserialize)]
struct InferRequest {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Parameters>,
    inputs: Vec<InferInput>,
    #[serde(default)]
    outputs: Option<Vec<RequestedOutput>>,
}

#[derive(Deserialize)]
struct InferInput {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<Parameters>,
    #[serde(default)]
    data: Option<Texts>,
}

#[derive(Deserialize)]
struct RequestedOutput {
    name: String,
    #[serde(default)]
    parameters: Option<Parameters>,
}

#[derive(Serialize)]
struct InferResponse<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<InferOutput<'a>>,
}

#[derive(Serialize)]
struct InferOutput<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a [f32]>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

pub(super) async fn live() -> Response {
    json(&Live { live: true })
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    readiness(None, app.is_ready())
}

pub(super) async fn server() -> Response {
    json(&ServerMetadata { name: SERVER, version: env!("CARGO_PKG_VERSION"), extensions: EXTENSIONS })
}

pub(super) async fn model_ready(State(app): State<Arc<App>>, target: Target) -> Result<Response, ServeError> {
    let model = app.registry.model(target.model())?;
    let is_ready = match model.version(target.wanted()) {
        Ok(_) => true,
        Err(error) if error.kind == ErrorKind::Unavailable => false,
        Err(error) => return Err(error),
    };
    Ok(readiness(target.model(), is_ready))
}

fn readiness(name: Option<&str>, ready: bool) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json(&Ready { name, ready })).into_response()
}

pub(super) async fn metadata(State(app): State<Arc<App>>, target: Target) -> Result<Response, ServeError> {
    let model = app.registry.model(target.model())?;
    let version = model.version(target.wanted())?;
    let input = |field| {
        let field: &crate::schema::Field = field;
        TensorMetadata { name: &field.name, datatype: field.datatype(), shape: vec![-1] }
    };
    let output = |output| {
        let output: &rankmill_model::OutputSpec = output;
        TensorMetadata { name: &output.name, datatype: "FP32", shape: output_shape(-1, output.width as i64) }
    };
    Ok(json(&ModelMetadata {
        name: &model.settings.name,
        versions: model.versions.keys().map(u64::to_string).collect(),
        platform: PLATFORM,
        inputs: version.schema.needed().map(input).collect(),
        outputs: version.schema.outputs.iter().map(output).collect(),
    }))
}

/// One number for each row is a vector, more are a matrix.
pub(crate) fn output_shape<T: PartialEq + From<u8>>(rows: T, width: T) -> Vec<T> {
    if width == T::from(1) { vec![rows] } else { vec![rows, width] }
}

pub(super) async fn infer(State(app): State<Arc<App>>, target: Target, headers: HeaderMap, body: Body) -> Result<Response, ServeError> {
    let choice = app.registry.choose(target.model(), target.wanted())?;
    if !matches!(content_type(&headers).as_str(), "application/json" | "application/octet-stream") {
        return Err(ServeError::new(ErrorKind::UnsupportedType, "the body must be application/json or application/octet-stream"));
    }
    let body = read(body, &headers, &app.limits).await?;
    let (head, binary) = split(&headers, &body)?;
    let (mut request_id, mut places) = (None, Vec::new());
    let parse = || {
        let request: InferRequest = serde_json::from_slice(head).map_err(|error| crate::rows::json::not_json(&error))?;
        let InferRequest { id, parameters, inputs, outputs } = request;
        let explain = parameters.as_ref().and_then(|all| all.get(explanation::PARAMETER));
        let answer = Answer::of_parameter(explain.map(Value::as_bool))?;
        places = wanted(&choice.version, answer, parameters.as_ref(), outputs.unwrap_or_default())?;
        request_id = id;
        Ok((tensors::rows(&choice.version.schema, &app.limits, &into_tensors(inputs, binary)?)?, answer))
    };
    let scores = app.score(&choice, parse).await?;
    let response = app.timed(Stage::Encode, || respond(&choice.version, request_id.as_deref(), &places, &scores));
    Ok(of_version(&choice.version, response))
}

/// The JSON of a body, and the binary data behind it.
fn split<'a>(headers: &HeaderMap, body: &'a Bytes) -> Result<(&'a [u8], &'a [u8]), ServeError> {
    let Some(length) = headers.get(&HEADER_LENGTH) else { return Ok((body, &[])) };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    let parts = length.and_then(|length| body.split_at_checked(length));
    parts.ok_or_else(|| ServeError::invalid("the header Inference-Header-Content-Length is not the length of a part of the body"))
}

fn into_tensors(inputs: Vec<InferInput>, mut binary: &[u8]) -> Result<Vec<Tensor>, ServeError> {
    let mut tensors = Vec::with_capacity(inputs.len());
    for InferInput { name, shape, datatype, parameters, data } in inputs {
        let problem = |problem: String| ServeError::invalid(format!("input `{}`: {problem}", rankmill_data::shown(name.as_bytes())));
        let size = parameters.as_ref().and_then(|parameters| parameters.get("binary_data_size"));
        let values = match (data, size) {
            (Some(_), Some(_)) => return Err(problem("it has both data and binary_data_size".to_owned())),
            (None, None) => return Err(problem("it has no data".to_owned())),
            (Some(values), None) => values,
            (None, Some(size)) => {
                let parts = size.as_u64().and_then(|size| usize::try_from(size).ok()).and_then(|size| binary.split_at_checked(size));
                let (own, rest) = parts.ok_or_else(|| problem(format!("binary_data_size {size} is more than the body has")))?;
                binary = rest;
                let kind = Datatype::from_name(&datatype).ok_or_else(|| problem("it has no known datatype".to_owned()))?;
                kind.decode(own).map_err(problem)?
            }
        };
        tensors.push(Tensor { name, shape, datatype, values });
    }
    if !binary.is_empty() {
        return Err(ServeError::invalid(format!("the body has {} bytes that belong to no input", binary.len())));
    }
    Ok(tensors)
}

/// The outputs that are asked for, and whether as binary data.
fn wanted(
    version: &Version,
    answer: Answer,
    parameters: Option<&Parameters>,
    requested: Vec<RequestedOutput>,
) -> Result<Vec<(usize, bool)>, ServeError> {
    let flag = |parameters: Option<&Parameters>, name: &str| parameters.and_then(|all| all.get(name)).and_then(Value::as_bool);
    let all_binary = flag(parameters, "binary_data_output").unwrap_or(false);
    let places = answer.places(version, requested.iter().map(|output| output.name.as_str()))?;
    let own = requested.iter().map(|output| flag(output.parameters.as_ref(), "binary_data"));
    let is_binary = own.chain(std::iter::repeat(None)).map(|own| own.unwrap_or(all_binary));
    Ok(places.into_iter().zip(is_binary).collect())
}

fn respond(version: &Version, id: Option<&str>, wanted: &[(usize, bool)], scores: &[OutputValues]) -> Response {
    let mut binary = Vec::new();
    let mut outputs = Vec::with_capacity(wanted.len());
    for &(place, is_binary) in wanted {
        let OutputValues { name, width, values } = &scores[place];
        let shape = output_shape(values.len() / width, *width);
        let (mut parameters, mut data) = (None, Some(values.as_slice()));
        if is_binary {
            values.iter().for_each(|value| binary.extend_from_slice(&value.to_le_bytes()));
            (parameters, data) = (Some(BinarySize { binary_data_size: 4 * values.len() }), None);
        }
        outputs.push(InferOutput { name, datatype: "FP32", shape, parameters, data });
    }
    let head = InferResponse { model_name: &version.model, model_version: version.number.to_string(), id, outputs };
    if !wanted.iter().any(|(_, is_binary)| *is_binary) {
        return json(&head);
    }
    let mut body = match serde_json::to_vec(&head) {
        Ok(body) => body,
        Err(error) => return ServeError::new(ErrorKind::Internal, error.to_string()).into_response(),
    };
    let length = HeaderValue::from(body.len());
    body.append(&mut binary);
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")), (HEADER_LENGTH.clone(), length)];
    (headers, body).into_response()
}

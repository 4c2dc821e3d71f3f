//! KServe's Open Inference Protocol v2 over gRPC. Scores come back in the form in which the inputs came: raw bytes for
//! `raw_input_contents`, numbers for typed contents.

use std::sync::Arc;

use axum::Router;
use rankmill_model::OutputValues;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::error::{ErrorKind, ServeError};
use crate::explanation::{self, Answer};
use crate::http::kserve::{EXTENSIONS, PLATFORM, SERVER, output_shape};
use crate::http::triton;
use crate::metrics::Stage;
use crate::registry::{Version, Wanted};
use crate::tensors::{self, Datatype, Tensor};
use crate::texts::Texts;

/// The messages and the service, as the protocol names them.
#[expect(missing_docs, reason = "generated from the protocol")]
pub mod inference {
    tonic::include_proto!("inference");
}

use inference::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use inference::infer_parameter::ParameterChoice;
use inference::model_infer_request::InferInputTensor;
use inference::model_infer_response::InferOutputTensor;
use inference::model_metadata_response::TensorMetadata;
use inference::{
    InferParameter, InferTensorContents, ModelConfigRequest, ModelConfigResponse, ModelInferRequest, ModelInferResponse,
    ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ModelStatisticsRequest, ModelStatisticsResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
};

/// The service's pages; unknown ones are left to others.
pub(crate) fn routes(app: &Arc<App>) -> Router {
    let service = GrpcInferenceServiceServer::new(Service(Arc::clone(app)));
    let service = service.max_decoding_message_size(app.limits.body_bytes).accept_compressed(CompressionEncoding::Gzip);
    let path = format!("/{}/{{*method}}", <GrpcInferenceServiceServer<Service> as tonic::server::NamedService>::NAME);
    Router::new().route_service(&path, service)
}

struct Service(Arc<App>);

fn wanted(version: &str) -> Wanted<'_> {
    if version.is_empty() { Wanted::Any } else { Wanted::Named(version) }
}

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.0.is_ready() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let model = self.0.registry.model(Some(&name))?;
        let ready = match model.version(wanted(&version)) {
            Ok(_) => true,
            Err(error) if error.kind == ErrorKind::Unavailable => false,
            Err(error) => return Err(error.into()),
        };
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Result<Response<ServerMetadataResponse>, Status> {
        let (name, version) = (SERVER.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Ok(Response::new(ServerMetadataResponse { name, version, extensions: EXTENSIONS.map(str::to_owned).to_vec() }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Result<Response<ModelMetadataResponse>, Status> {
        let request = request.into_inner();
        let model = self.0.registry.model(Some(&request.name))?;
        let version = model.version(wanted(&request.version))?;
        let tensor = |name: &str, datatype: &str, shape| TensorMetadata { name: name.to_owned(), datatype: datatype.to_owned(), shape };
        let outputs = version.schema.outputs.iter();
        Ok(Response::new(ModelMetadataResponse {
            name: model.settings.name.clone(),
            versions: model.versions.keys().map(u64::to_string).collect(),
            platform: PLATFORM.to_owned(),
            inputs: version.schema.needed().map(|field| tensor(&field.name, field.datatype(), vec![-1])).collect(),
            outputs: outputs.map(|output| tensor(&output.name, "FP32", output_shape(-1, output.width as i64))).collect(),
        }))
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Result<Response<ModelConfigResponse>, Status> {
        let request = request.into_inner();
        let model = self.0.registry.model(Some(&request.name))?;
        let config = triton::model_config(model.version(wanted(&request.version))?);
        Ok(Response::new(ModelConfigResponse { config: Some(config) }))
    }

    async fn model_statistics(&self, request: Request<ModelStatisticsRequest>) -> Result<Response<ModelStatisticsResponse>, Status> {
        let request = request.into_inner();
        let model = Some(request.name.as_str()).filter(|name| !name.is_empty());
        Ok(Response::new(triton::model_statistics(&self.0, model, wanted(&request.version))?))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        let ModelInferRequest { model_name, model_version, id, parameters, inputs, outputs, raw_input_contents: raw } =
            request.into_inner();
        let choice = self.0.registry.choose(Some(&model_name), wanted(&model_version))?;
        let version = &choice.version;
        let answer = Answer::of_parameter(parameters.get(explanation::PARAMETER).map(boolean))?;
        let places = answer.places(version, outputs.iter().map(|output| output.name.as_str()))?;
        let is_raw = !raw.is_empty();
        let parse = || Ok((tensors::rows(&version.schema, &self.0.limits, &into_tensors(inputs, &raw)?)?, answer));
        let scores = self.0.score(&choice, parse).await?;
        Ok(Response::new(self.0.timed(Stage::Encode, || respond(version, id, &places, &scores, is_raw))))
    }
}

fn boolean(parameter: &InferParameter) -> Option<bool> {
    match parameter.parameter_choice {
        Some(ParameterChoice::BoolParam(value)) => Some(value),
        _ => None,
    }
}

fn into_tensors(inputs: Vec<InferInputTensor>, raw: &[Vec<u8>]) -> Result<Vec<Tensor>, ServeError> {
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(ServeError::invalid(format!("raw_input_contents has {} entries for {} inputs", raw.len(), inputs.len())));
    }
    let mut tensors = Vec::with_capacity(inputs.len());
    for (i, input) in inputs.into_iter().enumerate() {
        let problem = |problem: String| ServeError::invalid(format!("input `{}`: {problem}", rankmill_data::shown(input.name.as_bytes())));
        let values = match (raw.get(i), input.contents) {
            (Some(_), Some(_)) => return Err(problem("it has both contents and raw_input_contents".to_owned())),
            (None, None) => Texts::default(),
            (None, Some(contents)) => typed(contents),
            (Some(raw), None) => {
                let datatype = Datatype::from_name(&input.datatype).ok_or_else(|| problem("it has no known datatype".to_owned()))?;
                datatype.decode(raw).map_err(problem)?
            }
        };
        tensors.push(Tensor { name: input.name, shape: input.shape, datatype: input.datatype, values });
    }
    Ok(tensors)
}

/// The elements of all lists; those that are not of the datatype are found later.
fn typed(contents: InferTensorContents) -> Texts {
    let mut texts = Texts::default();
    contents.bool_contents.into_iter().for_each(|value| texts.add_bool(value));
    contents.int_contents.into_iter().for_each(|value| texts.add_whole(value));
    contents.int64_contents.into_iter().for_each(|value| texts.add_whole(value));
    contents.uint_contents.into_iter().for_each(|value| texts.add_whole(value));
    contents.uint64_contents.into_iter().for_each(|value| texts.add_whole(value));
    contents.fp32_contents.into_iter().for_each(|value| texts.add_f32(value));
    contents.fp64_contents.into_iter().for_each(|value| texts.add_f64(value));
    contents.bytes_contents.iter().for_each(|value| texts.add_text(value));
    texts
}

fn respond(version: &Version, id: String, places: &[usize], scores: &[OutputValues], is_raw: bool) -> ModelInferResponse {
    let (mut outputs, mut raw) = (Vec::new(), Vec::new());
    for &place in places {
        let OutputValues { name, width, values } = &scores[place];
        let contents = if is_raw {
            raw.push(values.iter().flat_map(|value| value.to_le_bytes()).collect());
            None
        } else {
            Some(InferTensorContents { fp32_contents: values.clone(), ..InferTensorContents::default() })
        };
        let shape = output_shape((values.len() / width) as i64, *width as i64);
        let (name, datatype) = (name.clone(), "FP32".to_owned());
        outputs.push(InferOutputTensor { name, datatype, shape, contents, ..InferOutputTensor::default() });
    }
    let (model_name, model_version) = (version.model.clone(), version.number.to_string());
    ModelInferResponse { model_name, model_version, id, outputs, raw_output_contents: raw, ..ModelInferResponse::default() }
}

//! TensorFlow Serving's `PredictionService.Predict` over gRPC.

use std::sync::Arc;

use axum::Router;
use rankmill_model::OutputValues;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::error::ServeError;
use crate::explanation::Answer;
use crate::http::kserve::output_shape;
use crate::limits::Limits;
use crate::metrics::Stage;
use crate::registry::{Version, Wanted};
use crate::rows::request::check_signature;
use crate::tensors::{self, Datatype, Tensor};
use crate::texts::Texts;

/// The messages and the service, as TensorFlow Serving names them.
#[expect(missing_docs, reason = "generated from the protocol")]
pub mod prediction {
    tonic::include_proto!("tensorflow.serving");
}

use prediction::model_spec::VersionChoice;
use prediction::prediction_service_server::{PredictionService, PredictionServiceServer};
use prediction::tensor_shape_proto::Dim;
use prediction::{Int64Value, ModelSpec, PredictRequest, PredictResponse, TensorProto, TensorShapeProto};

/// TensorFlow's number of 32-bit floats.
const DT_FLOAT: i32 = 1;

/// The service's pages; unknown ones are left to others.
pub(crate) fn routes(app: &Arc<App>) -> Router {
    let service = PredictionServiceServer::new(Service(Arc::clone(app)));
    let service = service.max_decoding_message_size(app.limits.body_bytes).accept_compressed(CompressionEncoding::Gzip);
    let path = format!("/{}/{{*method}}", <PredictionServiceServer<Service> as tonic::server::NamedService>::NAME);
    Router::new().route_service(&path, service)
}

struct Service(Arc<App>);

#[tonic::async_trait]
impl PredictionService for Service {
    async fn predict(&self, request: Request<PredictRequest>) -> Result<Response<PredictResponse>, Status> {
        let PredictRequest { model_spec, inputs, output_filter } = request.into_inner();
        let ModelSpec { name, version_choice, signature_name } = model_spec.unwrap_or_default();
        check_signature(&signature_name).map_err(ServeError::invalid)?;
        let wanted = match &version_choice {
            None => Wanted::Any,
            Some(VersionChoice::Version(number)) => Wanted::Number(u64::try_from(number.value).unwrap_or(u64::MAX)),
            Some(VersionChoice::VersionLabel(label)) => Wanted::Label(label),
        };
        let choice = self.0.registry.choose(Some(&name), wanted)?;
        let version = &choice.version;
        let places = Answer::Scores.places(version, output_filter.iter().map(String::as_str))?;
        let parse = || {
            let tensors = inputs.into_iter().map(|(name, tensor)| read(&self.0.limits, name, tensor));
            Ok((tensors::rows(&version.schema, &self.0.limits, &tensors.collect::<Result<Vec<_>, _>>()?)?, Answer::Scores))
        };
        let scores = self.0.score(&choice, parse).await?;
        Ok(Response::new(self.0.timed(Stage::Encode, || respond(version, &places, &scores))))
    }
}

/// The name that KServe's protocol has for a type of TensorFlow's.
fn datatype(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "FP32",
        2 => "FP64",
        3 => "INT32",
        4 => "UINT8",
        5 => "INT16",
        6 => "INT8",
        7 => "BYTES",
        9 => "INT64",
        10 => "BOOL",
        14 => "BF16",
        17 => "UINT16",
        19 => "FP16",
        22 => "UINT32",
        23 => "UINT64",
        _ => return None,
    })
}

fn read(limits: &Limits, name: String, tensor: TensorProto) -> Result<Tensor, ServeError> {
    let problem = |problem: String| ServeError::invalid(format!("input `{}`: {problem}", rankmill_data::shown(name.as_bytes())));
    let datatype = datatype(tensor.dtype).ok_or_else(|| problem(format!("tensors of type {} are not read", tensor.dtype)))?;
    let mut shape: Vec<i64> = tensor.tensor_shape.iter().flat_map(|shape| &shape.dim).map(|dim| dim.size).collect();
    if shape.is_empty() {
        shape.push(1);
    }
    let mut values = if tensor.tensor_content.is_empty() {
        typed(&tensor)
    } else {
        Datatype::from_name(datatype).map_or_else(|| Ok(Texts::default()), |kind| kind.decode(&tensor.tensor_content)).map_err(problem)?
    };
    // TensorFlow leaves out values at the end that repeat the one before.
    let rows = shape.first().and_then(|rows| usize::try_from(*rows).ok()).unwrap_or(0);
    limits.check_rows(rows)?;
    if matches!(shape[..], [_] | [_, 1]) {
        if values.last().len().saturating_mul(rows) > limits.body_bytes {
            return Err(problem("it repeats a text too often".to_owned()));
        }
        values.repeat_last(rows);
    }
    Ok(Tensor { name, shape, datatype: datatype.to_owned(), values })
}

fn typed(tensor: &TensorProto) -> Texts {
    let mut texts = Texts::default();
    tensor.float_val.iter().for_each(|value| texts.add_f32(*value));
    tensor.double_val.iter().for_each(|value| texts.add_f64(*value));
    tensor.int_val.iter().for_each(|value| texts.add_whole(*value));
    tensor.string_val.iter().for_each(|value| texts.add_text(value));
    tensor.int64_val.iter().for_each(|value| texts.add_whole(*value));
    tensor.bool_val.iter().for_each(|value| texts.add_bool(*value));
    tensor.uint32_val.iter().for_each(|value| texts.add_whole(*value));
    tensor.uint64_val.iter().for_each(|value| texts.add_whole(*value));
    texts
}

fn respond(version: &Version, places: &[usize], scores: &[OutputValues]) -> PredictResponse {
    let tensor = |place: usize| {
        let OutputValues { name, width, values } = &scores[place];
        let sizes = output_shape((values.len() / width) as i64, *width as i64);
        let dim = sizes.into_iter().map(|size| Dim { size, name: String::new() }).collect();
        let tensor_shape = Some(TensorShapeProto { dim, unknown_rank: false });
        (name.clone(), TensorProto { dtype: DT_FLOAT, tensor_shape, float_val: values.clone(), ..TensorProto::default() })
    };
    let number = VersionChoice::Version(Int64Value { value: version.number as i64 });
    let signature_name = "serving_default".to_owned();
    let spec = ModelSpec { name: version.model.clone(), version_choice: Some(number), signature_name };
    PredictResponse { outputs: places.iter().map(|place| tensor(*place)).collect(), model_spec: Some(spec) }
}

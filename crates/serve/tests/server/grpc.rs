//! KServe v2 over gRPC.

use std::net::SocketAddr;

use rankmill_serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use rankmill_serve::grpc::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use rankmill_serve::grpc::inference::{
    DataType, InferTensorContents, ModelConfigRequest, ModelInferRequest, ModelMetadataRequest, ModelReadyRequest, ModelStatisticsRequest,
    ServerLiveRequest, ServerReadyRequest,
};
use rankmill_serve::grpc_health::health::HealthCheckRequest;
use rankmill_serve::grpc_health::health::health_check_response::ServingStatus;
use rankmill_serve::grpc_health::health::health_client::HealthClient;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};

use crate::models::{expected, rows, serve};

pub(crate) async fn client(address: SocketAddr) -> GrpcInferenceServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    GrpcInferenceServiceClient::new(endpoint.connect().await.expect("the server listens"))
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

fn tensor(name: &str, datatype: &str, rows: usize, contents: Option<InferTensorContents>) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: vec![rows as i64],
        contents,
        ..InferInputTensor::default()
    }
}

/// A request with typed contents.
pub(crate) fn typed(count: usize) -> ModelInferRequest {
    let rows = rows(count);
    let users = rows.iter().map(|row| row[1].parse().expect("a number")).collect();
    let movies = rows.iter().map(|row| row[2].parse().expect("a number")).collect();
    let genres = rows.iter().map(|row| row[9].clone().into_bytes()).collect();
    let inputs = vec![
        tensor("user_id", "INT32", count, Some(InferTensorContents { int_contents: users, ..InferTensorContents::default() })),
        tensor("movie_id", "INT64", count, Some(InferTensorContents { int64_contents: movies, ..InferTensorContents::default() })),
        tensor("genres", "BYTES", count, Some(InferTensorContents { bytes_contents: genres, ..InferTensorContents::default() })),
    ];
    ModelInferRequest { model_name: "ctr".into(), id: "7".into(), inputs, ..ModelInferRequest::default() }
}

#[test]
fn health_and_metadata() {
    let server = serve();
    run(async {
        let mut client = client(server.addresses()[0]).await;
        assert!(client.server_live(ServerLiveRequest {}).await.expect("an answer").into_inner().live);
        assert!(client.server_ready(ServerReadyRequest {}).await.expect("an answer").into_inner().ready);
        let request = ModelReadyRequest { name: "ctr".into(), version: "20".into() };
        assert!(client.model_ready(request).await.expect("an answer").into_inner().ready);
        let request = ModelMetadataRequest { name: "ctr".into(), version: String::new() };
        let metadata = client.model_metadata(request).await.expect("an answer").into_inner();
        assert_eq!((metadata.versions, metadata.inputs.len(), metadata.outputs.len()), (vec!["20".to_owned()], 3, 2));
        let error = client.model_ready(ModelReadyRequest { name: "x".into(), version: String::new() }).await.expect_err("no model");
        assert_eq!(error.code(), Code::NotFound);
    });
    server.stop();
}

#[test]
fn statistics_configuration_and_the_health_check_of_grpc() {
    let server = serve();
    run(async {
        let mut client = client(server.addresses()[0]).await.send_compressed(CompressionEncoding::Gzip);
        client.model_infer(typed(10)).await.expect("scores");
        let stats = client.model_statistics(ModelStatisticsRequest::default()).await.expect("an answer").into_inner();
        assert_eq!((stats.model_stats[0].name.as_str(), stats.model_stats[0].inference_count), ("ctr", 10));
        let request = ModelConfigRequest { name: "ctr".into(), version: "20".into() };
        let config = client.model_config(request).await.expect("an answer").into_inner().config.expect("a configuration");
        assert_eq!((config.input[2].name.as_str(), config.input[2].data_type()), ("genres", DataType::TypeString));

        let endpoint = Endpoint::from_shared(format!("http://{}", server.addresses()[0])).expect("an address");
        let mut health = HealthClient::new(endpoint.connect().await.expect("the server listens"));
        for service in ["", "inference.GRPCInferenceService"] {
            let request = HealthCheckRequest { service: service.into() };
            assert_eq!(health.check(request).await.expect("an answer").into_inner().status(), ServingStatus::Serving);
        }
        let error = health.check(HealthCheckRequest { service: "x".into() }).await.expect_err("no service");
        assert_eq!(error.code(), Code::NotFound);
    });
    server.stop();
}

#[test]
fn typed_and_raw_contents_give_the_bits_of_prediction_from_files() {
    let server = serve();
    run(async {
        let mut client = client(server.addresses()[0]).await;
        let answer = client.model_infer(typed(100)).await.expect("scores").into_inner();
        assert_eq!((answer.id.as_str(), answer.model_version.as_str()), ("7", "20"));
        let found = |place: usize| answer.outputs[place].contents.as_ref().expect("contents").fp32_contents.clone();
        let found: Vec<(u32, u32)> = found(0).iter().zip(&found(1)).map(|(p, z)| (p.to_bits(), z.to_bits())).collect();
        assert_eq!(found, expected(20, 100));

        let mut request = typed(100);
        for input in &mut request.inputs {
            let contents = input.contents.take().expect("contents");
            let lengths = |text: &Vec<u8>| [&(text.len() as u32).to_le_bytes()[..], text].concat();
            request.raw_input_contents.push(match input.name.as_str() {
                "user_id" => contents.int_contents.iter().flat_map(|number| number.to_le_bytes()).collect(),
                "movie_id" => contents.int64_contents.iter().flat_map(|number| number.to_le_bytes()).collect(),
                _ => contents.bytes_contents.iter().flat_map(lengths).collect(),
            });
        }
        request.outputs = vec![InferRequestedOutputTensor { name: "logits".into(), ..InferRequestedOutputTensor::default() }];
        let answer = client.model_infer(request).await.expect("scores").into_inner();
        let raw: Vec<u32> = answer.raw_output_contents[0].chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert_eq!(raw, expected(20, 100).iter().map(|(_, logit)| *logit).collect::<Vec<_>>());
        assert!(answer.outputs[0].contents.is_none());
    });
    server.stop();
}

#[test]
fn errors_name_the_input() {
    let server = serve();
    run(async {
        let mut client = client(server.addresses()[0]).await;
        type Change = fn(&mut ModelInferRequest);
        let changes: [(Change, Code, &str); 5] = [
            (|request| request.model_name = "x".into(), Code::NotFound, "`x`"),
            (|request| request.model_version = "5".into(), Code::NotFound, "version 5"),
            (|request| request.inputs[0].shape = vec![3], Code::InvalidArgument, "`user_id`"),
            (|request| request.inputs[2].datatype = "FP32".into(), Code::InvalidArgument, "`genres`"),
            (|request| request.raw_input_contents = vec![vec![1]], Code::InvalidArgument, "raw_input_contents"),
        ];
        for (change, code, word) in changes {
            let mut request = typed(2);
            change(&mut request);
            let error = client.model_infer(request).await.expect_err("a wrong request");
            assert_eq!(error.code(), code);
            assert!(error.message().contains(word), "{}", error.message());
        }
    });
    server.stop();
}

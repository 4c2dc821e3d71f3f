//! TensorFlow Serving's REST interface.

use rankmill_serve::tensorflow_grpc::prediction::prediction_service_client::PredictionServiceClient;
use rankmill_serve::tensorflow_grpc::prediction::tensor_shape_proto::Dim;
use rankmill_serve::tensorflow_grpc::prediction::{ModelSpec, PredictRequest, TensorProto, TensorShapeProto};
use serde_json::{Value, json};

use crate::client::{get, post};
use crate::models::{bits, expected, object, rows, serve};

#[test]
fn rows_and_columns_give_the_same_scores() {
    let server = serve();
    let address = server.addresses()[0];
    let rows = rows(100);
    let instances: Vec<Value> = rows.iter().map(|row| object(row)).collect();
    let by_row = post(address, "/v1/models/ctr:predict", &json!({"instances": instances})).ok();
    let found = |name: &str| -> Value { by_row["predictions"].as_array().expect("rows").iter().map(|row| row[name].clone()).collect() };
    assert!(bits(&found("probs")).into_iter().zip(bits(&found("logits"))).eq(expected(20, 100)));
    let column = |field: usize| -> Vec<&str> { rows.iter().map(|row| row[field].as_str()).collect() };
    let inputs = json!({"user_id": column(1), "movie_id": column(2), "genres": column(9)});
    let body = json!({"signature_name": "serving_default", "inputs": inputs});
    let by_column = post(address, "/v1/models/ctr/versions/20:predict", &body).ok();
    assert_eq!(bits(&by_column["outputs"]["probs"]), bits(&found("probs")));
    server.stop();
}

#[test]
fn a_context_is_that_of_all_instances() {
    let server = serve();
    let address = server.addresses()[0];
    let rows = rows(4);
    let full: Vec<Value> = rows.iter().map(|row| json!({"user_id": 7, "movie_id": row[2], "genres": row[9]})).collect();
    let short: Vec<Value> = rows.iter().map(|row| json!({"movie_id": row[2], "genres": row[9]})).collect();
    let full = post(address, "/v1/models/ctr:predict", &json!({"instances": full})).ok();
    let short = post(address, "/v1/models/ctr:predict", &json!({"instances": short, "context": {"user_id": 7}})).ok();
    assert_eq!(full, short);
    server.stop();
}

#[test]
fn status_and_metadata() {
    let server = serve();
    let address = server.addresses()[0];
    let status = json!({"version": "20", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}});
    assert_eq!(get(address, "/v1/models/ctr").ok(), json!({"model_version_status": [status]}));
    let metadata = get(address, "/v1/models/ctr/versions/20/metadata").ok();
    assert_eq!(metadata["model_spec"], json!({"name": "ctr", "signature_name": "", "version": "20"}));
    let signature = &metadata["metadata"]["signature_def"]["signature_def"]["serving_default"];
    assert_eq!(signature["inputs"]["user_id"]["dtype"], "DT_INT32");
    assert_eq!(signature["outputs"]["probs"]["tensor_shape"]["dim"], json!([{"size": "-1", "name": ""}]));
    server.stop();
}

#[test]
fn predict_over_grpc() {
    let server = serve();
    crate::grpc::run(async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.addresses()[0])).expect("an address");
        let mut client = PredictionServiceClient::new(endpoint.connect().await.expect("the server listens"));
        let rows = rows(50);
        let shape = |rows: i64| Some(TensorShapeProto { dim: vec![Dim { size: rows, name: String::new() }], unknown_rank: false });
        let numbers = |field: usize| -> Vec<i32> { rows.iter().map(|row| row[field].parse().expect("a number")).collect() };
        let raw = numbers(1).iter().flat_map(|number| number.to_le_bytes()).collect();
        let genres = rows.iter().map(|row| row[9].clone().into_bytes()).collect();
        let inputs = [
            ("user_id", TensorProto { dtype: 3, tensor_shape: shape(50), tensor_content: raw, ..TensorProto::default() }),
            ("movie_id", TensorProto { dtype: 3, tensor_shape: shape(50), int_val: numbers(2), ..TensorProto::default() }),
            ("genres", TensorProto { dtype: 7, tensor_shape: shape(50), string_val: genres, ..TensorProto::default() }),
        ];
        let inputs = inputs.map(|(name, tensor)| (name.to_owned(), tensor)).into_iter().collect();
        let spec = ModelSpec { name: "ctr".into(), ..ModelSpec::default() };
        let request = PredictRequest { model_spec: Some(spec), inputs, output_filter: vec!["logits".into()] };
        let answer = client.predict(request.clone()).await.expect("scores").into_inner();
        let found: Vec<u32> = answer.outputs["logits"].float_val.iter().map(|logit| logit.to_bits()).collect();
        assert_eq!(found, expected(20, 50).iter().map(|(_, logit)| *logit).collect::<Vec<_>>());
        assert_eq!(answer.outputs.len(), 1);
        let mut wrong = request;
        wrong.inputs.get_mut("genres").expect("genres").dtype = 1;
        let error = client.predict(wrong).await.expect_err("texts are no numbers");
        assert!(error.message().contains("`genres`"), "{}", error.message());
    });
    server.stop();
}

#[test]
fn errors_name_the_field() {
    let server = serve();
    let address = server.addresses()[0];
    for (body, words) in [
        (json!({"instances": [{"user_id": "x"}]}), &["`user_id`", "row 1", "\"x\""][..]),
        (json!({"instances": [{}, {"user": 1}]}), &["`user`", "row 2"]),
        (json!({"instances": [{"genres": [["a"]]}]}), &["`genres`", "arrays"]),
        (json!({"instances": [{"user_id": {"a": 1}}]}), &["`user_id`", "object"]),
        (json!({"inputs": {"user_id": [1]}}), &["missing"]),
        (json!({"inputs": {"user_id": [[1], [2, 3]], "movie_id": [1, 2], "genres": ["a", "b"]}}), &["`user_id`", "lengths"]),
        (json!({}), &["instances"]),
        (json!({"instances": [], "signature_name": "other"}), &["`other`"]),
        (json!({"instances": [], "instance": []}), &["instance"]),
    ] {
        let error = post(address, "/v1/models/ctr:predict", &body).error(400);
        assert!(words.iter().all(|word| error.contains(word)), "{body}: {error}");
    }
    assert!(post(address, "/v1/models/ctr:classify", &json!({})).error(400).contains(":predict"));
    assert!(post(address, "/v1/models/ctr/labels/best:predict", &json!({})).error(404).contains("`best`"));
    server.stop();
}

//! Requests that ask for what features add to scores, beside the scores.

use std::collections::BTreeMap;
use std::sync::Arc;

use rankmill_data::{Reader, ReaderOptions};
use rankmill_kernels::pool::Pool;
use rankmill_model::bundle::Storage;
use rankmill_model::{EXPLANATION_STEPS, Explainer, Predictor};
use rankmill_serve::grpc::inference::InferParameter;
use rankmill_serve::grpc::inference::infer_parameter::ParameterChoice;
use rankmill_serve::grpc::inference::model_infer_request::InferRequestedOutputTensor;
use rankmill_serve::{Limits, ModelSettings, Server};
use serde_json::{Value, json};
use tonic::Code;

use crate::client::{post, request};
use crate::grpc::{client, run, typed};
use crate::models::{bits, checkpoint, inputs, object, options, rows, serve, trained};

const ADDED: [&str; 4] = ["logits_base", "logits:user_id", "logits:movie_id", "logits:genres"];

/// What `rankmill explain` writes of the first test rows: the bits of each column by its name.
fn explained(count: usize) -> BTreeMap<String, Vec<u32>> {
    let pool = Arc::new(Pool::new(1).expect("a thread"));
    let predictor = Predictor::load(&checkpoint(20), Arc::clone(&pool)).expect("a model");
    let mut explainer = Explainer::of(&predictor, pool).expect("it can be explained");
    let inputs = vec![trained().join("movies_test_data").display().to_string()];
    let options = ReaderOptions::sequential(&predictor.pipeline, inputs).expect("options");
    let mut reader = Reader::new(options, predictor.features).expect("rows");
    let batch = reader.next().expect("a batch").expect("good rows");
    let columns = explainer.explain(&batch.features, EXPLANATION_STEPS).columns();
    let bits = columns.into_iter().map(|column| column.iter().take(count).map(|value| value.to_bits()).collect());
    explainer.columns().into_iter().zip(bits).collect()
}

/// Of an answer over KServe's REST the bits of each output.
fn outputs(answer: &Value) -> BTreeMap<String, Vec<u32>> {
    let outputs = answer["outputs"].as_array().expect("outputs").iter();
    outputs.map(|output| (output["name"].as_str().expect("a name").to_owned(), bits(&output["data"]))).collect()
}

fn ask(count: usize) -> Value {
    json!({"inputs": inputs(&rows(count)), "parameters": {"explain": true}})
}

#[test]
fn explanations_have_the_bits_of_the_command() {
    let server = serve();
    let address = server.addresses()[0];
    // More rows than are explained at once.
    let found = outputs(&post(address, "/v2/models/ctr/infer", &ask(21)).ok());
    let scores = outputs(&post(address, "/v2/models/ctr/infer", &json!({"inputs": inputs(&rows(21))})).ok());
    let expected = explained(21);
    assert!(ADDED.iter().all(|name| expected.contains_key(*name)), "{:?}", expected.keys());
    assert_eq!(found.len(), 2 + ADDED.len() + 6, "{:?}", found.keys());
    for (name, values) in &found {
        assert_eq!(values, scores.get(name).unwrap_or_else(|| &expected[name]), "{name}");
    }
    let added = &found["mask:backbone/mask_net/block_1:genres"];
    assert!(added[0] != added[1], "a mask depends on its row");
    server.stop();
}

#[test]
fn over_grpc_they_are_the_same() {
    let server = serve();
    run(async {
        let mut client = client(server.addresses()[0]).await;
        let parameter = |choice| InferParameter { parameter_choice: Some(choice) };
        let mut request = typed(9);
        request.parameters.insert("explain".to_owned(), parameter(ParameterChoice::BoolParam(true)));
        let answer = client.model_infer(request.clone()).await.expect("an answer").into_inner();
        let expected = explained(9);
        let mut compared = 0;
        for output in answer.outputs.iter().filter(|output| !["probs", "logits"].contains(&output.name.as_str())) {
            let values = &output.contents.as_ref().expect("numbers").fp32_contents;
            assert_eq!(values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), expected[&output.name], "{}", output.name);
            compared += 1;
        }
        assert_eq!(compared, ADDED.len() + 6);
        let name = |name: &str| InferRequestedOutputTensor { name: name.to_owned(), ..InferRequestedOutputTensor::default() };
        request.outputs = vec![name("logits:genres"), name("probs")];
        let answer = client.model_infer(request.clone()).await.expect("an answer").into_inner();
        assert!(answer.outputs.iter().map(|output| output.name.as_str()).eq(["logits:genres", "probs"]));
        request.parameters.insert("explain".to_owned(), parameter(ParameterChoice::Int64Param(1)));
        let error = client.model_infer(request).await.expect_err("no boolean");
        assert!(error.code() == Code::InvalidArgument && error.message().contains("`explain`"), "{error:?}");
    });
    server.stop();
}

#[test]
fn the_header_asks_for_them_where_there_are_no_parameters() {
    let server = serve();
    let address = server.addresses()[0];
    let expected = explained(3);
    let send = |path: &str, content_type: &str, explain: &str, body: &str| {
        request(address, "POST", path, &[("Content-Type", content_type), ("Rankmill-Explain", explain)], body.as_bytes())
    };
    let objects: Vec<Value> = rows(3).iter().map(|row| object(row)).collect();
    let score = json!({"rows": objects}).to_string();
    let check = |rows: &Value| {
        for name in ADDED {
            let column: Value = rows.as_array().expect("rows").iter().map(|row| row[name].clone()).collect();
            assert_eq!(bits(&column), expected[name], "{name}");
        }
    };
    check(&send("/score", "application/json", "true", &score).ok()["scores"]);
    let predict = json!({"instances": objects}).to_string();
    check(&send("/v1/models/ctr:predict", "application/json", "true", &predict).ok()["predictions"]);
    let csv = "user_id,movie_id,genres\n1,2,\"a|b\"\n";
    let text = send("/score", "text/csv", "true", csv).text();
    let head = text.lines().next().expect("a header");
    assert!(head.starts_with("probs,logits,logits_base,logits:user_id,"), "{text}");
    assert_eq!(text.lines().nth(1).map(|line| line.split(',').count()), Some(head.split(',').count()), "{text}");

    assert_eq!(send("/score", "application/json", "false", &score).ok()["scores"][0].as_object().map(|row| row.len()), Some(2));
    assert!(send("/score", "application/json", "yes", &score).error(400).contains("Rankmill-Explain"));
    server.stop();
}

#[test]
fn only_what_is_asked_for_is_answered() {
    let server = serve();
    let address = server.addresses()[0];
    let names = |change: &dyn Fn(&mut Value)| {
        let mut body = ask(2);
        change(&mut body);
        let answer = post(address, "/v2/models/ctr/infer", &body).ok();
        outputs(&answer).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(&|body| body["outputs"] = json!([{"name": "probs"}, {"name": "logits_base"}])), ["logits_base", "probs"]);
    assert_eq!(names(&|body| body["parameters"] = json!({"explain": false, "priority": 3})), ["logits", "probs"]);
    let error = |change: &dyn Fn(&mut Value)| {
        let mut body = ask(2);
        change(&mut body);
        post(address, "/v2/models/ctr/infer", &body).error(400)
    };
    assert!(error(&|body| body["parameters"]["explain"] = json!("true")).contains("`explain`"));
    assert!(error(&|body| body["outputs"] = json!([{"name": "logits:users"}])).contains("`logits:users`"));
    let without = json!({"inputs": inputs(&rows(2)), "outputs": [{"name": "logits_base"}]});
    assert!(post(address, "/v2/models/ctr/infer", &without).error(400).contains("`logits_base`"));
    let none = json!({"inputs": [
        {"name": "user_id", "shape": [0], "datatype": "INT32", "data": []},
        {"name": "movie_id", "shape": [0], "datatype": "INT32", "data": []},
        {"name": "genres", "shape": [0], "datatype": "BYTES", "data": []},
    ], "parameters": {"explain": true}});
    let answer = post(address, "/v2/models/ctr/infer", &none).ok();
    assert_eq!((answer["outputs"].as_array().map(Vec::len), &answer["outputs"][3]["shape"]), (Some(12), &json!([0])));
    server.stop();
}

fn start(change: impl FnOnce(&mut rankmill_serve::ServeOptions)) -> Server {
    let mut options = options(vec![ModelSettings::new("ctr", trained().join("model"))]);
    change(&mut options);
    Server::start(options).expect("it starts")
}

#[test]
fn the_limit_of_rows_counts_the_steps_of_an_explanation() {
    let server = start(|options| options.limits = Limits { rows: 3 * (EXPLANATION_STEPS + 2), ..Limits::default() });
    let address = server.addresses()[0];
    post(address, "/v2/models/ctr/infer", &ask(3)).ok();
    let error = post(address, "/v2/models/ctr/infer", &ask(4)).error(413);
    assert!(error.contains("4 rows to explain") && error.contains("at most 3"), "{error}");
    post(address, "/v2/models/ctr/infer", &json!({"inputs": inputs(&rows(100))})).ok();
    server.stop();
}

#[test]
fn variables_may_stay_in_their_file() {
    let server = start(|options| options.storage = Storage::File);
    let found = outputs(&post(server.addresses()[0], "/v2/models/ctr/infer", &ask(2)).ok());
    let expected = explained(2);
    assert!(ADDED.iter().all(|name| found[*name] == expected[*name]), "{found:?}");
    server.stop();
}

#[test]
fn tables_of_fewer_bits_are_not_explained() {
    let server = start(|options| options.tables = Some(rankmill_kernels::tables::TableFormat::Bf16));
    let address = server.addresses()[0];
    let error = post(address, "/v2/models/ctr/infer", &ask(2)).error(400);
    assert!(error.contains("can't be explained") && error.contains("embedding_weights"), "{error}");
    post(address, "/v2/models/ctr/infer", &json!({"inputs": inputs(&rows(2))})).ok();
    server.stop();
}

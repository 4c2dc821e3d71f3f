//! KServe v2 over REST.

use serde_json::json;

use crate::client::{get, post, request};
use crate::models::{bits, expected, inputs, rows, serve};

#[test]
fn health_and_metadata() {
    let server = serve();
    let address = server.addresses()[0];
    assert_eq!(get(address, "/v2/health/live").ok(), json!({"live": true}));
    assert_eq!(get(address, "/v2/health/ready").ok(), json!({"ready": true}));
    assert_eq!(get(address, "/v2").ok()["extensions"], json!(["binary_tensor_data", "model_configuration", "statistics"]));
    let metadata = get(address, "/v2/models/ctr").ok();
    assert_eq!(metadata["versions"], json!(["20"]));
    let names: Vec<&str> = metadata["inputs"].as_array().expect("inputs").iter().filter_map(|input| input["name"].as_str()).collect();
    assert_eq!(names, ["user_id", "movie_id", "genres"]);
    assert_eq!(metadata["inputs"][2]["datatype"], "BYTES");
    assert_eq!(metadata["outputs"][0], json!({"name": "probs", "datatype": "FP32", "shape": [-1]}));
    assert_eq!(get(address, "/v2/models/ctr/versions/20/ready").ok(), json!({"name": "ctr", "ready": true}));
    assert!(get(address, "/v2/models/other/ready").error(404).contains("`other`"));
    assert!(get(address, "/v2/models/ctr/versions/3").error(404).contains("version 3"));
    assert_eq!(request(address, "DELETE", "/v2", &[], b"").status, 405);
    server.stop();
}

#[test]
fn scores_have_the_bits_of_prediction_from_files() {
    let server = serve();
    let rows = rows(300);
    let body = json!({"id": "a1", "inputs": inputs(&rows)});
    let answer = post(server.addresses()[0], "/v2/models/ctr/infer", &body).ok();
    assert_eq!((&answer["id"], &answer["model_name"], &answer["model_version"]), (&json!("a1"), &json!("ctr"), &json!("20")));
    assert_eq!((&answer["outputs"][0]["name"], &answer["outputs"][0]["shape"]), (&json!("probs"), &json!([300])));
    let found = bits(&answer["outputs"][0]["data"]).into_iter().zip(bits(&answer["outputs"][1]["data"]));
    assert!(found.eq(expected(20, 300)));
    server.stop();
}

#[test]
fn statistics_and_configuration_are_those_of_triton() {
    let server = serve();
    let address = server.addresses()[0];
    post(address, "/v2/models/ctr/infer", &json!({"inputs": inputs(&rows(100))})).ok();
    assert_eq!(post(address, "/v2/models/ctr/infer", &json!({"inputs": []})).status, 400);
    for path in ["/v2/models/stats", "/v2/models/ctr/stats", "/v2/models/ctr/versions/20/stats"] {
        let answer = get(address, path).ok();
        let stats = &answer["model_stats"][0];
        assert_eq!((&stats["name"], &stats["version"], &stats["inference_count"]), (&json!("ctr"), &json!("20"), &json!(100)));
        // 100 rows are cut at 64, and the parts may be scored one after the other or together with nothing else.
        assert_eq!(stats["execution_count"], 2);
        let counts = ["success", "fail", "queue", "compute_infer"].map(|name| stats["inference_stats"][name]["count"].as_u64());
        assert_eq!(counts, [Some(1), Some(1), Some(2), Some(2)]);
        assert!(stats["inference_stats"]["success"]["ns"].as_u64() > Some(0));
    }
    assert!(get(address, "/v2/models/other/stats").error(404).contains("`other`"));
    let config = get(address, "/v2/models/ctr/config").ok();
    assert_eq!(config["input"][2], json!({"name": "genres", "data_type": "TYPE_STRING", "dims": [-1]}));
    assert_eq!(config["output"][0], json!({"name": "probs", "data_type": "TYPE_FP32", "dims": [-1]}));
    server.stop();
}

#[test]
fn an_input_of_one_row_is_that_of_all_rows() {
    let server = serve();
    let address = server.addresses()[0];
    let mut same_user = rows(5);
    let user = same_user[0][1].clone();
    same_user.iter_mut().for_each(|row| row[1].clone_from(&user));
    let mut shared = inputs(&same_user);
    shared[0] = json!({"name": "user_id", "shape": [1], "datatype": "BYTES", "data": [user]});
    let all = post(address, "/v2/models/ctr/infer", &json!({"inputs": inputs(&same_user)})).ok();
    let once = post(address, "/v2/models/ctr/infer", &json!({"inputs": shared})).ok();
    assert_eq!(all["outputs"], once["outputs"]);
    server.stop();
}

#[test]
fn binary_tensors_go_both_ways() {
    let server = serve();
    let address = server.addresses()[0];
    let rows = rows(7);
    let mut json_inputs = inputs(&rows);
    let mut binary = Vec::new();
    for row in &rows {
        binary.extend_from_slice(&row[1].parse::<i32>().expect("a number").to_le_bytes());
    }
    let user_bytes = binary.len();
    for row in &rows {
        binary.extend_from_slice(&(row[9].len() as u32).to_le_bytes());
        binary.extend_from_slice(row[9].as_bytes());
    }
    json_inputs[0] = json!({"name": "user_id", "shape": [7], "datatype": "INT32", "parameters": {"binary_data_size": user_bytes}});
    let genre_bytes = binary.len() - user_bytes;
    json_inputs[2] = json!({"name": "genres", "shape": [7], "datatype": "BYTES", "parameters": {"binary_data_size": genre_bytes}});
    let outputs = json!([{"name": "logits", "parameters": {"binary_data": true}}, {"name": "probs"}]);
    let head = json!({"inputs": json_inputs, "outputs": outputs}).to_string();
    let body = [head.as_bytes(), &binary].concat();
    let length = head.len().to_string();
    let headers = [("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", length.as_str())];
    let answer = request(address, "POST", "/v2/models/ctr/infer", &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let split: usize = answer.header("inference-header-content-length").and_then(|text| text.parse().ok()).expect("a length");
    let head: serde_json::Value = serde_json::from_slice(&answer.body[..split]).expect("JSON");
    assert_eq!((&head["outputs"][0]["name"], &head["outputs"][0]["parameters"]), (&json!("logits"), &json!({"binary_data_size": 28})));
    let logits: Vec<u32> = answer.body[split..].chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let expected = expected(20, 7);
    assert_eq!(logits, expected.iter().map(|(_, logit)| *logit).collect::<Vec<_>>());
    assert_eq!(bits(&head["outputs"][1]["data"]), expected.iter().map(|(p, _)| *p).collect::<Vec<_>>());
    server.stop();
}

#[test]
fn errors_name_the_input() {
    let server = serve();
    let address = server.addresses()[0];
    let rows = rows(2);
    let check = |change: &dyn Fn(&mut serde_json::Value), words: &[&str]| {
        let mut body = json!({"inputs": inputs(&rows)});
        change(&mut body);
        let error = post(address, "/v2/models/ctr/infer", &body).error(400);
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    check(&|body| body["inputs"][0]["shape"] = json!([3]), &["`user_id`", "shape"]);
    check(&|body| body["inputs"][0]["shape"] = json!([-1]), &["`user_id`", "shape"]);
    check(&|body| body["inputs"][0]["datatype"] = json!("INT31"), &["`user_id`", "INT31"]);
    check(&|body| body["inputs"][0]["data"] = json!(["a", "b"]), &["`user_id`", "not INT32"]);
    check(&|body| body["inputs"][0]["data"] = json!([1, {}]), &["`user_id`", "object"]);
    check(&|body| body["inputs"][0]["data"] = json!([1, 3_000_000_000_u32]), &["`user_id`", "row 2", "3000000000"]);
    check(&|body| body["inputs"][0]["name"] = json!("user"), &["`user`", "user_id"]);
    check(&|body| body["inputs"][0]["name"] = json!("movie_id"), &["`movie_id`", "twice"]);
    check(&|body| drop(body["inputs"].as_array_mut().expect("inputs").pop()), &["`genres`", "missing"]);
    check(&|body| body["outputs"] = json!([{"name": "prob"}]), &["`prob`", "probs"]);
    check(&|body| body["inputs"][1]["shape"] = json!([1, 2]), &["`movie_id`"]);
    server.stop();
}

#[test]
fn lists_are_joined_by_the_separator_of_the_feature() {
    let server = serve();
    let address = server.addresses()[0];
    let genres = |shape: serde_json::Value, data: serde_json::Value| {
        let mut body = json!({"inputs": inputs(&rows(2))});
        body["inputs"][2] = json!({"name": "genres", "shape": shape, "datatype": "BYTES", "data": data});
        post(address, "/v2/models/ctr/infer", &body)
    };
    let joined = genres(json!([2]), json!(["Drama|War", "Comedy|Romance"])).ok();
    assert_eq!(genres(json!([2, 2]), json!([["Drama", "War"], ["Comedy", "Romance"]])).ok(), joined);
    assert!(genres(json!([2, 2]), json!(["a|b", "c", "d", "e"])).error(400).contains("separator"));
    server.stop();
}

//! Requests that were damaged on the way: none may crash, hang or leak.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, get, post, request};
use crate::models::{inputs, object, rows, serve};

/// A small generator of random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// A request: path, content type, header length if it has binary data, body.
type Request = (&'static str, &'static str, Option<usize>, Vec<u8>);

fn requests() -> Vec<Request> {
    let rows = rows(3);
    let objects: Vec<Value> = rows.iter().map(|row| object(row)).collect();
    let lines = objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let users = json!([{"name": "user_id", "shape": [1], "datatype": "INT32", "parameters": {"binary_data_size": 4}}]);
    let head = json!({"inputs": users}).to_string();
    let binary = [head.as_bytes(), &[1, 0, 0, 0]].concat();
    let json_type = "application/json";
    vec![
        ("/v2/models/ctr/infer", json_type, None, json!({"id": "1", "inputs": inputs(&rows)}).to_string().into_bytes()),
        ("/v2/models/ctr/infer", "application/octet-stream", Some(head.len()), binary),
        ("/v1/models/ctr:predict", json_type, None, json!({"instances": objects, "context": {"age": 1}}).to_string().into_bytes()),
        ("/score", json_type, None, json!({"rows": objects}).to_string().into_bytes()),
        ("/score", "application/x-ndjson", None, lines.into_bytes()),
        ("/score", "text/csv", None, b"user_id,movie_id,genres\n1,2,\"a|b\"\n3,4,c\n".to_vec()),
        ("/score", "application/vnd.apache.arrow.stream", None, arrow()),
        ("/inference.GRPCInferenceService/ModelInfer", "application/grpc", None, vec![0, 0, 0, 0, 5, 10, 3, b'c', b't', b'r']),
    ]
}

fn arrow() -> Vec<u8> {
    let numbers: arrow_array::ArrayRef = std::sync::Arc::new(arrow_array::Int32Array::from(vec![1, 2]));
    let texts: arrow_array::ArrayRef = std::sync::Arc::new(arrow_array::StringArray::from(vec!["a", "b"]));
    let columns = [("user_id", numbers.clone()), ("movie_id", numbers), ("genres", texts)];
    let batch = arrow_array::RecordBatch::try_from_iter(columns).expect("columns");
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a stream");
    writer.write(&batch).expect("written");
    writer.into_inner().expect("finished")
}

/// Changes, takes away, repeats or adds a few bytes.
fn mutate(body: &mut Vec<u8>, random: &mut Random) {
    const PIECES: [&[u8]; 12] =
        [b"[", b"]", b"{", b"}", b"\"", b",", b"null", b"1e999", b"-9223372036854775809", b"\xff", b"\\ud800", b"\0\0\0\x7f"];
    for _ in 0..=random.below(4) {
        let at = random.below(body.len());
        let piece = PIECES[random.below(PIECES.len())];
        match random.below(6) {
            0 => body.truncate(at),
            1 => drop(body.splice(at..at, piece.iter().copied())),
            2 if !body.is_empty() => body[at] ^= 1 << random.below(8),
            3 => drop(body.drain(at..(at + random.below(20)).min(body.len()))),
            4 => {
                let part = body[at..(at + random.below(40)).min(body.len())].to_vec();
                drop(body.splice(at..at, part));
            }
            _ => {
                let times = 1 + random.below(300);
                drop(body.splice(at..at, piece.repeat(times)));
            }
        }
    }
}

/// Bytes of memory of this process.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}

#[test]
fn five_thousand_mutated_requests_do_no_harm() {
    let server = serve();
    let address = server.addresses()[0];
    let requests = requests();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut after_warm_up = None;
    let mut by_status = std::collections::BTreeMap::new();
    for round in 0..5000 {
        if round == 1000 {
            after_warm_up = memory();
        }
        let (path, content_type, head, mut body) = requests[round % requests.len()].clone();
        mutate(&mut body, &mut random);
        let head = head.map(|length| (length + random.below(2)).to_string());
        let mut headers = vec![("Content-Type", content_type)];
        headers.extend(head.as_deref().map(|head| ("Inference-Header-Content-Length", head)));
        let started = Instant::now();
        let Answer { status, body: answer, .. } = request(address, "POST", path, &headers, &body);
        assert!(started.elapsed() < Duration::from_secs(10), "{path} {:?}", String::from_utf8_lossy(&body));
        let is_fine = matches!(status, 200 | 400 | 404 | 413);
        assert!(is_fine, "{status} {path} {} {}", String::from_utf8_lossy(&body), String::from_utf8_lossy(&answer));
        *by_status.entry(status).or_insert(0) += 1;
    }
    // Both good and bad ones were among them.
    assert!(by_status[&200] > 100 && by_status[&400] > 1000, "{by_status:?}");
    if let (Some(before), Some(after)) = (after_warm_up, memory()) {
        assert!(after < before + (64 << 20), "memory grew from {before} to {after} bytes");
    }
    eventually_closed(address);
    assert_eq!(post(address, "/score", &json!({"rows": [{"user_id": 1}]})).status, 200);
    server.stop();
}

fn eventually_closed(address: std::net::SocketAddr) {
    crate::models::eventually("no connection is left", || get(address, "/metrics").text().contains("rankmill_connections 1\n"));
}

/// Values that no field takes, or the one that is asked for does not.
fn wrong(random: &mut Random) -> Value {
    const VALUES: [&str; 9] =
        [r#"{"a": 1}"#, "[[[[[1]]]]]", r#""x""#, "1.5", "true", "99999999999999999999999", "[1, 2]", r#"{"b64": "*"}"#, r#"[[1], [2, 3]]"#];
    serde_json::from_str(VALUES[random.below(VALUES.len())]).expect("JSON")
}

#[test]
fn a_wrong_value_is_told_with_the_name_of_its_field() {
    let server = serve();
    let address = server.addresses()[0];
    let mut random = Random(0x1234_5678_9abc_def1);
    for round in 0..1000 {
        let rows = rows(4);
        let field = ["user_id", "movie_id"][random.below(2)];
        let (path, body) = match round % 4 {
            0 => {
                let mut inputs = inputs(&rows);
                let input = inputs.as_array_mut().expect("inputs").iter_mut().find(|input| input["name"] == field).expect("the field");
                let part = ["data", "shape", "datatype"][random.below(3)];
                input[part] = match part {
                    "data" => json!([1, 2, 3, wrong(&mut random)]),
                    "shape" => [json!([5]), json!([2, 2, 1]), json!([-4]), json!([]), json!([4, 2])][random.below(5)].clone(),
                    _ => [json!("INT31"), json!(""), json!("BYTES"), json!("BOOL")][random.below(4)].clone(),
                };
                ("/v2/models/ctr/infer", json!({"inputs": inputs}))
            }
            kind => {
                let mut objects: Vec<Value> = rows.iter().map(|row| object(row)).collect();
                objects[random.below(4)][field] = wrong(&mut random);
                match kind {
                    1 => ("/score", json!({"rows": objects})),
                    2 => ("/v1/models/ctr:predict", json!({"instances": objects})),
                    _ => {
                        let columns = ["user_id", "movie_id", "genres"];
                        let column = |name: &str| json!(objects.iter().map(|row| row[name].clone()).collect::<Vec<_>>());
                        ("/v1/models/ctr:predict", json!({"inputs": Value::from_iter(columns.map(|name| (name, column(name))))}))
                    }
                }
            }
        };
        let error = post(address, path, &body).error(400);
        assert!(error.contains(&format!("`{field}`")), "{path} {body}: {error}");
    }
    server.stop();
}

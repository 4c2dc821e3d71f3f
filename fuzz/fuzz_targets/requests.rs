//! Bodies of requests for scores. The first byte says what the rest is: a row of [`FORMS`]; for binary tensors two more bytes are the
//! length of their JSON.
#![no_main]

use std::sync::LazyLock;

use rankmill_serve::Server;

static SERVER: LazyLock<Server> = LazyLock::new(rankmill_fuzz::server::start);

const INFER: &str = "/v2/models/ctr/infer";
/// Path and content type.
const FORMS: [(&str, &str); 9] = [
    (INFER, "application/json"),
    (INFER, "application/octet-stream"),
    ("/v1/models/ctr:predict", "application/json"),
    ("/score", "application/json"),
    ("/score", "application/x-ndjson"),
    ("/score", "text/csv"),
    ("/score", "application/vnd.apache.arrow.stream"),
    ("/inference.GRPCInferenceService/ModelInfer", "application/grpc"),
    ("/tensorflow.serving.PredictionService/Predict", "application/grpc"),
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((form, mut body)) = bytes.split_first() else { return };
    let (path, content_type) = FORMS[usize::from(*form) % FORMS.len()];
    let mut headers = vec![("Content-Type", content_type)];
    let head;
    if content_type == "application/octet-stream" {
        let Some((length, rest)) = body.split_first_chunk::<2>() else { return };
        (head, body) = (u16::from_le_bytes(*length).to_string(), rest);
        headers.push(("Inference-Header-Content-Length", &head));
    }
    let mut message = body.to_vec();
    if content_type == "application/grpc" {
        // Not compressed, and its length.
        let frame = [&[0], &(body.len() as u32).to_be_bytes()[..]].concat();
        message.splice(0..0, frame);
    }
    let (status, answer) = SERVER.answer(path, &headers, message).expect("a good head");
    assert!(matches!(status, 200 | 400 | 404 | 413), "{status} {}", String::from_utf8_lossy(&answer));
});

//! Limits, tokens, metrics, and the end.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use rankmill_serve::{Limits, ModelSettings, Server};
use serde_json::json;

use crate::client::{connect, get, post, request};
use crate::models::{eventually, inputs, options, rows, serve, trained};

fn limited(change: impl FnOnce(&mut rankmill_serve::ServeOptions)) -> Server {
    let mut options = options(vec![ModelSettings::new("ctr", trained().join("model"))]);
    change(&mut options);
    Server::start(options).expect("it starts")
}

#[test]
fn what_is_too_large_is_refused() {
    let server = limited(|options| options.limits = Limits { body_bytes: 20_000, rows: 50, text_bytes: 100, ..Limits::default() });
    let address = server.addresses()[0];
    let long = json!({"rows": [{"user_id": 1, "genres": "x".repeat(101)}]});
    assert!(post(address, "/score", &long).error(413).contains("`genres`"));
    assert!(post(address, "/score", &json!({"rows": vec![json!({}); 51]})).error(413).contains("50"));
    assert!(post(address, "/score", &json!({"rows": [{"genres": "x".repeat(30_000)}]})).error(413).contains("20000"));
    let shared = json!({"inputs": [{"name": "user_id", "shape": [1_000_000_000_000_i64, 0], "datatype": "INT32", "data": []}]});
    assert!(post(address, "/v2/models/ctr/infer", &shared).error(413).contains("rows"));
    assert_eq!(post(address, "/score", &json!({"rows": [{"user_id": 1}]})).status, 200);
    server.stop();
}

#[test]
fn a_full_queue_turns_requests_away_and_recovers() {
    let server = limited(|options| {
        options.limits.queue = 2;
        options.batching.rows = 1;
    });
    let address = server.addresses()[0];
    // Cut into 200 pieces, of which the queue takes a few.
    let body = json!({"inputs": inputs(&rows(200))});
    let answer = post(address, "/v2/models/ctr/infer", &body);
    assert!(answer.error(429).contains("queue"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    eventually("it recovers", || post(address, "/score", &json!({"rows": [{"user_id": 1}]})).status == 200);
    server.stop();
}

#[test]
fn a_token_is_needed_for_all_but_health() {
    let server = limited(|options| options.tokens = vec!["old".into(), "secret".into()]);
    let address = server.addresses()[0];
    assert_eq!(get(address, "/v2/health/ready").status, 200);
    assert_eq!(get(address, "/metrics").status, 401);
    let answer = post(address, "/score", &json!({"rows": []}));
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
    for (token, status) in [("Bearer secret", 200), ("Bearer old", 200), ("Bearer secrets", 401), ("Bearer ", 401), ("Basic secret", 401)] {
        assert_eq!(request(address, "GET", "/metrics", &[("Authorization", token)], b"").status, status, "{token}");
    }
    server.stop();
}

#[test]
fn metrics_count_what_was_done() {
    let server = serve();
    let address = server.addresses()[0];
    post(address, "/v2/models/ctr/infer", &json!({"inputs": inputs(&rows(100))})).ok();
    assert_eq!(post(address, "/score", &json!({"rows": 5})).status, 400);
    let text = get(address, "/metrics").text();
    for line in [
        "rankmill_requests_total{protocol=\"kserve_http\",outcome=\"ok\"} 1",
        "rankmill_requests_total{protocol=\"score\",outcome=\"invalid\"} 1",
        "rankmill_rows_total{model=\"ctr\",version=\"20\"} 100",
        "rankmill_scores_count{model=\"ctr\",version=\"20\",output=\"probs\"} 100",
        "rankmill_feature_values_total{model=\"ctr\",version=\"20\",feature=\"genres\"} 100",
        "rankmill_model_version{model=\"ctr\",version=\"20\"} 1",
        "rankmill_reloads_total{model=\"ctr\",outcome=\"loaded\"} 1",
        "rankmill_stage_seconds_count{stage=\"encode\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    server.stop();
}

#[test]
fn openapi_describes_every_page() {
    let server = serve();
    let description = get(server.addresses()[0], "/openapi.json").ok();
    let paths = description["paths"].as_object().expect("paths");
    assert!(paths.contains_key("/v2/models/{model}/infer") && paths.contains_key("/score"));
    server.stop();
}

#[test]
fn a_client_that_stalls_loses_its_connection() {
    let server = limited(|options| options.limits.idle_time = Duration::from_millis(300));
    let address = server.addresses()[0];
    let started = Instant::now();
    for start in [&b""[..], b"PRI * HTTP", b"GET /v2/health", b"GET /v2/health/live HTTP/1.1\r\nHost: test\r\n"] {
        let mut silent = connect(address);
        silent.write_all(start).expect("written");
        let mut rest = Vec::new();
        // The server may say why before it closes, or just close.
        let _ = silent.read_to_end(&mut rest);
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    eventually("no connection is left", || get(address, "/metrics").text().contains("rankmill_connections 1\n"));
    server.stop();
}

#[test]
fn clients_that_leave_or_read_slowly_do_no_harm() {
    let server = serve();
    let address = server.addresses()[0];
    let body = json!({"inputs": inputs(&rows(300))}).to_string();
    let head = format!("POST /v2/models/ctr/infer HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    let whole = [head.as_bytes(), body.as_bytes()].concat();
    for round in 0..200 {
        let mut stream = connect(address);
        match round % 4 {
            0 => stream.write_all(&whole[..round * 7]).expect("written"),
            1 => stream.write_all(&whole[..whole.len() - round]).expect("written"),
            2 => stream.write_all(&whole).expect("written"),
            _ => {
                stream.write_all(&whole).expect("written");
                let mut few = [0; 16];
                stream.read_exact(&mut few).expect("an answer");
                assert!(few.starts_with(b"HTTP/1.1 200"));
            }
        }
    }
    eventually("no connection is left", || get(address, "/metrics").text().contains("rankmill_connections 1\n"));
    eventually("nothing waits", || get(address, "/metrics").text().contains("rankmill_queue_length 0\n"));
    server.stop();
}

#[test]
fn what_is_under_way_is_answered_before_the_end() {
    let server = limited(|options| options.drain_delay = Duration::from_millis(300));
    let address = server.addresses()[0];
    let body = json!({"inputs": inputs(&rows(300))});
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            server.stop();
        });
        let mut answers = 0;
        while get_ready(address) {
            assert_eq!(post(address, "/v2/models/ctr/infer", &body).status, 200);
            answers += 1;
        }
        assert!(answers > 0);
        ending.join().expect("it ends");
    });
}

fn get_ready(address: std::net::SocketAddr) -> bool {
    get(address, "/v2/health/ready").status == 200
}

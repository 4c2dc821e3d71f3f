//! `/score` in its forms.

use std::sync::Arc;

use arrow_array::builder::{LargeListBuilder, ListBuilder, StringBuilder};
use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, BinaryArray, DictionaryArray, Int32Array, RecordBatch, StringArray, StringViewArray};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use rankmill_model::Sharing;
use rankmill_model::calibration::{CalibratedOutput, Calibration, Method, Sample};
use rankmill_serve::{ModelSettings, ServeOptions, Server};
use serde_json::{Value, json};

use crate::client::{post, request};
use crate::models::{FIELDS, bits, checkpoint, copy_folder, eventually, expected, object, options, rows, serve, trained};

fn scored(server: &rankmill_serve::Server, content_type: &str, body: &[u8]) -> crate::client::Answer {
    let answer = request(server.addresses()[0], "POST", "/score", &[("Content-Type", content_type)], body);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{}", answer.text());
    answer
}

fn column(rows: &[Value], name: &str) -> Vec<u32> {
    bits(&rows.iter().map(|row| row[name].clone()).collect())
}

#[test]
fn every_form_gives_the_same_bits() {
    let server = serve();
    let rows = rows(150);
    let (probs, logits): (Vec<u32>, Vec<u32>) = expected(20, 150).into_iter().unzip();

    let objects: Vec<Value> = rows.iter().map(|row| object(row)).collect();
    let answer = scored(&server, "application/json", json!({"rows": objects}).to_string().as_bytes()).json();
    assert_eq!((&answer["model_name"], &answer["model_version"]), (&json!("ctr"), &json!("20")));
    let scores = answer["scores"].as_array().expect("scores");
    assert_eq!((column(scores, "probs"), column(scores, "logits")), (probs.clone(), logits.clone()));

    let lines: Vec<String> = objects.iter().map(Value::to_string).collect();
    let answer = scored(&server, "application/x-ndjson", lines.join("\n").as_bytes()).text();
    let scores: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((column(&scores, "probs"), column(&scores, "logits")), (probs.clone(), logits.clone()));

    let quoted = |row: &Vec<String>| row.iter().map(|text| format!("\"{}\"", text.replace('"', "\"\""))).collect::<Vec<_>>().join(",");
    let csv = std::iter::once(FIELDS.join(",")).chain(rows.iter().map(quoted)).collect::<Vec<_>>().join("\r\n");
    let answer = scored(&server, "text/csv", csv.as_bytes()).text();
    let mut lines = answer.lines();
    assert_eq!(lines.next(), Some("probs,logits"));
    let parsed = |line: &str| -> Vec<u32> { line.split(',').map(|x| x.parse::<f32>().expect("a number").to_bits()).collect() };
    assert!(lines.map(parsed).eq(probs.iter().zip(&logits).map(|(p, z)| vec![*p, *z])));

    let numbers = |field: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(row[field].parse::<i32>().expect("a number"))).collect::<Int32Array>())
    };
    let genres: ArrayRef = Arc::new(rows.iter().map(|row| Some(row[9].as_str())).collect::<StringArray>());
    let batch = RecordBatch::try_from_iter([("user_id", numbers(1)), ("movie_id", numbers(2)), ("genres", genres)]).expect("columns");
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a stream");
    writer.write(&batch).expect("written");
    let body = writer.into_inner().expect("finished");
    let answer = scored(&server, "application/vnd.apache.arrow.stream", &body);
    let batch = StreamReader::try_new(answer.body.as_slice(), None).expect("a stream").next().expect("a batch").expect("whole");
    let found = batch.column_by_name("logits").expect("logits").to_data().buffers()[0].typed_data::<u32>().to_vec();
    assert_eq!(found, logits);
    server.stop();
}

#[test]
fn a_context_is_given_once() {
    let server = serve();
    let rows = rows(3);
    let full: Vec<Value> = rows.iter().map(|row| json!({"user_id": 9, "movie_id": row[2], "genres": ["Drama", "War"]})).collect();
    let own: Vec<Value> = rows.iter().map(|row| json!({"movie_id": row[2]})).collect();
    let context = json!({"user_id": 9, "genres": "Drama|War"});
    let address = server.addresses()[0];
    let expected = post(address, "/score", &json!({"rows": full})).ok();
    assert_eq!(post(address, "/score/ctr", &json!({"rows": own, "context": context})).ok(), expected);
    let lines = std::iter::once(json!({"context": context})).chain(own).map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
    let answer = scored(&server, "application/x-ndjson", lines.as_bytes()).text();
    let scores: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(json!(scores), expected["scores"]);
    server.stop();
}

#[test]
fn a_header_gives_the_context_of_columns() {
    let server = serve();
    let address = server.addresses()[0];
    let full: Vec<Value> = (1..4).map(|movie| json!({"user_id": 9, "movie_id": movie, "genres": "Drama|War"})).collect();
    let expected = post(address, "/score", &json!({"rows": full})).ok();
    let context = r#"{"user_id": 9, "genres": ["Drama", "War"]}"#;
    let post = |content_type: &str, context: &str, body: &[u8]| {
        request(address, "POST", "/score", &[("Content-Type", content_type), ("Rankmill-Context", context)], body)
    };
    let rows = json!({"rows": [{"movie_id": 1}, {"movie_id": 2}, {"movie_id": 3}]}).to_string();
    assert_eq!(post("application/json", context, rows.as_bytes()).ok(), expected);
    let answer = post("text/csv", context, b"movie_id\n1\n2\n3\n");
    assert_eq!((answer.status, answer.header("rankmill-model-version")), (200, Some("20")));
    let logits: Vec<u32> = answer
        .text()
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).expect("two").parse::<f32>().expect("a number").to_bits())
        .collect();
    assert_eq!(logits, column(expected["scores"].as_array().expect("scores"), "logits"));
    assert_eq!(arrow_logits(&post(ARROW, context, &stream_of(vec![("movie_id", Arc::new(Int32Array::from(vec![1, 2, 3])))]))), logits);
    for (context, body, words) in [
        (context, "movie_id,user_id\n1,2\n", &["`user_id`", "context"][..]),
        (r#"{"user_id": 9}"#, "movie_id\n1\n", &["`genres`", "columns"]),
        (r#"{"user": 9}"#, "movie_id\n1\n", &["`user`"]),
        ("{", "movie_id\n1\n", &["Rankmill-Context"]),
    ] {
        let error = post("text/csv", context, body.as_bytes()).error(400);
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    server.stop();
}

const ARROW: &str = "application/vnd.apache.arrow.stream";

fn stream_of(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).expect("columns");
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a stream");
    writer.write(&batch).expect("written");
    writer.into_inner().expect("finished")
}

fn arrow_logits(answer: &crate::client::Answer) -> Vec<u32> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let batch = StreamReader::try_new(answer.body.as_slice(), None).expect("a stream").next().expect("a batch").expect("whole");
    batch.column_by_name("logits").expect("logits").to_data().buffers()[0].typed_data::<u32>().to_vec()
}

#[test]
fn arrow_columns_may_have_every_form_of_their_values() {
    let server = serve();
    let rows = ["Drama|War", "Comedy", "Drama|War", ""].map(|genres| json!({"user_id": 9, "movie_id": 3, "genres": genres}));
    let expected = post(server.addresses()[0], "/score", &json!({"rows": rows})).ok();
    let expected = column(expected["scores"].as_array().expect("scores"), "logits");
    let texts = [Some("Drama|War"), Some("Comedy"), Some("Drama|War"), None];
    let dictionary: DictionaryArray<Int8Type> = texts.into_iter().collect();
    let mut list = ListBuilder::new(StringBuilder::new());
    let mut large = LargeListBuilder::new(StringBuilder::new());
    for text in texts {
        for part in text.iter().flat_map(|text| text.split('|')) {
            list.values().append_value(part);
            large.values().append_value(part);
        }
        list.append(text.is_some());
        large.append(text.is_some());
    }
    let binary: BinaryArray = texts.iter().map(|text| text.map(str::as_bytes)).collect();
    let view: StringViewArray = texts.into_iter().collect();
    let forms: [ArrayRef; 5] = [Arc::new(dictionary), Arc::new(list.finish()), Arc::new(large.finish()), Arc::new(binary), Arc::new(view)];
    for genres in forms {
        let kind = genres.data_type().clone();
        let ids = |id: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![id; 4])) };
        let columns = vec![("user_id", ids(9)), ("movie_id", ids(3)), ("genres", genres)];
        let stream = scored(&server, ARROW, &stream_of(columns.clone()));
        assert_eq!(arrow_logits(&stream), expected, "{kind}");
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).expect("columns");
        let mut file = FileWriter::try_new(Vec::new(), &batch.schema()).expect("a file");
        file.write(&batch).expect("written");
        let file = scored(&server, ARROW, &file.into_inner().expect("finished"));
        assert_eq!(arrow_logits(&file), expected, "{kind}");
    }
    server.stop();
}

#[test]
fn bodies_may_be_compressed() {
    let server = serve();
    let address = server.addresses()[0];
    let body = json!({"rows": [{"user_id": 1, "movie_id": 2, "genres": "Drama"}]}).to_string();
    let plain = post(address, "/score", &serde_json::from_str(&body).expect("JSON")).ok();
    let gzip = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, body).expect("written");
        encoder.finish().expect("finished")
    };
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut deflate, body.as_bytes()).expect("written");
    let send = |encoding: &str, body: &[u8]| request(address, "POST", "/score", &[("Content-Encoding", encoding)], body);
    assert_eq!(send("gzip", &gzip(body.as_bytes())).ok(), plain);
    assert_eq!(send("deflate", &deflate.finish().expect("finished")).ok(), plain);
    assert!(send("gzip", body.as_bytes()).error(400).contains("compressed"));
    assert!(send("br", body.as_bytes()).error(415).contains("`br`"));
    // A small body that would become a large one.
    assert!(send("gzip", &gzip(&vec![b' '; 64 << 20])).error(413).contains("16777216"));
    server.stop();
}

#[test]
fn missing_values_are_empty_fields() {
    let server = serve();
    let address = server.addresses()[0];
    let missing = post(address, "/score", &json!({"rows": [{"user_id": 5, "movie_id": 3}]})).ok();
    for genres in [json!(null), json!(""), json!([])] {
        let answer = post(address, "/score", &json!({"rows": [{"user_id": 5, "movie_id": 3, "genres": genres}]})).ok();
        assert_eq!(answer, missing);
    }
    assert_eq!(post(address, "/score", &json!({"rows": []})).ok()["scores"], json!([]));
    server.stop();
}

#[test]
fn errors_name_the_field_and_the_row() {
    let server = serve();
    let address = server.addresses()[0];
    let post = |content_type: &str, body: &str| request(address, "POST", "/score", &[("Content-Type", content_type)], body.as_bytes());
    for (content_type, body, words) in [
        ("application/json", r#"{"rows": [{"user_id": 1}, {"user_id": "1.5"}]}"#, &["`user_id`", "row 2", "1.5", "INT32"][..]),
        ("application/json", r#"{"rows": [{"user_id": [1, 2]}]}"#, &["`user_id`", "one value"]),
        ("application/json", r#"{"rows": [{"users": 1}]}"#, &["`users`", "row 1"]),
        ("application/json", r#"{"row": []}"#, &["`row`"]),
        ("application/json", r#"{"rows": [}"#, &["line 1"]),
        ("application/x-ndjson", "{\"user_id\": 1}\n\n{\"user_id\": {}}", &["`user_id`", "row 2"]),
        ("application/x-ndjson", "{\"user_id\": 1}\n{", &["line 2"]),
        ("text/csv", "user_id,movie_id\n1,2", &["`genres`", "columns"]),
        ("text/csv", "user_id,movie_id,genres,genres\n1,2,a,b", &["`genres`", "twice"]),
        ("text/csv", "user_id,movie_id,genres\n1,2", &["CSV"]),
        ("application/vnd.apache.arrow.stream", "not arrow", &["Arrow"]),
    ] {
        let error = post(content_type, body).error(400);
        assert!(words.iter().all(|word| error.contains(word)), "{body}: {error}");
    }
    assert!(post("text/html", "").error(415).contains("text/csv"));
    server.stop();
}

#[test]
fn candidates_of_one_user_have_the_bits_of_rows_by_themselves() {
    let [sharing, alone] = [Sharing::Auto, Sharing::Off].map(|sharing| {
        let models = vec![ModelSettings::new("ctr", trained().join("model"))];
        Server::start(ServeOptions { sharing, ..options(models) }).expect("it starts")
    });
    let rows = rows(150);
    for user in [0, 7] {
        let context = json!({"user_id": rows[user][1]});
        let films: Vec<Value> = rows.iter().map(|row| json!({"movie_id": row[2], "genres": row[9]})).collect();
        let whole: Vec<Value> = rows.iter().map(|row| json!({"user_id": rows[user][1], "movie_id": row[2], "genres": row[9]})).collect();
        let bodies = [json!({"context": context, "rows": films}), json!({"rows": whole})];
        let logits = |server: &Server, body: &Value| {
            let answer = scored(server, "application/json", body.to_string().as_bytes()).json();
            column(answer["scores"].as_array().expect("scores"), "logits")
        };
        let expected = logits(&alone, &bodies[1]);
        assert!(bodies.iter().all(|body| logits(&sharing, body) == expected && logits(&alone, body) == expected));
    }
    let wrong = json!({"context": {"user_id": "x"}, "rows": [{"movie_id": 1}, {"movie_id": 2}, {"movie_id": 3}, {"movie_id": "y"}]});
    let answers = [&sharing, &alone].map(|server| post(server.addresses()[0], "/score", &wrong).error(400));
    assert_eq!(answers[0], answers[1]);
    sharing.stop();
    alone.stop();
}

#[test]
fn a_running_server_takes_a_calibration_up() {
    let folder = tempfile::tempdir().expect("a folder");
    copy_folder(&checkpoint(20), folder.path());
    let server = Server::start(options(vec![ModelSettings::new("ctr", folder.path())])).expect("it starts");
    let body = json!({"rows": [object(&rows(1)[0])]});
    let score = || scored(&server, "application/json", body.to_string().as_bytes()).json()["scores"][0].clone();
    let before = score();
    assert!(before.get("calibrated_probs").is_none(), "{before}");
    let samples = [(0.1, 0.0), (0.9, 1.0)].map(|(probability, label)| Sample { probability, label, weight: 1.0 });
    let fitted = CalibratedOutput::fit("probs", Method::Platt, &samples).expect("rows");
    Calibration::new(vec![fitted.clone()]).write(folder.path()).expect("written");
    eventually("it is taken up", || score().get("calibrated_probs").is_some());
    let after = score();
    assert_eq!(after["probs"], before["probs"]);
    let calibrated = fitted.curve.apply(after["probs"].as_f64().expect("a number") as f32);
    assert_eq!(bits(&json!([after["calibrated_probs"]])), [calibrated.to_bits()]);
    server.stop();
}

//! Trained models, and rows with the scores that prediction from files gives them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rankmill_config::{Edits, Pipeline};
use rankmill_data::synth::movielens::write_movielens;
use rankmill_data::{Reader, ReaderOptions};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::Predictor;
use rankmill_serve::{ModelSettings, ServeOptions, Server};
use rankmill_train::run::{Profile, RunOptions, Start, train};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

pub(crate) const FIELDS: [&str; 11] =
    ["label", "user_id", "movie_id", "rating", "gender", "age", "job_id", "zip_id", "title", "genres", "year"];

/// A model directory with checkpoints 10 and 20.
pub(crate) fn trained() -> &'static Path {
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let place = tempfile::tempdir().expect("a folder");
        write_movielens(place.path(), 3000, 5, &mut |_| {}).expect("rows are made");
        let path = |name: &str| place.path().join(name);
        let set = ["train_config.num_steps=20", "train_config.save_checkpoints_steps=10"].map(str::to_owned).to_vec();
        let pipeline = Pipeline::parse("small.config", include_str!("small.config"), &Edits { set, json: None }).expect("a config");
        let options = RunOptions {
            model_dir: path("model"),
            train_inputs: vec![path("movies_train_data").display().to_string()],
            eval_inputs: vec![path("movies_test_data").display().to_string()],
            start: Start::Fresh,
            eval_every: None,
            rejected: None,
            cache: None,
            seed: 7,
            precision: Precision::F32,
            profile: Profile::Off,
        };
        train(&pipeline, &options, &pool(), &AtomicBool::new(false), &mut |_| {}).expect("the run works");
        place
    });
    place.path()
}

fn pool() -> Arc<Pool> {
    Arc::new(Pool::new(1).expect("a thread"))
}

pub(crate) fn checkpoint(step: u64) -> PathBuf {
    trained().join(format!("model/checkpoints/model.ckpt-{step}"))
}

/// The test rows as texts.
pub(crate) fn rows(count: usize) -> Vec<Vec<String>> {
    let text = fs::read_to_string(trained().join("movies_test_data")).expect("rows");
    text.lines().take(count).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// A row as an object, with all fields but the label.
pub(crate) fn object(row: &[String]) -> Value {
    let fields = FIELDS.iter().zip(row).skip(1);
    Value::Object(fields.map(|(name, text)| ((*name).to_owned(), json!(text))).collect::<Map<_, _>>())
}

/// Column-wise inputs of KServe's protocol: numbers as numbers.
pub(crate) fn inputs(rows: &[Vec<String>]) -> Value {
    let column = |name: &str| FIELDS.iter().position(|field| field == &name).expect("a field");
    let number = |name: &str| -> Vec<i64> { rows.iter().map(|row| row[column(name)].parse().expect("a number")).collect() };
    let texts: Vec<&str> = rows.iter().map(|row| row[column("genres")].as_str()).collect();
    json!([
        {"name": "user_id", "shape": [rows.len()], "datatype": "INT32", "data": number("user_id")},
        {"name": "movie_id", "shape": [rows.len(), 1], "datatype": "INT64", "data": number("movie_id")},
        {"name": "genres", "shape": [rows.len()], "datatype": "BYTES", "data": texts},
    ])
}

/// The bits of the probabilities and logits that prediction from the file gives the test rows.
pub(crate) fn expected(step: u64, count: usize) -> Vec<(u32, u32)> {
    let mut predictor = Predictor::load(&checkpoint(step), pool()).expect("a model");
    let inputs = vec![trained().join("movies_test_data").display().to_string()];
    let options = ReaderOptions::sequential(&predictor.pipeline, inputs).expect("options");
    assert!(predictor.outputs().iter().map(|output| output.name.as_str()).eq(["probs", "logits"]));
    let mut bits = Vec::new();
    for batch in Reader::new(options, predictor.features.clone()).expect("rows") {
        let scores = predictor.score(&batch.expect("good rows").features);
        bits.extend(scores.columns[0].iter().zip(&scores.columns[1]).map(|(p, z)| (p.to_bits(), z.to_bits())));
    }
    bits.truncate(count);
    bits
}

/// The bits of numbers in JSON.
pub(crate) fn bits(values: &Value) -> Vec<u32> {
    let number = |value: &Value| (value.as_f64().expect("a number") as f32).to_bits();
    values.as_array().expect("an array").iter().map(number).collect()
}

/// Options for tests: any port, few rows at once, so that requests are cut.
pub(crate) fn options(models: Vec<ModelSettings>) -> ServeOptions {
    ServeOptions {
        models,
        addresses: vec![([127, 0, 0, 1], 0).into()],
        threads: 2.try_into().expect("not 0"),
        batching: rankmill_serve::Batching { rows: 64, delay: Duration::ZERO },
        reload: Some(Duration::from_millis(50)),
        ..ServeOptions::default()
    }
}

pub(crate) fn serve() -> Server {
    Server::start(options(vec![ModelSettings::new("ctr", trained().join("model"))])).expect("it starts")
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! Whole runs on made-up rows: what is saved, what is loaded again, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::synth::movielens::write_movielens;
use rankmill_data::{Reader, ReaderOptions};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::Predictor;
use rankmill_model::bundle::{BundleError, checkpoints};
use rankmill_train::TrainError;
use rankmill_train::evaluate::Evaluator;
use rankmill_train::run::{Event, Outcome, Profile, RunOptions, Start, train};
use tempfile::TempDir;

const CONFIG: &str = include_str!("data/small.config");

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_movielens(folder.path(), 3000, 5, &mut |_| {}).expect("rows are made");
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self, start: Start) -> RunOptions {
        RunOptions {
            model_dir: self.path("model"),
            train_inputs: vec![self.path("movies_train_data").display().to_string()],
            eval_inputs: vec![self.path("movies_test_data").display().to_string()],
            start,
            eval_every: None,
            seed: 7,
            precision: Precision::F32,
            profile: Profile::Off,
            rejected: None,
            cache: None,
        }
    }

    fn train(&self, edits: &[&str], start: Start) -> Result<Outcome, TrainError> {
        train(&pipeline(edits), &self.options(start), &pool(), &AtomicBool::new(false), &mut |_| {})
    }
}

fn pipeline(edits: &[&str]) -> Pipeline {
    let edits = Edits { set: edits.iter().map(|edit| (*edit).to_owned()).collect(), json: None };
    Pipeline::parse("small.config", CONFIG, &edits).expect("the config is right")
}

fn pool() -> Arc<Pool> {
    Arc::new(Pool::new(2).expect("threads"))
}

#[test]
fn a_saved_model_scores_as_the_trained_one_did() {
    let place = Place::new();
    let outcome = place.train(&[], Start::Fresh).expect("the run works");
    let evaluation = outcome.evaluation.expect("it was evaluated");
    let predictor = Predictor::load(&place.path("model"), pool()).expect("the model can be loaded");
    assert_eq!(predictor.global_step, outcome.global_step);
    let mut evaluator = Evaluator::new(&predictor.pipeline, &predictor.features, pool(), Precision::F32).expect("it can be evaluated");
    let again = evaluator.evaluate(predictor.parameters(), &place.options(Start::Fresh).eval_inputs, |_| {}).expect("rows");
    assert_eq!((&again.metrics, again.loss, again.rows), (&evaluation.metrics, evaluation.loss, evaluation.rows));
    assert!(again.metric("auc_exact").is_some_and(|auc| auc > 0.5 && auc < 1.0), "{:?}", again.metrics);
}

#[test]
fn scores_do_not_depend_on_the_batch() {
    let place = Place::new();
    place.train(&[], Start::Fresh).expect("the run works");
    let mut predictor = Predictor::load(&place.path("model"), pool()).expect("the model can be loaded");
    let mut runs: Vec<Vec<u32>> = Vec::new();
    for batch_size in [1, 7, 64, 300] {
        let inputs = place.options(Start::Fresh).eval_inputs;
        let mut options = ReaderOptions::sequential(&predictor.pipeline, inputs).expect("options");
        options.batch_size = batch_size;
        let mut bits = Vec::new();
        for batch in Reader::new(options, predictor.features.clone()).expect("rows") {
            let scores = predictor.score(&batch.expect("good rows").features);
            bits.extend(scores.columns[1].iter().map(|z| z.to_bits()));
        }
        runs.push(bits);
    }
    assert_eq!(runs[0].len(), 300);
    assert!(runs.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_damaged_model_is_refused() {
    let place = Place::new();
    place.train(&[], Start::Fresh).expect("the run works");
    let (_, checkpoint) = checkpoints(&place.path("model")).expect("checkpoints").pop().expect("one");
    let file = checkpoint.join("variables.safetensors");
    let whole = fs::read(&file).expect("variables");
    let load = || Predictor::load(&place.path("model"), pool()).err();

    // Another version may differ in the last bit, the same one may not.
    let manifest = checkpoint.join("manifest.json");
    let written = fs::read_to_string(&manifest).expect("a manifest");
    let mut other: serde_json::Value = serde_json::from_str(&written).expect("JSON");
    let bits = other["golden"]["outputs"][0]["bits"][0].as_u64().expect("bits");
    other["golden"]["outputs"][0]["bits"][0] = (bits + 1).into();
    fs::write(&manifest, other.to_string()).expect("written");
    assert!(matches!(load(), Some(BundleError::Golden { row: 0, .. })));
    other["rankmill"] = "0.0.1".into();
    fs::write(&manifest, other.to_string()).expect("written");
    assert!(load().is_none());
    other["rankmill"] = env!("CARGO_PKG_VERSION").into();
    other["golden"]["outputs"][0]["bits"][0] = bits.into();
    other["variables"] = serde_json::Value::Null;
    fs::write(&manifest, other.to_string()).expect("written");

    let mut changed = whole.clone();
    let header = u64::from_le_bytes(whole[..8].try_into().expect("8 bytes")) as usize;
    let bias = String::from_utf8_lossy(&whole[8..8 + header]).find("output/bias").is_some();
    assert!(bias, "the variables have EasyRec's names");
    for byte in &mut changed[8 + header..] {
        *byte ^= 0x01;
    }
    fs::write(&file, &changed).expect("written");
    assert!(matches!(load(), Some(BundleError::Golden { row: 0, .. })), "other weights score the golden rows differently");
    fs::write(&manifest, written).expect("written");
    assert!(matches!(load(), Some(BundleError::Damaged { path, .. }) if path == file), "other bytes have another checksum");

    fs::write(&file, &whole[..whole.len() - 3]).expect("written");
    assert!(matches!(load(), Some(BundleError::Damaged { .. })));
    fs::remove_file(&file).expect("removed");
    assert!(matches!(load(), Some(BundleError::Io { .. })));
    assert!(matches!(Predictor::load(Path::new("/nowhere"), pool()).err(), Some(BundleError::NoModel { .. })));
}

#[test]
fn runs_that_cannot_be_are_refused() {
    let place = Place::new();
    let first = place.train(&["train_config.num_steps=5"], Start::Fresh).expect("the run works");
    assert_eq!((first.global_step, first.rows), (5, 500));
    let occupied = place.train(&[], Start::Fresh).expect_err("the directory is taken");
    assert!(matches!(&occupied, TrainError::Occupied { step: 5, .. }), "{occupied}");
    let missing = RunOptions { eval_inputs: vec![], train_inputs: vec!["nowhere".into()], ..place.options(Start::Overwrite) };
    let missing = train(&pipeline(&[]), &missing, &pool(), &AtomicBool::new(false), &mut |_| {}).expect_err("no such file");
    assert_eq!(missing.to_string(), "nowhere: matches no file");
    assert_eq!(checkpoints(&place.path("model")).expect("checkpoints").len(), 1, "a run that cannot be does not cost the old one");
    let endless = place.train(&["data_config.num_epochs=0"], Start::Overwrite).expect_err("no end");
    assert!(matches!(endless, TrainError::Endless), "{endless}");
    let rate = "train_config.optimizer_config[0].adam_optimizer.learning_rate.constant_learning_rate.learning_rate=1e30";
    let lost = place.train(&[rate], Start::Overwrite).expect_err("the loss is lost");
    assert!(matches!(lost, TrainError::NotFinite { .. }), "{lost}");
    let message = place.train(&["model_config.num_class=3"], Start::Overwrite).expect_err("no such metric").to_string();
    assert!(message.contains("metric auc cannot be computed for a task of 3 classes"), "{message}");
}

#[test]
fn a_run_evaluates_on_its_way_logs_and_prunes() {
    let place = Place::new();
    let mut evaluated = Vec::new();
    let mut saved = Vec::new();
    let options = RunOptions { eval_every: Some(10), ..place.options(Start::Fresh) };
    let edits = ["train_config.save_checkpoints_steps=5", "train_config.keep_checkpoint_max=3"];
    let outcome = train(&pipeline(&edits), &options, &pool(), &AtomicBool::new(false), &mut |event| match event {
        Event::Evaluated { step, .. } => evaluated.push(step),
        Event::Saved(path) => saved.push(path.to_owned()),
        _ => {}
    })
    .expect("the run works");
    assert_eq!(outcome.global_step, 27);
    assert_eq!(evaluated, [10, 20, 27]);
    assert_eq!(saved.len(), 6);
    let kept: Vec<u64> = checkpoints(&options.model_dir).expect("checkpoints").into_iter().map(|(step, _)| step).collect();
    assert_eq!(kept, [20, 25, 27]);
    let record: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(options.model_dir.join("run.json")).expect("run.json")).expect("JSON");
    assert_eq!(record["global_step"], 27);
    let names = |folder: &Path| -> Vec<String> {
        fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    assert!(names(&options.model_dir).iter().any(|name| name.starts_with("events.out.tfevents.")));
    assert!(names(&options.model_dir.join("eval_val")).iter().any(|name| name.starts_with("events.out.tfevents.")));
}

#[test]
fn a_resumed_run_tells_of_another_seed_and_other_files() {
    let place = Place::new();
    place.train(&["train_config.num_steps=5"], Start::Fresh).expect("the run works");
    let resume = |options: RunOptions| {
        let mut remarks = Vec::new();
        train(&pipeline(&["train_config.num_steps=6"]), &options, &pool(), &AtomicBool::new(false), &mut |event| {
            if let Event::Remark(remark) = event {
                remarks.push(remark);
            }
        })
        .expect("the run works");
        remarks
    };
    assert_eq!(resume(place.options(Start::Resume)), Vec::<String>::new());
    let other = place.path("other");
    fs::write(&other, fs::read(place.path("movies_test_data")).expect("rows")).expect("written");
    let options = RunOptions { seed: 8, train_inputs: vec![other.display().to_string()], ..place.options(Start::Resume) };
    let remarks = resume(options);
    assert_eq!(remarks.len(), 3, "{remarks:?}");
    assert_eq!(remarks[0], "the run goes on with its own seed, 7, not with 8");
    assert!(remarks[1].starts_with("the training files are not those the run began with ("), "{remarks:?}");
    assert!(remarks[2].starts_with("6 steps are done, as many as train_config.num_steps asks for"), "{remarks:?}");
}

/// Two towers on the backbone of the small config: clicks, and two classes of another label.
const TOWERS: &[&str] = &[
    "model_config.model_class=MultiTaskModel",
    "data_config.label_fields=[label, gender]",
    "model_config.model_params={ l2_regularization: 1e-4 \
     task_towers { tower_name: 'click' dnn { hidden_units: 8 } metrics_set { auc {} } \
       losses { loss_type: CLASSIFICATION } \
       losses { loss_type: PAIRWISE_LOGISTIC_LOSS pairwise_logistic_loss { session_name: 'user_id' } } } \
     task_towers { tower_name: 'gender' num_class: 2 dnn { hidden_units: 8 } metrics_set { accuracy {} } } }",
];

#[test]
fn several_tasks_train_save_and_score() {
    let place = Place::new();
    let outcome = place.train(TOWERS, Start::Fresh).expect("the run works");
    let evaluation = outcome.evaluation.expect("it was evaluated");
    for name in ["auc_click", "auc_exact_click", "accuracy_gender", "cross_entropy_loss_click", "pairwise_logistic_loss_click"] {
        assert!(evaluation.metric(name).is_some_and(|value| value > 0.0 && value < 10.0), "{name}: {:?}", evaluation.metrics);
    }
    let losses = evaluation.metrics.iter().filter(|(name, _)| name.contains("loss_") && !name.starts_with("log_loss"));
    assert!((losses.map(|(_, value)| value).sum::<f64>() - evaluation.loss).abs() < 1e-9, "the loss is the sum of its parts");
    let predictor = Predictor::load(&place.path("model"), pool()).expect("its golden rows score as they did");
    let names: Vec<&str> = predictor.outputs().iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names[..2], ["probs_click", "logits_click"]);
    assert!(names.contains(&"probs_gender_1") && names.contains(&"y_gender"), "{names:?}");
}

#[test]
fn losses_over_sessions_do_not_depend_on_the_number_of_threads() {
    let bits = |threads: usize| -> Vec<u32> {
        let place = Place::new();
        let pool = Arc::new(Pool::new(threads).expect("threads"));
        let options = RunOptions { eval_inputs: Vec::new(), ..place.options(Start::Fresh) };
        train(&pipeline(TOWERS), &options, &pool, &AtomicBool::new(false), &mut |_| {}).expect("the run works");
        let predictor = Predictor::load(&place.path("model"), pool).expect("it can be loaded");
        predictor.parameters().entries.iter().flat_map(|entry| entry.values.iter().map(|value| value.to_bits())).collect()
    };
    assert_eq!(bits(1), bits(3));
}

#[test]
fn a_run_starts_from_another_model() {
    let first = Place::new();
    first.train(&[], Start::Fresh).expect("the run works");
    let other = Predictor::load(&first.path("model"), pool()).expect("it can be loaded");
    let second = Place::new();
    let checkpoint = format!("train_config.fine_tune_checkpoint='{}'", first.path("model").display());
    // At a rate of 0 the variables stay as they start; batch norm's statistics move.
    let still = "train_config.optimizer_config[0].adam_optimizer.learning_rate.constant_learning_rate.learning_rate=0";
    let wider = "feature_config.features[2].embedding_dim=4";
    let mut told = Vec::new();
    let edits = pipeline(&[checkpoint.as_str(), still, wider]);
    train(&edits, &second.options(Start::Fresh), &pool(), &AtomicBool::new(false), &mut |event| {
        if let Event::Remark(remark) = event {
            told.push(remark);
        }
    })
    .expect("the run works");
    let started = Predictor::load(&second.path("model"), pool()).expect("it can be loaded");
    let name = "input_layer/user_id_embedding/embedding_weights";
    assert_eq!(started.parameters().get(name), other.parameters().get(name));
    assert!(told.iter().any(|remark| remark.contains("start anew: input_layer/genres_embedding/embedding_weights")), "{told:?}");
}

#[test]
fn two_optimizers_train_and_resume() {
    let sgd =
        "train_config.optimizer_config[+]={ momentum_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.01 } } } }";
    let whole = Place::new();
    whole.train(&[sgd], Start::Fresh).expect("the run works");
    let halves = Place::new();
    halves.train(&[sgd, "train_config.num_steps=10"], Start::Fresh).expect("the first half works");
    halves.train(&[sgd], Start::Resume).expect("the second half works");
    let loaded = |place: &Place| Predictor::load(&place.path("model"), pool()).expect("it can be loaded").parameters().clone();
    assert_eq!(loaded(&whole), loaded(&halves));
}

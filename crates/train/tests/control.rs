//! What freezing and fine-tuning do to single variables.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::synth::movielens::write_movielens;
use rankmill_data::{FeatureBatch, FeatureSet, Reader, ReaderOptions};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::Parameter;
use rankmill_model::bundle::{Bundle, CHECKPOINTS, read_tensors};
use rankmill_train::run::{Profile, RunOptions, Start, train};
use rankmill_train::step::{Trainer, TrainerOptions};
use tempfile::TempDir;

const CONFIG: &str = include_str!("data/small.config");

fn pipeline(text: &str) -> Pipeline {
    Pipeline::parse("small.config", text, &Edits::default()).expect("the config is right")
}

fn with_train(settings: &str) -> Pipeline {
    pipeline(&CONFIG.replace("train_config {", &format!("train_config {{ {settings}")))
}

fn trainer(pipeline: &Pipeline) -> Trainer {
    let features = FeatureSet::new(pipeline).expect("features");
    let options = TrainerOptions { seed: 5, ..TrainerOptions::default() };
    Trainer::new(pipeline, &features, Arc::new(Pool::new(1).expect("threads")), options).expect("a model")
}

fn rows() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_movielens(folder.path(), 600, 5, &mut |_| {}).expect("rows are made");
    folder
}

fn batches(pipeline: &Pipeline, folder: &Path) -> Vec<FeatureBatch> {
    let options = ReaderOptions::sequential(pipeline, vec![folder.join("movies_train_data").display().to_string()]).expect("options");
    let features = FeatureSet::new(pipeline).expect("features");
    Reader::new(options, features).expect("rows").map(|batch| batch.expect("good rows").features).collect()
}

#[test]
fn frozen_variables_have_no_gradient_and_no_part_in_its_norm() {
    let rows = rows();
    let pattern = "/embedding_weights:0$|aggregation/kernel";
    let frozen = with_train(&format!("freeze_gradient: '{pattern}' gradient_clipping_by_norm: 0.01"));
    let free = with_train("gradient_clipping_by_norm: 0.01");
    let is_frozen = |name: &str| name.ends_with("/embedding_weights") || name.contains("aggregation/kernel");
    let batches = batches(&free, rows.path());
    let mut trainers = [trainer(&frozen), trainer(&free)];
    let fresh = trainers[0].parameters().clone();
    assert!(fresh.entries.iter().filter(|entry| is_frozen(&entry.name)).count() >= 5);
    for trainer in &mut trainers {
        trainer.backward(&batches[0]);
    }
    let norm =
        |gradients: &[(String, Vec<f32>)]| gradients.iter().flat_map(|(_, values)| values).map(|g| f64::from(g * g)).sum::<f64>().sqrt();
    let [some, all] = trainers.each_ref().map(Trainer::dense_gradients);
    assert!(some.iter().all(|(name, _)| !is_frozen(name)) && some.len() < all.len());
    // Each is clipped to the norm by its own gradients alone.
    assert!((norm(&some) - 0.01).abs() < 1e-6 && (norm(&all) - 0.01).abs() < 1e-6);
    for trainer in &mut trainers {
        for batch in &batches[..3] {
            trainer.step(batch);
        }
    }
    let [frozen, free] = &mut trainers;
    for (i, entry) in fresh.entries.iter().enumerate() {
        let moved = frozen.parameters().entries[i].values != entry.values;
        assert_eq!(moved, !is_frozen(&entry.name), "{}", entry.name);
        assert!(free.parameters().entries[i].values != entry.values, "{}", entry.name);
    }
    let (_, state) = frozen.state();
    assert!(!state.is_empty() && state.iter().all(|(name, _, _)| !is_frozen(name.rsplit_once('/').map_or("", |(variable, _)| variable))));
}

/// A run of its own model directory.
fn run(pipeline: &Pipeline, folder: &Path, model: &str) -> PathBuf {
    let options = RunOptions {
        model_dir: folder.join(model),
        train_inputs: vec![folder.join("movies_train_data").display().to_string()],
        eval_inputs: Vec::new(),
        start: Start::Fresh,
        eval_every: None,
        seed: 9,
        precision: Precision::F32,
        profile: Profile::Off,
        rejected: None,
        cache: None,
    };
    let pool = Arc::new(Pool::new(1).expect("threads"));
    train(pipeline, &options, &pool, &AtomicBool::new(false), &mut |_| {}).expect("the run works").checkpoint
}

/// The state at the start of a run that is fine-tuned: what a dead line in the past leaves.
fn start_of(settings: &str, edit: impl Fn(String) -> String, folder: &Path, model: &str) -> (Vec<Parameter>, Vec<Parameter>) {
    let settings = format!("train_config {{ dead_line: '1000000000' fine_tune_checkpoint: '{}' {settings}", folder.join("first").display());
    let checkpoint = run(&pipeline(&edit(CONFIG.replace("train_config {", &settings))), folder, model);
    assert!(checkpoint.ends_with(Path::new(CHECKPOINTS).join("model.ckpt-0")));
    let state = read_tensors(&checkpoint.join("optimizer.safetensors")).expect("the optimizer's state");
    (Bundle::open(&checkpoint).expect("a bundle").parameters.entries, state)
}

#[track_caller]
fn named<'a>(entries: &'a [Parameter], name: &str) -> &'a [f32] {
    &entries.iter().find(|entry| entry.name == name).expect("a tensor").values
}

#[test]
fn a_run_starts_from_another_models_variables_and_optimizer() {
    let rows = rows();
    let folder = rows.path();
    let first = run(&pipeline(CONFIG), folder, "first");
    let before = Bundle::open(&first).expect("a bundle").parameters.entries;
    let moments = read_tensors(&first.join("optimizer.safetensors")).expect("the optimizer's state");

    let (variables, state) = start_of("", |text| text, folder, "same");
    assert!(before == variables && moments == state, "all of it");

    let (user, movie) = ("input_layer/user_id_embedding/embedding_weights", "input_layer/movie_id_embedding/embedding_weights");
    let edit = |text: String| {
        text.replace("hash_bucket_size: 2000", "hash_bucket_size: 2100").replace("hash_bucket_size: 1000", "hash_bucket_size: 900")
    };
    let (variables, state) = start_of("force_restore_shape_compatible: true", edit, folder, "fitted");
    for (fitted, whole, moment) in [(&variables, &before, ""), (&state, &moments, "/Adam_1")] {
        let (name, other) = (format!("{user}{moment}"), format!("{movie}{moment}"));
        assert_eq!(named(fitted, &name)[..2000 * 8], named(whole, &name)[..]);
        assert!(named(fitted, &name)[2000 * 8..].iter().all(|x| *x == 0.0));
        assert_eq!(named(fitted, &other)[..], named(whole, &other)[..900 * 8]);
    }
    let (variables, _) = start_of("", edit, folder, "anew");
    assert!(named(&variables, user)[..2000 * 8] != named(&before, user)[..], "another shape starts anew");
    assert_eq!(named(&variables, "output/kernel"), named(&before, "output/kernel"));

    // A map renames some, and the others keep their names.
    fs::write(folder.join("names"), "backbone/mask_net/block_0/aggregation/bias backbone/mask_net/block_1/aggregation/bias\n")
        .expect("written");
    let map = format!("fine_tune_ckpt_var_map: '{}'", folder.join("names").display());
    let (variables, _) = start_of(&map, |text| text, folder, "mapped");
    let bias = |block: u32| format!("backbone/mask_net/block_{block}/aggregation/bias");
    assert!(named(&before, &bias(0)) != named(&before, &bias(1)));
    assert_eq!(named(&variables, &bias(0)), named(&before, &bias(1)));
    assert_eq!(named(&variables, user), named(&before, user));

    let filter = |text: String| text.replace("model_class: ", "restore_filters: 'user_id' model_class: ");
    let (variables, _) = start_of("", filter, folder, "filtered");
    assert!(named(&variables, user) != named(&before, user));
    assert_eq!(named(&variables, movie), named(&before, movie));
}

//! Trains a config that names a component of this crate's own.
//!
//! ```text
//! cargo run -p rankmill-example-custom-layer -- examples/custom_layer/feature_gate.config MODEL_DIR TRAIN_ROWS EVAL_ROWS
//! ```

#![expect(clippy::print_stdout, reason = "a small program that says how it goes")]

mod feature_gate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use rankmill_config::{Edits, Pipeline};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_nn::layers;
use rankmill_train::run::{Event, Outcome, Profile, RunOptions, Start, train};

/// What to train on, and where to.
struct Task {
    config: PathBuf,
    model_dir: PathBuf,
    train_rows: String,
    eval_rows: String,
}

fn run(task: Task) -> anyhow::Result<Outcome> {
    let pipeline = Pipeline::load(&task.config, &Edits::default())?;
    let options = RunOptions {
        model_dir: task.model_dir,
        train_inputs: vec![task.train_rows],
        eval_inputs: vec![task.eval_rows],
        start: Start::Fresh,
        eval_every: None,
        seed: 1,
        precision: Precision::F32,
        profile: Profile::Off,
        rejected: None,
        cache: None,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = Arc::new(Pool::new(threads)?);
    let mut tell = |event: Event<'_>| {
        if let Event::Started { parameters, .. } = event {
            println!("{parameters} parameters");
        }
    };
    Ok(train(&pipeline, &options, &pool, &AtomicBool::new(false), &mut tell)?)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, model_dir, train_rows, eval_rows] = arguments.as_slice() else {
        bail!("usage: CONFIG MODEL_DIR TRAIN_ROWS EVAL_ROWS");
    };
    layers::register(feature_gate::FEATURE_GATE)?;
    let outcome = run(Task {
        config: Path::new(config).to_owned(),
        model_dir: Path::new(model_dir).to_owned(),
        train_rows: train_rows.clone(),
        eval_rows: eval_rows.clone(),
    })?;
    let evaluation = outcome.evaluation.context("the run was evaluated")?;
    println!("{} steps, {:?}", outcome.global_step, evaluation.metrics);
    Ok(())
}

#[cfg(test)]
mod tests {
    use rankmill_data::synth::movielens::write_movielens;

    use super::*;

    #[test]
    fn the_component_trains_and_says_what_is_wrong() {
        layers::register(feature_gate::FEATURE_GATE).expect("the name is free");
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_movielens(folder.path(), 3000, 5, &mut |_| {}).expect("rows are made");
        let path = |name: &str| folder.path().join(name);
        let task = |config: PathBuf, model: &str| Task {
            config,
            model_dir: path(model),
            train_rows: path("movies_train_data").display().to_string(),
            eval_rows: path("movies_test_data").display().to_string(),
        };
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("feature_gate.config");
        let outcome = run(task(config.clone(), "model")).expect("it trains");
        let evaluation = outcome.evaluation.expect("it was evaluated");
        assert!(evaluation.metric("auc").is_some_and(|auc| auc > 0.55), "{:?}", evaluation.metrics);

        let text = std::fs::read_to_string(config).expect("the config can be read").replace("bottleneck", "bottlneck");
        std::fs::write(path("wrong.config"), text).expect("a file can be written");
        let error = run(task(path("wrong.config"), "wrong")).expect_err("a setting is misspelt").to_string();
        assert!(error.contains("unknown setting `bottlneck`; did you mean `bottleneck`?"), "{error}");
    }
}

//! The speed of training steps on batches that are ready in memory: forward, backward, optimizer; no reading of files.
//!
//! `--products` computes the matrix products of the steps and nothing else: the speed that a step could reach if all the rest were free.
//! `--profile` shows what each operation takes.
//!
//! `--dump FILE` writes the initial weights and all batches as safetensors, for other systems to start from.

#[path = "../../../benches/model.rs"]
mod model;
#[path = "../../../benches/peer.rs"]
mod peer;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use model::{Case, SEED};
use peer::Options;
use rankmill_graph::OpProfile;
use rankmill_kernels::pool::Pool;
use rankmill_train::step::{Trainer, TrainerOptions};

/// Steps whose losses are shown, before any measuring.
const LOSS_STEPS: usize = 20;

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let case = Case::new(options.size, options.network)?;
    let pool = Arc::new(Pool::new(options.threads)?);
    let how = TrainerOptions { seed: SEED, precision: options.precision, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(&case.pipeline, &case.features, pool, how)?;
    model::widen_embeddings(trainer.parameters_mut());
    if let Some(path) = &options.dump {
        return case.dump(path, trainer.parameters());
    }
    if options.profile {
        profile(&mut trainer, &case);
        return Ok(());
    }
    let losses: Vec<f32> = case.batches.iter().cycle().take(LOSS_STEPS).map(|batch| trainer.step(batch).total).collect();
    let mut turns = case.batches.iter().cycle().skip(LOSS_STEPS);
    peer::measure(options, &losses, || match turns.next() {
        Some(batch) if options.products => trainer.products(batch),
        Some(batch) => _ = trainer.step(batch),
        None => {}
    });
    Ok(())
}

/// A line for each operation of a step, longest first.
fn profile(trainer: &mut Trainer, case: &Case) {
    case.batches.iter().for_each(|batch| _ = trainer.step(batch));
    trainer.start_profile();
    case.batches.iter().for_each(|batch| _ = trainer.step(batch));
    let mut operations = trainer.profile();
    operations.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    for OpProfile { op, scope, shape, seconds, flops, bytes } in operations {
        let milliseconds = seconds * 1e3 / case.batches.len() as f64;
        let (gflops, gbytes) = (flops / seconds * 1e-9, bytes / seconds * 1e-9);
        let line = format!("{milliseconds:8.3} ms {gflops:7.1} GFLOP/s {gbytes:7.1} GB/s  {op} {shape} {scope}");
        peer::write_line(&mut std::io::stdout(), &line);
    }
}

fn main() -> ExitCode {
    peer::main(run)
}

//! The speed of MaskNet training steps on batches that are ready in memory: forward, backward, optimizer; no reading of files.
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
use rankmill_kernels::pool::Pool;
use rankmill_train::step::{Keep, Trainer};

/// Steps whose losses are shown, before any measuring.
const LOSS_STEPS: usize = 20;

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let case = Case::new(options.size)?;
    let pool = Arc::new(Pool::new(options.threads)?);
    let mut trainer = Trainer::new(&case.pipeline, &case.features, SEED, pool, Keep::Needed)?;
    model::widen_embeddings(&mut trainer.parameters);
    if let Some(path) = &options.dump {
        return case.dump(path, &trainer.parameters);
    }
    let losses: Vec<f32> = case.batches.iter().cycle().take(LOSS_STEPS).map(|batch| trainer.step(batch).total).collect();
    if std::env::var("PROF").is_ok() {
        trainer.start_profile();
        let t = std::time::Instant::now();
        for b in case.batches.iter().cycle().take(200) {
            trainer.step(b);
        }
        let total = t.elapsed().as_secs_f64();
        let ps = trainer.profile();
        let mut map: std::collections::BTreeMap<(String, String), (f64, f64, f64, u32)> = Default::default();
        for p in &ps {
            let e = map.entry((p.op.to_string(), p.shape.clone())).or_default();
            e.0 += p.seconds;
            e.1 += p.flops;
            e.2 += p.bytes;
            e.3 += 1;
        }
        let mut v: Vec<_> = map.into_iter().collect();
        v.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
        let sum: f64 = ps.iter().map(|p| p.seconds).sum();
        eprintln!("total {:.2} ms/step, in ops {:.2}", total * 5.0, sum * 5.0);
        for (k, (s, f, b, n)) in v.iter().take(30) {
            eprintln!(
                "{:6.3} ms {:5.1}% {:7.1} GF/s {:7.1} GB/s x{n} {} {}",
                s * 5.0,
                s / total * 100.0,
                f / s * 1e-9,
                b / s * 1e-9,
                k.0,
                k.1
            );
        }
        return Ok(());
    }
    let mut turns = case.batches.iter().cycle().skip(LOSS_STEPS);
    peer::measure(options, &losses, || {
        if let Some(batch) = turns.next() {
            trainer.step(batch);
        }
    });
    Ok(())
}

fn main() -> ExitCode {
    peer::main(run)
}

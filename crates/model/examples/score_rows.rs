//! Scores rows of JSON-like pairs with a trained model, from several threads at once.
//!
//! `cargo run --release -p rankmill-model --example score_rows -- MODEL user_id=6040,movie_id=1193 user_id=1,movie_id=595`

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use rankmill_model::ConcurrentPredictor;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().map(PathBuf::from).ok_or("usage: score_rows MODEL FIELD=TEXT,FIELD=TEXT ...")?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let model = ConcurrentPredictor::load(&model, threads)?;
    let mut rows = model.rows();
    for row in arguments {
        rows.push(row.split(',').filter_map(|pair| pair.split_once('=')))?;
    }
    // The model is shared, and no thread waits for another.
    std::thread::scope(|scope| {
        for _ in 0..model.threads() {
            scope.spawn(|| match model.score(&rows) {
                Ok(outputs) => outputs.iter().for_each(|output| report(&output.name, &output.values)),
                Err(error) => report(&error.to_string(), &[]),
            });
        }
    });
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn report(name: &str, values: &[f32]) {
    println!("{name} {values:?}");
}

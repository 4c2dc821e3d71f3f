//! Every model class has an example that learns from made-up rows, and its line in the user book.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rankmill_data::FeatureBatch;

use crate::common::{Rows, example, examples_folder, pipeline, trainer};

/// The classes of the examples, with their names.
fn examples() -> BTreeMap<String, String> {
    let names = fs::read_dir(examples_folder()).expect("the examples").map(|entry| entry.expect("an entry").path());
    names
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let class = pipeline(&name, &example(&name), &[]).proto.model_config.expect("a model").model_class().to_owned();
            (class, name)
        })
        .collect()
}

#[test]
fn every_model_class_has_an_example() {
    let known: Vec<&str> = rankmill_model::class_names().collect();
    assert_eq!(examples().keys().map(String::as_str).collect::<Vec<_>>(), known);
}

#[test]
fn every_example_learns() {
    let rows = Rows::new(3000);
    for name in examples().values() {
        let pipeline = pipeline(name, &example(name), &["data_config.num_epochs=4"]);
        let (mut trainer, features) = trainer(&pipeline);
        // The distance that a light network keeps from its booster grows while that one learns.
        let mut step = |batch: &FeatureBatch| {
            let total = trainer.step(batch).total;
            total - trainer.loss_terms().filter(|(name, _)| name.contains("hint")).map(|(_, loss)| loss).sum::<f32>()
        };
        let losses: Vec<f32> = rows.batches(&pipeline, &features).map(|batch| step(&batch)).collect();
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        let (first, last) = (mean(&losses[..4]), mean(&losses[losses.len() - 4..]));
        assert!(last < 0.97 * first, "{name}: from {first} to {last}");
    }
}

#[test]
fn the_book_has_a_line_for_every_class() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/models.md");
    let text = fs::read_to_string(page).expect("docs/models.md can be read");
    for (class, name) in examples() {
        let line = format!("| [`{class}`](../examples/models/{name}.config) |");
        assert!(text.contains(&line), "docs/models.md has no line that starts with {line}");
    }
}

//! The examples of the model classes, and made-up rows for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::synth::movielens::write_movielens;
use rankmill_data::{FeatureBatch, FeatureSet, Reader, ReaderOptions};
use rankmill_kernels::pool::Pool;
use rankmill_train::step::{Keep, Trainer, TrainerOptions};
use tempfile::TempDir;

pub(crate) fn examples_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models")
}

/// The text of an example.
pub(crate) fn example(name: &str) -> String {
    let path = examples_folder().join(format!("{name}.config"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn pipeline(name: &str, text: &str, edits: &[&str]) -> Pipeline {
    let edits = Edits { set: edits.iter().map(|edit| (*edit).to_owned()).collect(), json: None };
    Pipeline::parse(name, text, &edits).unwrap_or_else(|problems| panic!("{name}: {problems}"))
}

/// Rows in the layout of MovieLens.
pub(crate) struct Rows {
    folder: TempDir,
}

impl Rows {
    pub(crate) fn new(count: u64) -> Rows {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_movielens(folder.path(), count, 5, &mut |_| {}).expect("rows are made");
        Rows { folder }
    }

    /// The file to train on.
    pub(crate) fn train_file(&self) -> String {
        self.folder.path().join("movies_train_data").display().to_string()
    }

    /// The batches of a training.
    pub(crate) fn batches(&self, pipeline: &Pipeline, features: &FeatureSet) -> impl Iterator<Item = FeatureBatch> + use<> {
        let options = ReaderOptions::train(pipeline, vec![self.train_file()], 3).expect("reading options");
        let reader = Reader::new(options, features.clone()).expect("the rows can be read");
        reader.map(|batch| batch.expect("the rows are right").features)
    }
}

/// The model of a config, ready to be trained.
pub(crate) fn trainer(pipeline: &Pipeline) -> (Trainer, FeatureSet) {
    let name = pipeline.file_name();
    let features = FeatureSet::new(pipeline).unwrap_or_else(|problems| panic!("{name}: {problems}"));
    let pool = Arc::new(Pool::new(1).expect("threads"));
    let options = TrainerOptions { keep: Keep::Everything, ..TrainerOptions::default() };
    let trainer = Trainer::new(pipeline, &features, pool, options).unwrap_or_else(|problems| panic!("{name}: {problems}"));
    (trainer, features)
}

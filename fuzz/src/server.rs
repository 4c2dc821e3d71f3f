//! A server without addresses, of a model that was trained for a moment.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rankmill_config::{Edits, Pipeline};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_serve::{Limits, ModelSettings, ServeOptions, Server};
use rankmill_train::run::{Profile, RunOptions, Start, train};

const MODEL: &str = r#"
train_config {
  optimizer_config { adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.01 } } } }
  num_steps: 2
}
model_config {
  backbone {
    blocks {
      name: 'net' inputs { feature_group_name: 'all' }
      keras_layer { class_name: 'MaskNet' masknet {
        mask_blocks { aggregation_size: 4 output_size: 4 }
        mlp { hidden_units: [4] }
      } }
    }
    concat_blocks: 'net'
  }
}
"#;

const ROWS: &str = "1,1,0.5,a|b,c:1|d:2,os\n0,2,1.5,,c:3,\n";

/// The server, called `ctr`.
pub fn start() -> Server {
    crate::pass_over_expected_panics();
    let folder = tempfile::tempdir().expect("a folder");
    let (rows, model) = (folder.path().join("rows.csv"), folder.path().join("model"));
    std::fs::write(&rows, ROWS.repeat(16)).expect("written");
    let pipeline = Pipeline::parse("fuzz.config", &(crate::CONFIG.to_owned() + MODEL), &Edits::default()).expect("a good config");
    let options = RunOptions {
        model_dir: model.clone(),
        train_inputs: vec![rows.display().to_string()],
        eval_inputs: Vec::new(),
        start: Start::Fresh,
        eval_every: None,
        rejected: None,
        cache: None,
        seed: 1,
        precision: Precision::F32,
        profile: Profile::Off,
    };
    let pool = Arc::new(Pool::new(1).expect("a thread"));
    train(&pipeline, &options, &pool, &AtomicBool::new(false), &mut |_| {}).expect("the run works");
    let options = ServeOptions {
        models: vec![ModelSettings::new("ctr", &model)],
        addresses: Vec::new(),
        threads: NonZeroUsize::MIN,
        limits: Limits { rows: 300, ..Limits::default() },
        reload: None,
        ..ServeOptions::default()
    };
    Server::start(options).expect("it starts")
}

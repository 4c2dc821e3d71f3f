//! A run that is killed goes on with `--resume` and ends with the bits of a run that never was; so does one on another number of threads.

#![cfg(unix)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const CONFIG: &str = r#"
train_input_path: "data/movies_train_data"
eval_input_path: "data/movies_test_data"
model_dir: "model"
train_config {
  optimizer_config { adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.002 } } } }
  save_checkpoints_steps: 5
  keep_checkpoint_max: 2
  log_step_count_steps: 1000
}
eval_config { metrics_set { auc {} } }
data_config {
  input_fields { input_name: "label" input_type: INT32 }
  input_fields { input_name: "user_id" input_type: INT32 }
  input_fields { input_name: "movie_id" input_type: INT32 }
  input_fields { input_name: "rating" input_type: INT32 }
  input_fields { input_name: "gender" input_type: INT32 }
  input_fields { input_name: "age" input_type: INT32 }
  input_fields { input_name: "job_id" input_type: INT32 }
  input_fields { input_name: "zip_id" input_type: STRING }
  input_fields { input_name: "title" input_type: STRING }
  input_fields { input_name: "genres" input_type: STRING }
  input_fields { input_name: "year" input_type: INT32 }
  label_fields: "label"
  batch_size: 100
  num_epochs: 2
  shuffle_buffer_size: 500
  input_type: CSVInput
  separator: "\t"
}
feature_config {
  features { input_names: "user_id" feature_type: IdFeature embedding_dim: 8 hash_bucket_size: 2000 }
  features { input_names: "movie_id" feature_type: IdFeature embedding_dim: 8 hash_bucket_size: 1000 }
  features { input_names: "genres" feature_type: TagFeature separator: "|" embedding_dim: 8 hash_bucket_size: 50 }
}
model_config {
  model_class: "RankModel"
  feature_groups { group_name: "all" feature_names: ["user_id", "movie_id", "genres"] wide_deep: DEEP }
  backbone {
    blocks {
      name: "mask_net"
      inputs { feature_group_name: "all" }
      keras_layer {
        class_name: "MaskNet"
        masknet {
          mask_blocks { aggregation_size: 48 output_size: 32 }
          mask_blocks { aggregation_size: 48 output_size: 32 }
          mlp { hidden_units: [48, 16] dropout_ratio: [0.1, 0.1] }
        }
      }
    }
    concat_blocks: "mask_net"
  }
  embedding_regularization: 1e-5
}
"#;

fn rankmill(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rankmill"));
    command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn finish(mut command: Command) {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("pipeline.config"), CONFIG).expect("the config is written");
    let mut data = rankmill(folder.path());
    data.args(["data", "synth", "movielens", "--rows", "6000", "--seed", "3", "--output", "data"]);
    finish(data);
    folder
}

fn train(folder: &Path, model: &str, threads: &str) -> Command {
    let mut command = rankmill(folder);
    command.args(["train", "pipeline.config", "--seed", "11", "--threads", threads, "--resume", "--model-dir", model]);
    command
}

/// The bits of a model directory's newest checkpoint: its name, variables, optimizer state and reader position.
fn bits(model: &Path) -> (String, Vec<Vec<u8>>) {
    let mut all: Vec<PathBuf> =
        fs::read_dir(model.join("checkpoints")).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default();
    let step = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.strip_prefix("model.ckpt-")?.parse::<u64>().ok());
    all.retain(|path| step(path).is_some());
    all.sort_by_key(step);
    let newest = all.last().expect("there is a checkpoint");
    let files = ["variables.safetensors", "optimizer.safetensors", "trainer.json"];
    let read = |file: &&str| fs::read(newest.join(file)).expect("the checkpoint is whole");
    (newest.file_name().expect("a name").to_string_lossy().into_owned(), files.iter().map(read).collect())
}

fn kill(mut child: Child) -> bool {
    child.kill().expect("the process can be killed");
    child.wait().expect("the process ends").signal() == Some(9)
}

#[test]
fn killed_runs_end_with_the_bits_of_uninterrupted_ones() {
    let folder = folder();
    let folder = folder.path();
    finish(train(folder, "whole", "2"));
    let expected = bits(&folder.join("whole"));
    assert_eq!(expected.0, "model.ckpt-108", "two epochs of 5,400 rows");

    let (mut killed, mut in_checkpoint, mut attempts) = (0, 0, 0);
    let unfinished = |model: &Path| {
        fs::read_dir(model.join("checkpoints"))
            .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".unfinished")))
    };
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut model = 0;
    while killed < 20 {
        attempts += 1;
        assert!(attempts < 200, "the program is too fast to be killed");
        let directory = folder.join(format!("model{model}"));
        let child = train(folder, &format!("model{model}"), "2").spawn().expect("the program starts");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if attempts % 3 == 0 {
            // As soon as a checkpoint is being written.
            let started = Instant::now();
            while !unfinished(&directory) && started.elapsed() < Duration::from_secs(5) {
                std::hint::spin_loop();
            }
        } else {
            std::thread::sleep(Duration::from_micros(20_000 + (random >> 33) % 150_000));
        }
        if kill(child) {
            killed += 1;
            in_checkpoint += u32::from(unfinished(&directory));
        } else {
            // This one got through: its end must be right, and the next kills hit a fresh run.
            assert!(bits(&directory) == expected, "after {killed} kills");
            model += 1;
        }
    }
    assert!(in_checkpoint > 0, "no kill fell into the writing of a checkpoint");
    for number in 0..=model {
        finish(train(folder, &format!("model{number}"), "2"));
        assert!(bits(&folder.join(format!("model{number}"))) == expected, "model{number} after {killed} kills");
        assert!(!unfinished(&folder.join(format!("model{number}"))), "what a kill left behind is tidied up");
    }
}

#[test]
fn the_number_of_threads_does_not_change_bits() {
    let folder = folder();
    let folder = folder.path();
    for (model, threads) in [("one", "1"), ("two", "2"), ("three", "3")] {
        finish(train(folder, model, threads));
    }
    let one = bits(&folder.join("one"));
    assert!(bits(&folder.join("two")) == one && bits(&folder.join("three")) == one);
    // The seed does.
    let mut other = rankmill(folder);
    other.args(["train", "pipeline.config", "--seed", "12", "--model-dir", "other"]);
    finish(other);
    assert!(bits(&folder.join("other")).1[0] != one.1[0]);
}

#[test]
fn an_interrupt_saves_a_checkpoint_and_a_resumed_run_ends_with_the_same_bits() {
    let folder = folder();
    let folder = folder.path();
    finish(train(folder, "whole", "2"));
    let mut command = train(folder, "model", "2");
    command.args(["--set", "train_config.save_checkpoints_steps=100000"]);
    let child = command.spawn().expect("the program starts");
    std::thread::sleep(Duration::from_millis(120));
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(interrupt.success());
    child.wait_with_output().expect("the process ends");
    let (saved, _) = bits(&folder.join("model"));
    let mut command = train(folder, "model", "1");
    command.args(["--set", "train_config.save_checkpoints_steps=100000"]);
    finish(command);
    let (whole, resumed) = (bits(&folder.join("whole")), bits(&folder.join("model")));
    assert!(whole == resumed, "interrupted at {saved}");
}

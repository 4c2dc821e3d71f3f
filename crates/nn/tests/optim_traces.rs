//! Step 1, the schedules and the state of EasyRec's traces, for every optimizer case (`opt_*`) in the folders that the
//! environment variable `RANKMILL_GOLDEN` lists (`:`-separated); nothing is checked without it, which is said.
//!
//! A case folder holds `pipeline.config`, `manifest.json` (which gradients are sparse) and `trace.safetensors`: `init/<variable>`,
//! `grad1/<variable>` (densified), `after1/<variable>`, `step<k>/lr`, and `after20/<variable>` with slots and scalars.

#![expect(clippy::print_stderr, reason = "a skipped check must be seen")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rankmill_config::{Edits, Pipeline};
use rankmill_nn::optim::{Gradient, Optimizer};
use safetensors::{Dtype, SafeTensors};

/// Weights after step 1 may differ from TensorFlow's by this share of the variable's largest weight.
const TOLERANCE: f32 = 1e-6;

struct Trace {
    tensors: BTreeMap<String, Vec<f32>>,
}

impl Trace {
    fn read(file: &Path) -> Trace {
        let bytes = std::fs::read(file).expect("a readable trace");
        let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let floats = tensors.iter().filter(|(_, view)| view.dtype() == Dtype::F32).map(|(name, view)| {
            let values = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            (name.to_owned(), values)
        });
        Trace { tensors: floats.collect() }
    }

    #[track_caller]
    fn get(&self, name: &str) -> &[f32] {
        self.tensors.get(name).unwrap_or_else(|| panic!("the trace lacks {name}"))
    }
}

/// The optimizer of a case's `pipeline.config`.
fn configured(case: &Path) -> Optimizer {
    let pipeline = Pipeline::load(&case.join("pipeline.config"), &Edits::default()).expect("a valid config");
    let train = pipeline.proto.train_config.expect("a train_config");
    Optimizer::from_config(train.optimizer_config.first().expect("an optimizer")).expect("a valid optimizer")
}

fn cases() -> Vec<PathBuf> {
    let Some(folders) = std::env::var_os("RANKMILL_GOLDEN") else {
        eprintln!("SKIPPED: RANKMILL_GOLDEN names no folder of traces");
        return Vec::new();
    };
    let mut cases: Vec<PathBuf> = std::env::split_paths(&folders)
        .flat_map(|folder| std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())))
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| case_name(path).starts_with("opt_") && path.join("trace.safetensors").exists())
        .collect();
    cases.sort();
    if cases.is_empty() {
        eprintln!("SKIPPED: the folders of RANKMILL_GOLDEN hold no case opt_*");
    }
    cases
}

fn case_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("")
}

fn trained_variables(case: &Path) -> Vec<(String, usize, bool)> {
    let text = std::fs::read_to_string(case.join("manifest.json")).expect("a readable manifest");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("a JSON manifest");
    let variables = manifest["variables"].as_array().expect("a list of variables");
    let trained = variables.iter().filter(|variable| variable["sparse_grad"].is_boolean()).map(|variable| {
        let width = variable["shape"].as_array().and_then(|shape| shape.last()).and_then(|size| size.as_u64());
        let name = variable["name"].as_str().expect("a name").to_owned();
        (name, width.expect("a shape") as usize, variable["sparse_grad"] == true)
    });
    trained.collect()
}

/// Applies step 1 to one variable; the rows of a sparse gradient are those that are not all zero.
fn first_step(optimizer: &Optimizer, weights: &mut [f32], gradient: &[f32], width: usize, sparse: bool) {
    let scalars: Vec<f32> = optimizer.scalars().into_iter().map(|(_, value)| value).collect();
    let rates = optimizer.begin_step(&scalars, 0);
    let mut slots: Vec<Vec<f32>> = optimizer.slots().iter().map(|slot| vec![slot.initial; weights.len()]).collect();
    let mut slots: Vec<&mut [f32]> = slots.iter_mut().map(Vec::as_mut_slice).collect();
    if !sparse {
        return optimizer.update(&rates, weights, &mut slots, Gradient::Dense(gradient), width);
    }
    let touched = gradient.chunks_exact(width).enumerate().filter(|(_, row)| row.iter().any(|&value| value != 0.0));
    let (rows, values): (Vec<u32>, Vec<&[f32]>) = touched.map(|(row, values)| (row as u32, values)).unzip();
    assert!(!rows.is_empty(), "a gradient without rows checks nothing");
    optimizer.update(&rates, weights, &mut slots, Gradient::Rows { rows: &rows, values: &values.concat() }, width);
}

#[test]
fn the_first_step_gives_the_weights_of_the_trace() {
    for case in cases() {
        let (optimizer, trace) = (configured(&case), Trace::read(&case.join("trace.safetensors")));
        let (mut worst, mut worst_name) = (0.0f32, String::new());
        for (name, width, sparse) in trained_variables(&case) {
            let mut weights = trace.get(&format!("init/{name}")).to_vec();
            let start = weights.clone();
            first_step(&optimizer, &mut weights, trace.get(&format!("grad1/{name}")), width, sparse);
            let expected = trace.get(&format!("after1/{name}"));
            assert_ne!(start, expected, "{name} did not move: the trace checks nothing");
            let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            let difference = weights.iter().zip(expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
            if difference / largest > worst {
                (worst, worst_name) = (difference / largest, name);
            }
        }
        eprintln!("{} step 1: {worst:.1e} {worst_name}", case_name(&case));
        assert!(worst <= TOLERANCE, "{}: {worst_name} differs by {worst}", case_name(&case));
    }
}

#[test]
fn learning_rates_of_all_steps_are_those_of_the_trace() {
    for case in cases() {
        let (optimizer, trace) = (configured(&case), Trace::read(&case.join("trace.safetensors")));
        for step in 0..20 {
            let expected = trace.get(&format!("step{}/lr", step + 1))[0];
            assert_eq!(optimizer.learning_rate(step), expected, "{} at global step {step}", case_name(&case));
        }
    }
}

#[test]
fn slots_and_scalars_are_those_of_the_last_snapshot() {
    for case in cases() {
        let (optimizer, trace) = (configured(&case), Trace::read(&case.join("trace.safetensors")));
        let mut expected: Vec<String> = Vec::new();
        for (name, ..) in trained_variables(&case) {
            expected.extend(optimizer.slots().iter().map(|slot| format!("after20/{name}/{}", slot.suffix)));
        }
        let mut scalars: Vec<f32> = optimizer.scalars().into_iter().map(|(_, value)| value).collect();
        (0..20).for_each(|_| optimizer.end_step(&mut scalars));
        for ((name, _), value) in optimizer.scalars().iter().zip(scalars) {
            assert_eq!(value, trace.get(&format!("after20/{name}"))[0], "{}: {name}", case_name(&case));
            expected.push(format!("after20/{name}"));
        }
        // What the last snapshot holds beside the variables of the earlier ones.
        let mut added: Vec<String> = trace
            .tensors
            .keys()
            .filter(|key| key.strip_prefix("after20/").is_some_and(|name| !trace.tensors.contains_key(&format!("init/{name}"))))
            .cloned()
            .collect();
        expected.sort();
        added.sort();
        assert_eq!(added, expected, "{}", case_name(&case));
    }
}

#[test]
fn rows_never_seen_keep_the_slots_they_began_with() {
    for case in cases() {
        let (optimizer, trace) = (configured(&case), Trace::read(&case.join("trace.safetensors")));
        if (0..20).any(|step| optimizer.learning_rate(step) == 0.0) {
            // Rows first seen at rate 0 have moments but have not moved, so they cannot be told apart.
            continue;
        }
        let mut checked = 0;
        for (name, width, _) in trained_variables(&case).into_iter().filter(|(_, _, sparse)| *sparse) {
            let (before, after) = (trace.get(&format!("init/{name}")), trace.get(&format!("after20/{name}")));
            for slot in optimizer.slots() {
                let values = trace.get(&format!("after20/{name}/{}", slot.suffix));
                let rows = before.chunks_exact(width).zip(after.chunks_exact(width)).zip(values.chunks_exact(width));
                for ((before, after), slot_values) in rows {
                    if before == after {
                        assert!(slot_values.iter().all(|&value| value == slot.initial), "{name}/{}", slot.suffix);
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 0, "{}: every row was seen", case_name(&case));
    }
}

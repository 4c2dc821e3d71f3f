//! Checkpoints: a bundle with the optimizer's state and the reader's position beside it, from which a run goes on with the same bits.
//!
//! A checkpoint is written into a directory of another name, synced, and renamed: whenever the process dies, all checkpoints that can be
//! found are whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rankmill_config::Pipeline;
use rankmill_data::Position;
use rankmill_kernels::gemm::Precision;
use rankmill_model::Parameter;
use rankmill_model::bundle::{
    self, BundleError, CHECKPOINTS, Manifest, checkpoint_name, checkpoints, write_bundle, write_file, write_integers, write_tensors,
};
use rankmill_model::{Admission, Parameters, TableKeys};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::step::Trainer;

const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const ADMISSION_FILE: &str = "admission.safetensors";
const ADMISSION_SUFFIXES: [&str; 5] = ["freqs", "versions", "keys_filtered", "freqs_filtered", "versions_filtered"];
const STATE_FILE: &str = "trainer.json";
pub(crate) const UNFINISHED: &str = ".unfinished-";

/// The state of a run beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Steps done.
    pub global_step: u64,
    /// Seed of initial values and random layers.
    pub seed: u64,
    /// Where the stream of rows stands.
    pub position: Position,
    /// Rows trained on.
    pub rows: u64,
    /// Name of the precision of the last step.
    #[serde(default = "single_precision")]
    pub precision: String,
}

/// That of checkpoints which don't name it.
fn single_precision() -> String {
    Precision::F32.name().to_owned()
}

/// Whether a file of a checkpoint is read by nobody but a run that goes on.
pub(crate) fn is_state(file: &Path) -> bool {
    file.file_name().is_some_and(|name| [OPTIMIZER_FILE, ADMISSION_FILE, STATE_FILE].iter().any(|state| name == *state))
}

/// Writes a checkpoint of `trainer` and removes all but the newest `keep`; with 0 all are kept, as in TensorFlow.
///
/// # Errors
/// If the file system refuses; older checkpoints are then untouched.
pub fn save(
    model_dir: &Path,
    pipeline: &Pipeline,
    trainer: &mut Trainer,
    state: &RunState,
    manifest: &Manifest,
    keep: usize,
) -> Result<PathBuf, BundleError> {
    let folder = model_dir.join(CHECKPOINTS);
    fs::create_dir_all(&folder).map_err(BundleError::io(&folder))?;
    let path = folder.join(checkpoint_name(state.global_step));
    if path.is_dir() {
        // A resumed run comes by here with the same bits.
        return Ok(path);
    }
    let aside = folder.join(format!("{UNFINISHED}{}", state.global_step));
    remove(&aside)?;
    fs::create_dir(&aside).map_err(BundleError::io(&aside))?;
    let written = write_files(&aside, pipeline, trainer, state, manifest)
        .and_then(|()| sync_directory(&aside))
        .and_then(|()| fs::rename(&aside, &path).map_err(BundleError::io(&path)))
        .and_then(|()| sync_directory(&folder));
    if let Err(error) = written {
        // The disk may be full: what was written aside only takes room. The first error is the one to report.
        let _ = fs::remove_dir_all(&aside);
        return Err(error);
    }
    let mut all = checkpoints(model_dir)?;
    all.truncate(if keep == 0 { 0 } else { all.len().saturating_sub(keep) });
    for (_, old) in all {
        remove(&old)?;
    }
    Ok(path)
}

fn write_files(
    directory: &Path,
    pipeline: &Pipeline,
    trainer: &mut Trainer,
    state: &RunState,
    manifest: &Manifest,
) -> Result<(), BundleError> {
    let (parameters, tensors) = trainer.state();
    write_bundle(directory, pipeline, parameters, manifest)?;
    let views = tensors.iter().map(|(name, shape, values)| (name.as_str(), shape.as_slice(), *values));
    write_tensors(&directory.join(OPTIMIZER_FILE), views)?;
    let admissions = admissions(trainer.parameters());
    if !admissions.is_empty() {
        write_integers(&directory.join(ADMISSION_FILE), &admissions)?;
    }
    let file = directory.join(STATE_FILE);
    let text = serde_json::to_string_pretty(state).map_err(|error| damaged(&file, error))?;
    write_file(&file, text.as_bytes())
}

/// How often each key of the dynamic tables has come, and when last, by the names that DeepRec's checkpoints have for them.
fn admissions(parameters: &Parameters) -> Vec<(String, Vec<i64>)> {
    let named = |keys: &TableKeys| {
        let Admission { counts, last_steps, filtered_keys, filtered_counts, filtered_last_steps } = keys.admission();
        let lists = [counts, last_steps, filtered_keys, filtered_counts, filtered_last_steps];
        ADMISSION_SUFFIXES.map(|suffix| format!("{}-{suffix}", keys.name())).into_iter().zip(lists)
    };
    parameters.keys.iter().flat_map(named).collect()
}

fn read_admissions(file: &Path, parameters: &mut Parameters) -> Result<(), BundleError> {
    let mut lists: BTreeMap<String, Vec<i64>> = bundle::read_integers(file)?.into_iter().collect();
    for keys in &mut parameters.keys {
        let mut list = |suffix: &str| {
            let name = format!("{}-{suffix}", keys.name());
            lists.remove(&name).ok_or_else(|| BundleError::damaged(file, format!("there is no `{name}`")))
        };
        let [counts, last_steps, filtered_keys, filtered_counts, filtered_last_steps] = ADMISSION_SUFFIXES.map(&mut list);
        let admission = Admission {
            counts: counts?,
            last_steps: last_steps?,
            filtered_keys: filtered_keys?,
            filtered_counts: filtered_counts?,
            filtered_last_steps: filtered_last_steps?,
        };
        keys.restore(&admission).map_err(|reason| BundleError::damaged(file, reason))?;
    }
    Ok(())
}

/// The tensors of the optimizer's state in a checkpoint; none in a bundle without it.
///
/// # Errors
/// If the file is damaged.
pub(crate) fn read_optimizer(checkpoint: &Path) -> Result<Vec<Parameter>, BundleError> {
    let file = checkpoint.join(OPTIMIZER_FILE);
    if file.is_file() { bundle::read_tensors(&file) } else { Ok(Vec::new()) }
}

/// The newest checkpoint's state and manifest, its tensors put into `trainer`; `None` if there is no checkpoint.
///
/// # Errors
/// If a file is damaged or doesn't fit the config.
pub fn restore(model_dir: &Path, trainer: &mut Trainer) -> Result<Option<(RunState, Manifest)>, TrainError> {
    let Some((_, path)) = checkpoints(model_dir)?.pop() else { return Ok(None) };
    let state = read_state(&path)?;
    let mut saved = bundle::Bundle::open(&path)?;
    if !saved.parameters.keys.is_empty() {
        read_admissions(&path.join(ADMISSION_FILE), &mut saved.parameters)?;
    }
    trainer.restore(&saved.parameters, &bundle::read_tensors(&path.join(OPTIMIZER_FILE))?)?;
    trainer.global_step = state.global_step;
    Ok(Some((state, saved.manifest)))
}

/// The state of a run beside its tensors.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read_state(checkpoint: &Path) -> Result<RunState, BundleError> {
    let file = checkpoint.join(STATE_FILE);
    let text = fs::read_to_string(&file).map_err(BundleError::io(&file))?;
    serde_json::from_str(&text).map_err(|error| damaged(&file, error))
}

/// Removes all checkpoints of a model directory, unfinished ones too.
///
/// # Errors
/// If the file system refuses.
pub fn clear(model_dir: &Path) -> Result<(), BundleError> {
    remove(&model_dir.join(CHECKPOINTS))
}

/// Removes what a killed run left half-written.
///
/// # Errors
/// If the file system refuses.
pub fn tidy(model_dir: &Path) -> Result<(), BundleError> {
    let folder = model_dir.join(CHECKPOINTS);
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a directory if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), BundleError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BundleError::Io { path: path.to_owned(), error }),
        _ => Ok(()),
    }
}

/// Makes sure that the entries of a directory are on disk.
pub(crate) fn sync_directory(path: &Path) -> Result<(), BundleError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(BundleError::io(path))
}

fn damaged(path: &Path, error: impl ToString) -> BundleError {
    BundleError::Damaged { path: path.to_owned(), reason: error.to_string() }
}

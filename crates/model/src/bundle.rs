//! A model on disk: a directory with
//! - `pipeline.config`: the resolved config;
//! - `variables.safetensors`: the variables under EasyRec's names;
//! - `keys.safetensors`: the keys of dynamic tables, if there are any, in the order of their rows, from the second row on;
//! - `assets/`: vocabulary files that the config names;
//! - `manifest.json`: versions, data fingerprints, and golden rows with their scores;
//! - `calibration.json`, if it was calibrated (see [`Calibration`](crate::Calibration)).
//!
//! A directory is written aside, synced and renamed, so that there is never half a model. [`pack`](crate::pack) makes one file of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rankmill_config::{Diagnostics, Edits, Pipeline};
use rankmill_data::{InputFile, KeptColumn, Origin, RawRows};
use rankmill_kernels::mapped::{MappedFile, MappedNumbers};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::calibration::CALIBRATION_FILE;
use crate::dynamic::TableKeys;
use crate::model::Output;
use crate::packed::Files;
use crate::parameters::{Parameter, Parameters};
use crate::predictor::{Predictor, Scores};

/// The layout of the directory that this version writes and reads.
const FORMAT: u32 = 2;

/// The config of a bundle.
pub const CONFIG_FILE: &str = "pipeline.config";
/// The variables of a bundle.
pub const VARIABLES_FILE: &str = "variables.safetensors";
/// The keys of a bundle's dynamic tables.
pub const KEYS_FILE: &str = "keys.safetensors";
/// What a bundle says about itself; the last of its files.
pub const MANIFEST_FILE: &str = "manifest.json";
/// What follows the name of a dynamic table in the name of its keys, as in DeepRec's checkpoints.
const KEYS_SUFFIX: &str = "-keys";
const ASSETS: &str = "assets";
/// Where a model directory keeps its checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
const CHECKPOINT_PREFIX: &str = "model.ckpt-";

/// Why a bundle can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// There is no model.
    #[error("{}: this is neither a model directory (with `checkpoints/`) nor a bundle (with `manifest.json`)", path.display())]
    NoModel {
        /// The directory.
        path: PathBuf,
    },
    /// A file holds something else than it should.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The bundle's config can't be read or built.
    #[error("{0}")]
    Config(Diagnostics),
    /// A golden row scores differently than when the model was written.
    #[error("{}: golden row {row} has {output} {found}, but had {expected} when the model was written", path.display())]
    Golden {
        /// The bundle.
        path: PathBuf,
        /// The row, counted from 0.
        row: usize,
        /// The prediction that differs.
        output: String,
        /// Its value then.
        expected: f32,
        /// Its value now.
        found: f32,
    },
}

impl BundleError {
    /// An error of the file system at `path`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> BundleError {
        let path = path.to_owned();
        move |error| BundleError::Io { path, error }
    }

    /// A file that holds something else than it should.
    pub fn damaged(path: &Path, reason: impl ToString) -> BundleError {
        BundleError::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Rows as text and what the model predicted for them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GoldenRows {
    /// The fields of each row, in the order of `data_config.input_fields`.
    pub rows: Vec<Vec<String>>,
    /// The predictions.
    #[serde(default)]
    pub outputs: Vec<GoldenOutput>,
}

/// A prediction for the golden rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenOutput {
    /// EasyRec's name.
    pub name: String,
    /// The bits of the values, row after row.
    pub bits: Vec<u32>,
}

impl GoldenRows {
    /// Takes the first rows of a batch whose input fields were all kept, with their scores; rows that are not UTF-8 are left out.
    pub fn from_batch(kept: &[KeptColumn], outputs: &[Output], scores: &Scores, limit: usize) -> GoldenRows {
        let named = outputs.iter().map(|output| GoldenOutput { name: output.name.clone(), bits: Vec::new() });
        let mut golden = GoldenRows { rows: Vec::new(), outputs: named.collect() };
        let count = kept.first().map_or(0, |column| column.offsets.len() - 1);
        for row in 0..count {
            if golden.rows.len() == limit {
                break;
            }
            let fields = kept.iter().map(|column| String::from_utf8(column.row(row).to_vec())).collect::<Result<Vec<_>, _>>();
            if let Ok(fields) = fields {
                golden.rows.push(fields);
                for ((golden, output), values) in golden.outputs.iter_mut().zip(outputs).zip(&scores.columns) {
                    golden.bits.extend(values[row * output.width..(row + 1) * output.width].iter().map(|value| value.to_bits()));
                }
            }
        }
        golden
    }

    fn verify(&self, predictor: &mut Predictor, same_arithmetic: bool, path: &Path) -> Result<(), BundleError> {
        let Some(first) = self.rows.first() else { return Ok(()) };
        let manifest = path.join(MANIFEST_FILE);
        let mut rows = RawRows::new(first.len(), Arc::from([manifest.display().to_string()]));
        for (i, fields) in self.rows.iter().enumerate() {
            let origin = Origin { file: 0, line: i as u64 + 1 };
            rows.push_fields(fields.iter().map(String::as_bytes), origin).map_err(|rule| BundleError::damaged(&manifest, rule))?;
        }
        let batch = predictor.features.transform(&rows).map_err(|error| BundleError::damaged(&manifest, error))?;
        let scores = predictor.score(&batch);
        for golden in &self.outputs {
            let place = predictor.outputs().iter().position(|output| output.name == golden.name);
            let place = place.ok_or_else(|| BundleError::damaged(&manifest, format!("the model predicts no `{}`", golden.name)))?;
            let width = predictor.outputs()[place].width;
            let values = &scores.columns[place];
            if values.len() != golden.bits.len() {
                return Err(BundleError::damaged(&manifest, format!("`{}` has another number of values than rows", golden.name)));
            }
            for (i, (bits, found)) in golden.bits.iter().zip(values).enumerate() {
                let expected = f32::from_bits(*bits);
                let close = (expected - found).abs() <= 1e-6 * expected.abs().max(1.0);
                if found.to_bits() != *bits && (same_arithmetic || !close) {
                    let (path, output) = (path.to_owned(), golden.name.clone());
                    return Err(BundleError::Golden { path, row: i / width, output, expected, found: *found });
                }
            }
        }
        Ok(())
    }
}

/// What a bundle says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the directory.
    pub format: u32,
    /// Version of Rankmill that wrote it.
    pub rankmill: String,
    /// Steps trained.
    pub global_step: u64,
    /// Kind of processor on which the golden rows were scored.
    pub processor: String,
    /// CRC-32C of the file of variables; older bundles have none.
    #[serde(default)]
    pub variables: Option<u32>,
    /// CRC-32C of the file of keys; none without dynamic tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u32>,
    /// The training files: path, size and fingerprint.
    pub data: Vec<DataFile>,
    /// Rows that must score the same when the model is loaded.
    pub golden: GoldenRows,
}

/// A training file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its path.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Fingerprint of its content.
    pub fingerprint: u64,
}

impl Manifest {
    /// The manifest of a bundle, packed or not.
    ///
    /// # Errors
    /// If it can't be read, or is damaged.
    pub fn read(bundle: &Path) -> Result<Manifest, BundleError> {
        let mut files = if bundle.is_file() { Files::packed(bundle)? } else { Files::Directory(bundle.to_owned()) };
        let file = files.path().join(MANIFEST_FILE);
        serde_json::from_str(&files.read_text(MANIFEST_FILE)?).map_err(|error| BundleError::damaged(&file, error))
    }

    /// Checks that the golden rows score as they did: the same bits by the same version on the same kind of processor, within 1e-6 otherwise.
    pub(crate) fn verify(&self, predictor: &mut Predictor, path: &Path) -> Result<(), BundleError> {
        let same_arithmetic = self.processor == processor() && self.rankmill == env!("CARGO_PKG_VERSION");
        self.golden.verify(predictor, same_arithmetic, path)
    }

    /// Whether `files` have the content of those the model was trained on, in the same order.
    pub fn trained_on(&self, files: &[InputFile]) -> bool {
        let known = self.data.iter().map(|file| (file.bytes, file.fingerprint));
        known.eq(files.iter().map(|file| (file.bytes, file.fingerprint)))
    }

    /// The manifest of a model trained on `files`.
    pub fn new(global_step: u64, files: &[InputFile], golden: GoldenRows) -> Manifest {
        let data =
            files.iter().map(|file| DataFile { path: file.path.clone(), bytes: file.bytes, fingerprint: file.fingerprint }).collect();
        let (rankmill, processor) = (env!("CARGO_PKG_VERSION").to_owned(), processor());
        Manifest { format: FORMAT, rankmill, global_step, processor, variables: None, keys: None, data, golden }
    }
}

/// The kind of processor: architecture and the instruction set the kernels use.
pub fn processor() -> String {
    format!("{} {:?}", std::env::consts::ARCH, rankmill_kernels::dispatch::level())
}

/// Where large variables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// In memory of the process, on large pages where the system has them.
    #[default]
    Memory,
    /// In their file, which is mapped into memory: processes share them, and the system reads them when they are first looked at. The
    /// file must then be replaced by renaming and never be written to.
    File,
}

/// A bundle in memory.
#[derive(Debug)]
pub struct Bundle {
    /// Where it was read from.
    pub path: PathBuf,
    /// The config.
    pub pipeline: Pipeline,
    /// The variables.
    pub parameters: Parameters,
    /// What it says about itself.
    pub manifest: Manifest,
    /// The text of its calibration, if it has one.
    pub(crate) calibration: Option<String>,
    /// Variables that stay in their file, by place; the values of their parameters are empty.
    pub(crate) mapped: MappedVariables,
}

/// Variables that stay in their file, by their place among all.
pub(crate) type MappedVariables = BTreeMap<usize, MappedNumbers>;

/// Bytes from which on a variable is worth mapping.
const LEAST_MAPPED: usize = 32 << 10;

impl Bundle {
    /// Reads a bundle, packed or not, or the newest checkpoint of a model directory.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn open(path: &Path) -> Result<Bundle, BundleError> {
        Bundle::read(path, Storage::Memory)
    }

    /// The same with large variables where `storage` has them.
    pub(crate) fn read(path: &Path, storage: Storage) -> Result<Bundle, BundleError> {
        let mut files = if path.is_file() { Files::packed(path)? } else { Files::Directory(locate(path)?) };
        let path = files.path().to_owned();
        let file = path.join(MANIFEST_FILE);
        let text = files.read_text(MANIFEST_FILE)?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| BundleError::damaged(&file, error))?;
        if manifest.format != FORMAT {
            return Err(BundleError::damaged(&file, format!("layout {}; this version reads {FORMAT}", manifest.format)));
        }
        let name = path.join(CONFIG_FILE).display().to_string();
        let mut pipeline = Pipeline::parse(&name, &files.read_text(CONFIG_FILE)?, &Edits::default()).map_err(BundleError::Config)?;
        for config in feature_configs(&mut pipeline) {
            if config.vocab_file().starts_with(ASSETS) {
                config.vocab_file = Some(path.join(config.vocab_file()).display().to_string());
            }
        }
        let file = path.join(VARIABLES_FILE);
        let (read, map) = match storage {
            Storage::Memory => (files.read(VARIABLES_FILE)?, None),
            Storage::File => (Vec::new(), Some(files.map(VARIABLES_FILE)?)),
        };
        let bytes = map.as_deref().unwrap_or(&read);
        if manifest.variables.is_some_and(|expected| crc32c::crc32c(bytes) != expected) {
            return Err(BundleError::damaged(&file, "its content is not what was written: the checksum in the manifest differs"));
        }
        let mut mapped = MappedVariables::new();
        let mut entries = Vec::new();
        for (place, (parameter, numbers)) in tensors(bytes, map.as_ref(), &file)?.into_iter().enumerate() {
            entries.push(parameter);
            mapped.extend(numbers.map(|numbers| (place, numbers)));
        }
        let mut parameters = Parameters { entries, keys: Vec::new() };
        if let Some(expected) = manifest.keys {
            let (bytes, file) = (files.read(KEYS_FILE)?, path.join(KEYS_FILE));
            if crc32c::crc32c(&bytes) != expected {
                return Err(BundleError::damaged(&file, "its content is not what was written: the checksum in the manifest differs"));
            }
            for (name, keys) in integers(&bytes, &file)? {
                let keys = TableKeys::with_keys(name.strip_suffix(KEYS_SUFFIX).unwrap_or(&name), &keys);
                parameters.keys.push(keys.map_err(|reason| BundleError::damaged(&file, reason))?);
            }
        }
        let calibration = files.read_text_if_there(CALIBRATION_FILE)?;
        Ok(Bundle { path, pipeline, parameters, manifest, calibration, mapped })
    }
}

/// Writes a bundle's files into an existing directory.
///
/// # Errors
/// If the file system refuses.
pub fn write_bundle(directory: &Path, pipeline: &Pipeline, parameters: &Parameters, manifest: &Manifest) -> Result<(), BundleError> {
    let mut resolved = pipeline.clone();
    let assets = directory.join(ASSETS);
    for (i, config) in feature_configs(&mut resolved).enumerate() {
        if config.vocab_file().is_empty() {
            continue;
        }
        fs::create_dir_all(&assets).map_err(BundleError::io(&assets))?;
        let source = PathBuf::from(config.vocab_file());
        let name = format!("{i}_{}", source.file_name().and_then(|name| name.to_str()).unwrap_or("vocabulary"));
        let target = assets.join(&name);
        fs::copy(&source, &target).map_err(BundleError::io(&source))?;
        config.vocab_file = Some(format!("{ASSETS}/{name}"));
    }
    resolved.take_over();
    write_file(&directory.join(CONFIG_FILE), resolved.to_text().as_bytes())?;
    let tensors = parameters.entries.iter().map(|entry| (entry.name.as_str(), entry.shape.as_slice(), entry.values.as_slice()));
    let variables = directory.join(VARIABLES_FILE);
    write_tensors(&variables, tensors)?;
    let checksum = checksum(&variables).map_err(BundleError::io(&variables))?;
    let keys = write_keys(directory, parameters)?;
    let manifest = Manifest { variables: Some(checksum), keys, ..manifest.clone() };
    let text = serde_json::to_string_pretty(&manifest).map_err(|error| BundleError::damaged(&directory.join(MANIFEST_FILE), error))?;
    write_file(&directory.join(MANIFEST_FILE), text.as_bytes())
}

/// Writes the keys of dynamic tables, if there are any; gives the file's checksum.
fn write_keys(directory: &Path, parameters: &Parameters) -> Result<Option<u32>, BundleError> {
    if parameters.keys.is_empty() {
        return Ok(None);
    }
    let file = directory.join(KEYS_FILE);
    let named: Vec<(String, Vec<i64>)> =
        parameters.keys.iter().map(|keys| (format!("{}{KEYS_SUFFIX}", keys.name()), keys.keys())).collect();
    write_integers(&file, &named)?;
    checksum(&file).map(Some).map_err(BundleError::io(&file))
}

/// CRC-32C of a file, which may be larger than memory has room for once more.
fn checksum(path: &Path) -> std::io::Result<u32> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut sum = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum),
            length => sum = crc32c::crc32c_append(sum, &buffer[..length]),
        }
    }
}

pub(crate) fn feature_configs(pipeline: &mut Pipeline) -> impl Iterator<Item = &mut rankmill_config::proto::FeatureConfig> {
    let new = pipeline.proto.feature_config.iter_mut().flat_map(|config| &mut config.features);
    new.chain(&mut pipeline.proto.feature_configs)
}

/// Writes a file and syncs it.
///
/// # Errors
/// If the file system refuses.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), BundleError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(BundleError::io(path))
}

/// Writes `f32` tensors as safetensors and syncs the file.
///
/// # Errors
/// If the file system refuses.
pub fn write_tensors<'a>(path: &Path, tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [f32])>) -> Result<(), BundleError> {
    write_views(
        path,
        tensors.map(|(name, shape, values)| (name, TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values)))),
    )
}

/// Writes lists of integers as safetensors and syncs the file.
///
/// # Errors
/// If the file system refuses.
pub fn write_integers(path: &Path, lists: &[(String, Vec<i64>)]) -> Result<(), BundleError> {
    let views = lists.iter().map(|(name, list)| {
        let bytes = bytemuck::cast_slice(list.as_slice());
        (name.as_str(), TensorView::new(Dtype::I64, vec![list.len()], bytes))
    });
    write_views(path, views)
}

fn write_views<'a>(
    path: &Path,
    views: impl Iterator<Item = (&'a str, Result<TensorView<'a>, safetensors::SafeTensorError>)>,
) -> Result<(), BundleError> {
    let views = views
        .map(|(name, view)| view.map(|view| (name, view)).map_err(|error| BundleError::damaged(path, error)))
        .collect::<Result<Vec<_>, _>>()?;
    safetensors::serialize_to_file(views, None, path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => BundleError::Io { path: path.to_owned(), error },
        other => BundleError::damaged(path, other),
    })?;
    File::open(path).and_then(|file| file.sync_all()).map_err(BundleError::io(path))
}

/// Reads all tensors of a safetensors file, in the order of their names.
///
/// # Errors
/// If the file is damaged or holds something else than `f32`.
pub fn read_tensors(path: &Path) -> Result<Vec<Parameter>, BundleError> {
    let bytes = fs::read(path).map_err(BundleError::io(path))?;
    Ok(tensors(&bytes, None, path)?.into_iter().map(|(parameter, _)| parameter).collect())
}

/// Reads all lists of a safetensors file of integers, in the order of their names.
///
/// # Errors
/// If the file is damaged or holds something else than lists of `i64`.
pub fn read_integers(path: &Path) -> Result<Vec<(String, Vec<i64>)>, BundleError> {
    integers(&fs::read(path).map_err(BundleError::io(path))?, path)
}

/// The lists of a safetensors file that was read from `path`.
fn integers(bytes: &[u8], path: &Path) -> Result<Vec<(String, Vec<i64>)>, BundleError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| BundleError::damaged(path, error))?;
    let mut lists = Vec::with_capacity(file.len());
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::I64 || view.shape().len() != 1 {
            return Err(BundleError::damaged(path, format!("`{name}` is no list of I64")));
        }
        let (numbers, _) = view.data().as_chunks::<8>();
        lists.push((name.to_owned(), numbers.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()));
    }
    lists.sort();
    Ok(lists)
}

/// The tensors of a safetensors file that was read or mapped from `path`; large ones of a mapped file stay there.
fn tensors(bytes: &[u8], map: Option<&MappedFile>, path: &Path) -> Result<Vec<(Parameter, Option<MappedNumbers>)>, BundleError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| BundleError::damaged(path, error))?;
    let mut entries = Vec::with_capacity(file.len());
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(BundleError::damaged(path, format!("tensor `{name}` is {:?}, not F32", view.dtype())));
        }
        let data = view.data();
        let numbers = map.filter(|_| data.len() >= LEAST_MAPPED).and_then(|map| {
            let start = data.as_ptr() as usize - bytes.as_ptr() as usize;
            map.numbers(start..start + data.len())
        });
        let values = match numbers {
            Some(_) => Vec::new(),
            None => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        };
        entries.push((Parameter { name: name.to_owned(), shape: view.shape().to_vec(), trainable: true, values }, numbers));
    }
    entries.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    Ok(entries)
}

/// The bundle that `directory` is, or its newest checkpoint.
///
/// # Errors
/// If it is neither.
pub fn locate(directory: &Path) -> Result<PathBuf, BundleError> {
    if directory.join(MANIFEST_FILE).is_file() {
        return Ok(directory.to_owned());
    }
    let newest = checkpoints(directory)?.pop();
    newest.map(|(_, path)| path).ok_or_else(|| BundleError::NoModel { path: directory.to_owned() })
}

/// The name of a checkpoint.
pub fn checkpoint_name(global_step: u64) -> String {
    format!("{CHECKPOINT_PREFIX}{global_step}")
}

/// The checkpoints of a model directory, by step.
///
/// # Errors
/// If the directory can't be listed; one that isn't there has no checkpoints.
pub fn checkpoints(directory: &Path) -> Result<Vec<(u64, PathBuf)>, BundleError> {
    let folder = directory.join(CHECKPOINTS);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(BundleError::Io { path: folder, error }),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(BundleError::io(&folder))?;
        let name = entry.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix(CHECKPOINT_PREFIX)).and_then(|step| step.parse().ok());
        found.extend(step.map(|step| (step, entry.path())));
    }
    found.sort();
    Ok(found)
}

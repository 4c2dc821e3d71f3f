//! A trace of EasyRec, and the case folder around it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rankmill_config::proto::easy_rec_model::Model as ModelMessage;
use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet, Reader, ReaderOptions};
use rankmill_model::{Model, Purpose, feature_set};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Named tensors.
#[derive(Default)]
pub(crate) struct Trace(BTreeMap<String, Tensor>);

impl Trace {
    pub(crate) fn read(path: &Path) -> Trace {
        let mut tensors = BTreeMap::new();
        let convert = |name: &str, view: &TensorView<'_>| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
                Dtype::I32 => data.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32).collect(),
                Dtype::I64 => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")) as f32).collect(),
                _ => Vec::new(),
            };
            tensors.insert(name.to_owned(), Tensor { shape: view.shape().to_vec(), values });
        };
        each_tensor(path, convert);
        Trace(tensors)
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[f32]> {
        self.0.get(name).map(|tensor| tensor.values.as_slice())
    }

    /// All tensors whose name starts with `prefix`, the prefix taken off.
    pub(crate) fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        self.0.iter().filter_map(move |(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)))
    }
}

/// Exact values of tensors of a trace, which `reference/exact.py` computed in double precision; none for most cases.
#[derive(Default)]
pub(crate) struct Exact(BTreeMap<String, Vec<f64>>);

impl Exact {
    pub(crate) fn of_case(name: &str) -> Exact {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/exact/{name}.safetensors"));
        let mut tensors = BTreeMap::new();
        if path.is_file() {
            each_tensor(&path, |name, view| {
                assert_eq!(view.dtype(), Dtype::F64, "exact values have double precision");
                let values = view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes")));
                tensors.insert(name.to_owned(), values.collect());
            });
        }
        Exact(tensors)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[f64]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

fn each_tensor(path: &Path, mut visit: impl FnMut(&str, &TensorView<'_>)) {
    let bytes = fs::read(path).expect("the tensors can be read");
    let file = SafeTensors::deserialize(&bytes).expect("the file is whole");
    file.iter().for_each(|(name, view)| visit(name, &view));
}

/// A case: what was run, on which rows, and what came of it.
pub(crate) struct Case {
    pub(crate) folder: PathBuf,
    pub(crate) manifest: serde_json::Value,
    pub(crate) pipeline: Pipeline,
    pub(crate) features: FeatureSet,
    pub(crate) trace: Trace,
    pub(crate) exact: Exact,
    pub(crate) steps: u64,
}

impl Case {
    pub(crate) fn read(folder: &Path) -> Case {
        let text = fs::read_to_string(folder.join("manifest.json")).expect("a manifest");
        let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let pipeline = Pipeline::load(&folder.join("pipeline.config"), &Edits::default()).expect("the config can be read");
        let features = feature_set(&pipeline).expect("the features can be built");
        let steps = manifest["steps"].as_u64().expect("steps");
        let name = name(folder);
        let trace = Trace::read(&folder.join("trace.safetensors"));
        Case { folder: folder.to_owned(), manifest, pipeline, features, trace, exact: Exact::of_case(&name), steps }
    }

    pub(crate) fn rows(&self) -> Vec<String> {
        vec![self.folder.join("rows.tsv").display().to_string()]
    }

    /// The batches of the run, in order.
    pub(crate) fn batches(&self) -> impl Iterator<Item = FeatureBatch> {
        let options = ReaderOptions::train(&self.pipeline, self.rows(), 0).expect("reading options");
        let reader = Reader::new(options, self.features.clone()).expect("the rows can be read");
        reader.take(self.steps as usize).map(|batch| batch.expect("the rows are right").features)
    }

    /// Whether the trace holds the variables after a step.
    pub(crate) fn has_variables(&self, step: u64) -> bool {
        self.trace.under(&format!("after{step}/")).next().is_some()
    }

    /// All rows once, for evaluation.
    pub(crate) fn evaluation_batches(&self) -> impl Iterator<Item = FeatureBatch> {
        let options = ReaderOptions::sequential(&self.pipeline, self.rows()).expect("reading options");
        let reader = Reader::new(options, self.features.clone()).expect("the rows can be read");
        reader.map(|batch| batch.expect("the rows are right").features)
    }

    /// Whether features are dropped at learnt rates (EasyRec behaviour 163).
    pub(crate) fn drops_features(&self) -> bool {
        self.pipeline.proto.model_config.as_ref().is_some_and(|model| model.variational_dropout.is_some())
    }

    /// Whether tokens of CMBF's texts are dropped, which EasyRec does at a rate of 0.1 where the config is silent. Its manifests do not say so.
    fn drops_tokens(&self) -> bool {
        let has_texts = match self.pipeline.proto.model_config.as_ref().and_then(|model| model.model.as_ref()) {
            Some(ModelMessage::Cmbf(_)) => true,
            Some(ModelMessage::Dbmtl(model)) => model.bottom_cmbf.is_some(),
            _ => false,
        };
        let model = has_texts.then(|| Model::build(&self.pipeline, &self.features, Purpose::Training).expect("the model can be built"));
        model.is_some_and(|Model { graph, .. }| graph.values().any(|value| graph.node(value).op.name() == "dropout"))
    }

    /// Of a case with random numbers in its losses only what comes before them can be compared.
    pub(crate) fn is_random(&self) -> bool {
        self.note().starts_with("RANDOM") || self.drops_features() || self.drops_tokens()
    }

    /// With dropout, nothing before evaluation can be compared.
    pub(crate) fn has_random_layers(&self) -> bool {
        self.note().starts_with("RANDOM: training differs") || self.drops_features() || self.drops_tokens()
    }

    fn note(&self) -> &str {
        self.manifest["note"].as_str().unwrap_or_default()
    }
}

/// The name of a case folder.
pub(crate) fn name(folder: &Path) -> String {
    folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

//! A model as an ONNX file: the inference graph from ids to scores, with all variables.
//!
//! Text stays outside: hashing needs FarmHash, which no standard operator of ONNX has. The recipe of the ids travels in the file's
//! metadata, and `docs/export/rankmill_features.py` follows it.

mod message;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use rankmill_data::FeatureSpec;
use rankmill_data::sinks::AsideFile;
use rankmill_graph::onnx::{Dim, InputKind, NoForms, OnnxGraph, OnnxInput};
use rankmill_model::{Parameters, Predictor, input_names};

use crate::proto::tensor_proto::{DataLocation, DataType};
use crate::proto::{ModelProto, StringStringEntryProto, TensorProto};

use message::entry;
pub use message::{constants, model_proto, tensor_proto};

/// A file must stay below protobuf's 2 GiB, of which nodes and metadata need a little.
const MOST_INLINE: usize = (1 << 31) - (64 << 20);
/// Smaller tensors stay in the file in any case.
const LEAST_OUTSIDE: usize = 1024;
/// Tensors outside of the file begin at multiples of this many bytes, so that they can be mapped.
const ALIGNMENT: u64 = 4096;
/// Where the metadata have the recipe of the ids.
const RECIPE_KEY: &str = "rankmill.features";

/// Why a model can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Operations without a form in ONNX.
    #[error(transparent)]
    NoForms(#[from] NoForms),
    /// A table in which rows are looked up by key.
    #[error(
        "`{name}` has ev_params: rows of a dynamic table are found by key, for which ONNX has no operation; use a bundle, or train with hash_bucket_size alone"
    )]
    DynamicTable {
        /// The feature, or the shared table.
        name: String,
    },
    /// The variables are not those of the model.
    #[error(transparent)]
    Parameters(#[from] rankmill_model::ParameterError),
    /// The file system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Where variables are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// In the file, if it stays below 2 GiB with them; else beside it.
    #[default]
    WherePossible,
    /// Beside it, in a file of its name with `.data` appended, from which they can be mapped into memory.
    Beside,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The inputs: names and shapes, such as `[batch, 1]`.
    pub inputs: Vec<(String, String)>,
    /// The outputs likewise.
    pub outputs: Vec<(String, String)>,
    /// Nodes of the graph.
    pub nodes: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// The file with the variables, if they are outside, and its bytes.
    pub data: Option<(PathBuf, u64)>,
}

/// Writes a model to `path`.
///
/// # Errors
/// If an operation has no form in ONNX, or the file system refuses; a file that was there before is then untouched.
pub fn export(predictor: &Predictor, path: &Path, weights: Weights) -> Result<Exported, ExportError> {
    let model = predictor.model();
    if let Some(table) = model.dynamic.first() {
        return Err(ExportError::DynamicTable { name: table.name.clone() });
    }
    let graph = onnx_graph(predictor)?;
    let places = predictor.parameters().places(&model.graph)?;
    let inline = weights == Weights::WherePossible && bytes(&graph, predictor.parameters(), &places) <= MOST_INLINE;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ExportError::Io { path, error }
    };
    let data_path = beside(path);
    let mut outside = if inline { None } else { Some(Outside::create(&data_path).map_err(failed(&data_path))?) };
    let mut initializers = constants(&graph);
    for (tensor, index) in &graph.parameters {
        let parameter = &predictor.parameters().entries[places[*index]];
        let bytes = bytemuck::cast_slice(&parameter.values);
        let mut initializer = tensor_proto(graph.name(*tensor), &parameter.shape, DataType::Float);
        match &mut outside {
            Some(outside) if bytes.len() >= LEAST_OUTSIDE => {
                initializer.external_data = outside.add(bytes).map_err(failed(&data_path))?;
                initializer.data_location = Some(DataLocation::External.into());
            }
            _ => initializer.raw_data = Some(bytes.to_vec()),
        }
        initializers.push(initializer);
    }
    let message = message(predictor, &graph, initializers);
    let mut file = AsideFile::create(path).map_err(failed(path))?;
    file.write_all(&message.encode_to_vec()).map_err(failed(path))?;
    let data = match outside {
        Some(outside) => {
            let bytes = outside.file.commit().map_err(failed(&data_path))?;
            Some((data_path, bytes))
        }
        None => None,
    };
    let bytes = file.commit().map_err(failed(path))?;
    let inputs = ordered_inputs(predictor, &graph).into_iter().map(|input| (graph.name(input.tensor).to_owned(), shown(&input.dims)));
    let outputs =
        graph.outputs.iter().map(|(tensor, shape)| (graph.name(*tensor).to_owned(), shown(&message::dims(&graph, *tensor, shape))));
    Ok(Exported { inputs: inputs.collect(), outputs: outputs.collect(), nodes: graph.nodes.len(), bytes, data })
}

/// The nodes of a model.
fn onnx_graph(predictor: &Predictor) -> Result<OnnxGraph, NoForms> {
    let outputs: Vec<_> = predictor.model().outputs.iter().map(|output| (output.name.as_str(), output.value)).collect();
    OnnxGraph::new(&predictor.model().graph, &input_names(&predictor.features, &predictor.model().feed), &outputs)
}

/// Bytes of the variables that the graph uses.
fn bytes(graph: &OnnxGraph, parameters: &Parameters, places: &[usize]) -> usize {
    graph.parameters.iter().map(|(_, index)| 4 * parameters.entries[places[*index]].values.len()).sum()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".data");
    path.with_file_name(name)
}

/// The file that holds tensors beside the model's.
struct Outside {
    file: AsideFile,
    name: String,
    length: u64,
}

impl Outside {
    fn create(path: &Path) -> io::Result<Outside> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name must be UTF-8"))?.to_owned();
        Ok(Outside { file: AsideFile::create(path)?, name, length: 0 })
    }

    /// Appends a tensor and says where it is.
    fn add(&mut self, bytes: &[u8]) -> io::Result<Vec<StringStringEntryProto>> {
        let offset = self.length.next_multiple_of(ALIGNMENT);
        io::copy(&mut io::Read::take(io::repeat(0), offset - self.length), &mut self.file)?;
        self.file.write_all(bytes)?;
        self.length = offset + bytes.len() as u64;
        let place = [("location", self.name.clone()), ("offset", offset.to_string()), ("length", bytes.len().to_string())];
        Ok(place.into_iter().map(|(key, value)| entry(key, value)).collect())
    }
}

/// The file's content.
fn message(predictor: &Predictor, graph: &OnnxGraph, initializers: Vec<TensorProto>) -> ModelProto {
    let recipe = serde_json::to_string(&predictor.features.recipe(&predictor.pipeline)).expect("a recipe has no odd keys");
    ModelProto {
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: "From ids to scores; the metadata entry `rankmill.features` tells how ids are made from text.".to_owned(),
        metadata_props: vec![entry("rankmill.global_step", predictor.global_step.to_string()), entry(RECIPE_KEY, recipe)],
        ..model_proto(graph, &ordered_inputs(predictor, graph), initializers)
    }
}

/// The inputs in the order of the features.
fn ordered_inputs<'a>(predictor: &Predictor, graph: &'a OnnxGraph) -> Vec<&'a OnnxInput> {
    let names = input_names(&predictor.features, &predictor.model().feed);
    let place = |input: &OnnxInput| {
        let name =
            if input.kind == InputKind::Dense { names.dense.get(input.slot) } else { names.ids.get(input.slot).map(|ids| &ids.name) };
        let is_of = |spec: &FeatureSpec| {
            let rest = name.and_then(|name| name.strip_prefix(&spec.name));
            rest.is_some_and(|rest| ["", "_length", "_cut", "_cut_length", "_pooled"].contains(&rest))
        };
        predictor.features.specs().iter().position(is_of)
    };
    let mut inputs: Vec<&OnnxInput> = graph.inputs.iter().collect();
    inputs.sort_by_key(|input| place(input));
    inputs
}

fn shown(dims: &[Dim]) -> String {
    let dims = dims.iter().map(|dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Named(name) => name.clone(),
    });
    format!("[{}]", dims.collect::<Vec<_>>().join(", "))
}

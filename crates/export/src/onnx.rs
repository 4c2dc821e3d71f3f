//! A model as an ONNX file: the inference graph from ids to scores, with all variables.
//!
//! Text stays outside: hashing needs FarmHash, which no standard operator of ONNX has. The recipe of the ids travels in the file's
//! metadata, and `docs/export/rankmill_features.py` follows it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use rankmill_data::sinks::AsideFile;
use rankmill_graph::onnx::{Attribute, Dim, Elements, InputKind, NoForms, OPSET, OnnxGraph, OnnxInput};
use rankmill_model::{Model, Parameters, Predictor, input_names};

use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::{DataLocation, DataType};
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

/// Version of the file format: the first that has operators of [`OPSET`].
const IR_VERSION: i64 = 8;
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
    /// The names of the outputs.
    pub outputs: Vec<String>,
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
    let outputs = graph.outputs.iter().map(|(tensor, _)| graph.name(*tensor).to_owned());
    Ok(Exported { inputs: inputs.collect(), outputs: outputs.collect(), nodes: graph.nodes.len(), bytes, data })
}

/// The nodes of a model.
fn onnx_graph(predictor: &Predictor) -> Result<OnnxGraph, NoForms> {
    let Model { graph, probabilities, logits, .. } = predictor.model();
    OnnxGraph::new(graph, &input_names(&predictor.features), &[("probs", *probabilities), ("logits", *logits)])
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

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value }
}

fn message(predictor: &Predictor, graph: &OnnxGraph, initializer: Vec<TensorProto>) -> ModelProto {
    let recipe = serde_json::to_string(&predictor.features.recipe(&predictor.pipeline)).expect("a recipe has no odd keys");
    let outputs = graph.outputs.iter().map(|(tensor, shape)| {
        let dims: Vec<Dim> = [Dim::Named("batch".to_owned())].into_iter().chain(shape.dims.iter().map(|size| Dim::Fixed(*size))).collect();
        value_info(graph.name(*tensor), DataType::Float, &dims, "")
    });
    let inputs = ordered_inputs(predictor, graph).into_iter().map(|input| input_info(graph, input));
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: "rankmill".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: "From ids to scores; the metadata entry `rankmill.features` tells how ids are made from text.".to_owned(),
        graph: Some(GraphProto {
            node: nodes(graph),
            name: "model".to_owned(),
            initializer,
            input: inputs.collect(),
            output: outputs.collect(),
        }),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: vec![entry("rankmill.global_step", predictor.global_step.to_string()), entry(RECIPE_KEY, recipe)],
    }
}

/// The inputs in the order of the features.
fn ordered_inputs<'a>(predictor: &Predictor, graph: &'a OnnxGraph) -> Vec<&'a OnnxInput> {
    let names = input_names(&predictor.features);
    let place = |input: &OnnxInput| {
        let name =
            if input.kind == InputKind::Dense { names.dense.get(input.slot) } else { names.ids.get(input.slot).map(|ids| &ids.name) };
        predictor.features.specs().iter().position(|spec| name.is_some_and(|name| *name == spec.name))
    };
    let mut inputs: Vec<&OnnxInput> = graph.inputs.iter().collect();
    inputs.sort_by_key(|input| place(input));
    inputs
}

fn input_info(graph: &OnnxGraph, input: &OnnxInput) -> ValueInfoProto {
    let (kind, text) = match input.kind {
        InputKind::Ids => (DataType::Int64, "rows of the table, -1 where there is none"),
        InputKind::Weights => (DataType::Float, "a weight for each id, 0 where there is none"),
        InputKind::Dense => (DataType::Float, "numbers"),
    };
    value_info(graph.name(input.tensor), kind, &input.dims, text)
}

fn value_info(name: &str, kind: DataType, dims: &[Dim], text: &str) -> ValueInfoProto {
    let dim = |dim: &Dim| {
        let value = match dim {
            Dim::Fixed(size) => dimension::Value::DimValue(*size as i64),
            Dim::Named(name) => dimension::Value::DimParam(name.clone()),
        };
        Dimension { value: Some(value) }
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor_type = type_proto::Tensor { elem_type: kind.into(), shape: Some(shape) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }), doc_string: text.to_owned() }
}

fn nodes(graph: &OnnxGraph) -> Vec<NodeProto> {
    let name = |tensor: &_| graph.name(*tensor).to_owned();
    let node = |node: &rankmill_graph::onnx::OnnxNode| NodeProto {
        input: node.inputs.iter().map(name).collect(),
        output: vec![name(&node.output)],
        name: name(&node.output),
        op_type: node.operator.to_owned(),
        attribute: node.attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
    };
    graph.nodes.iter().map(node).collect()
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let base = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    match value {
        Attribute::Int(value) => AttributeProto { i: Some(*value), r#type: AttributeType::Int.into(), ..base },
        Attribute::Ints(values) => AttributeProto { ints: values.clone(), r#type: AttributeType::Ints.into(), ..base },
        Attribute::Float(value) => AttributeProto { f: Some(*value), r#type: AttributeType::Float.into(), ..base },
    }
}

fn constants(graph: &OnnxGraph) -> Vec<TensorProto> {
    let constant = |constant: &rankmill_graph::onnx::Constant| {
        let (kind, bytes) = match &constant.elements {
            Elements::Floats(values) => (DataType::Float, bytemuck::cast_slice(values).to_vec()),
            Elements::Ints(values) => (DataType::Int64, bytemuck::cast_slice(values).to_vec()),
        };
        TensorProto { raw_data: Some(bytes), ..tensor_proto(graph.name(constant.tensor), &constant.dims, kind) }
    };
    graph.constants.iter().map(constant).collect()
}

fn tensor_proto(name: &str, dims: &[usize], kind: DataType) -> TensorProto {
    let dims = dims.iter().map(|size| *size as i64).collect();
    TensorProto { dims, data_type: kind.into(), name: name.to_owned(), ..TensorProto::default() }
}

fn shown(dims: &[Dim]) -> String {
    let dims = dims.iter().map(|dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Named(name) => name.clone(),
    });
    format!("[{}]", dims.collect::<Vec<_>>().join(", "))
}

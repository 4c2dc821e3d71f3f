//! The parts of an ONNX file from a graph.

use rankmill_graph::Shape;
use rankmill_graph::onnx::{Attribute, Constant, Dim, Elements, InputKind, OPSET, OnnxGraph, OnnxInput, OnnxNode, Tensor};

use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataType;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

/// Version of the file format: the first that has operators of [`OPSET`].
const IR_VERSION: i64 = 8;

/// A graph as a model, its inputs in the given order; `initializers` are its constants and parameters.
pub fn model_proto(graph: &OnnxGraph, inputs: &[&OnnxInput], initializers: Vec<TensorProto>) -> ModelProto {
    let outputs = graph.outputs.iter().map(|(tensor, shape)| {
        let dims = dims(graph, *tensor, shape);
        value_info(graph.name(*tensor), DataType::Float, &dims, "")
    });
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: "rankmill".to_owned(),
        graph: Some(GraphProto {
            node: nodes(graph),
            name: "model".to_owned(),
            initializer: initializers,
            input: inputs.iter().map(|input| input_info(graph, input)).collect(),
            output: outputs.collect(),
        }),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        ..ModelProto::default()
    }
}

/// The dimensions of an output.
pub(super) fn dims(graph: &OnnxGraph, output: Tensor, shape: &Shape) -> Vec<Dim> {
    let rows = [shape.batch.then(|| "batch".to_owned()), shape.axis.map(|_| format!("{}_length", graph.name(output)))];
    rows.into_iter().flatten().map(Dim::Named).chain(shape.dims.iter().map(|size| Dim::Fixed(*size))).collect()
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
    let node = |node: &OnnxNode| NodeProto {
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

/// The constants of a graph.
pub fn constants(graph: &OnnxGraph) -> Vec<TensorProto> {
    let constant = |constant: &Constant| {
        let (kind, bytes) = match &constant.elements {
            Elements::Floats(values) => (DataType::Float, bytemuck::cast_slice(values).to_vec()),
            Elements::Ints(values) => (DataType::Int64, bytemuck::cast_slice(values).to_vec()),
        };
        TensorProto { raw_data: Some(bytes), ..tensor_proto(graph.name(constant.tensor), &constant.dims, kind) }
    };
    graph.constants.iter().map(constant).collect()
}

/// A tensor without its elements.
pub fn tensor_proto(name: &str, dims: &[usize], kind: DataType) -> TensorProto {
    let dims = dims.iter().map(|size| *size as i64).collect();
    TensorProto { dims, data_type: kind.into(), name: name.to_owned(), ..TensorProto::default() }
}

/// A pair of texts.
pub(super) fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value }
}

//! A graph as ONNX nodes: what operations are written with ([`Op::onnx`](crate::Op::onnx)), apart from any file format.
//!
//! Tensors keep their shapes: `[B, dims...]`, or `[B, L, dims...]` along an axis, where B and L are known when the model runs. Ids are
//! inputs `[B, K]` or `[B, L, K]`, filled up with -1. The operator set is [`OPSET`], the first with `LayerNormalization`, so that old
//! runtimes read the models, too.

mod emitter;

pub use emitter::{BOOL, Emitter, FLOAT, INT64, Ids, leading};

use crate::graph::{Graph, Value};
use crate::shape::Shape;

/// The version of ONNX's operators that the nodes are of.
pub const OPSET: i64 = 17;

/// A tensor of the ONNX graph, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tensor(usize);

/// An operation has no form in ONNX: only training graphs have it, or none has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoForm;

/// Why a graph can't become ONNX: operations without a form, each with the scope where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these operations have no form in ONNX: {}", list(operations))]
pub struct NoForms {
    /// Their names and scopes, each pair once.
    pub operations: Vec<(&'static str, String)>,
}

fn list(operations: &[(&'static str, String)]) -> String {
    operations.iter().map(|(name, scope)| format!("{name} ({scope})")).collect::<Vec<_>>().join(", ")
}

/// A setting of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// Several integers.
    Ints(Vec<i64>),
    /// A number.
    Float(f32),
}

/// A node: one operator of ONNX.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxNode {
    /// The operator.
    pub operator: &'static str,
    /// What it is applied to.
    pub inputs: Vec<Tensor>,
    /// What it makes.
    pub output: Tensor,
    /// Its settings.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// Elements of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// 32-bit floats.
    Floats(Vec<f32>),
    /// 64-bit integers.
    Ints(Vec<i64>),
}

/// A tensor whose elements are part of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The tensor.
    pub tensor: Tensor,
    /// Its shape.
    pub dims: Vec<usize>,
    /// Its elements.
    pub elements: Elements,
}

/// What an input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// 64-bit ids, -1 where there is none.
    Ids,
    /// A 32-bit weight for each id.
    Weights,
    /// 32-bit floats.
    Dense,
}

/// A dimension of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Of that size.
    Fixed(usize),
    /// Of a size that is known when the model runs; equal names mean equal sizes.
    Named(String),
}

/// An input of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxInput {
    /// The tensor.
    pub tensor: Tensor,
    /// What it holds.
    pub kind: InputKind,
    /// Its shape.
    pub dims: Vec<Dim>,
    /// The slot of the feed that it stands for, among the dense ones or the id columns.
    pub slot: usize,
}

/// What the inputs of a graph are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputNames {
    /// The dense inputs, by slot.
    pub dense: Vec<String>,
    /// The id columns, by slot.
    pub ids: Vec<IdInput>,
}

/// An id column as inputs: `NAME_ids`, and `NAME_weights` if it has weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdInput {
    /// Its name.
    pub name: String,
    /// Whether each id has a weight.
    pub is_weighted: bool,
    /// Ids of a row, or of a position.
    pub count: IdCount,
}

/// How many ids there are in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdCount {
    /// One at most.
    One,
    /// That many at most.
    Fixed(usize),
    /// As many as a batch brings.
    Any,
}

/// A graph in ONNX's terms.
#[derive(Clone, Debug, Default)]
pub struct OnnxGraph {
    /// The names of all tensors, by number.
    pub names: Vec<String>,
    /// The inputs, in the order in which they are first used.
    pub inputs: Vec<OnnxInput>,
    /// The parameters that are used: the tensor, and the parameter's number.
    pub parameters: Vec<(Tensor, usize)>,
    /// The constants.
    pub constants: Vec<Constant>,
    /// The nodes, each after those that it reads.
    pub nodes: Vec<OnnxNode>,
    /// The outputs and their shapes.
    pub outputs: Vec<(Tensor, Shape)>,
}

impl OnnxGraph {
    /// Writes what `outputs` need as ONNX nodes. The graph is that of inference, as it was built, before it is fused. An output that is
    /// a column loses its last dimension, as EasyRec's do.
    ///
    /// # Errors
    /// All operations that have no form.
    pub fn new(graph: &Graph, names: &InputNames, outputs: &[(&str, Value)]) -> Result<OnnxGraph, NoForms> {
        let mut emit = Emitter::new(graph, names, outputs);
        let mut missing: Vec<(&'static str, String)> = Vec::new();
        for value in graph.values() {
            if !emit.is_needed[value.0] {
                continue;
            }
            let node = graph.node(value);
            emit.scope = node.scope.to_string();
            let inputs: Vec<Tensor> = node.inputs.iter().map(|input| emit.made[input.0]).collect();
            let shapes: Vec<&Shape> = node.inputs.iter().map(|input| graph.shape(*input)).collect();
            emit.made[value.0] = node.op.onnx(&mut emit, &inputs, &shapes, &node.shape).unwrap_or_else(|NoForm| {
                let operation = (node.op.name(), emit.scope.clone());
                if !missing.contains(&operation) {
                    missing.push(operation);
                }
                Tensor(0)
            });
        }
        if !missing.is_empty() {
            return Err(NoForms { operations: missing });
        }
        outputs.iter().for_each(|(name, value)| emit.output(name, *value));
        Ok(emit.graph)
    }

    /// The name of a tensor.
    pub fn name(&self, tensor: Tensor) -> &str {
        &self.names[tensor.0]
    }
}

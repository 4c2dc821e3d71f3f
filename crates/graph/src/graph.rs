//! The static graph: values made by operations from earlier values.

use std::any::Any;
use std::sync::Arc;

use crate::op::{Execution, Op};
use crate::shape::{Axis, Length, Shape};

/// A tensor of the graph: the output of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub(crate) usize);

/// An operation applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operation.
    pub op: Arc<dyn Op>,
    /// What it is applied to; all come earlier in the graph.
    pub inputs: Vec<Value>,
    /// The shape of its output.
    pub shape: Shape,
    /// Where it comes from (a variable scope such as `backbone/mask_net/block_0`), for messages and profiles.
    pub scope: Arc<str>,
}

/// A parameter of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSlot {
    /// Variable name.
    pub name: String,
    /// Shape, without batch rows.
    pub shape: Shape,
    /// Whether gradients flow into it.
    pub trainable: bool,
    /// If it is a table that gets rows as keys come: the name of those keys. The shape is then that of its first row alone.
    pub keys: Option<String>,
}

/// Why a graph can't be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An operation was given shapes that don't fit.
    #[error("{scope}: {op} does not accept {}: {reason}", list(inputs))]
    Shape {
        /// The scope in which the operation was added.
        scope: String,
        /// The operation.
        op: &'static str,
        /// The shapes of the inputs.
        inputs: Vec<Shape>,
        /// What does not fit.
        reason: String,
    },
    /// An operation without a gradient stands between a trainable parameter and the loss.
    #[error("{op} has no gradient")]
    NoGradient {
        /// The operation.
        op: &'static str,
    },
    /// Two parameters with one name but different shapes.
    #[error("variable `{name}` is asked for with shape {second} but exists with shape {first}")]
    ParameterShape {
        /// The name.
        name: String,
        /// Its shape.
        first: Shape,
        /// The other shape.
        second: Shape,
    },
}

fn list(shapes: &[Shape]) -> String {
    shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(", ")
}

/// The graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) axes: Vec<Length>,
    parameters: Vec<ParameterSlot>,
    scope: Arc<str>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Names what is added from now on.
    pub fn set_scope(&mut self, scope: &str) {
        if &*self.scope != scope {
            self.scope = scope.into();
        }
    }

    /// The axis of that length; a second call gives the same axis.
    pub fn axis(&mut self, length: Length) -> Axis {
        let known = self.axes.iter().position(|known| *known == length);
        Axis(known.unwrap_or_else(|| {
            self.axes.push(length);
            self.axes.len() - 1
        }))
    }

    /// How long an axis is.
    pub fn length(&self, axis: Axis) -> &Length {
        &self.axes[axis.0]
    }

    /// Adds an operation.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn add(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value, GraphError> {
        self.add_shared(Arc::new(op), inputs)
    }

    pub(crate) fn add_shared(&mut self, op: Arc<dyn Op>, inputs: &[Value]) -> Result<Value, GraphError> {
        let shapes: Vec<&Shape> = inputs.iter().map(|value| self.shape(*value)).collect();
        let shape = op.infer(&shapes).map_err(|reason| GraphError::Shape {
            scope: self.scope.to_string(),
            op: op.name(),
            inputs: shapes.iter().map(|shape| (*shape).clone()).collect(),
            reason,
        })?;
        self.nodes.push(Node { op, inputs: inputs.to_vec(), shape, scope: self.scope.clone() });
        Ok(Value(self.nodes.len() - 1))
    }

    /// Declares a parameter; a second declaration of the same name gives the first one's number.
    ///
    /// # Errors
    /// If the name exists with another shape.
    pub fn declare(&mut self, name: &str, shape: Shape, trainable: bool) -> Result<usize, GraphError> {
        if let Some(index) = self.parameters.iter().position(|slot| slot.name == name) {
            let first = &self.parameters[index].shape;
            if *first != shape {
                return Err(GraphError::ParameterShape { name: name.to_owned(), first: first.clone(), second: shape });
            }
            return Ok(index);
        }
        self.parameters.push(ParameterSlot { name: name.to_owned(), shape, trainable, keys: None });
        Ok(self.parameters.len() - 1)
    }

    /// Makes a parameter `[1, width]` a table that gets rows as keys of that name come.
    pub fn let_grow(&mut self, parameter: usize, keys: &str) {
        self.parameters[parameter].keys = Some(keys.to_owned());
    }

    /// The parameters, by number.
    pub fn parameters(&self) -> &[ParameterSlot] {
        &self.parameters
    }

    /// Gives a parameter another shape.
    pub(crate) fn reshape_parameter(&mut self, index: usize, shape: Shape) {
        self.parameters[index].shape = shape;
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> &Shape {
        &self.nodes[value.0].shape
    }

    /// The node that makes a value.
    pub fn node(&self, value: Value) -> &Node {
        &self.nodes[value.0]
    }

    /// All values, in order.
    pub fn values(&self) -> impl Iterator<Item = Value> + use<> {
        (0..self.nodes.len()).map(Value)
    }

    /// The operation of a value, if it is a `T`.
    pub(crate) fn op_as<T: Op>(&self, value: Value) -> Option<&T> {
        let op: &dyn Any = &*self.nodes[value.0].op;
        op.downcast_ref()
    }

    /// The lookup that makes a value, if it is one.
    pub fn lookup(&self, value: Value) -> Option<&crate::ops::lookup::Lookup> {
        self.op_as(value)
    }

    /// Whether a node is a lookup in a table.
    pub(crate) fn is_lookup(&self, node: &Node) -> bool {
        let op: &dyn Any = &*node.op;
        op.is::<crate::ops::lookup::Lookup>() || op.is::<crate::ops::packed_lookup::PackedLookup>()
    }

    /// How a value is computed.
    pub fn execution(&self, value: Value) -> Execution {
        self.nodes[value.0].op.execution()
    }

    /// Floating-point operations for each row of a batch, over all nodes.
    pub fn flops_per_row(&self) -> f64 {
        self.flops_per_row_in(|_| true)
    }

    /// Floating-point operations for each row of a batch, over the nodes in chosen scopes.
    pub fn flops_per_row_in(&self, chosen: impl Fn(&str) -> bool) -> f64 {
        let cost = |node: &Node| {
            let shapes: Vec<&Shape> = node.inputs.iter().map(|value| self.shape(*value)).collect();
            node.op.cost(&shapes, &node.shape).flops_per_row
        };
        self.nodes.iter().filter(|node| chosen(&node.scope)).map(cost).sum()
    }
}

//! Symbolic differentiation: the gradient of a scalar, as more graph.

use crate::graph::{Graph, GraphError, Node, Value};
use crate::op::{Execution, Op};
use crate::ops::fill::Fill;
use crate::ops::lookup::Lookup;
use crate::ops::sum::Sum;
use crate::shape::Shape;

/// The gradient of the loss with respect to what a lookup in a table returned; the table's own gradient is sparse and is formed
/// from it and the ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableGradient {
    /// Number of the table among the parameters.
    pub parameter: usize,
    /// The lookup.
    pub lookup: Value,
    /// The gradient with respect to its output, `[B, D]`.
    pub upstream: Value,
}

/// The gradients of a loss.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// For dense parameters: number and gradient, in order of the parameters.
    pub dense: Vec<(usize, Value)>,
    /// For tables: one entry for each lookup, in order of the graph.
    pub tables: Vec<TableGradient>,
}

/// What [`Op::gradient`] works with.
pub struct Backward<'a> {
    graph: &'a mut Graph,
    wanted: Vec<bool>,
}

impl Backward<'_> {
    /// Whether the loss has a gradient with respect to `value` that leads to a trainable parameter.
    pub fn wants(&self, value: Value) -> bool {
        self.wanted.get(value.0).copied().unwrap_or(false)
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> &Shape {
        self.graph.shape(value)
    }

    /// Adds an operation to the graph.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn add(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value, GraphError> {
        self.graph.add(op, inputs)
    }
}

/// Extends `graph` by the gradients of the scalar `loss` with respect to its trainable parameters.
///
/// # Errors
/// If an operation on the way has no gradient.
pub fn differentiate(graph: &mut Graph, loss: Value) -> Result<Gradients, GraphError> {
    let count = loss.0 + 1;
    let mut wanted = vec![false; count];
    for i in 0..count {
        wanted[i] = match graph.execution(Value(i)) {
            Execution::Parameter(index) => graph.parameters()[index].trainable,
            _ => graph.nodes[i].inputs.iter().any(|input| wanted[input.0]),
        };
    }
    let mut gradients = Gradients::default();
    propagate(graph, loss, wanted, |backward, node, output, total| {
        if let Execution::Parameter(index) = node.op.execution() {
            gradients.dense.push((index, total));
            return Ok(true);
        }
        if backward.graph.op_as::<Lookup>(output).is_none() {
            return Ok(false);
        }
        let Execution::Parameter(parameter) = backward.graph.execution(node.inputs[0]) else {
            return Err(GraphError::NoGradient { op: node.op.name() });
        };
        gradients.tables.push(TableGradient { parameter, lookup: output, upstream: total });
        Ok(true)
    })?;
    gradients.dense = merged(graph, gradients.dense)?;
    gradients.tables.sort_by_key(|table| table.lookup);
    Ok(gradients)
}

/// Extends `graph` by the gradients of the scalar `sum` with respect to tensors of it, none of which depends on another; `None` for those
/// that it does not depend on. Of a sum over rows that do not depend on each other a row's gradient is that of its own term.
///
/// # Errors
/// If an operation on the way has no gradient.
pub fn gradients_of(graph: &mut Graph, sum: Value, tensors: &[Value]) -> Result<Vec<Option<Value>>, GraphError> {
    let mut wanted = vec![false; sum.0 + 1];
    for i in 0..wanted.len() {
        wanted[i] = tensors.contains(&Value(i)) || graph.nodes[i].inputs.iter().any(|input| wanted[input.0]);
    }
    let mut gradients = vec![None; tensors.len()];
    propagate(graph, sum, wanted, |_, _, output, total| {
        let places = tensors.iter().zip(&mut gradients).filter(|(tensor, _)| **tensor == output);
        Ok(places.map(|(_, gradient)| *gradient = Some(total)).count() > 0)
    })?;
    Ok(gradients)
}

/// Goes back from a scalar through all wanted nodes; `take` is given each one's gradient and tells whether the way ends there.
fn propagate(
    graph: &mut Graph,
    scalar: Value,
    wanted: Vec<bool>,
    mut take: impl FnMut(&mut Backward<'_>, &Node, Value, Value) -> Result<bool, GraphError>,
) -> Result<(), GraphError> {
    let count = scalar.0 + 1;
    let mut upstream: Vec<Vec<Value>> = vec![Vec::new(); count];
    let shape = graph.shape(scalar).clone();
    let one = graph.add(Fill { shape, value: 1.0 }, &[])?;
    upstream[scalar.0].push(one);
    let mut backward = Backward { graph, wanted };
    for i in (0..count).rev() {
        let output = Value(i);
        if !backward.wants(output) || upstream[i].is_empty() {
            continue;
        }
        let terms = std::mem::take(&mut upstream[i]);
        let node = backward.graph.nodes[i].clone();
        backward.graph.set_scope(&node.scope);
        let total = match terms.as_slice() {
            [only] => *only,
            _ => backward.add(Sum, &terms)?,
        };
        if take(&mut backward, &node, output, total)? {
            continue;
        }
        let inputs = node.op.gradient(&mut backward, &node.inputs, output, total)?;
        for (input, gradient) in node.inputs.iter().zip(inputs) {
            if let Some(gradient) = gradient
                && backward.wants(*input)
            {
                upstream[input.0].push(gradient);
            }
        }
    }
    Ok(())
}

/// The gradients by parameter; those of a parameter with several nodes are added up.
fn merged(graph: &mut Graph, mut dense: Vec<(usize, Value)>) -> Result<Vec<(usize, Value)>, GraphError> {
    dense.sort_by_key(|(index, _)| *index);
    let of_one = dense.chunk_by(|(a, _), (b, _)| a == b).map(<[_]>::to_vec).collect::<Vec<_>>();
    let add = |parts: Vec<(usize, Value)>| {
        let values: Vec<Value> = parts.iter().map(|(_, value)| *value).collect();
        let total = if let [only] = values[..] { only } else { graph.add(Sum, &values)? };
        Ok((parts[0].0, total))
    };
    of_one.into_iter().map(add).collect()
}

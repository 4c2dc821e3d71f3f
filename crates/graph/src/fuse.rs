//! Rewrites of a finished graph: what nobody needs is dropped, neighbours that share a pass over memory become one operation, and
//! copies are put where a tensor could not be computed in place.

use crate::graph::{Graph, GraphError, Node, Value};
use crate::op::Execution;
use crate::ops::batch_norm::{BatchNorm, BatchNormGradient, BatchNormSums, MovingNorm};
use crate::ops::binary::Binary;
use crate::ops::layer_norm::{LayerNorm, LayerNormGradient, LayerNormParameterGradient};
use crate::ops::matmul::{Epilogue, MatMul};
use crate::ops::sum::Sum;
use crate::ops::unary::{Unary, UnaryGradient};

/// A graph with the place of the old values in it.
pub(crate) struct Rewritten {
    pub(crate) graph: Graph,
    /// For each old value the new one, if it was kept.
    pub(crate) map: Vec<Option<Value>>,
}

/// How often each value is read; an output counts as read twice, so that it is never absorbed.
pub(crate) fn uses(graph: &Graph, outputs: &[Value]) -> Vec<usize> {
    let mut uses = vec![0; graph.nodes.len()];
    let mut needed = vec![false; graph.nodes.len()];
    for output in outputs {
        needed[output.0] = true;
        uses[output.0] += 2;
    }
    for i in (0..graph.nodes.len()).rev() {
        if needed[i] {
            for input in &graph.nodes[i].inputs {
                needed[input.0] = true;
                uses[input.0] += 1;
            }
        }
    }
    uses
}

/// A walk through a graph that builds another one from it.
pub(crate) struct Rewriter<'a> {
    old: &'a Graph,
    uses: Vec<usize>,
    pub(crate) new: Graph,
    /// For each old value the new one, once it is known.
    pub(crate) map: Vec<Option<Value>>,
}

impl<'a> Rewriter<'a> {
    pub(crate) fn new(old: &'a Graph, outputs: &[Value]) -> Rewriter<'a> {
        let mut new = Graph::new();
        new.axes.clone_from(&old.axes);
        for slot in old.parameters() {
            new.declare(&slot.name, slot.shape.clone(), slot.trainable).expect("names are unique in the old graph");
        }
        Rewriter { old, uses: uses(old, outputs), new, map: vec![None; old.nodes.len()] }
    }

    pub(crate) fn mapped(&self, value: Value) -> Value {
        self.map[value.0].expect("inputs come before their users")
    }

    pub(crate) fn keep(&mut self, value: Value) -> Result<(), GraphError> {
        let node = &self.old.nodes[value.0];
        let inputs: Vec<Value> = node.inputs.iter().map(|input| self.mapped(*input)).collect();
        self.map[value.0] = Some(self.new.add_shared(node.op.clone(), &inputs)?);
        Ok(())
    }

    pub(crate) fn finish(self) -> Rewritten {
        Rewritten { graph: self.new, map: self.map }
    }
}

/// Drops unneeded nodes and fuses the rest.
pub(crate) fn fuse(graph: &Graph, outputs: &[Value]) -> Result<Rewritten, GraphError> {
    let mut rewriter = Rewriter::new(graph, outputs);
    let absorbed = absorbed_products(graph, &rewriter.uses);
    for value in graph.values() {
        if rewriter.uses[value.0] == 0 || absorbed[value.0] {
            continue;
        }
        let node = graph.node(value);
        rewriter.new.set_scope(&node.scope);
        let fused = match node.inputs.as_slice() {
            _ if graph.op_as::<Sum>(value).is_some() => sum_with_products(&mut rewriter, node, &absorbed)?,
            [input] if graph.op_as::<Unary>(value) == Some(&Unary::Relu) => with_relu(&mut rewriter, *input)?,
            [y, upstream] if is_relu_gradient(graph, value) => with_gate(&mut rewriter, *y, *upstream)?,
            [_, dy, ..] if takes_gate(graph, value) => gated(&mut rewriter, node, *dy)?,
            [product, bias] if graph.op_as::<Binary>(value) == Some(&Binary::Add) => with_bias(&mut rewriter, *product, *bias)?,
            _ => None,
        };
        match fused {
            Some(new) => rewriter.map[value.0] = Some(new),
            None => rewriter.keep(value)?,
        }
    }
    let Rewriter { new, map, .. } = rewriter;
    // Fused nodes leave their first halves behind; a second walk drops them.
    let kept: Vec<Value> = outputs.iter().filter_map(|output| map[output.0]).collect();
    let mut second = Rewriter::new(&new, &kept);
    for value in new.values() {
        if second.uses[value.0] > 0 {
            second.new.set_scope(&new.node(value).scope);
            second.keep(value)?;
        }
    }
    let map = map.into_iter().map(|value| value.and_then(|value| second.map[value.0])).collect();
    Ok(Rewritten { graph: second.new, map })
}

/// Products that a sum takes over, because it adds them in place.
fn absorbed_products(graph: &Graph, uses: &[usize]) -> Vec<bool> {
    let mut absorbed = vec![false; graph.nodes.len()];
    for value in graph.values() {
        if uses[value.0] == 0 || graph.op_as::<Sum>(value).is_none() {
            continue;
        }
        let inputs = &graph.node(value).inputs;
        let is_product = |input: &&Value| uses[input.0] == 1 && graph.op_as::<MatMul>(**input).is_some();
        let products: Vec<Value> = inputs.iter().filter(is_product).copied().collect();
        let skipped = usize::from(products.len() == inputs.len());
        for product in products.iter().skip(skipped) {
            absorbed[product.0] = true;
        }
    }
    absorbed
}

fn sum_with_products(rewriter: &mut Rewriter<'_>, node: &Node, absorbed: &[bool]) -> Result<Option<Value>, GraphError> {
    let (products, rest): (Vec<Value>, Vec<Value>) = node.inputs.iter().partition(|input| absorbed[input.0]);
    if products.is_empty() {
        return Ok(None);
    }
    let rest: Vec<Value> = rest.iter().map(|input| rewriter.mapped(*input)).collect();
    let mut total = match rest.as_slice() {
        [only] => *only,
        _ => rewriter.new.add(Sum, &rest)?,
    };
    for product in products {
        let Some(MatMul { weights, .. }) = rewriter.old.op_as::<MatMul>(product) else { continue };
        let inputs = &rewriter.old.node(product).inputs;
        let (x, w) = (rewriter.mapped(inputs[0]), rewriter.mapped(inputs[1]));
        total = rewriter.new.add(MatMul { weights: *weights, epilogue: Epilogue::Accumulate }, &[x, w, total])?;
    }
    Ok(Some(total))
}

fn with_relu(rewriter: &mut Rewriter<'_>, input: Value) -> Result<Option<Value>, GraphError> {
    if rewriter.uses[input.0] != 1 {
        return Ok(None);
    }
    let before = rewriter.mapped(input);
    let inputs = rewriter.new.node(before).inputs.clone();
    let relu = if let Some(MatMul { weights, epilogue }) = rewriter.new.op_as::<MatMul>(before) {
        let epilogue = match epilogue {
            Epilogue::None => Epilogue::Relu,
            Epilogue::Bias => Epilogue::BiasRelu,
            Epilogue::Relu | Epilogue::BiasRelu | Epilogue::Accumulate | Epilogue::Gate => return Ok(None),
        };
        let op = MatMul { weights: *weights, epilogue };
        rewriter.new.add(op, &inputs)?
    } else if let Some(norm) = rewriter.new.op_as::<LayerNorm>(before) {
        let op = LayerNorm { relu: true, ..*norm };
        rewriter.new.add(op, &inputs)?
    } else if let Some(norm) = rewriter.new.op_as::<BatchNorm>(before) {
        let op = BatchNorm { relu: true, ..*norm };
        rewriter.new.add(op, &inputs)?
    } else if let Some(norm) = rewriter.new.op_as::<MovingNorm>(before) {
        let op = MovingNorm { relu: true, ..*norm };
        rewriter.new.add(op, &inputs)?
    } else {
        return Ok(None);
    };
    Ok(Some(relu))
}

fn with_bias(rewriter: &mut Rewriter<'_>, product: Value, bias: Value) -> Result<Option<Value>, GraphError> {
    let shape = rewriter.old.shape(bias);
    let is_row = !shape.batch && shape.dims == rewriter.old.shape(product).dims;
    let Some(MatMul { weights, epilogue: Epilogue::None }) = rewriter.old.op_as::<MatMul>(product) else { return Ok(None) };
    if rewriter.uses[product.0] != 1 || !is_row {
        return Ok(None);
    }
    let inputs = &rewriter.old.node(product).inputs;
    let inputs = [rewriter.mapped(inputs[0]), rewriter.mapped(inputs[1]), rewriter.mapped(bias)];
    let op = MatMul { weights: *weights, epilogue: Epilogue::Bias };
    Ok(Some(rewriter.new.add(op, &inputs)?))
}

fn is_relu_gradient(graph: &Graph, value: Value) -> bool {
    graph.op_as::<UnaryGradient>(value).is_some_and(|gradient| gradient.0 == Unary::Relu)
}

/// The gradient of a ReLU, from its output and a product that nobody else reads, as part of the product.
fn with_gate(rewriter: &mut Rewriter<'_>, y: Value, upstream: Value) -> Result<Option<Value>, GraphError> {
    let Some(MatMul { weights, epilogue: Epilogue::None }) = rewriter.old.op_as::<MatMul>(upstream) else { return Ok(None) };
    if rewriter.uses[upstream.0] != 1 {
        return Ok(None);
    }
    let inputs = &rewriter.old.node(upstream).inputs;
    let inputs = [rewriter.mapped(inputs[0]), rewriter.mapped(inputs[1]), rewriter.mapped(y)];
    Ok(Some(rewriter.new.add(MatMul { weights: *weights, epilogue: Epilogue::Gate }, &inputs)?))
}

/// Whether an operation reads a gradient, its second input, through a gate, an additional last input.
fn takes_gate(graph: &Graph, value: Value) -> bool {
    graph.op_as::<LayerNormGradient>(value).is_some()
        || graph.op_as::<LayerNormParameterGradient>(value).is_some()
        || graph.op_as::<BatchNormGradient>(value).is_some()
        || graph.op_as::<BatchNormSums>(value).is_some()
}

/// The gradients of a norm that a ReLU follows, without a pass of their own for the gradient of the ReLU.
fn gated(rewriter: &mut Rewriter<'_>, node: &Node, dy: Value) -> Result<Option<Value>, GraphError> {
    // A product that took the gate over has done it already.
    if !is_relu_gradient(&rewriter.new, rewriter.mapped(dy)) {
        return Ok(None);
    }
    let [y, upstream] = rewriter.new.node(rewriter.mapped(dy)).inputs[..] else { return Ok(None) };
    let mut inputs: Vec<Value> = node.inputs.iter().map(|input| rewriter.mapped(*input)).collect();
    inputs[1] = upstream;
    inputs.push(y);
    Ok(Some(rewriter.new.add_shared(node.op.clone(), &inputs)?))
}

/// Puts copies before concatenations, in-place operations and views whose inputs live elsewhere. Afterwards every input of a
/// concatenation is computed row by row and belongs to it alone, every overwritten input is used once, and every output has a place.
pub(crate) fn materialise(graph: &Graph, outputs: &[Value]) -> Result<Rewritten, GraphError> {
    let mut rewriter = Rewriter::new(graph, outputs);
    let mut claimed = vec![false; graph.nodes.len()];
    for value in graph.values() {
        let node = graph.node(value);
        rewriter.new.set_scope(&node.scope);
        let mut inputs: Vec<Value> = node.inputs.iter().map(|input| rewriter.mapped(*input)).collect();
        for (i, input) in node.inputs.iter().enumerate() {
            let concatenated = node.op.execution() == Execution::Concat;
            let overwritten = node.op.in_place() == Some(i);
            if !concatenated && !overwritten {
                // Views are parts of a buffer, and what is given from outside is in none.
                let is_view = matches!(node.op.execution(), Execution::Columns(_) | Execution::Elements(_));
                if is_view && matches!(graph.execution(*input), Execution::DenseInput(_) | Execution::Parameter(_)) {
                    inputs[i] = rewriter.new.add(Unary::Copy, &[inputs[i]])?;
                }
                continue;
            }
            let movable = matches!(graph.execution(*input), Execution::Map | Execution::Concat) && graph.shape(*input).batch;
            let alone = !claimed[input.0] && (concatenated || rewriter.uses[input.0] == 1);
            if movable && alone {
                claimed[input.0] = true;
            } else {
                inputs[i] = rewriter.new.add(Unary::Copy, &[inputs[i]])?;
            }
        }
        rewriter.map[value.0] = Some(rewriter.new.add_shared(node.op.clone(), &inputs)?);
    }
    // What is given from outside can be read after a run as a copy.
    for output in outputs {
        let given = rewriter.mapped(*output);
        if matches!(rewriter.new.execution(given), Execution::DenseInput(_) | Execution::Parameter(_)) {
            rewriter.map[output.0] = Some(rewriter.new.add(Unary::Copy, &[given])?);
        }
    }
    Ok(rewriter.finish())
}

//! Work that is the same for all rows of a batch: a graph cut in two where some of its inputs have equal rows.
//!
//! What depends on those inputs alone is the *common* graph, which runs on a single row; the *own* graph has all that differs from row to
//! row, and reads what the common one computed as rows that are repeated. A product whose left operand begins with columns of the common
//! kind is parted ([`crate::ops::parted_product`]): the sums over these are formed once, and each row goes on from there. As a row's result
//! does not depend on its neighbours, and a sum goes on in the order in which it would have been formed, the outputs have the bits of the
//! whole graph.
//!
//! A product over a concatenation gains only if the common columns stand first, for only then is the order of its sum kept. What a layer
//! norm over both kinds gives is of the own kind.

mod executor;

use std::collections::BTreeMap;

use rankmill_kernels::gemm::{LONGEST_START, Orientation, Precision};

use crate::fuse::{fuse, uses};
use crate::graph::{Graph, GraphError, Value};
use crate::op::Execution;
use crate::ops::broadcast::RepeatRow;
use crate::ops::concat::Concat;
use crate::ops::leaf::DenseInput;
use crate::ops::matmul::{Epilogue, MatMul};
use crate::ops::parted_product::{Part, PartedProduct};
use crate::ops::reshape::Reshape;
use crate::shape::Shape;
pub use executor::SharedExecutor;

/// Which inputs of a graph have equal rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EqualInputs {
    /// By id slot; slots beyond differ.
    pub ids: Vec<bool>,
    /// By dense slot; slots beyond differ.
    pub dense: Vec<bool>,
}

impl EqualInputs {
    fn has(slots: &[bool], slot: usize) -> bool {
        slots.get(slot).copied().unwrap_or(false)
    }
}

/// A graph in two parts.
pub(crate) struct Shared {
    /// What runs on one row.
    pub(crate) common: Graph,
    /// Its values that the own graph reads, in the order of the slots there.
    pub(crate) handed: Vec<Value>,
    /// What runs on all rows.
    pub(crate) own: Graph,
    /// The outputs there.
    pub(crate) outputs: Vec<Value>,
    /// The first dense slot of the own graph that is fed by the common one.
    pub(crate) first_slot: usize,
}

/// Cuts `graph`, whose values `outputs` are wanted, with products at `precision`; nothing if no work is shared.
pub(crate) fn share(graph: &Graph, outputs: &[Value], equal: &EqualInputs, precision: Precision) -> Result<Option<Shared>, GraphError> {
    let fused = fuse(graph, outputs)?;
    let outputs: Vec<Value> = outputs.iter().map(|output| fused.map[output.0].expect("outputs are kept")).collect();
    let graph = &fused.graph;
    let common = common_values(graph, equal);
    let mut cut = Cut {
        graph,
        uses: uses(graph, &outputs),
        parted: vec![None; graph.nodes.len()],
        first_slot: first_free_slot(graph),
        common: Side::new(graph),
        own: Side::new(graph),
        is_common: common,
        handed: Vec::new(),
    };
    if precision == Precision::F32 {
        cut.find_parted();
    }
    let outputs = outputs.iter().map(|output| cut.own(*output)).collect::<Result<Vec<_>, _>>()?;
    let Cut { common, own, handed, first_slot, .. } = cut;
    let saves = common.graph.flops_per_row() > 0.0;
    Ok(saves.then_some(Shared { common: common.graph, handed, own: own.graph, outputs, first_slot }))
}

/// The dense slot behind all that the graph reads.
fn first_free_slot(graph: &Graph) -> usize {
    let slot = |value| match graph.execution(value) {
        Execution::DenseInput(slot) => slot + 1,
        _ => 0,
    };
    graph.values().map(slot).max().unwrap_or(0)
}

/// Whether all rows of each value are equal. Tensors without batch rows are not meant.
fn common_values(graph: &Graph, equal: &EqualInputs) -> Vec<bool> {
    let mut fixed = vec![false; graph.nodes.len()];
    let mut common = vec![false; graph.nodes.len()];
    for value in graph.values() {
        let node = graph.node(value);
        let known = |input: &Value| fixed[input.0] || common[input.0];
        let follows = node.inputs.iter().all(known);
        if !node.shape.batch {
            let is_map = matches!(node.op.execution(), Execution::Map | Execution::Blocks | Execution::Elements(_));
            let is_leaf = matches!(node.op.execution(), Execution::Parameter(_));
            fixed[value.0] = is_leaf || is_map && node.inputs.iter().all(|input| fixed[input.0]) && !node.op.depends_on_place();
            continue;
        }
        let reads_batch = node.inputs.iter().any(|input| graph.shape(*input).batch);
        common[value.0] = match node.op.execution() {
            Execution::DenseInput(slot) => EqualInputs::has(&equal.dense, slot),
            Execution::Map if graph.lookup(value).is_some() => {
                let slot = graph.lookup(value).map_or(usize::MAX, |lookup| lookup.slot);
                EqualInputs::has(&equal.ids, slot) && follows
            }
            Execution::Map => {
                let by_row = !node.op.depends_on_place() && (0..node.inputs.len()).all(|input| !node.op.reads_all_rows(input));
                by_row && follows && (reads_batch || graph.op_as::<RepeatRow>(value).is_some())
            }
            Execution::Concat | Execution::Columns(_) => follows,
            _ => false,
        };
    }
    common
}

/// A graph under construction, and where the values of the whole one are in it.
struct Side {
    graph: Graph,
    map: Vec<Option<Value>>,
    /// What was put side by side for parts of products.
    concats: BTreeMap<Vec<Value>, Value>,
}

impl Side {
    fn new(whole: &Graph) -> Side {
        let mut graph = Graph::new();
        graph.axes.clone_from(&whole.axes);
        for slot in whole.parameters() {
            graph.declare(&slot.name, slot.shape.clone(), slot.trainable).expect("names are unique in the whole graph");
        }
        Side { graph, map: vec![None; whole.nodes.len()], concats: BTreeMap::new() }
    }

    /// Values side by side.
    fn concat(&mut self, parts: Vec<Value>) -> Result<Value, GraphError> {
        if let [only] = parts.as_slice() {
            return Ok(*only);
        }
        if let Some(known) = self.concats.get(&parts) {
            return Ok(*known);
        }
        let made = self.graph.add(Concat, &parts)?;
        self.concats.insert(parts, made);
        Ok(made)
    }
}

struct Cut<'a> {
    graph: &'a Graph,
    uses: Vec<usize>,
    is_common: Vec<bool>,
    /// For a product that is parted the columns of its left operand: those of the start, and the others.
    parted: Vec<Option<(Vec<Value>, Vec<Value>)>>,
    common: Side,
    own: Side,
    handed: Vec<Value>,
    first_slot: usize,
}

impl Cut<'_> {
    /// The products of which a part is common.
    fn find_parted(&mut self) {
        let products: Vec<Value> = self.graph.values().filter(|value| self.may_be_parted(*value)).collect();
        let mut readers = vec![0; self.graph.nodes.len()];
        for product in &products {
            readers[self.graph.node(*product).inputs[0].0] += 1;
        }
        for product in products {
            let x = self.graph.node(product).inputs[0];
            // Others would need the concatenation anyway, and it would be copied.
            if readers[x.0] < self.uses[x.0] {
                continue;
            }
            let parts = self.columns(x);
            let mut width = 0;
            let starts = |part: &&Value| {
                width += self.graph.shape(**part).elements();
                self.is_common[part.0] && width <= LONGEST_START
            };
            let count = parts.iter().take_while(starts).count();
            if (1..parts.len()).contains(&count) {
                self.parted[product.0] = Some((parts[..count].to_vec(), parts[count..].to_vec()));
            }
        }
    }

    /// Whether a value is a product of the own kind that can be computed in parts.
    fn may_be_parted(&self, value: Value) -> bool {
        let Some(product) = self.graph.op_as::<MatMul>(value) else { return false };
        let fits = matches!(product.epilogue, Epilogue::None | Epilogue::Relu | Epilogue::Bias | Epilogue::BiasRelu);
        let is_chain = product.weights == Orientation::Plain && self.graph.shape(value).elements() > 1;
        fits && is_chain && self.uses[value.0] > 0 && !self.is_common[value.0]
    }

    /// What stands side by side in a value, also within concatenations that nobody else reads.
    fn columns(&self, value: Value) -> Vec<Value> {
        let is_open = |value: Value| self.graph.execution(value) == Execution::Concat && !self.is_common[value.0];
        let mut found = Vec::new();
        let mut stack = vec![value];
        while let Some(next) = stack.pop() {
            if is_open(next) && (next == value || self.uses[next.0] == 1) {
                stack.extend(self.graph.node(next).inputs.iter().rev());
            } else {
                found.push(next);
            }
        }
        found
    }

    /// A value in the own graph.
    fn own(&mut self, value: Value) -> Result<Value, GraphError> {
        if let Some(known) = self.own.map[value.0] {
            return Ok(known);
        }
        let node = self.graph.node(value);
        let made = if self.is_common[value.0] && node.shape.axis.is_none() {
            let common = self.common(value)?;
            self.hand(common, node.shape.elements(), &node.shape.dims)?
        } else if let Some((start, rest)) = self.parted[value.0].clone() {
            self.part(value, &start, &rest)?
        } else {
            let inputs = node.inputs.iter().map(|input| self.own(*input)).collect::<Result<Vec<_>, _>>()?;
            self.own.graph.set_scope(&node.scope);
            self.own.graph.add_shared(node.op.clone(), &inputs)?
        };
        self.own.map[value.0] = Some(made);
        Ok(made)
    }

    /// A value in the common graph.
    fn common(&mut self, value: Value) -> Result<Value, GraphError> {
        if let Some(known) = self.common.map[value.0] {
            return Ok(known);
        }
        let node = self.graph.node(value);
        let inputs = node.inputs.iter().map(|input| self.common(*input)).collect::<Result<Vec<_>, _>>()?;
        self.common.graph.set_scope(&node.scope);
        let made = self.common.graph.add_shared(node.op.clone(), &inputs)?;
        self.common.map[value.0] = Some(made);
        Ok(made)
    }

    /// Hands a row of the common graph to the own one.
    fn hand(&mut self, common: Value, width: usize, dims: &[usize]) -> Result<Value, GraphError> {
        let place = self.handed.iter().position(|known| *known == common).unwrap_or(self.handed.len());
        if place == self.handed.len() {
            self.handed.push(common);
        }
        let row = self.own.graph.add(DenseInput { slot: self.first_slot + place, width, axis: None }, &[])?;
        if dims == [width] {
            return Ok(row);
        }
        self.own.graph.add(Reshape { shape: Shape::batch(dims) }, &[row])
    }

    fn part(&mut self, value: Value, start: &[Value], rest: &[Value]) -> Result<Value, GraphError> {
        let node = self.graph.node(value);
        let epilogue = self.graph.op_as::<MatMul>(value).map_or(Epilogue::None, |product| product.epilogue);
        let columns = start.iter().map(|part| self.common(*part)).collect::<Result<Vec<_>, _>>()?;
        let weights = self.common(node.inputs[1])?;
        self.common.graph.set_scope(&node.scope);
        let columns = self.common.concat(columns)?;
        let sums = self.common.graph.add(PartedProduct(Part::Start), &[columns, weights])?;
        let sums = self.hand(sums, node.shape.elements(), &node.shape.dims)?;
        let columns = rest.iter().map(|part| self.own(*part)).collect::<Result<Vec<_>, _>>()?;
        let further = node.inputs[1..].iter().map(|input| self.own(*input)).collect::<Result<Vec<_>, _>>()?;
        self.own.graph.set_scope(&node.scope);
        let columns = self.own.concat(columns)?;
        let mut inputs = vec![columns, further[0], sums];
        inputs.extend(&further[1..]);
        self.own.graph.add(PartedProduct(Part::Rest(epilogue)), &inputs)
    }
}

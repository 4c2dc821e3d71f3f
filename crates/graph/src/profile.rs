//! Where the time of a graph goes, operation by operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rankmill_kernels::substrate::Extent;

use crate::graph::{Graph, Node};
use crate::op::Execution;
use crate::shape::Shape;

/// What one operation of a graph took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpProfile {
    /// Name of the operation.
    pub op: &'static str,
    /// Where it comes from (a variable scope).
    pub scope: String,
    /// Shape of its output.
    pub shape: String,
    /// Time in it, added over all threads, in seconds.
    pub seconds: f64,
    /// Floating-point operations done.
    pub flops: f64,
    /// Bytes of its inputs and its output: what it would move if nothing stayed in cache.
    pub bytes: f64,
}

/// Clocks of all operations.
pub(crate) struct Clocks {
    nanoseconds: Vec<AtomicU64>,
    /// Rows of the batches, all together.
    rows: u64,
    /// And rows of tensors along each axis.
    along: Vec<u64>,
    runs: u64,
}

impl Clocks {
    pub(crate) fn new(graph: &Graph) -> Clocks {
        Clocks { nanoseconds: graph.nodes.iter().map(|_| AtomicU64::new(0)).collect(), rows: 0, along: vec![0; graph.axes.len()], runs: 0 }
    }

    /// Counts a run.
    pub(crate) fn count(&mut self, extent: Extent<'_>) {
        self.rows += extent.rows as u64;
        for (total, length) in self.along.iter_mut().zip(extent.lengths) {
            *total += (extent.rows * length) as u64;
        }
        self.runs += 1;
    }

    /// Does a part of the work of node `id`.
    pub(crate) fn time(&self, id: usize, work: impl FnOnce()) {
        let start = Instant::now();
        work();
        self.nanoseconds[id].fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// The operations that compute something, in the order of the graph.
    pub(crate) fn profile(&self, graph: &Graph) -> Vec<OpProfile> {
        let computes = |node: &Node| matches!(node.op.execution(), Execution::Map | Execution::Reduce | Execution::Blocks);
        let ops = graph.nodes.iter().zip(&self.nanoseconds).filter(|(node, _)| computes(node));
        ops.map(|(node, nanoseconds)| {
            let inputs: Vec<&Shape> = node.inputs.iter().map(|input| graph.shape(*input)).collect();
            // A lookup reads as much of its table as it writes.
            let read = if graph.is_lookup(node) { self.bytes(&node.shape) } else { inputs.iter().map(|shape| self.bytes(shape)).sum() };
            OpProfile {
                op: node.op.name(),
                scope: node.scope.to_string(),
                shape: node.shape.to_string(),
                seconds: nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9,
                flops: node.op.cost(&inputs, &node.shape).flops_per_row
                    * self.rows(inputs.first().copied().filter(|_| !node.shape.batch).unwrap_or(&node.shape)),
                bytes: read + self.bytes(&node.shape),
            }
        })
        .collect()
    }

    fn bytes(&self, shape: &Shape) -> f64 {
        4.0 * shape.elements() as f64 * if shape.batch { self.rows(shape) } else { self.runs as f64 }
    }

    /// Rows of a tensor in all runs; those of the batches for one without.
    fn rows(&self, shape: &Shape) -> f64 {
        shape.axis.map_or(self.rows, |axis| self.along[axis.0]) as f64
    }
}

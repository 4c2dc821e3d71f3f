//! Running a graph in two parts.

use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;

use super::{EqualInputs, Shared, share};
use crate::execute::{Executor, Feed, Weights};
use crate::graph::{Graph, Value};
use crate::op::Execution;

/// A planned graph for batches in which some inputs have equal rows. Its outputs have the bits that [`Executor`] gives.
pub struct SharedExecutor {
    common: Executor,
    /// What the own graph reads of the common one.
    handed: Vec<Value>,
    own: Executor,
    first_slot: usize,
    /// Each output of the whole graph in the own one.
    outputs: Vec<(Value, Value)>,
    reads: EqualInputs,
    saved: f64,
}

impl SharedExecutor {
    /// Plans `graph` for batches whose inputs `equal` have equal rows; nothing if no work is shared then. Of the graph's values, `outputs`
    /// can be read after a run.
    pub fn new(graph: &Graph, outputs: &[Value], equal: &EqualInputs, precision: Precision) -> Option<SharedExecutor> {
        let shared = share(graph, outputs, equal, precision).expect("the rules of parting keep all shapes")?;
        let Shared { common, handed, own, outputs: own_outputs, first_slot } = shared;
        let reads = reads(&own, first_slot);
        let work = [&common, &own].map(Graph::flops_per_row);
        Some(SharedExecutor {
            common: Executor::fused(common, &handed, 1, precision),
            own: Executor::fused(own, &own_outputs, 0, precision),
            handed,
            first_slot,
            outputs: outputs.iter().copied().zip(own_outputs).collect(),
            reads,
            saved: work[0] / (work[0] + work[1]),
        })
    }

    /// The part of the work on a row that is done once.
    pub fn saved(&self) -> f64 {
        self.saved
    }

    /// The inputs of which all rows are read, although they may be equal. Others may be anything in the feed of all rows.
    pub fn reads(&self) -> &EqualInputs {
        &self.reads
    }

    /// Runs the graph on all rows; `common` is the feed of the first one.
    ///
    /// # Panics
    /// As [`Executor::run`].
    pub fn run(&mut self, parameters: &[MatRef<'_>], weights: Weights, common: &Feed<'_>, all: &Feed<'_>, pool: &Pool) {
        self.common.run(parameters, weights, common, pool);
        let nothing = MatRef::repeated(&[], all.rows);
        let mut dense: Vec<MatRef<'_>> = all.dense.iter().copied().take(self.first_slot).collect();
        dense.resize(self.first_slot, nothing);
        dense.extend(self.handed.iter().map(|value| MatRef::repeated(self.common.value(*value).row(0), all.rows)));
        self.own.run(parameters, weights, &Feed { dense: &dense, ..*all }, pool);
    }

    /// An output of the last run.
    ///
    /// # Panics
    /// If the value was not among the outputs.
    pub fn value(&self, value: Value) -> MatRef<'_> {
        let (_, own) = self.outputs.iter().find(|(output, _)| *output == value).expect("only outputs can be read");
        self.own.value(*own)
    }
}

/// The inputs that a graph reads, of those before a slot.
fn reads(graph: &Graph, first_slot: usize) -> EqualInputs {
    let mut reads = EqualInputs { ids: Vec::new(), dense: vec![false; first_slot] };
    for value in graph.values() {
        if let Some(lookup) = graph.lookup(value) {
            reads.ids.resize(reads.ids.len().max(lookup.slot + 1), false);
            reads.ids[lookup.slot] = true;
        }
        if let Execution::DenseInput(slot) = graph.execution(value)
            && slot < first_slot
        {
            reads.dense[slot] = true;
        }
    }
    reads
}

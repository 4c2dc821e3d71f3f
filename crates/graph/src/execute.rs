//! Running a graph.

use std::ops::Range;

use rankmill_kernels::gemm::Precision;
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::substrate::{Arena, Extent, Kernels, Part, Place, RowCounts};
use rankmill_kernels::view::{MatMut, MatRef};
use smallvec::SmallVec;

use crate::fuse::{Rewritten, fuse, materialise};
use crate::graph::{Graph, Value};
use crate::lower::lower;
use crate::op::{Context, Op};
use crate::plan::plan;
use crate::profile::{Clocks, OpProfile};
use crate::shape::Length;

/// What a batch brings.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// Rows of the batch.
    pub rows: usize,
    /// Lengths of the axes that have theirs from the feed, by place; at least 1.
    pub lengths: &'a [usize],
    /// Dense matrices by slot, `rows` rows each, or as many times that as their axis is long.
    pub dense: &'a [MatRef<'a>],
    /// Id columns by slot, with as many rows.
    pub ids: &'a [&'a IdColumn],
    /// Seed of this step's random numbers.
    pub seed: u64,
}

/// Whether parameters are those of the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// They may have changed.
    Changed,
    /// They are the same.
    Unchanged,
}

/// Which operations a run computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operations {
    /// All of them.
    #[default]
    All,
    /// Products of matrices alone, on whatever the other operations left in the buffers: the time that a run would take if all the rest
    /// were free.
    Products,
}

/// A planned graph with its buffers.
pub struct Executor {
    graph: Graph,
    arena: Arena,
    places: Vec<(Value, Place)>,
    /// Whether the prologue has run.
    prepared: bool,
    clocks: Option<Clocks>,
    operations: Operations,
}

impl Executor {
    /// Fuses, lowers and plans `graph` for batches of up to `rows` rows (larger ones make it grow); products are computed at
    /// `precision`. Of the graph's values, `outputs` can be read after a run.
    pub fn new(graph: Graph, outputs: &[Value], rows: usize, precision: Precision) -> Executor {
        let fused = fuse(&graph, outputs).expect("the rules of fusion keep all shapes");
        let kept: Vec<Value> = outputs.iter().map(|value| fused.map[value.0].expect("outputs are kept")).collect();
        let mut executor = Executor::fused(fused.graph, &kept, rows, precision);
        let place = |(output, kept): (&Value, &Value)| {
            let (_, place) = executor.places.iter().find(|(value, _)| value == kept)?;
            Some((*output, *place))
        };
        executor.places = outputs.iter().zip(&kept).filter_map(place).collect();
        executor
    }

    /// The same for a graph that is fused already.
    pub(crate) fn fused(graph: Graph, outputs: &[Value], rows: usize, precision: Precision) -> Executor {
        let mut current = outputs.to_vec();
        let mut step = |rewritten: Rewritten| {
            let kept = |value: &Value| rewritten.map[value.0].expect("outputs are kept");
            current = current.iter().map(kept).collect();
            (rewritten.graph, current.clone())
        };
        let (graph, kept) = step(lower(&graph, outputs, precision).expect("lowering keeps all shapes"));
        let (graph, kept) = step(materialise(&graph, &kept).expect("copies keep all shapes"));
        let plan = plan(&graph, &kept);
        let places = outputs.iter().zip(&kept).filter_map(|(output, kept)| Some((*output, plan.places[kept.0]?))).collect();
        let lengths = lengths(&graph, &[]);
        let arena = Arena::new(plan.program, Extent { rows, lengths: &lengths });
        Executor { graph, arena, places, prepared: false, clocks: None, operations: Operations::All }
    }

    /// Runs the graph. `parameters` are in the order of the graph's declarations; where they are `Weights::Unchanged` since the last
    /// run, what depends on them alone (packed weights, folded norms) is not computed again.
    ///
    /// # Panics
    /// If the feed has fewer rows, columns or parameters than the graph was built for.
    pub fn run(&mut self, parameters: &[MatRef<'_>], weights: Weights, feed: &Feed<'_>, pool: &Pool) {
        let outside: Vec<MatRef<'_>> = parameters.iter().chain(feed.dense).copied().collect();
        let lengths = lengths(&self.graph, feed.lengths);
        let extent = Extent { rows: feed.rows, lengths: &lengths };
        let context = Context { extent, ids: feed.ids, seed: feed.seed };
        let part = if self.prepared && weights == Weights::Unchanged { Part::AfterPrologue } else { Part::Whole };
        if let Some(clocks) = &mut self.clocks {
            clocks.count(extent);
        }
        let nodes = Nodes { graph: &self.graph, context, clocks: self.clocks.as_ref(), operations: self.operations };
        self.arena.run(&nodes, &outside, extent, part, pool);
        self.prepared = true;
    }

    /// An output of the last run: `[B, N]`, or a matrix or row without batch rows.
    ///
    /// # Panics
    /// If the value was not among the outputs.
    pub fn value(&self, value: Value) -> MatRef<'_> {
        let (_, place) = self.places.iter().find(|(output, _)| *output == value).expect("only outputs can be read");
        self.arena.view(*place)
    }

    /// Computes these operations alone from now on.
    pub fn select(&mut self, operations: Operations) {
        self.operations = operations;
    }

    /// Takes the time of every operation from now on.
    pub fn start_profile(&mut self) {
        self.clocks = Some(Clocks::new(&self.graph));
    }

    /// What the operations took since [`Executor::start_profile`], in the order of the graph.
    pub fn profile(&self) -> Vec<OpProfile> {
        self.clocks.as_ref().map(|clocks| clocks.profile(&self.graph)).unwrap_or_default()
    }

    /// Bytes of the buffers for a batch of `rows` rows, the axes that have their lengths from the feed being so long.
    pub fn bytes(&self, rows: usize, fed: &[usize]) -> usize {
        let lengths = lengths(&self.graph, fed);
        self.arena.program().bytes(Extent { rows, lengths: &lengths })
    }
}

/// The lengths of the axes; 0 where the feed has none.
fn lengths(graph: &Graph, fed: &[usize]) -> SmallVec<[usize; 8]> {
    let mut lengths: SmallVec<[usize; 8]> = SmallVec::new();
    for axis in &graph.axes {
        lengths.push(match axis {
            Length::Fed(place) => fed.get(*place).copied().unwrap_or(0),
            Length::Fixed(length) => *length,
            Length::Joined(axes) => axes.iter().map(|axis| axis.map_or(1, |axis| lengths[axis.0])).sum(),
        });
    }
    lengths
}

struct Nodes<'a> {
    graph: &'a Graph,
    context: Context<'a>,
    clocks: Option<&'a Clocks>,
    operations: Operations,
}

impl Nodes<'_> {
    /// Does a part of the work of a node if it is wanted, by the clock if there is one.
    fn run(&self, id: usize, work: impl FnOnce(&dyn Op)) {
        let op = &*self.graph.nodes[id].op;
        if self.operations == Operations::Products && !op.is_product() {
            return;
        }
        match self.clocks {
            Some(clocks) => clocks.time(id, || work(op)),
            None => work(op),
        }
    }
}

impl Kernels for Nodes<'_> {
    fn map(&self, id: usize, inputs: &[MatRef<'_>], first_row: usize, output: MatMut<'_>) {
        self.run(id, |op| op.forward(&self.context, inputs, first_row, output));
    }

    fn columns(&self, id: usize, inputs: &[MatRef<'_>], columns: Range<usize>, output: MatMut<'_>) {
        self.run(id, |op| op.forward_columns(inputs, columns, output));
    }

    fn partial(&self, id: usize, inputs: &[MatRef<'_>], first_row: usize, output: &mut [f32]) {
        self.run(id, |op| op.partial(&self.context, inputs, first_row, output));
    }

    fn combine(&self, id: usize, partials: MatRef<'_>, rows: RowCounts, output: MatMut<'_>) {
        self.run(id, |op| op.combine(rows, partials, output));
    }

    fn once(&self, id: usize, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        self.run(id, |op| op.forward(&self.context, inputs, 0, output));
    }

    fn block(&self, id: usize, inputs: &[MatRef<'_>], range: Range<usize>, output: MatMut<'_>) {
        self.run(id, |op| op.block(inputs, range, output));
    }
}

//! Running a graph.

use std::ops::Range;

use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::substrate::{Arena, Kernels, Place};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::fuse::{fuse, materialise};
use crate::graph::{Graph, Value};
use crate::op::Context;
use crate::plan::plan;

/// What a batch brings.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// Rows of the batch.
    pub rows: usize,
    /// Dense matrices by slot, `rows` rows each.
    pub dense: &'a [MatRef<'a>],
    /// Id columns by slot, `rows` rows each.
    pub ids: &'a [&'a IdColumn],
    /// Seed of this step's random numbers.
    pub seed: u64,
}

/// A planned graph with its buffers.
pub struct Executor {
    graph: Graph,
    arena: Arena,
    places: Vec<Option<Place>>,
}

impl Executor {
    /// Fuses and plans `graph` for batches of up to `rows` rows (larger ones make it grow). Of its values, `outputs` can be read
    /// after a run.
    pub fn new(graph: Graph, outputs: &[Value], rows: usize) -> Executor {
        let fused = fuse(&graph, outputs).expect("the rules of fusion keep all shapes");
        let kept: Vec<Value> = outputs.iter().filter_map(|output| fused.map[output.0]).collect();
        let ready = materialise(&fused.graph, &kept).expect("copies keep all shapes");
        let kept: Vec<Value> = kept.iter().filter_map(|output| ready.map[output.0]).collect();
        let plan = plan(&ready.graph, &kept);
        let place_of = |old: Value| {
            let value = fused.map[old.0].and_then(|value| ready.map[value.0])?;
            plan.places[value.0]
        };
        let mut places = vec![None; graph.nodes.len()];
        for output in outputs {
            places[output.0] = place_of(*output);
        }
        Executor { graph: ready.graph, arena: Arena::new(plan.program, rows), places }
    }

    /// Runs the graph. `parameters` are in the order of the graph's declarations.
    ///
    /// # Panics
    /// If the feed has fewer rows, columns or parameters than the graph was built for.
    pub fn run(&mut self, parameters: &[MatRef<'_>], feed: &Feed<'_>, pool: &Pool) {
        let outside: Vec<MatRef<'_>> = parameters.iter().chain(feed.dense).copied().collect();
        let context = Context { rows: feed.rows, ids: feed.ids, seed: feed.seed };
        self.arena.run(&Nodes { graph: &self.graph, context }, &outside, feed.rows, pool);
    }

    /// An output of the last run: `[B, N]`, or a matrix or row without batch rows.
    ///
    /// # Panics
    /// If the value was not among the outputs.
    pub fn value(&self, value: Value) -> MatRef<'_> {
        self.arena.view(self.places[value.0].expect("only outputs can be read"))
    }

    /// Bytes of the buffers for a batch of `rows` rows.
    pub fn bytes(&self, rows: usize) -> usize {
        self.arena.program().bytes(rows)
    }
}

struct Nodes<'a> {
    graph: &'a Graph,
    context: Context<'a>,
}

impl Kernels for Nodes<'_> {
    fn map(&self, id: usize, inputs: &[MatRef<'_>], first_row: usize, output: MatMut<'_>) {
        self.graph.nodes[id].op.forward(&self.context, inputs, first_row, output);
    }

    fn partial(&self, id: usize, inputs: &[MatRef<'_>], first_row: usize, output: &mut [f32]) {
        self.graph.nodes[id].op.partial(&self.context, inputs, first_row, output);
    }

    fn combine(&self, id: usize, partials: MatRef<'_>, rows: usize, output: MatMut<'_>) {
        self.graph.nodes[id].op.combine(rows, partials, output);
    }

    fn once(&self, id: usize, inputs: &[MatRef<'_>], _: usize, output: MatMut<'_>) {
        self.graph.nodes[id].op.forward(&self.context, inputs, 0, output);
    }

    fn block(&self, id: usize, inputs: &[MatRef<'_>], range: Range<usize>, output: MatMut<'_>) {
        self.graph.nodes[id].op.block(inputs, range, output);
    }
}

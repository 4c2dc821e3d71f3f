//! From a graph to phases and buffers.
//!
//! A value is available to row steps of the phase in which it is computed row by row, or of the next one if it is a sum over
//! rows or has no rows. Weight gradients are computed at the end of the phase that computes what they read.
//!
//! A batch tensor lives in a column range of a slab: that of the concatenation or in-place result it is part of, or its own; memory is
//! used again when all tensors in it are done (see [`memory`]).

use rankmill_kernels::substrate::{BlockStep, Layout, Phase, Place, Program, RowStep, SerialStep};

use crate::graph::{Graph, Value};
use crate::memory::{self, Moment, Tensor};
use crate::op::Execution;
use crate::shape::Shape;

/// A program and where each value of the graph is after a run.
pub(crate) struct Plan {
    pub(crate) program: Program,
    pub(crate) places: Vec<Option<Place>>,
}

/// When a value is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// Before the run.
    Before,
    /// Computed in the row steps of a phase.
    Rows(usize),
    /// Computed in the serial steps of a phase.
    Serial(usize),
    /// Computed in the block steps of a phase.
    Blocks(usize),
}

impl Ready {
    /// The first phase whose row steps may read the value.
    fn for_rows(self) -> usize {
        match self {
            Ready::Before => 0,
            Ready::Rows(phase) => phase,
            Ready::Serial(phase) | Ready::Blocks(phase) => phase + 1,
        }
    }

    /// The first phase whose serial or block steps may read the value.
    fn for_serial(self) -> usize {
        match self {
            Ready::Before => 0,
            Ready::Rows(phase) | Ready::Serial(phase) => phase,
            Ready::Blocks(phase) => phase + 1,
        }
    }
}

/// Plans `graph`, which [`crate::fuse::materialise`] has prepared; the values `outputs` stay readable after a run.
pub(crate) fn plan(graph: &Graph, outputs: &[Value]) -> Plan {
    let (ready, prologue) = schedule(graph);
    let mut layout = Layout { axes: graph.axes.len(), ..Layout::default() };
    let mut places = fixed_places(graph, &mut layout);
    batch_places(graph, outputs, &ready, &mut layout, &mut places);
    let phases = phases(graph, &ready, &places, &mut layout);
    let program = Program::new(layout, phases, prologue).expect("the planner keeps the rules of the substrate");
    Plan { program, places }
}

/// Values that depend on parameters alone.
fn constants(graph: &Graph) -> Vec<bool> {
    let mut constant: Vec<bool> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        constant.push(match node.op.execution() {
            Execution::Parameter(_) => true,
            Execution::Map | Execution::Blocks | Execution::Elements(_) if !node.shape.batch => {
                node.inputs.iter().all(|input| constant[input.0])
            }
            _ => false,
        });
    }
    constant
}

/// Columns of the tensors that weight gradients of one phase read. When there are more, the row steps after them wait for the next
/// phase, which costs a barrier, and finds the buffers of these tensors free and still in cache.
const PENDING_COLUMNS: usize = 1024;

/// When each value is ready, and the number of phases in the prologue, in which the values are computed that depend on parameters
/// alone.
fn schedule(graph: &Graph) -> (Vec<Ready>, usize) {
    let constant = constants(graph);
    let mut ready: Vec<Ready> = vec![Ready::Before; graph.nodes.len()];
    let mut prologue = 0;
    for in_prologue in [true, false] {
        // The first phase that has not been given enough to do.
        let mut open = prologue;
        let mut pending = 0;
        for (i, node) in graph.nodes.iter().enumerate() {
            if constant[i] != in_prologue {
                continue;
            }
            let for_rows = node.inputs.iter().enumerate().map(|(i, input)| match ready[input.0] {
                Ready::Rows(phase) if node.op.reads_all_rows(i) => phase + 1,
                other => other.for_rows(),
            });
            let for_rows = for_rows.fold(open, usize::max);
            let for_serial = node.inputs.iter().map(|input| ready[input.0].for_serial()).fold(open, usize::max);
            ready[i] = match node.op.execution() {
                Execution::Parameter(_) | Execution::DenseInput(_) => Ready::Before,
                Execution::Map if node.shape.batch => Ready::Rows(for_rows),
                Execution::Map => Ready::Serial(for_serial),
                Execution::Reduce => Ready::Serial(for_rows),
                Execution::Blocks => Ready::Blocks(for_serial),
                Execution::Concat => Ready::Rows(for_rows),
                Execution::Columns(_) | Execution::Elements(_) => ready[node.inputs[0].0],
            };
            if in_prologue && ready[i] != Ready::Before {
                prologue = prologue.max(ready[i].for_rows());
            }
            if let (Ready::Blocks(phase), false) = (ready[i], in_prologue) {
                if phase > open {
                    (open, pending) = (phase, 0);
                }
                pending +=
                    node.inputs.iter().map(|input| graph.shape(*input)).filter(|shape| shape.batch).map(Shape::elements).sum::<usize>();
                if pending >= PENDING_COLUMNS {
                    (open, pending) = (phase + 1, 0);
                }
            }
        }
    }
    (ready, prologue)
}

/// Places of parameters, dense inputs and tensors without batch rows.
fn fixed_places(graph: &Graph, layout: &mut Layout) -> Vec<Option<Place>> {
    let mut places: Vec<Option<Place>> = Vec::with_capacity(graph.nodes.len());
    let parameters = graph.parameters().len();
    for node in &graph.nodes {
        let (rows, cols) = node.shape.as_matrix();
        places.push(match node.op.execution() {
            Execution::Parameter(index) => Some(Place::Outside { index }),
            Execution::DenseInput(slot) => Some(Place::OutsideRows { index: parameters + slot, axis: node.shape.axis.map(|axis| axis.0) }),
            Execution::Elements(first) => match places[node.inputs[0].0] {
                Some(Place::Fixed { buffer, offset, .. }) => Some(Place::Fixed { buffer, offset: offset + first, rows, cols }),
                _ => None,
            },
            _ if node.shape.batch => None,
            _ => {
                layout.fixed.push(rows * cols);
                Some(Place::Fixed { buffer: layout.fixed.len() - 1, offset: 0, rows, cols })
            }
        });
    }
    places
}

/// The tensor in whose buffer each batch tensor lives, and from which column on.
fn homes(graph: &Graph) -> Vec<(usize, usize)> {
    let mut parent: Vec<(usize, usize)> = (0..graph.nodes.len()).map(|i| (i, 0)).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        match node.op.execution() {
            Execution::Concat => {
                let mut col = 0;
                for input in &node.inputs {
                    parent[input.0] = (i, col);
                    col += graph.shape(*input).elements();
                }
            }
            Execution::Columns(first) => parent[i] = (node.inputs[0].0, first),
            _ => {
                if let Some(overwritten) = node.op.in_place() {
                    parent[node.inputs[overwritten].0] = (i, 0);
                }
            }
        }
    }
    (0..graph.nodes.len())
        .map(|i| {
            let (mut home, mut col) = (i, 0);
            while parent[home].0 != home {
                col += parent[home].1;
                home = parent[home].0;
            }
            (home, col)
        })
        .collect()
}

fn batch_places(graph: &Graph, outputs: &[Value], ready: &[Ready], layout: &mut Layout, places: &mut [Option<Place>]) {
    let homes = homes(graph);
    let count = graph.nodes.len();
    let mut last_use = vec![Moment::START; count];
    let mut made: Vec<Option<Moment>> = vec![None; count];
    for (i, node) in graph.nodes.iter().enumerate() {
        let moment = match ready[i] {
            Ready::Before => Moment::START,
            Ready::Rows(phase) => Moment { phase, step: i },
            // The row part of a reduction runs in order with the other row steps.
            Ready::Serial(phase) if node.op.execution() == Execution::Reduce => Moment { phase, step: i },
            Ready::Serial(phase) | Ready::Blocks(phase) => Moment::end_of(phase),
        };
        for (number, input) in node.inputs.iter().enumerate() {
            let home = homes[input.0].0;
            // Another tile may be further on in the phase than the one that reads all rows.
            let until = match ready[i] {
                Ready::Rows(phase) if node.op.reads_all_rows(number) => Moment::end_of(phase),
                _ => moment,
            };
            last_use[home] = last_use[home].max(until);
        }
        if node.shape.batch && matches!(node.op.execution(), Execution::Map) {
            let home = homes[i].0;
            made[home] = Some(made[home].map_or(moment, |earlier| earlier.min(moment)));
            last_use[home] = last_use[home].max(moment);
        }
    }
    for output in outputs {
        last_use[homes[output.0].0] = Moment::NEVER;
    }
    let made: Vec<(usize, Moment)> = made.into_iter().enumerate().filter_map(|(home, made)| Some((home, made?))).collect();
    let tensor = |&(home, made): &(usize, Moment)| {
        let shape: &Shape = &graph.nodes[home].shape;
        Tensor { width: shape.elements(), axis: shape.axis.map(|axis| axis.0), made, last_use: last_use[home] }
    };
    let (buffers, slabs) = memory::place(&made.iter().map(tensor).collect::<Vec<_>>());
    layout.batch = buffers;
    let mut slab_of = vec![None; count];
    for ((home, _), slab) in made.iter().zip(slabs) {
        slab_of[*home] = Some(slab);
    }
    for (i, node) in graph.nodes.iter().enumerate() {
        let (home, col) = homes[i];
        if let (true, None, Some(slab)) = (node.shape.batch, places[i], slab_of[home]) {
            places[i] = Some(Place::Batch { slab, col, cols: node.shape.elements() });
        }
    }
}

fn phases(graph: &Graph, ready: &[Ready], places: &[Option<Place>], layout: &mut Layout) -> Vec<Phase> {
    let count = ready.iter().map(|ready| ready.for_serial() + 1).max().unwrap_or(0);
    let mut phases = vec![Phase::default(); count];
    for (id, node) in graph.nodes.iter().enumerate() {
        let overwritten = node.op.in_place();
        let inputs = || {
            let read = node.inputs.iter().enumerate().filter(|(i, _)| Some(*i) != overwritten);
            let place = |(i, input): (usize, &Value)| match places[input.0].expect("inputs have a place") {
                Place::Batch { slab, col, cols } if node.op.reads_all_rows(i) => Place::AllRows { slab, col, cols },
                Place::OutsideRows { index, .. } if node.op.reads_all_rows(i) => Place::Outside { index },
                place => place,
            };
            read.map(place).collect()
        };
        let output = places[id].expect("every value has a place");
        match (node.op.execution(), ready[id]) {
            (Execution::Map, Ready::Rows(phase)) => {
                let shapes: Vec<_> = node.inputs.iter().map(|input| graph.shape(*input)).collect();
                let work = (node.op.cost(&shapes, &node.shape).flops_per_row / 2.0) as usize;
                phases[phase].rows.push(RowStep::Map { id, inputs: inputs(), output, work, columns: node.op.column_unit() });
            }
            (Execution::Map, Ready::Serial(phase)) => phases[phase].serial.push(SerialStep::Once { id, inputs: inputs(), output }),
            (Execution::Reduce, Ready::Serial(phase)) => {
                let shapes: Vec<_> = node.inputs.iter().map(|input| graph.shape(*input)).collect();
                layout.partial.push(node.op.partial_width(&shapes));
                let partial = layout.partial.len() - 1;
                let axis = shapes[0].axis.map(|axis| axis.0);
                phases[phase].rows.push(RowStep::Partial { id, inputs: inputs(), partial, axis });
                phases[phase].serial.push(SerialStep::Combine { id, partial, axis, output });
            }
            (Execution::Blocks, Ready::Blocks(phase)) => {
                let blocks = node.op.blocks(&node.shape);
                phases[phase].blocks.push(BlockStep { id, inputs: inputs(), output, blocks });
            }
            _ => {}
        }
    }
    phases
}

//! Lookups in tables of fewer bits (`rankmill_kernels::tables`), and the graph that reads its tables so.

use std::sync::Arc;

use rankmill_kernels::tables::TableFormat;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::graph::{Graph, Value};
use crate::op::{Context, Cost, Execution, Op};
use crate::ops::leaf::Parameter;
use crate::ops::lookup::Lookup;
use crate::shape::Shape;

/// A packed table `[rows, words]` and the ids of a slot → what [`Lookup`] gives of the table `[rows, width]`.
#[derive(Clone, Copy, Debug)]
pub struct PackedLookup {
    /// The lookup.
    pub lookup: Lookup,
    /// The form of the table.
    pub format: TableFormat,
    /// Numbers of a row.
    pub width: usize,
}

impl Op for PackedLookup {
    fn name(&self) -> &'static str {
        "packed lookup"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        match (inputs[0].batch, inputs[0].dims.as_slice()) {
            (false, [_, words]) if *words == self.format.words(self.width) => {
                Ok(Shape { batch: true, axis: self.lookup.axis, dims: vec![self.width] })
            }
            _ => Err(format!("a packed table has {} words in a row", self.format.words(self.width))),
        }
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let (column, table) = (context.ids[self.lookup.slot], inputs[0]);
        for i in 0..output.rows() {
            let y = output.row(i);
            let row = first_row + i;
            self.lookup.prefetch(column, row, table);
            y.fill(0.0);
            self.lookup.for_each_id(column, row, |_, id, factor| self.format.add(table.row(id as usize), factor, y));
        }
    }

    fn cost(&self, _: &[&Shape], output: &Shape) -> Cost {
        Cost { flops_per_row: output.elements() as f64 }
    }
}

/// The parameters that `graph` reads by lookups alone, each a table. Reading one in another form changes nothing else.
pub fn tables(graph: &Graph, outputs: &[Value]) -> Vec<usize> {
    let mut is_table = vec![true; graph.parameters().len()];
    let mut is_read = vec![false; graph.parameters().len()];
    let parameter = |value: Value| match graph.execution(value) {
        Execution::Parameter(parameter) => Some(parameter),
        _ => None,
    };
    for value in graph.values() {
        let is_lookup = graph.lookup(value).is_some();
        for parameter in graph.node(value).inputs.iter().filter_map(|input| parameter(*input)) {
            is_read[parameter] = true;
            is_table[parameter] &= is_lookup;
        }
    }
    outputs.iter().filter_map(|output| parameter(*output)).for_each(|parameter| is_table[parameter] = false);
    (0..is_table.len()).filter(|parameter| is_table[*parameter] && is_read[*parameter]).collect()
}

/// Reads these tables in `format` from now on: their parameters have the shape `[rows, words]` then.
pub fn pack_tables(graph: &mut Graph, tables: &[usize], format: TableFormat) {
    let mut packed = vec![None; graph.nodes.len()];
    for at in 0..graph.nodes.len() {
        if let Execution::Parameter(parameter) = graph.nodes[at].op.execution()
            && tables.contains(&parameter)
        {
            let mut shape = graph.nodes[at].shape.clone();
            packed[at] = Some(shape.dims[1]);
            shape.dims[1] = format.words(shape.dims[1]);
            graph.nodes[at].op = Arc::new(Parameter { index: parameter, shape: shape.clone() });
            graph.nodes[at].shape = shape.clone();
            graph.reshape_parameter(parameter, shape);
        }
        let width = graph.nodes[at].inputs.first().and_then(|input| packed[input.0]);
        if let (Some(width), Some(lookup)) = (width, graph.lookup(Value(at)).copied()) {
            graph.nodes[at].op = Arc::new(PackedLookup { lookup, format, width });
        }
    }
}

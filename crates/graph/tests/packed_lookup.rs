//! Lookups in packed tables: what the lookup gives of the table as its form rounds it.

use rankmill_graph::ops::leaf::Parameter;
use rankmill_graph::ops::lookup::{Combiner, Lookup};
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::packed_lookup::{pack_tables, tables};
use rankmill_graph::{Executor, Feed, Graph, Shape, Value, Weights};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::tables::TableFormat;
use rankmill_kernels::view::MatRef;

const ROWS: usize = 9;
const WIDTH: usize = 7;

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.61).sin()).collect()
}

/// Two lookups in one table, and a product with a matrix that is no table.
fn graph() -> (Graph, Vec<Value>) {
    let mut graph = Graph::new();
    let mut parameter = |name: &str, dims: &[usize]| {
        let shape = Shape::fixed(dims);
        let index = graph.declare(name, shape.clone(), true).expect("a new name");
        graph.add(Parameter { index, shape }, &[]).expect("a parameter")
    };
    let (matrix, table) = (parameter("matrix", &[WIDTH, 3]), parameter("table", &[ROWS, WIDTH]));
    let mut lookup = |slot, combiner| graph.add(Lookup { slot, combiner, axis: None }, &[table]).expect("a lookup");
    let (sum, mean) = (lookup(0, Combiner::Sum), lookup(1, Combiner::Mean));
    let product = graph.add(MatMul::PLAIN, &[mean, matrix]).expect("shapes fit");
    (graph, vec![sum, mean, product])
}

fn run(graph: Graph, outputs: &[Value], matrix: &[f32], table: &[f32]) -> Vec<Vec<f32>> {
    let single = IdColumn { offsets: (0..=20).collect(), ids: (0..20).map(|i| i * 5 % ROWS as u32).collect(), weights: None };
    let offsets: Vec<u32> = (0..=20)
        .map(|i| i * (i + 1) / 2 % 40)
        .scan(0, |last, next| {
            Some({
                *last = next.max(*last);
                *last
            })
        })
        .collect();
    let count = *offsets.last().expect("rows");
    let weights = Some((0..count).map(|i| 0.5 + i as f32 / 10.0).collect());
    let several = IdColumn { offsets, ids: (0..count).map(|i| i * 7 % ROWS as u32).collect(), weights };
    let mut executor = Executor::new(graph, outputs, 0, Precision::F32);
    let feed = Feed { rows: 20, lengths: &[], dense: &[], ids: &[&single, &several], seed: 0 };
    let parameters = [MatRef::new(matrix, WIDTH, 3), MatRef::new(table, ROWS, table.len() / ROWS)];
    executor.run(&parameters, Weights::Changed, &feed, &Pool::new(1).expect("a thread"));
    outputs.iter().map(|output| executor.value(*output).to_vec()).collect()
}

#[test]
fn packed_tables_give_what_their_rounded_rows_give() {
    let (matrix, table) = (numbers(WIDTH * 3), numbers(ROWS * WIDTH));
    for format in [TableFormat::Bf16, TableFormat::Int8] {
        let (graph, outputs) = graph();
        assert_eq!(tables(&graph, &outputs), [1]);
        let packed = format.pack_rows(&table, WIDTH);
        let mut rounded = vec![0.0; table.len()];
        for (row, words) in rounded.chunks_exact_mut(WIDTH).zip(packed.chunks_exact(format.words(WIDTH))) {
            format.add(words, 1.0, row);
        }
        assert_ne!(rounded, table);
        let expected = run(graph.clone(), &outputs, &matrix, &rounded);
        let mut changed = graph;
        pack_tables(&mut changed, &[1], format);
        assert_eq!(changed.parameters()[1].shape.dims, [ROWS, format.words(WIDTH)]);
        let found = run(changed, &outputs, &matrix, &packed);
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() <= 1e-6, "{format:?}: {found} {expected}");
        }
        assert!(expected[1].iter().any(|value| *value != 0.0));
    }
}

#[test]
fn what_something_else_reads_is_no_table() {
    let (mut graph, outputs) = graph();
    let index = graph.declare("table", Shape::fixed(&[ROWS, WIDTH]), true).expect("known");
    let table = graph.add(Parameter { index, shape: Shape::fixed(&[ROWS, WIDTH]) }, &[]).expect("a parameter");
    assert_eq!(tables(&graph, &[outputs[0], table]), [0; 0]);
    let other = graph.declare("other", Shape::fixed(&[WIDTH, 2]), true).expect("a new name");
    let other = graph.add(Parameter { index: other, shape: Shape::fixed(&[WIDTH, 2]) }, &[]).expect("a parameter");
    graph.add(MatMul::PLAIN, &[outputs[0], other]).expect("shapes fit");
    assert_eq!(tables(&graph, &outputs), [1]);
}

//! Products alone, which benchmarks hold steps against.

use rankmill_graph::ops::leaf::{DenseInput, Parameter};
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{Executor, Feed, Graph, Operations, Shape, Weights};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;

#[test]
fn products_are_computed_and_all_else_stays_as_it_was() {
    let mut graph = Graph::new();
    let x = graph.add(DenseInput { slot: 0, width: 1, axis: None }, &[]).expect("an input");
    let shape = Shape::fixed(&[1, 1]);
    let index = graph.declare("w", shape.clone(), true).expect("a new name");
    let w = graph.add(Parameter { index, shape }, &[]).expect("a parameter");
    let product = graph.add(MatMul::PLAIN, &[x, w]).expect("shapes fit");
    let squared = graph.add(Unary::Square, &[x]).expect("shapes fit");
    let mut executor = Executor::new(graph, &[product, squared], 1, Precision::F32);
    let pool = Pool::new(1).expect("threads");
    let mut run = |operations, x: f32| {
        executor.select(operations);
        let dense = [MatRef::new(std::slice::from_ref(&x), 1, 1)];
        let feed = Feed { rows: 1, lengths: &[], dense: &dense, ids: &[], seed: 0 };
        executor.run(&[MatRef::new(&[10.0], 1, 1)], Weights::Changed, &feed, &pool);
        [product, squared].map(|value| executor.value(value).scalar())
    };
    assert_eq!(run(Operations::All, 2.0), [20.0, 4.0]);
    assert_eq!(run(Operations::Products, 3.0), [30.0, 4.0]);
    assert_eq!(run(Operations::All, 3.0), [30.0, 9.0]);
}

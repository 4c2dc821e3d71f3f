//! Products with few rows, which threads share by columns: the same bits as on one thread.

use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::leaf::{DenseInput, Parameter};
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reduce::{OverRows, SumColumns};
use rankmill_graph::ops::sum::Sum;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{Executor, Feed, Graph, Shape, Value, Weights, differentiate};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;

/// Widths such that products are worth cutting, and end with an incomplete panel.
const WIDTHS: [usize; 3] = [270, 300, 330];

fn numbers(count: usize, seed: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.61 + seed).sin() * 0.2).collect()
}

fn parameter(graph: &mut Graph, dims: &[usize]) -> Value {
    let shape = Shape::fixed(dims);
    let index = graph.declare(&format!("p{}", graph.parameters().len()), shape.clone(), true).expect("a new name");
    graph.add(Parameter { index, shape }, &[]).expect("a parameter")
}

/// Two layers with bias and ReLU, the second summed with a product from the input; the loss is the sum of the outputs' squares, so that
/// all epilogues occur: bias, ReLU, its gradient, and sums of products.
fn model() -> (Graph, Vec<Value>) {
    let mut graph = Graph::new();
    let [first, second, third] = WIDTHS;
    let x = graph.add(DenseInput { slot: 0, width: first, axis: None }, &[]).expect("an input");
    let embed = parameter(&mut graph, &[first, first]);
    let x = graph.add(MatMul::PLAIN, &[x, embed]).expect("shapes fit");
    let layer = |graph: &mut Graph, x, k, n| {
        let (w, b) = (parameter(graph, &[k, n]), parameter(graph, &[n]));
        let product = graph.add(MatMul::PLAIN, &[x, w]).expect("shapes fit");
        let biased = graph.add(Binary::Add, &[product, b]).expect("shapes fit");
        graph.add(Unary::Relu, &[biased]).expect("shapes fit")
    };
    let hidden = layer(&mut graph, x, first, second);
    let left = layer(&mut graph, hidden, second, third);
    let beside = parameter(&mut graph, &[first, third]);
    let right = graph.add(MatMul::PLAIN, &[x, beside]).expect("shapes fit");
    let y = graph.add(Sum, &[left, right]).expect("shapes fit");
    let squares = graph.add(Binary::Multiply, &[y, y]).expect("shapes fit");
    let columns = graph.add(SumColumns, &[squares]).expect("shapes fit");
    let loss = graph.add(OverRows::Sum, &[columns]).expect("shapes fit");
    let gradients = differentiate(&mut graph, loss).expect("all have gradients");
    let outputs = [y].into_iter().chain(gradients.dense.iter().map(|(_, value)| *value)).collect();
    (graph, outputs)
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (graph, outputs) = model();
    let values: Vec<Vec<f32>> = graph.parameters().iter().enumerate().map(|(i, slot)| numbers(slot.shape.elements(), i as f32)).collect();
    let parameters: Vec<MatRef<'_>> = values
        .iter()
        .zip(graph.parameters())
        .map(|(values, slot)| {
            let (rows, cols) = slot.shape.as_matrix();
            MatRef::new(values, rows, cols)
        })
        .collect();
    let pools: Vec<Pool> = [1, 2, 3].into_iter().map(|threads| Pool::new(threads).expect("threads")).collect();
    for precision in [Precision::F32, Precision::Bf16].into_iter().filter(|precision| precision.is_supported()) {
        for rows in [1, 8, 9, 70] {
            let x = numbers(rows * WIDTHS[0], 0.3);
            let dense = [MatRef::new(&x, rows, WIDTHS[0])];
            let feed = Feed { rows, lengths: &[], dense: &dense, ids: &[], seed: 0 };
            // The first output alone is scoring: a graph without sums over rows, and tiles of eight.
            for kept in [&outputs[..1], &outputs[..]] {
                let run = |pool: &Pool| -> Vec<Vec<f32>> {
                    let mut executor = Executor::new(graph.clone(), kept, rows, precision);
                    executor.run(&parameters, Weights::Changed, &feed, pool);
                    executor.run(&parameters, Weights::Unchanged, &feed, pool);
                    kept.iter().map(|value| executor.value(*value).to_vec()).collect()
                };
                let expected = run(&pools[0]);
                assert!(expected.iter().flatten().any(|x| *x != 0.0));
                for pool in &pools[1..] {
                    assert!(run(pool) == expected, "{rows} rows, {} threads, {precision:?}, {} outputs", pool.threads(), kept.len());
                }
            }
        }
    }
}

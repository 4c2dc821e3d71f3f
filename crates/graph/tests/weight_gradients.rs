//! Weight gradients as the executor cuts them, by rows or by columns, against their definition.

use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::matmul::WeightGradient;
use rankmill_graph::{Executor, Feed, Graph, Weights};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;

const ROWS: usize = 70;

fn numbers(count: usize, seed: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.61 + seed).sin()).collect()
}

#[test]
fn every_cut_gives_the_whole() {
    // Narrow outputs, narrow inputs, both wide, and edges that are no multiple of a panel.
    for (k, n) in [(512, 112), (112, 512), (300, 257), (129, 129), (200, 5), (3, 400)] {
        let mut graph = Graph::new();
        let x = graph.add(DenseInput { slot: 0, width: k, axis: None }, &[]).expect("an input");
        let dy = graph.add(DenseInput { slot: 1, width: n, axis: None }, &[]).expect("an input");
        let gradient = graph.add(WeightGradient { precision: Precision::F32 }, &[x, dy]).expect("shapes fit");
        let (x, dy) = (numbers(ROWS * k, 0.1), numbers(ROWS * n, 0.7));
        let dense = [MatRef::new(&x, ROWS, k), MatRef::new(&dy, ROWS, n)];
        let found: Vec<Vec<f32>> = [1, 3]
            .into_iter()
            .map(|threads| {
                let mut executor = Executor::new(graph.clone(), &[gradient], ROWS, Precision::F32);
                let feed = Feed { rows: ROWS, lengths: &[], dense: &dense, ids: &[], seed: 0 };
                executor.run(&[], Weights::Changed, &feed, &Pool::new(threads).expect("threads"));
                executor.value(gradient).to_vec()
            })
            .collect();
        assert!(found[0] == found[1], "{k} x {n}: any number of threads gives the same bits");
        for i in 0..k {
            for j in 0..n {
                let expected: f64 = (0..ROWS).map(|b| f64::from(x[b * k + i]) * f64::from(dy[b * n + j])).sum();
                // A sum of 70 products below 1.
                assert!((f64::from(found[0][i * n + j]) - expected).abs() < 2e-5, "{k} x {n}: [{i}, {j}]");
            }
        }
    }
}

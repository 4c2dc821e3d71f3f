//! Weight gradients as the executor cuts them, by rows or by columns, against their definition.

use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::matmul::{Way, WeightGradient};
use rankmill_graph::{Executor, Feed, Graph, Length, Weights};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;

const ROWS: usize = 70;
/// Rows of the factors for each row of the batch, where they lie along an axis.
const LENGTH: usize = 3;

fn numbers(count: usize, seed: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.61 + seed).sin()).collect()
}

/// The gradient in several ways of running it, against sums in double precision.
fn check(k: usize, n: usize, along_axis: bool) {
    let mut graph = Graph::new();
    let axis = along_axis.then(|| graph.axis(Length::Fed(0)));
    let mut input = |slot, width| graph.add(DenseInput { slot, width, axis }, &[]).expect("an input");
    let (x, dy) = (input(0, k), input(1, n));
    let gradient = graph.add(WeightGradient { precision: Precision::F32, way: Way::Blocks }, &[x, dy]).expect("shapes fit");
    // 70 products below 1 are added up, or 210, whose sums reach 102.
    let (rows, tolerance) = if along_axis { (ROWS * LENGTH, 2e-4) } else { (ROWS, 2e-5) };
    let (x, dy) = (numbers(rows * k, 0.1), numbers(rows * n, 0.7));
    let dense = [MatRef::new(&x, rows, k), MatRef::new(&dy, rows, n)];
    let found: Vec<Vec<f32>> = [1, 3]
        .into_iter()
        .map(|threads| {
            let mut executor = Executor::new(graph.clone(), &[gradient], ROWS, Precision::F32);
            let feed = Feed { rows: ROWS, lengths: &[LENGTH], dense: &dense, ids: &[], seed: 0 };
            executor.run(&[], Weights::Changed, &feed, &Pool::new(threads).expect("threads"));
            executor.value(gradient).to_vec()
        })
        .collect();
    assert!(found[0] == found[1], "{k} x {n}: any number of threads gives the same bits");
    for i in 0..k {
        for j in 0..n {
            let expected: f64 = (0..rows).map(|b| f64::from(x[b * k + i]) * f64::from(dy[b * n + j])).sum();
            let found = f64::from(found[0][i * n + j]);
            assert!((found - expected).abs() < tolerance, "{k} x {n}: [{i}, {j}] {found} {expected}");
        }
    }
}

#[test]
fn every_cut_gives_the_whole() {
    // Narrow outputs, narrow inputs, both wide, and edges that are no multiple of a panel.
    for (k, n) in [(512, 112), (112, 512), (300, 257), (129, 129), (200, 5), (3, 400), (64, 64), (40, 33)] {
        check(k, n, false);
    }
}

#[test]
fn sums_of_blocks_of_rows_give_the_whole() {
    // The last ones are computed from all rows.
    for (k, n) in [(64, 64), (40, 33), (1, 7), (7, 1), (300, 257)] {
        check(k, n, true);
    }
}

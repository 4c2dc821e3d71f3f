//! Windows of neighbouring columns: gradients against central differences, values against plain loops.

mod harness;

use harness::{check, numbers};
use rankmill_graph::ops::axis::MaxAlong;
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::penalty::KernelPenalty;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::ops::windows::Windows;
use rankmill_graph::{Executor, Feed, Graph, Length, Shape, Weights};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;

#[test]
fn gradients() {
    check("convolution and maximum", |h| {
        let x = h.rows(4 * 3)?;
        let axis = h.graph.axis(Length::Fixed(3));
        let windows = h.graph.add(Windows { axis, count: 3, width: 6, step: 3 }, &[x])?;
        let kernel = h.parameter(&[2, 3, 5])?;
        let kernel = h.graph.add(Reshape { shape: Shape::fixed(&[6, 5]) }, &[kernel])?;
        let product = h.graph.add(MatMul::PLAIN, &[windows, kernel])?;
        h.graph.add(MaxAlong, &[product])
    });
    check("kernel penalty", |h| {
        let kernel = h.parameter(&[7, 5])?;
        h.graph.add(KernelPenalty, &[kernel])
    });
}

#[test]
fn windows_are_columns_from_each_step_on() {
    for (rows, count, width, step) in [(1, 1, 5, 1), (3, 4, 6, 2), (70, 7, 3, 5), (129, 2, 8, 8)] {
        let columns = (count - 1) * step + width;
        let x = numbers(rows * columns, 3);
        let mut graph = Graph::new();
        let axis = graph.axis(Length::Fixed(count));
        let input = graph.add(DenseInput { slot: 0, width: columns, axis: None }, &[]).expect("an input");
        let windows = graph.add(Windows { axis, count, width, step }, &[input]).expect("windows");
        let mut executor = Executor::new(graph, &[windows], rows, Precision::F32);
        let feed = Feed { rows, lengths: &[], dense: &[MatRef::new(&x, rows, columns)], ids: &[], seed: 0 };
        executor.run(&[], Weights::Changed, &feed, &Pool::new(2).expect("threads"));
        let mut expected = Vec::new();
        for row in x.chunks(columns) {
            (0..count).for_each(|p| expected.extend_from_slice(&row[p * step..p * step + width]));
        }
        assert_eq!(executor.value(windows).to_vec(), expected, "{rows} rows, {count} windows of {width}, {step} apart");
    }
}

#[test]
fn windows_that_do_not_fill_the_row_are_refused() {
    let mut graph = Graph::new();
    let axis = graph.axis(Length::Fixed(3));
    let input = graph.add(DenseInput { slot: 0, width: 7, axis: None }, &[]).expect("an input");
    let error = graph.add(Windows { axis, count: 3, width: 4, step: 2 }, &[input]).expect_err("8 columns are needed");
    assert!(error.to_string().contains("3 windows of 4 columns need 8 columns"), "{error}");
}

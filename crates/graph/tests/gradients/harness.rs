//! What the gradient tests share: a graph under construction and the comparison with central differences.

use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::fill::Fill;
use rankmill_graph::ops::leaf::{DenseInput, Parameter};
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reduce::{OverRows, SumColumns};
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{Executor, Feed, Graph, GraphError, Shape, Value, Weights, differentiate};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;

const ROWS: usize = 70;

/// Pseudo-random quarters in [-1, 1], never 0. Sums of products of them are sixteenths, so an offset of 1/32 keeps them away from
/// 0, where a ReLU bends.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let x = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            let quarter = (4.0 * x).round() / 4.0;
            if quarter == 0.0 { 0.25 } else { quarter }
        })
        .collect()
}

/// A graph under construction and its parameters.
pub(crate) struct Harness {
    pub(crate) graph: Graph,
    pub(crate) shapes: Vec<Shape>,
}

impl Harness {
    /// A parameter whose gradient is checked.
    pub(crate) fn parameter(&mut self, dims: &[usize]) -> Result<Value, GraphError> {
        let shape = Shape::fixed(dims);
        let index = self.graph.declare(&format!("p{}", self.shapes.len()), shape.clone(), true)?;
        self.shapes.push(shape.clone());
        self.graph.add(Parameter { index, shape }, &[])
    }

    /// Rows that depend on a parameter, so that gradients flow through them: `input ⊙ parameter row`.
    pub(crate) fn rows(&mut self, width: usize) -> Result<Value, GraphError> {
        let input = self.graph.add(DenseInput { slot: 0, width: 6, axis: None }, &[])?;
        let weights = self.parameter(&[6, width])?;
        self.graph.add(MatMul::PLAIN, &[input, weights])
    }
}

impl Harness {
    /// Adds 1/32 to all elements.
    pub(crate) fn off_zero(&mut self, x: Value) -> Result<Value, GraphError> {
        let shape = Shape::fixed(&self.graph.shape(x).dims.clone());
        let offset = self.graph.add(Fill { shape, value: 1.0 / 32.0 }, &[])?;
        self.graph.add(Binary::Add, &[x, offset])
    }
}

/// Checks the gradients of `Σ output ⊙ r`, `r` random, with respect to all parameters.
#[track_caller]
pub(crate) fn check(name: &str, build: impl Fn(&mut Harness) -> Result<Value, GraphError>) {
    let mut harness = Harness { graph: Graph::new(), shapes: Vec::new() };
    let output = build(&mut harness).expect(name);
    let mut graph = harness.graph;
    let width = graph.shape(output).elements();
    let upstream_width = width;
    let weighted = if graph.shape(output).batch {
        let upstream = graph.add(DenseInput { slot: 1, width: upstream_width, axis: None }, &[]).expect(name);
        let shape = graph.shape(output).clone();
        let upstream = if shape.dims.len() == 1 { upstream } else { graph.add(Reshape { shape }, &[upstream]).expect(name) };
        let product = graph.add(Binary::Multiply, &[output, upstream]).expect(name);
        let columns = graph.add(SumColumns, &[product]).expect(name);
        graph.add(OverRows::Sum, &[columns]).expect(name)
    } else {
        assert_eq!(width, 1, "{name}: outputs without rows are scalars here");
        output
    };
    let gradients = differentiate(&mut graph, weighted).expect(name);
    assert_eq!(gradients.dense.len(), harness.shapes.len(), "{name}: every parameter has a gradient");
    let mut outputs = vec![output];
    outputs.extend(gradients.dense.iter().map(|(_, value)| *value));

    let mut values: Vec<Vec<f32>> = harness.shapes.iter().enumerate().map(|(i, shape)| numbers(shape.elements(), i as u64 + 5)).collect();
    let input = numbers(ROWS * 6, 1);
    let upstream = numbers(ROWS * upstream_width, 2);
    let dense = [MatRef::new(&input, ROWS, 6), MatRef::new(&upstream, ROWS, upstream_width)];
    let feed = Feed { rows: ROWS, lengths: &[4], dense: &dense, ids: &[], seed: 7 };
    let pool = Pool::new(2).expect("threads");
    let mut executor = Executor::new(graph, &outputs, ROWS, Precision::F32);
    let mut loss = |values: &[Vec<f32>]| {
        let views: Vec<MatRef<'_>> = values
            .iter()
            .zip(&harness.shapes)
            .map(|(values, shape)| {
                let (rows, cols) = shape.as_matrix();
                MatRef::new(values, rows, cols)
            })
            .collect();
        executor.run(&views, Weights::Changed, &feed, &pool);
        // Summed here in double precision, so that the difference quotient is not lost in rounding.
        let produced = executor.value(output).to_vec();
        let weights = if produced.len() == 1 { &[1.0] } else { upstream.as_slice() };
        let total: f64 = produced.iter().zip(weights).map(|(y, r)| f64::from(*y) * f64::from(*r)).sum();
        let all: Vec<Vec<f32>> = gradients.dense.iter().map(|(_, value)| executor.value(*value).to_vec()).collect();
        (total, all)
    };
    let (_, analytic) = loss(&values);
    for p in 0..values.len() {
        let largest = analytic[p].iter().fold(0.0_f32, |a, g| a.max(g.abs()));
        assert!(largest > 1e-2, "{name}: a gradient of zeros proves nothing (parameter {p})");
        let stride = (values[p].len() / 17).max(1);
        for i in (0..values[p].len()).step_by(stride) {
            let kept = values[p][i];
            let h = 2e-3;
            values[p][i] = kept + h;
            let above = loss(&values).0;
            values[p][i] = kept - h;
            let below = loss(&values).0;
            values[p][i] = kept;
            let numeric = (above - below) / (2.0 * f64::from(h));
            // Outputs near 1 in f32: errors of 1e-7 each, about 1e-6 in their sum, 1e-3 in the quotient.
            let tolerance = 5e-3 * f64::from(largest) + 2e-3;
            assert!((f64::from(analytic[p][i]) - numeric).abs() < tolerance, "{name}: parameter {p}[{i}]: {} {numeric}", analytic[p][i]);
        }
    }
}

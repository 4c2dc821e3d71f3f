//! Operations on fields, `[B, n, D]`, and the functions that layers are made of: their gradients against central differences, and
//! their values against plain loops.

use crate::harness::{Harness, check};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::cin::Interaction;
use rankmill_graph::ops::concat::Columns;
use rankmill_graph::ops::digits::{Digits, Pooling};
use rankmill_graph::ops::dots::Dots;
use rankmill_graph::ops::extreme::Extreme;
use rankmill_graph::ops::fill::Fill;
use rankmill_graph::ops::gather::{Gather, Scatter};
use rankmill_graph::ops::leaf::{DenseInput, Parameter};
use rankmill_graph::ops::pairwise::PairwiseProducts;
use rankmill_graph::ops::per_field::PerField;
use rankmill_graph::ops::reduce::SumColumns;
use rankmill_graph::ops::reshape::{Reshape, StopGradient};
use rankmill_graph::ops::segments::{ReduceRuns, Reduction, RepeatFields, SumFields};
use rankmill_graph::ops::softmax::Softmax;
use rankmill_graph::ops::table_rows::TableRows;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{Executor, Feed, Graph, GraphError, Op, Shape, Value, Weights, differentiate};
use rankmill_kernels::gemm::{Orientation, Precision};
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;

/// Rows of `fields` fields of one width that depend on a parameter.
fn fields(h: &mut Harness, fields: usize, width: usize) -> Result<Value, GraphError> {
    let x = h.rows(fields * width)?;
    h.graph.add(Reshape { shape: Shape::batch(&[fields, width]) }, &[x])
}

#[test]
fn functions() {
    let all = [
        Unary::LeakyRelu(0.2),
        Unary::Relu6,
        Unary::Elu,
        Unary::Selu,
        Unary::GeluTanh,
        Unary::GeluErf,
        Unary::Swish,
        Unary::Mish,
        Unary::Softplus,
        Unary::Softsign,
        Unary::HardSigmoid,
        Unary::Exponential,
        Unary::Sine,
        Unary::Cosine,
    ];
    for function in all {
        check(&format!("{function:?}"), |h| {
            let x = h.rows(7)?;
            let x = h.off_zero(x)?;
            // Some elements come near the corners of the bounded functions.
            let x = h.graph.add(Unary::Scale(1.5), &[x])?;
            h.graph.add(function, &[x])
        });
    }
    // Away from the corners and from 0, where these are not defined.
    let positive = [Unary::Log(0.0), Unary::LogarithmOfNext, Unary::Root, Unary::Power(1.5), Unary::Power(-1.0), Unary::Absolute];
    for function in positive.into_iter().chain([Unary::Clip { least: 1.0, most: 2.0 }]) {
        check(&format!("{function:?}"), |h| {
            let x = h.rows(7)?;
            let x = h.off_zero(x)?;
            let x = h.graph.add(Unary::Square, &[x])?;
            let offset = h.graph.add(Fill { shape: Shape::fixed(&[]), value: 0.5 }, &[])?;
            let x = h.graph.add(Binary::Add, &[x, offset])?;
            h.graph.add(function, &[x])
        });
    }
    check("inverse root", |h| {
        let x = h.rows(5)?;
        let x = h.graph.add(Unary::Square, &[x])?;
        let x = h.graph.add(Unary::Softplus, &[x])?;
        h.graph.add(Unary::InverseRoot { least: 0.9 }, &[x])
    });
    for extreme in [Extreme::Maximum, Extreme::Minimum] {
        check(&format!("{extreme:?}"), |h| {
            let (a, b) = (h.rows(7)?, h.rows(7)?);
            let a = h.off_zero(a)?;
            h.graph.add(extreme, &[a, b])
        });
    }
}

#[test]
fn softmaxes() {
    check("softmax", |h| {
        let x = h.rows(6)?;
        h.graph.add(Softmax { width: 6 }, &[x])
    });
    check("softmax of each field", |h| {
        let x = fields(h, 3, 5)?;
        h.graph.add(Softmax { width: 5 }, &[x])
    });
}

#[test]
fn sums_and_views() {
    for reduction in [Reduction::Sum, Reduction::Mean] {
        check(&format!("{reduction:?} of runs"), |h| {
            let x = fields(h, 3, 5)?;
            h.graph.add(ReduceRuns { width: 5, reduction }, &[x])
        });
    }
    check("maximum of runs", |h| {
        // Distinct offsets, so that no two elements of a run are equal.
        let x = h.rows(15)?;
        let spread = h.parameter(&[15])?;
        let spread = h.graph.add(Unary::Scale(1.0 / 3.0), &[spread])?;
        let x = h.graph.add(Binary::Multiply, &[x, spread])?;
        let x = h.graph.add(Unary::Sigmoid, &[x])?;
        let shift = h.parameter(&[15])?;
        let x = h.graph.add(Binary::Add, &[x, shift])?;
        h.graph.add(ReduceRuns { width: 5, reduction: Reduction::Max }, &[x])
    });
    check("sum of fields, repeated", |h| {
        let x = fields(h, 3, 5)?;
        let sum = h.graph.add(SumFields, &[x])?;
        let repeated = h.graph.add(RepeatFields(3), &[sum])?;
        h.graph.add(Binary::Multiply, &[repeated, x])
    });
    check("views, parts and sums of all columns", |h| {
        let x = fields(h, 3, 5)?;
        let part = h.graph.add(Columns { first: 4, width: 6 }, &[x])?;
        let part = h.graph.add(Reshape { shape: Shape::batch(&[2, 3]) }, &[part])?;
        let scaled = h.graph.add(Unary::Square, &[part])?;
        let total = h.graph.add(SumColumns, &[scaled])?;
        h.graph.add(Binary::Multiply, &[x, total])
    });
    check("a reshaped parameter, and a row of more dimensions", |h| {
        let x = fields(h, 2, 3)?;
        let weights = h.parameter(&[3, 2])?;
        let flat = h.graph.add(Reshape { shape: Shape::fixed(&[6]) }, &[weights])?;
        let x = h.graph.add(Binary::Multiply, &[x, flat])?;
        let bias = h.parameter(&[1, 2, 3])?;
        h.graph.add(Binary::Add, &[x, bias])
    });
    check("gathered twice, transposed, scattered", |h| {
        let x = fields(h, 3, 5)?;
        let transposed = h.graph.add(Gather::transposed(3, 5), &[x])?;
        let square = h.graph.add(Unary::Square, &[transposed])?;
        let columns = [0, 14, 14, 3, 7].into();
        let some = h.graph.add(Gather { columns, dims: vec![5] }, &[square])?;
        let columns = [1, 1, 0, 5, 3].into();
        h.graph.add(Scatter { columns, dims: vec![6] }, &[some])
    });
}

#[test]
fn interactions() {
    check("products of pairs", |h| {
        let x = fields(h, 4, 5)?;
        h.graph.add(PairwiseProducts, &[x])
    });
    let pairs: std::sync::Arc<[(u32, u32)]> = [(0, 1), (2, 0), (2, 2), (1, 1), (2, 0)].into();
    check("dot products of one tensor", |h| {
        let x = fields(h, 3, 5)?;
        h.graph.add(Dots { pairs: pairs.clone(), width: 5 }, &[x, x])
    });
    check("dot products of two tensors", |h| {
        let (a, b) = (fields(h, 3, 5)?, fields(h, 4, 5)?);
        h.graph.add(Dots { pairs: pairs.clone(), width: 5 }, &[a, b])
    });
    for weights in [Orientation::Plain, Orientation::Transposed] {
        check("product of each field", |h| {
            let x = fields(h, 3, 4)?;
            let w = h.parameter(&[1, 3, 4, 6])?;
            h.graph.add(PerField { units: 6, weights }, &[x, w])
        });
    }
    check("interaction", |h| {
        let (x, start) = (fields(h, 3, 5)?, fields(h, 4, 5)?);
        let (kernel, bias) = (h.parameter(&[2, 3, 4])?, h.parameter(&[2])?);
        h.graph.add(Interaction { width: 5 }, &[x, start, kernel, bias])
    });
    check("interaction with itself", |h| {
        let x = fields(h, 3, 5)?;
        let (kernel, bias) = (h.parameter(&[2, 3, 3])?, h.parameter(&[2])?);
        h.graph.add(Interaction { width: 5 }, &[x, x, kernel, bias])
    });
}

/// Runs `op` on the same rows of 6 columns as several inputs and parameters.
fn run(op: impl Op, inputs: &[Shape], rows: &[f32], parameters: &[(&[usize], Vec<f32>)]) -> Vec<f32> {
    let mut graph = Graph::new();
    let width = inputs[0].elements();
    let input = graph.add(DenseInput { slot: 0, width, axis: None }, &[]).expect("an input");
    let mut values: Vec<Value> =
        inputs.iter().map(|shape| graph.add(Reshape { shape: shape.clone() }, &[input]).expect("a view")).collect();
    let mut views = Vec::new();
    for (i, (dims, numbers)) in parameters.iter().enumerate() {
        let shape = Shape::fixed(dims);
        let index = graph.declare(&format!("p{i}"), shape.clone(), true).expect("a new name");
        let (r, c) = shape.as_matrix();
        views.push(MatRef::new(numbers, r, c));
        values.push(graph.add(Parameter { index, shape }, &[]).expect("a parameter"));
    }
    let output = graph.add(op, &values).expect("the shapes fit");
    let mut executor = Executor::new(graph, &[output], rows.len() / width, Precision::F32);
    let feed = Feed { rows: rows.len() / width, lengths: &[], dense: &[MatRef::new(rows, rows.len() / width, width)], ids: &[], seed: 0 };
    executor.run(&views, Weights::Changed, &feed, &Pool::new(1).expect("a thread"));
    executor.value(output).to_vec()
}

#[test]
fn values_by_hand() {
    let three_by_two = Shape::batch(&[3, 2]);
    let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(run(PairwiseProducts, std::slice::from_ref(&three_by_two), &rows, &[]), [1.0 * 3.0 + 5.0 + 15.0, 8.0 + 12.0 + 24.0]);
    let pairs = [(1, 0), (2, 1)].into();
    let two = [three_by_two.clone(), three_by_two.clone()];
    assert_eq!(run(Dots { pairs, width: 2 }, &two, &rows, &[]), [3.0 + 8.0, 15.0 + 24.0]);
    let weights = vec![1.0, 10.0, 2.0, 20.0, 3.0, 30.0];
    let dims: &[usize] = &[3, 2];
    let product = PerField { units: 1, weights: Orientation::Plain };
    assert_eq!(run(product, std::slice::from_ref(&three_by_two), &rows, &[(dims, weights)]), [21.0, 86.0, 195.0]);
    let maxima = ReduceRuns { width: 3, reduction: Reduction::Max };
    assert_eq!(run(maxima, std::slice::from_ref(&three_by_two), &rows, &[]), [3.0, 6.0]);
    assert_eq!(run(Gather::transposed(3, 2), &[three_by_two], &rows, &[]), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    // z_d = Σ K_ij x_i,d x_j,d + b with K picking (0, 1) once and (2, 2) twice.
    let kernel = vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0];
    let (kernel_dims, bias_dims): (&[usize], &[usize]) = (&[1, 3, 3], &[1]);
    let found = run(Interaction { width: 2 }, &two, &rows, &[(kernel_dims, kernel), (bias_dims, vec![0.5])]);
    assert_eq!(found, [3.0 + 50.0 + 0.5, 8.0 + 72.0 + 0.5]);
}

/// Shares of the largest ones, and nothing through a stop.
#[test]
fn equal_maxima_share_the_gradient_and_stops_hold() -> Result<(), GraphError> {
    let mut graph = Graph::new();
    let index = graph.declare("p", Shape::fixed(&[4]), true)?;
    let p = graph.add(Parameter { index, shape: Shape::fixed(&[4]) }, &[])?;
    let x = graph.add(DenseInput { slot: 0, width: 4, axis: None }, &[])?;
    let x = graph.add(Binary::Multiply, &[x, p])?;
    let most = graph.add(ReduceRuns { width: 4, reduction: Reduction::Max }, &[x])?;
    let stopped = graph.add(StopGradient, &[x])?;
    let rest = graph.add(SumColumns, &[stopped])?;
    let sum = graph.add(Binary::Add, &[most, rest])?;
    let loss = graph.add(rankmill_graph::ops::reduce::OverRows::Sum, &[sum])?;
    let gradients = differentiate(&mut graph, loss)?;
    let dp = gradients.dense[0].1;
    let mut executor = Executor::new(graph, &[dp], 1, Precision::F32);
    let rows = [2.0, 2.0, 1.0, 0.0];
    let feed = Feed { rows: 1, lengths: &[], dense: &[MatRef::new(&rows, 1, 4)], ids: &[], seed: 0 };
    executor.run(&[MatRef::new(&[1.0; 4], 1, 4)], Weights::Changed, &feed, &Pool::new(1).expect("a thread"));
    assert_eq!(executor.value(dp).to_vec(), [1.0, 1.0, 0.0, 0.0]);
    Ok(())
}

/// The batch's input, times 8: whole and halves from -8 to 8.
fn whole(h: &mut Harness) -> Result<Value, GraphError> {
    let x = h.graph.add(DenseInput { slot: 0, width: 6, axis: None }, &[])?;
    h.graph.add(Unary::Scale(8.0), &[x])
}

#[test]
fn rows_of_tables() {
    check("rows of a table", |h| {
        let numbers = whole(h)?;
        let table = h.parameter(&[7, 3])?;
        h.graph.add(TableRows, &[table, numbers])
    });
    // So wide that its gradient is cut into blocks of four rows.
    check("rows of a wide table", |h| {
        let numbers = whole(h)?;
        let number = h.graph.add(Columns { first: 2, width: 1 }, &[numbers])?;
        let table = h.parameter(&[7, 4096])?;
        let rows = h.graph.add(TableRows, &[table, number])?;
        h.graph.add(Columns { first: 4000, width: 5 }, &[rows])
    });
    for pooling in [Pooling::Sum, Pooling::Mean] {
        check(&format!("digits, {pooling:?}"), |h| {
            let numbers = whole(h)?;
            let table = h.parameter(&[6 * Digits::rows(&[2, 9]), 3])?;
            h.graph.add(Digits { bases: [2, 9].into(), pooling }, &[numbers, table])
        });
    }
}

#[test]
fn digits_of_numbers() -> Result<(), GraphError> {
    assert_eq!(Digits::rows(&[2, 9]), 32 * 2 + 11 * 9);
    let mut graph = Graph::new();
    let x = graph.add(DenseInput { slot: 0, width: 1, axis: None }, &[])?;
    let rows = Digits::rows(&[10]);
    let table = graph.declare("t", Shape::fixed(&[rows, 1]), true)?;
    let table = graph.add(Parameter { index: table, shape: Shape::fixed(&[rows, 1]) }, &[])?;
    let digits = graph.add(Digits { bases: [10].into(), pooling: Pooling::Sum }, &[x, table])?;
    let mut executor = Executor::new(graph, &[digits], 6, Precision::F32);
    // Row k·10 + d is worth d·10^k, so that the rows of a number add up to it.
    let worth: Vec<f32> = (0..rows).map(|row| (row % 10) as f32 * 10_f32.powi((row / 10) as i32)).collect();
    let numbers = [0.0, 7.9, 120.0, 30_405.0, -1.0, f32::NAN];
    let feed = Feed { rows: 6, lengths: &[], dense: &[MatRef::new(&numbers, 6, 1)], ids: &[], seed: 0 };
    executor.run(&[MatRef::new(&worth, rows, 1)], Weights::Changed, &feed, &Pool::new(1).expect("a thread"));
    assert_eq!(executor.value(digits).to_vec(), [0.0, 7.0, 120.0, 30_405.0, 4_294_967_295.0, 0.0]);
    Ok(())
}

#[test]
fn shapes_that_do_not_fit_are_refused() -> Result<(), GraphError> {
    let mut graph = Graph::new();
    let x = graph.add(DenseInput { slot: 0, width: 6, axis: None }, &[])?;
    let fields = graph.add(Reshape { shape: Shape::batch(&[2, 3]) }, &[x])?;
    let kernel = graph.declare("k", Shape::fixed(&[2, 2, 3]), true)?;
    let kernel = graph.add(Parameter { index: kernel, shape: Shape::fixed(&[2, 2, 3]) }, &[])?;
    let pairs: std::sync::Arc<[(u32, u32)]> = [(0, 2)].into();
    let refused = [
        graph.add(Reshape { shape: Shape::batch(&[4]) }, &[x]),
        graph.add(Reshape { shape: Shape::fixed(&[6]) }, &[x]),
        graph.add(Softmax { width: 4 }, &[x]),
        graph.add(ReduceRuns { width: 4, reduction: Reduction::Sum }, &[x]),
        graph.add(SumFields, &[x]),
        graph.add(RepeatFields(2), &[fields]),
        graph.add(Gather { columns: [6].into(), dims: vec![1] }, &[x]),
        graph.add(Scatter { columns: [0].into(), dims: vec![1] }, &[x]),
        graph.add(Extreme::Maximum, &[x, fields]),
        graph.add(PairwiseProducts, &[x]),
        graph.add(Dots { pairs, width: 3 }, &[fields, fields]),
        graph.add(PerField { units: 3, weights: Orientation::Plain }, &[fields, kernel]),
        graph.add(Interaction { width: 3 }, &[fields, fields, kernel, kernel]),
        graph.add(Binary::Add, &[fields, kernel]),
        graph.add(TableRows, &[kernel, x]),
        graph.add(Digits { bases: [2].into(), pooling: Pooling::Sum }, &[x, kernel]),
    ];
    for (i, result) in refused.iter().enumerate() {
        assert!(matches!(result, Err(GraphError::Shape { .. })), "case {i}: {result:?}");
    }
    Ok(())
}

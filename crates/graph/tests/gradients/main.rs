//! Every operation's gradient against central differences, with a random upstream gradient.

mod fields;
mod harness;
mod losses;
mod sequences;

use harness::{Harness, check, numbers};
use rankmill_graph::ops::attention::{Attention, Masks};
use rankmill_graph::ops::axis::{ConcatAlong, FromAxis, PartAlong, PositionMask, RepeatAlong, SoftmaxAlong, SumAlong, ToAxis, Where};
use rankmill_graph::ops::batch_norm::{BatchMoments, BatchNorm, MovingNorm};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::broadcast::{RepeatColumn, RepeatRow, Scaling};
use rankmill_graph::ops::concat::{Columns, Concat, Pad};
use rankmill_graph::ops::dropout::{DropWhole, Dropout};
use rankmill_graph::ops::fill::Fill;
use rankmill_graph::ops::layer_norm::LayerNorm;
use rankmill_graph::ops::leaf::{DenseInput, Parameter};
use rankmill_graph::ops::loss::SigmoidCrossEntropy;
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::positions::{LastPosition, PositionRows};
use rankmill_graph::ops::reduce::{HalfSquareSum, OverRows, SumColumns};
use rankmill_graph::ops::sum::Sum;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::ops::windows::MaxOfWindows;
use rankmill_graph::{
    Backward, Context, Executor, Feed, Graph, GraphError, InputGradients, Length, Op, Shape, Value, Weights, differentiate,
};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::{MatMut, MatRef};

#[test]
fn products() {
    check("x·w", |h| h.rows(9));
    check("x·wᵀ", |h| {
        let x = h.rows(5)?;
        let w = h.parameter(&[8, 5])?;
        h.graph.add(MatMul::TRANSPOSED, &[x, w])
    });
    check("dense with bias and relu, then a logit", |h| {
        let x = h.rows(20)?;
        let b = h.parameter(&[20])?;
        let x = h.graph.add(Binary::Add, &[x, b])?;
        let x = h.off_zero(x)?;
        let x = h.graph.add(Unary::Relu, &[x])?;
        let w = h.parameter(&[20, 1])?;
        h.graph.add(MatMul::PLAIN, &[x, w])
    });
    check("one input, several products", |h| {
        let x = h.rows(12)?;
        let mut outputs = Vec::new();
        for _ in 0..3 {
            let w = h.parameter(&[12, 7])?;
            outputs.push(h.graph.add(MatMul::PLAIN, &[x, w])?);
        }
        let product = h.graph.add(Binary::Multiply, &[outputs[0], outputs[1]])?;
        h.graph.add(Concat, &[product, outputs[2], x])
    });
}

#[test]
fn elementwise() {
    let functions = [Unary::Relu, Unary::Sigmoid, Unary::Tanh, Unary::Scale(-1.5), Unary::Square, Unary::Copy];
    for op in functions {
        check(&format!("{op:?}"), |h| {
            let x = h.rows(7)?;
            let x = h.off_zero(x)?;
            h.graph.add(op, &[x])
        });
    }
    for op in [Binary::Add, Binary::Subtract, Binary::Multiply] {
        check(&format!("{op:?}, equal shapes"), |h| {
            let (a, b) = (h.rows(7)?, h.rows(7)?);
            h.graph.add(op, &[a, b])
        });
        check(&format!("{op:?}, a row"), |h| {
            let (a, b) = (h.rows(7)?, h.parameter(&[7])?);
            h.graph.add(op, &[a, b])
        });
        check(&format!("{op:?}, a column"), |h| {
            let (a, b) = (h.rows(1)?, h.rows(7)?);
            h.graph.add(op, &[a, b])
        });
        check(&format!("{op:?}, a scalar"), |h| {
            let (a, b) = (h.rows(7)?, h.parameter(&[])?);
            h.graph.add(op, &[a, b])
        });
    }
}

#[test]
fn quotients() {
    let shifted = |h: &mut Harness, x: Value| {
        let x = h.graph.add(Unary::Square, &[x])?;
        let one = h.graph.add(Fill { shape: Shape::fixed(&[]), value: 1.0 }, &[])?;
        h.graph.add(Binary::Add, &[x, one])
    };
    for (a, b) in [(7, 7), (1, 7), (7, 1)] {
        check("a quotient", |h| {
            let (x, y) = (h.rows(a)?, h.rows(b)?);
            let y = shifted(h, y)?;
            h.graph.add(Binary::Divide, &[x, y])
        });
    }
    check("a constant by a tensor", |h| {
        let y = h.rows(5)?;
        let y = shifted(h, y)?;
        let two = h.graph.add(Fill { shape: Shape::fixed(&[]), value: 2.0 }, &[])?;
        h.graph.add(Binary::Divide, &[two, y])
    });
    check("a tensor by itself", |h| {
        let x = h.rows(5)?;
        let x = shifted(h, x)?;
        let quotient = h.graph.add(Binary::Divide, &[x, x])?;
        h.graph.add(Binary::Multiply, &[quotient, x])
    });
}

#[test]
fn norms() {
    for relu in [false, true] {
        check("layer norm", |h| {
            let x = h.rows(11)?;
            let (gamma, beta) = (h.parameter(&[11])?, h.parameter(&[11])?);
            let y = h.graph.add(LayerNorm { epsilon: 1e-3, relu: false }, &[x, gamma, beta])?;
            if relu { h.graph.add(Unary::Sigmoid, &[y]) } else { Ok(y) }
        });
    }
    check("batch norm", |h| {
        let x = h.rows(9)?;
        let (gamma, beta) = (h.parameter(&[9])?, h.parameter(&[9])?);
        let moments = h.graph.add(BatchMoments, &[x])?;
        h.graph.add(BatchNorm { epsilon: 1e-3, relu: false }, &[x, moments, gamma, beta])
    });
    for relu in [false, true] {
        check(&format!("moving norm, relu {relu}"), |h| {
            let x = h.rows(9)?;
            let (gamma, beta) = (h.parameter(&[9])?, h.parameter(&[9])?);
            let [mean, variance] = [0.5, 3.0].map(|value| h.graph.add(Fill { shape: Shape::fixed(&[9]), value }, &[]));
            let y = h.graph.add(MovingNorm { epsilon: 1e-3, relu: false }, &[x, gamma, beta, mean?, variance?])?;
            if relu { h.graph.add(Unary::Relu, &[y]) } else { Ok(y) }
        });
    }
}

#[test]
fn reductions_and_shapes() {
    check("mean of squares", |h| {
        let x = h.rows(1)?;
        let x = h.graph.add(Unary::Square, &[x])?;
        h.graph.add(OverRows::Mean, &[x])
    });
    check("a mean, repeated and divided", |h| {
        let x = h.rows(5)?;
        let sum = h.graph.add(OverRows::Sum, &[x])?;
        let rows = h.graph.add(RepeatRow { scaling: Scaling::InverseRows, axis: None }, &[sum])?;
        h.graph.add(Binary::Multiply, &[rows, x])
    });
    check("half sum of squares", |h| {
        let x = h.rows(5)?;
        h.graph.add(HalfSquareSum, &[x])
    });
    check("sum over columns and back", |h| {
        let x = h.rows(5)?;
        let sum = h.graph.add(SumColumns, &[x])?;
        let wide = h.graph.add(RepeatColumn(6), &[sum])?;
        let mean = h.graph.add(OverRows::Mean, &[wide])?;
        let rows = h.graph.add(RepeatRow { scaling: Scaling::One, axis: None }, &[mean])?;
        h.graph.add(Binary::Multiply, &[rows, wide])
    });
    check("concat, columns, pad", |h| {
        let (a, b) = (h.rows(4)?, h.rows(5)?);
        let joined = h.graph.add(Concat, &[a, b, a])?;
        let part = h.graph.add(Columns { first: 2, width: 6 }, &[joined])?;
        let padded = h.graph.add(Pad { first: 1, width: 13 }, &[part])?;
        h.graph.add(Sum, &[padded, joined])
    });
    check("dropout", |h| {
        let x = h.rows(8)?;
        h.graph.add(Dropout { rate: 0.3, salt: 3 }, &[x])
    });
    check("dropout of wholes", |h| {
        // Of these the seed keeps some and drops others.
        let parts = (0..6).map(|salt| {
            let x = h.rows(2)?;
            let dropped = h.graph.add(DropWhole { rate: 0.5, salt }, &[x])?;
            h.graph.add(Sum, &[x, dropped])
        });
        let parts = parts.collect::<Result<Vec<_>, GraphError>>()?;
        h.graph.add(Concat, &parts)
    });
    check("cross entropy", |h| {
        let z = h.rows(1)?;
        let y = h.graph.add(DenseInput { slot: 1, width: 1, axis: None }, &[])?;
        h.graph.add(SigmoidCrossEntropy, &[z, y])
    });
}

/// The sum of all rows in every row.
#[derive(Debug)]
struct AllRows;

impl Op for AllRows {
    fn name(&self) -> &'static str {
        "all rows"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        Ok(inputs[0].clone())
    }
    fn reads_all_rows(&self, _: usize) -> bool {
        true
    }
    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        assert_eq!(inputs[0].rows() % context.extent.rows, 0);
        for i in 0..output.rows() {
            for col in 0..output.cols() {
                output.row(i)[col] = (0..inputs[0].rows()).map(|j| inputs[0].row(j)[col]).sum();
            }
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, _: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![Some(backward.add(AllRows, &[upstream])?)])
    }
}

/// Three positions of width 4 for each row, along an axis of four.
fn along(h: &mut Harness) -> Result<Value, GraphError> {
    let x = h.rows(12)?;
    let axis = h.graph.axis(Length::Fed(0));
    h.graph.add(ToAxis { axis, width: 4 }, &[x])
}

fn flat(h: &mut Harness, x: Value, positions: usize) -> Result<Value, GraphError> {
    let dims = vec![positions * h.graph.shape(x).elements()];
    h.graph.add(FromAxis { dims }, &[x])
}

#[test]
fn along_axes() {
    check("a product and a norm of positions", |h| {
        let x = along(h)?;
        let w = h.parameter(&[4, 5])?;
        let x = h.graph.add(MatMul::PLAIN, &[x, w])?;
        let (gamma, beta) = (h.parameter(&[5])?, h.parameter(&[5])?);
        let moments = h.graph.add(BatchMoments, &[x])?;
        let x = h.graph.add(BatchNorm { epsilon: 1e-3, relu: false }, &[x, moments, gamma, beta])?;
        flat(h, x, 4)
    });
    check("positions cut off", |h| {
        let x = along(h)?;
        flat(h, x, 2)
    });
    check("repeated, weighted and summed", |h| {
        let (x, query) = (along(h)?, h.rows(4)?);
        let axis = h.graph.axis(Length::Fed(0));
        let query = h.graph.add(RepeatAlong { axis }, &[query])?;
        let scores = h.graph.add(Binary::Multiply, &[x, query])?;
        let scores = h.graph.add(SumColumns, &[scores])?;
        let held = h.graph.add(Fill { shape: Shape::fixed(&[1]), value: 3.0 }, &[])?;
        let held = h.graph.add(RepeatRow { scaling: Scaling::One, axis: None }, &[held])?;
        let mask = h.graph.add(PositionMask { axis }, &[held])?;
        let scores = h.graph.add(Where { otherwise: -1e9 }, &[mask, scores])?;
        let weights = h.graph.add(SoftmaxAlong { axis }, &[scores])?;
        let weighted = h.graph.add(Binary::Multiply, &[x, weights])?;
        h.graph.add(SumAlong, &[weighted])
    });
    check("largest, joined and parted", |h| {
        let (x, row) = (along(h)?, h.rows(4)?);
        let axis = h.graph.axis(Length::Fed(0));
        let longer = h.graph.axis(Length::Joined(vec![None, Some(axis)]));
        let joined = h.graph.add(ConcatAlong { axis: longer }, &[row, x])?;
        let sigmoid = h.graph.add(Unary::Sigmoid, &[joined])?;
        let largest = h.graph.add(MaxOfWindows { axis: longer, size: 1 }, &[sigmoid])?;
        let part = h.graph.add(PartAlong { before: vec![None], axis: Some(axis) }, &[joined])?;
        let part = flat(h, part, 4)?;
        h.graph.add(Concat, &[largest, part])
    });
    for (masks, heads) in [
        (Masks::default(), 1),
        (Masks { keys: true, ..Masks::default() }, 2),
        (Masks { queries: true, ..Masks::default() }, 2),
        (Masks { causal: true, ..Masks::default() }, 4),
        (Masks { keys: true, queries: true, causal: true }, 1),
    ] {
        check(&format!("attention, {heads} heads, {masks:?}"), |h| {
            let (q, k, v) = (along(h)?, along(h)?, along(h)?);
            let axis = h.graph.axis(Length::Fed(0));
            let lengths = h.graph.add(Fill { shape: Shape::fixed(&[1]), value: 3.0 }, &[])?;
            let lengths = h.graph.add(RepeatRow { scaling: Scaling::One, axis: None }, &[lengths])?;
            let mask = h.graph.add(PositionMask { axis }, &[lengths])?;
            let op = Attention { heads, queries: Some(axis), keys: Some(axis), scale: 0.7, masks, penalty: -1e4, dropout: None };
            let mut inputs = vec![q, k, v];
            inputs.extend(std::iter::repeat_n(mask, usize::from(masks.keys) + usize::from(masks.queries)));
            let y = h.graph.add(op, &inputs)?;
            flat(h, y, 4)
        });
    }
    check("attention of one query", |h| {
        let (q, k, v) = (h.rows(4)?, along(h)?, along(h)?);
        let axis = h.graph.axis(Length::Fed(0));
        let dropout = Some(Dropout { rate: 0.3, salt: 5 });
        let masks = Masks::default();
        let op = Attention { heads: 2, queries: None, keys: Some(axis), scale: 1.0, masks, penalty: 0.0, dropout };
        h.graph.add(op, &[q, k, v])
    });
    check("a table of positions, and the last position", |h| {
        let x = along(h)?;
        let axis = h.graph.axis(Length::Fed(0));
        let table = h.parameter(&[3, 4])?;
        let rows = h.graph.add(PositionRows { axis }, &[table])?;
        let x = h.graph.add(Binary::Add, &[x, rows])?;
        let x = h.graph.add(Unary::Square, &[x])?;
        let last = h.graph.add(LastPosition, &[x])?;
        let all = flat(h, x, 4)?;
        h.graph.add(Concat, &[last, all])
    });
    check("all rows", |h| {
        let x = h.rows(2)?;
        let x = h.graph.add(AllRows, &[x])?;
        h.graph.add(Unary::Scale(0.01), &[x])
    });
}

/// Rows in buffers along axes, of lengths that change from run to run, are those of any number of threads.
#[test]
fn threads_do_not_change_bits_along_axes() {
    let mut harness = Harness { graph: Graph::new(), shapes: Vec::new() };
    let build = |h: &mut Harness| -> Result<Value, GraphError> {
        let x = along(h)?;
        let (gamma, beta) = (h.parameter(&[4])?, h.parameter(&[4])?);
        let moments = h.graph.add(BatchMoments, &[x])?;
        let x = h.graph.add(BatchNorm { epsilon: 1e-3, relu: false }, &[x, moments, gamma, beta])?;
        let x = h.graph.add(AllRows, &[x])?;
        let w = h.parameter(&[4, 40])?;
        let x = h.graph.add(MatMul::PLAIN, &[x, w])?;
        let x = h.graph.add(Unary::Relu, &[x])?;
        let x = h.graph.add(SumAlong, &[x])?;
        h.graph.add(HalfSquareSum, &[x])
    };
    let loss = build(&mut harness).expect("builds");
    let gradients = differentiate(&mut harness.graph, loss).expect("has gradients");
    let outputs: Vec<Value> = gradients.dense.iter().map(|(_, value)| *value).collect();
    let values: Vec<Vec<f32>> = harness.shapes.iter().enumerate().map(|(i, shape)| numbers(shape.elements(), i as u64)).collect();
    let views: Vec<MatRef<'_>> =
        values.iter().zip(&harness.shapes).map(|(values, shape)| MatRef::new(values, shape.as_matrix().0, shape.as_matrix().1)).collect();
    let run = |executor: &mut Executor, threads: usize, rows: usize, length: usize| -> Vec<Vec<f32>> {
        let input = numbers(rows * 6, 1);
        let dense = [MatRef::new(&input, rows, 6)];
        let feed = Feed { rows, lengths: &[length], dense: &dense, ids: &[], seed: 0 };
        executor.run(&views, Weights::Changed, &feed, &Pool::new(threads).expect("threads"));
        outputs.iter().map(|value| executor.value(*value).to_vec()).collect()
    };
    let mut used = Executor::new(harness.graph.clone(), &outputs, 64, Precision::F32);
    for (rows, length) in [(1, 1), (65, 3), (64, 11), (200, 2), (70, 5)] {
        let mut runs = vec![run(&mut used, 2, rows, length)];
        for threads in [1, 3] {
            runs.push(run(&mut Executor::new(harness.graph.clone(), &outputs, rows, Precision::F32), threads, rows, length));
        }
        assert!(runs.windows(2).all(|pair| pair[0] == pair[1]), "{rows} rows, {length} positions");
    }
}

#[test]
fn inputs_and_parameters_can_be_outputs() {
    let mut graph = Graph::new();
    let shape = Shape::fixed(&[2, 3]);
    let index = graph.declare("w", shape.clone(), true).expect("declared");
    let w = graph.add(Parameter { index, shape }, &[]).expect("a parameter");
    let x = graph.add(DenseInput { slot: 0, width: 2, axis: None }, &[]).expect("an input");
    let part = graph.add(Columns { first: 1, width: 1 }, &[x]).expect("a column");
    let mut executor = Executor::new(graph, &[x, w, part], 4, Precision::F32);
    let (rows, weights) = ([1.0, 2.0, 3.0, 4.0], [5.0; 6]);
    let feed = Feed { rows: 2, lengths: &[], dense: &[MatRef::new(&rows, 2, 2)], ids: &[], seed: 0 };
    executor.run(&[MatRef::new(&weights, 2, 3)], Weights::Changed, &feed, &Pool::new(1).expect("a thread"));
    assert_eq!(executor.value(x).to_vec(), rows);
    assert_eq!(executor.value(w).to_vec(), weights);
    assert_eq!(executor.value(part).to_vec(), [2.0, 4.0]);
}

/// A network with all kinds of phases gives the same bits for any number of threads, batch cut and reuse of buffers.
#[test]
fn threads_do_not_change_bits() {
    let mut harness = Harness { graph: Graph::new(), shapes: Vec::new() };
    let build = |h: &mut Harness| -> Result<Value, GraphError> {
        let x = h.rows(48)?;
        let (gamma, beta) = (h.parameter(&[48])?, h.parameter(&[48])?);
        let moments = h.graph.add(BatchMoments, &[x])?;
        let y = h.graph.add(BatchNorm { epsilon: 1e-3, relu: false }, &[x, moments, gamma, beta])?;
        let y = h.graph.add(Unary::Relu, &[y])?;
        let w = h.parameter(&[48, 33])?;
        let y = h.graph.add(MatMul::PLAIN, &[y, w])?;
        h.graph.add(HalfSquareSum, &[y])
    };
    let loss = build(&mut harness).expect("builds");
    let gradients = differentiate(&mut harness.graph, loss).expect("has gradients");
    let outputs: Vec<Value> = gradients.dense.iter().map(|(_, value)| *value).collect();
    let values: Vec<Vec<f32>> = harness.shapes.iter().enumerate().map(|(i, shape)| numbers(shape.elements(), i as u64)).collect();
    let views: Vec<MatRef<'_>> =
        values.iter().zip(&harness.shapes).map(|(values, shape)| MatRef::new(values, shape.as_matrix().0, shape.as_matrix().1)).collect();
    for rows in [1, 63, 64, 65, 300] {
        let input = numbers(rows * 6, 1);
        let dense = [MatRef::new(&input, rows, 6)];
        let feed = Feed { rows, lengths: &[], dense: &dense, ids: &[], seed: 0 };
        let runs: Vec<Vec<Vec<f32>>> = [1, 2, 3, 5]
            .iter()
            .map(|threads| {
                let mut executor = Executor::new(harness.graph.clone(), &outputs, 64, Precision::F32);
                let pool = Pool::new(*threads).expect("threads");
                executor.run(&views, Weights::Changed, &feed, &pool);
                executor.run(&views, Weights::Changed, &feed, &pool);
                outputs.iter().map(|value| executor.value(*value).to_vec()).collect()
            })
            .collect();
        assert!(runs.windows(2).all(|pair| pair[0] == pair[1]), "{rows} rows");
    }
}

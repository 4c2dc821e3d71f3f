//! Every operation's form in ONNX against its own arithmetic: graphs of one operation or a few are run here and by ONNX Runtime, where
//! Python has it.

mod common;

use std::fs;
use std::path::Path;

use prost::Message;
use rankmill_export::onnx::{constants, model_proto, tensor_proto};
use rankmill_export::proto::tensor_proto::DataType;
use rankmill_graph::onnx::{IdCount, IdInput, InputNames, OnnxGraph};
use rankmill_graph::ops::additive_attention::AdditiveAttention;
use rankmill_graph::ops::attention::{Attention, Masks};
use rankmill_graph::ops::axis::{ConcatAlong, FromAxis, PartAlong, PositionMask, RepeatAlong, SoftmaxAlong, SumAlong, ToAxis, Where};
use rankmill_graph::ops::batch_norm::MovingNorm;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::broadcast::{RepeatColumn, RepeatRow, Scaling};
use rankmill_graph::ops::choose::{Choose, Condition};
use rankmill_graph::ops::cin::Interaction;
use rankmill_graph::ops::compare::Compare;
use rankmill_graph::ops::concat::{Columns, Concat, Elements, Pad};
use rankmill_graph::ops::dice::Dice;
use rankmill_graph::ops::digits::{Digits, Pooling};
use rankmill_graph::ops::dots::Dots;
use rankmill_graph::ops::extreme::Extreme;
use rankmill_graph::ops::fill::{Constant, Fill, FillLike};
use rankmill_graph::ops::gather::{Gather, Scatter};
use rankmill_graph::ops::layer_norm::LayerNorm;
use rankmill_graph::ops::leaf::{DenseInput, Parameter};
use rankmill_graph::ops::log_normal::{LogNormalScale, ZeroInflatedMean};
use rankmill_graph::ops::lookup::{Combiner, Lookup};
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::pairwise::PairwiseProducts;
use rankmill_graph::ops::per_field::PerField;
use rankmill_graph::ops::positions::{LastPosition, PositionRows};
use rankmill_graph::ops::reduce::SumColumns;
use rankmill_graph::ops::reshape::{Reshape, StopGradient};
use rankmill_graph::ops::row_max::{RowArgMax, RowMax};
use rankmill_graph::ops::segments::{ReduceRuns, Reduction, RepeatFields, SumFields};
use rankmill_graph::ops::softmax::Softmax;
use rankmill_graph::ops::sum::Sum;
use rankmill_graph::ops::table_rows::TableRows;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::ops::windows::{MaxOfWindows, Windows};
use rankmill_graph::{Axis, Executor, Feed, Graph, GraphError, Length, Shape, Value, Weights};
use rankmill_kernels::gemm::{Orientation, Precision};
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;
use serde_json::{Value as Json, json};

use common::run_python;

const ROWS: usize = 37;
/// Lengths of the axes that the feed knows.
const LENGTHS: [usize; 2] = [4, 3];
const WIDTH: usize = 6;
const TABLE_ROWS: usize = 11;

/// Pseudo-random numbers in [-1, 1).
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..8).for_each(|_| _ = next());
    (0..count).map(|_| next()).collect()
}

const FUNCTIONS: [Unary; 21] = [
    Unary::LeakyRelu(0.2),
    Unary::LeakyRelu(1.5),
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
    Unary::Sine,
    Unary::Cosine,
    Unary::Log(0.0),
    Unary::LogarithmOfNext,
    Unary::Root,
    Unary::Absolute,
    Unary::Power(1.7),
    Unary::Clip { least: -2.0, most: 0.5 },
    Unary::InverseRoot { least: 0.1 },
];

/// Slots of the dense inputs.
#[derive(Clone, Copy)]
enum Dense {
    Rows,
    FirstAxis,
    SecondAxis,
    Lengths,
}

/// Slots of the id columns.
#[derive(Clone, Copy)]
enum Ids {
    Several,
    Weighted,
    One,
    FirstAxis,
}

#[derive(Default)]
struct Builder {
    graph: Graph,
    parameters: Vec<Shape>,
}

type Built = Result<Value, GraphError>;

impl Builder {
    fn axis(&mut self, fed: usize) -> Axis {
        self.graph.axis(Length::Fed(fed))
    }

    fn dense(&mut self, input: Dense) -> Built {
        let (width, axis) = match input {
            Dense::Rows => (WIDTH, None),
            Dense::FirstAxis => (WIDTH, Some(self.axis(0))),
            Dense::SecondAxis => (WIDTH, Some(self.axis(1))),
            Dense::Lengths => (1, None),
        };
        self.graph.add(DenseInput { slot: input as usize, width, axis }, &[])
    }

    fn parameter(&mut self, dims: &[usize]) -> Built {
        let shape = Shape::fixed(dims);
        let index = self.graph.declare(&format!("p{}", self.parameters.len()), shape.clone(), true)?;
        self.parameters.push(shape.clone());
        self.graph.add(Parameter { index, shape }, &[])
    }

    fn lookup(&mut self, ids: Ids, combiner: Combiner) -> Built {
        let axis = if matches!(ids, Ids::FirstAxis) { Some(self.axis(0)) } else { None };
        let table = self.parameter(&[TABLE_ROWS, 5])?;
        self.graph.add(Lookup { slot: ids as usize, combiner, axis }, &[table])
    }

    /// An input as fields, `[B, .., fields, 6 / fields]`.
    fn fields(&mut self, input: Dense, fields: usize) -> Built {
        let x = self.dense(input)?;
        let shape = self.graph.shape(x).with_dims(&[fields, WIDTH / fields]);
        self.graph.add(Reshape { shape }, &[x])
    }

    /// An input times parameters.
    fn projected(&mut self, input: Dense, width: usize) -> Built {
        let x = self.dense(input)?;
        let w = self.parameter(&[WIDTH, width])?;
        self.graph.add(MatMul::PLAIN, &[x, w])
    }
}

fn names() -> InputNames {
    let ids = |name: &str, is_weighted, count| IdInput { name: name.to_owned(), is_weighted, count };
    InputNames {
        dense: ["rows", "first", "second", "lengths"].map(str::to_owned).to_vec(),
        ids: vec![
            ids("several", false, IdCount::Any),
            ids("weighted", true, IdCount::Any),
            ids("one", false, IdCount::One),
            ids("along", false, IdCount::Any),
        ],
    }
}

/// Ids of `rows` rows: up to `most`, sometimes none.
fn column(rows: usize, most: usize, weighted: bool, seed: u64) -> IdColumn {
    let drawn = numbers(rows * (most + 1), seed);
    let draw = |i: usize, below: usize| ((drawn[i] + 1.0) / 2.0 * below as f32) as usize % below;
    let mut column = IdColumn { offsets: vec![0], ids: Vec::new(), weights: weighted.then(Vec::new) };
    for row in 0..rows {
        let at = row * (most + 1);
        for i in 0..draw(at, most + 1) {
            column.ids.push(draw(at + 1 + i, TABLE_ROWS) as u32);
            column.weights.iter_mut().for_each(|weights| weights.push(0.1 + drawn[at + 1 + i].abs()));
        }
        column.offsets.push(column.ids.len() as u32);
    }
    column
}

fn filled(column: &IdColumn, width: usize) -> (Vec<i64>, Vec<f32>) {
    let (mut ids, mut weights) = (Vec::new(), Vec::new());
    for row in column.offsets.windows(2) {
        for i in 0..width {
            let at = row[0] as usize + i;
            let is_there = at < row[1] as usize;
            ids.push(if is_there { i64::from(column.ids[at]) } else { -1 });
            weights.push(if is_there { column.weights.as_ref().map_or(1.0, |weights| weights[at]) } else { 0.0 });
        }
    }
    (ids, weights)
}

/// Writes the model, inputs and expected outputs of a case.
fn case(folder: &Path, name: &str, build: impl Fn(&mut Builder) -> Built) -> Json {
    let mut builder = Builder::default();
    let output = build(&mut builder).expect(name);
    let Builder { graph, parameters } = builder;
    let values: Vec<Vec<f32>> = parameters.iter().enumerate().map(|(i, shape)| numbers(shape.elements(), i as u64 + 50)).collect();

    let [first, second] = LENGTHS;
    let held: Vec<f32> = (0..ROWS).map(|row| (row % (first + 1)) as f32).collect();
    let dense = [(ROWS, WIDTH), (ROWS * first, WIDTH), (ROWS * second, WIDTH)];
    let mut dense: Vec<(Vec<f32>, usize)> =
        dense.iter().enumerate().map(|(i, (rows, width))| (numbers(rows * width, i as u64 + 9), *width)).collect();
    dense.push((held, 1));
    let ids = [column(ROWS, 4, false, 1), column(ROWS, 4, true, 2), column(ROWS, 1, false, 3), column(ROWS * first, 2, false, 4)];

    let onnx = OnnxGraph::new(&graph, &names(), &[("y", output)]).expect(name);
    let mut initializers = constants(&onnx);
    for (tensor, index) in &onnx.parameters {
        let bytes: Vec<u8> = values[*index].iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut tensor = tensor_proto(onnx.name(*tensor), &parameters[*index].dims, DataType::Float);
        tensor.raw_data = Some(bytes);
        initializers.push(tensor);
    }
    let inputs: Vec<_> = onnx.inputs.iter().collect();
    let file = format!("{}.onnx", name.replace([' ', ','], "_"));
    fs::write(folder.join(&file), model_proto(&onnx, &inputs, initializers).encode_to_vec()).expect("written");

    let views: Vec<MatRef<'_>> = values
        .iter()
        .zip(&parameters)
        .map(|(values, shape)| {
            let (rows, cols) = shape.as_matrix();
            MatRef::new(values, rows, cols)
        })
        .collect();
    let matrices: Vec<MatRef<'_>> = dense.iter().map(|(values, width)| MatRef::new(values, values.len() / width, *width)).collect();
    let columns: Vec<&IdColumn> = ids.iter().collect();
    let feed = Feed { rows: ROWS, lengths: &LENGTHS, dense: &matrices, ids: &columns, seed: 0 };
    let mut executor = Executor::new(graph, &[output], ROWS, Precision::F32);
    executor.run(&views, Weights::Changed, &feed, &Pool::new(1).expect("a thread"));

    let mut fed = serde_json::Map::new();
    for (name, (values, width)) in names().dense.iter().zip(&dense) {
        let length = values.len() / width / ROWS;
        let shape = if length == 1 { vec![ROWS, *width] } else { vec![ROWS, length, *width] };
        fed.insert(name.clone(), json!({"type": "float32", "shape": shape, "values": values}));
    }
    for ((name, column), (length, width)) in names().ids.iter().zip(&ids).zip([(1, 4), (1, 4), (1, 1), (first, 2)]) {
        let (values, weights) = filled(column, width);
        let shape = if length == 1 { vec![ROWS, width] } else { vec![ROWS, length, width] };
        fed.insert(format!("{}_ids", name.name), json!({"type": "int64", "shape": shape, "values": values}));
        fed.insert(format!("{}_weights", name.name), json!({"type": "float32", "shape": shape, "values": weights}));
    }
    json!({"name": name, "file": file, "must_vary": true, "inputs": fed, "outputs": {"y": executor.value(output).to_vec()}})
}

#[test]
fn operations_agree_with_onnx_runtime() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cases = Vec::new();
    let mut check = |name: &str, build: fn(&mut Builder) -> Built| cases.push(case(folder.path(), name, build));

    check("relu", |b| b.dense(Dense::Rows).and_then(|x| b.graph.add(Unary::Relu, &[x])));
    check("sigmoid", |b| b.dense(Dense::Rows).and_then(|x| b.graph.add(Unary::Sigmoid, &[x])));
    check("tanh", |b| b.dense(Dense::Rows).and_then(|x| b.graph.add(Unary::Tanh, &[x])));
    check("square", |b| b.dense(Dense::Rows).and_then(|x| b.graph.add(Unary::Square, &[x])));
    check("scale", |b| b.dense(Dense::Rows).and_then(|x| b.graph.add(Unary::Scale(0.3), &[x])));
    check("dice", |b| {
        let x = b.dense(Dense::Rows)?;
        let (p, alpha) = (b.graph.add(Unary::Sigmoid, &[x])?, b.parameter(&[WIDTH])?);
        b.graph.add(Dice, &[x, p, alpha])
    });
    check("copy", |b| b.dense(Dense::Rows).and_then(|x| b.graph.add(Unary::Copy, &[x])));
    for op in [Unary::Log(1.5), Unary::LogOdds] {
        let built = |b: &mut Builder| b.dense(Dense::Rows).and_then(|x| b.graph.add(op, &[x]));
        cases.push(case(folder.path(), &format!("{op:?}"), built));
    }
    for op in FUNCTIONS {
        let built = |b: &mut Builder| {
            let x = b.dense(Dense::Rows)?;
            // From -9 to 9, where the function has such arguments.
            let x = b.graph.add(Unary::Scale(9.0), &[x])?;
            let is_for_positives = matches!(op, Unary::Log(0.0) | Unary::LogarithmOfNext | Unary::Root | Unary::Power(_));
            let x = if is_for_positives { b.graph.add(Unary::Absolute, &[x])? } else { x };
            b.graph.add(op, &[x])
        };
        cases.push(case(folder.path(), &format!("function {op:?}"), built));
    }
    for op in [Compare::Equal, Compare::NotEqual, Compare::Less, Compare::LessOrEqual, Compare::And, Compare::Or] {
        let built = |b: &mut Builder| {
            let (x, y) = (b.dense(Dense::Rows)?, b.parameter(&[WIDTH])?);
            let y = b.graph.add(Binary::Multiply, &[x, y])?;
            let [x, y] = [b.graph.add(Unary::Relu6, &[x])?, b.graph.add(Unary::Relu6, &[y])?];
            b.graph.add(op, &[x, y])
        };
        cases.push(case(folder.path(), &format!("{op:?}"), built));
    }
    for op in [Extreme::Maximum, Extreme::Minimum] {
        let built = |b: &mut Builder| {
            let x = b.dense(Dense::FirstAxis)?;
            let square = b.graph.add(Unary::Square, &[x])?;
            b.graph.add(op, &[x, square])
        };
        cases.push(case(folder.path(), &format!("{op:?}"), built));
    }
    for condition in [Condition::Equals(2.0), Condition::Above(1.0)] {
        let op = Choose { condition, yes: 0.75, no: -2.0 };
        let built = |b: &mut Builder| b.dense(Dense::Lengths).and_then(|x| b.graph.add(op, &[x]));
        cases.push(case(folder.path(), &format!("{condition:?}"), built));
    }
    for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
        let op = ReduceRuns { width: 2, reduction };
        let built = |b: &mut Builder| b.dense(Dense::FirstAxis).and_then(|x| b.graph.add(op, &[x]));
        cases.push(case(folder.path(), &format!("runs {reduction:?}"), built));
    }
    for (input, name) in [(Dense::Rows, "table rows"), (Dense::FirstAxis, "table rows along an axis")] {
        let built = |b: &mut Builder| {
            // From -7 to 7: some are outside of the table.
            let (x, table) = (b.dense(input)?, b.parameter(&[5, 3])?);
            let x = b.graph.add(Unary::Scale(7.0), &[x])?;
            b.graph.add(TableRows, &[table, x])
        };
        cases.push(case(folder.path(), name, built));
    }
    for pooling in [Pooling::Sum, Pooling::Mean] {
        let built = |b: &mut Builder| {
            let bases = [7, 30].into();
            let (x, table) = (b.dense(Dense::Rows)?, b.parameter(&[WIDTH * Digits::rows(&[7, 30]), 2])?);
            let x = b.graph.add(Unary::Scale(1e4), &[x])?;
            b.graph.add(Digits { bases, pooling }, &[x, table])
        };
        cases.push(case(folder.path(), &format!("digits {pooling:?}"), built));
    }
    for weights in [Orientation::Plain, Orientation::Transposed] {
        let built = |b: &mut Builder| {
            let (x, w) = (b.fields(Dense::Rows, 3)?, b.parameter(&[3, 2 * 4])?);
            b.graph.add(PerField { units: 4, weights }, &[x, w])
        };
        cases.push(case(folder.path(), &format!("per field {weights:?}"), built));
    }
    for logarithm in [false, true] {
        let op = ZeroInflatedMean { scale: LogNormalScale { max_sigma: 0.9 }, max_log: 3.0, logarithm };
        let built = |b: &mut Builder| b.projected(Dense::Rows, 3).and_then(|x| b.graph.add(op, &[x]));
        cases.push(case(folder.path(), &format!("zero-inflated mean {logarithm}"), built));
    }
    for op in [Binary::Add, Binary::Subtract, Binary::Multiply, Binary::Divide, Binary::DivideOrZero] {
        for dims in [&[WIDTH][..], &[1, WIDTH], &[]] {
            let built = |b: &mut Builder| {
                let (x, p) = (b.dense(Dense::Rows)?, b.parameter(dims)?);
                b.graph.add(op, &[x, p])
            };
            cases.push(case(folder.path(), &format!("{op:?} {dims:?}"), built));
        }
        if op == Binary::Divide {
            continue;
        }
        let column = |b: &mut Builder| {
            let (x, length) = (b.fields(Dense::Rows, 2)?, b.dense(Dense::Lengths)?);
            b.graph.add(op, &[x, length])
        };
        cases.push(case(folder.path(), &format!("{op:?} column"), column));
    }
    let mut check = |name: &str, build: fn(&mut Builder) -> Built| cases.push(case(folder.path(), name, build));
    check("sum of three", |b| {
        let x = b.dense(Dense::Rows)?;
        let y = b.graph.add(Unary::Square, &[x])?;
        b.graph.add(Sum, &[x, y, x])
    });
    check("concat, columns, pad", |b| {
        let x = b.dense(Dense::Rows)?;
        let part = b.graph.add(Columns { first: 2, width: 3 }, &[x])?;
        let wide = b.graph.add(Concat, &[x, part, x])?;
        b.graph.add(Pad { first: 2, width: 20 }, &[wide])
    });
    check("concat, columns, pad along an axis", |b| {
        let x = b.dense(Dense::FirstAxis)?;
        let part = b.graph.add(Columns { first: 2, width: 3 }, &[x])?;
        let wide = b.graph.add(Concat, &[x, part])?;
        b.graph.add(Pad { first: 1, width: 11 }, &[wide])
    });
    check("elements", |b| {
        let (x, p) = (b.dense(Dense::Rows)?, b.parameter(&[3, 4])?);
        let part = b.graph.add(Elements { first: 2, shape: Shape::fixed(&[WIDTH]) }, &[p])?;
        b.graph.add(Binary::Multiply, &[x, part])
    });
    check("fill, repeat row", |b| {
        let x = b.dense(Dense::FirstAxis)?;
        let fill = b.graph.add(Fill { shape: Shape::fixed(&[WIDTH]), value: 0.7 }, &[])?;
        let axis = Some(b.axis(0));
        let row = b.graph.add(RepeatRow { scaling: Scaling::One, axis }, &[fill])?;
        b.graph.add(Concat, &[row, x])
    });
    check("sum of columns, repeat column", |b| {
        let x = b.dense(Dense::FirstAxis)?;
        let column = b.graph.add(SumColumns, &[x])?;
        b.graph.add(RepeatColumn(3), &[column])
    });
    check("gather columns", |b| b.fields(Dense::FirstAxis, 3).and_then(|x| b.graph.add(Gather::transposed(3, 2), &[x])));
    check("scatter columns", |b| {
        let x = b.dense(Dense::FirstAxis)?;
        b.graph.add(Scatter { columns: [7, 0, 3, 2, 5, 8].into(), dims: vec![3, 3] }, &[x])
    });
    check("repeat fields, stop gradient", |b| {
        let x = b.dense(Dense::FirstAxis)?;
        let fields = b.graph.add(RepeatFields(3), &[x])?;
        b.graph.add(StopGradient, &[fields])
    });
    check("sum of fields", |b| b.fields(Dense::FirstAxis, 3).and_then(|x| b.graph.add(SumFields, &[x])));
    check("softmax", |b| b.fields(Dense::FirstAxis, 2).and_then(|x| b.graph.add(Softmax { width: 3 }, &[x])));
    check("products of pairs", |b| b.fields(Dense::FirstAxis, 3).and_then(|x| b.graph.add(PairwiseProducts, &[x])));
    check("dot products", |b| {
        let (x, y) = (b.fields(Dense::FirstAxis, 3)?, b.fields(Dense::FirstAxis, 3)?);
        let y = b.graph.add(Unary::Tanh, &[y])?;
        b.graph.add(Dots { pairs: [(0, 1), (2, 0), (1, 1), (2, 2)].into(), width: 2 }, &[x, y])
    });
    check("interaction", |b| {
        let (x, start, kernel, bias) =
            (b.fields(Dense::FirstAxis, 3)?, b.fields(Dense::FirstAxis, 3)?, b.parameter(&[4, 3, 3])?, b.parameter(&[4])?);
        b.graph.add(Interaction { width: 2 }, &[x, start, kernel, bias])
    });
    check("largest column and its number", |b| {
        let x = b.dense(Dense::Rows)?;
        let [most, number] = [b.graph.add(RowMax, &[x])?, b.graph.add(RowArgMax, &[x])?];
        b.graph.add(Concat, &[most, number])
    });
    check("constants", |b| {
        let x = b.dense(Dense::Rows)?;
        let constant = b.graph.add(Constant { values: [1.0, 2.0, 3.0, -4.0, 0.5, 0.25].into() }, &[])?;
        let product = b.graph.add(Binary::Multiply, &[x, constant])?;
        let like = b.graph.add(FillLike { value: 3.0 }, &[x])?;
        b.graph.add(Concat, &[product, like])
    });
    check("layer norm", |b| {
        let (x, gamma, beta) = (b.dense(Dense::FirstAxis)?, b.parameter(&[WIDTH])?, b.parameter(&[WIDTH])?);
        b.graph.add(LayerNorm { epsilon: 1e-3, relu: false }, &[x, gamma, beta])
    });
    check("layer norm around another mean", |b| {
        let (x, gamma, beta) = (b.dense(Dense::Rows)?, b.parameter(&[WIDTH])?, b.parameter(&[WIDTH])?);
        let offset = b.graph.add(Fill { shape: Shape::fixed(&[]), value: 3.0 }, &[])?;
        let x = b.graph.add(Binary::Add, &[x, offset])?;
        b.graph.add(LayerNorm { epsilon: 1e-3, relu: true }, &[x, gamma, beta])
    });
    check("moving norm", |b| {
        let (x, gamma, beta, mean) = (b.dense(Dense::FirstAxis)?, b.parameter(&[WIDTH])?, b.parameter(&[WIDTH])?, b.parameter(&[WIDTH])?);
        let root = b.parameter(&[WIDTH])?;
        let variance = b.graph.add(Unary::Square, &[root])?;
        b.graph.add(MovingNorm { epsilon: 1e-3, relu: false }, &[x, gamma, beta, mean, variance])
    });
    check("matmul", |b| {
        let x = b.projected(Dense::FirstAxis, 9)?;
        let w = b.parameter(&[7, 9])?;
        b.graph.add(MatMul::TRANSPOSED, &[x, w])
    });
    for combiner in [Combiner::Sum, Combiner::Mean, Combiner::SquareRoot] {
        for (name, ids) in [("several", Ids::Several), ("weighted", Ids::Weighted), ("one", Ids::One), ("along", Ids::FirstAxis)] {
            cases.push(case(folder.path(), &format!("lookup {name} {combiner:?}"), |b| b.lookup(ids, combiner)));
        }
    }
    let mut check = |name: &str, build: &dyn Fn(&mut Builder) -> Built| cases.push(case(folder.path(), name, build));
    check("repeat along", &|b| {
        let (x, axis, y) = (b.dense(Dense::Rows)?, b.axis(0), b.dense(Dense::FirstAxis)?);
        let x = b.graph.add(RepeatAlong { axis }, &[x])?;
        b.graph.add(Binary::Add, &[x, y])
    });
    check("sum along", &|b| b.dense(Dense::FirstAxis).and_then(|x| b.graph.add(SumAlong, &[x])));
    check("maximum along", &|b| {
        let (x, axis) = (b.dense(Dense::FirstAxis)?, b.axis(0));
        b.graph.add(MaxOfWindows { axis, size: 1 }, &[x])
    });
    check("softmax along", &|b| {
        let (x, axis) = (b.dense(Dense::FirstAxis)?, b.axis(0));
        b.graph.add(SoftmaxAlong { axis }, &[x])
    });
    check("position mask, where", &|b| {
        let (x, lengths, axis) = (b.dense(Dense::FirstAxis)?, b.dense(Dense::Lengths)?, b.axis(0));
        let mask = b.graph.add(PositionMask { axis }, &[lengths])?;
        b.graph.add(Where { otherwise: -3.5 }, &[mask, x])
    });
    check("columns to axis", &|b| {
        let (x, axis, along) = (b.dense(Dense::Rows)?, b.axis(0), b.dense(Dense::FirstAxis)?);
        let two = b.graph.add(Columns { first: 0, width: 2 }, &[along])?;
        let cut = b.graph.add(ToAxis { axis, width: 2 }, &[x])?;
        b.graph.add(Binary::Add, &[cut, two])
    });
    check("axis to columns, cut", &|b| b.dense(Dense::FirstAxis).and_then(|x| b.graph.add(FromAxis { dims: vec![3 * WIDTH] }, &[x])));
    check("axis to columns, filled up", &|b| b.dense(Dense::FirstAxis).and_then(|x| b.graph.add(FromAxis { dims: vec![7, WIDTH] }, &[x])));
    for size in [1, 3, 9] {
        check(&format!("windows of {size} positions"), &|b| {
            let (x, axis) = (b.dense(Dense::FirstAxis)?, b.axis(0));
            let windows = b.graph.add(Windows { axis, size }, &[x])?;
            b.graph.add(SumAlong, &[windows])
        });
        check(&format!("maximum of windows of {size} positions"), &|b| {
            let (x, axis) = (b.dense(Dense::FirstAxis)?, b.axis(0));
            b.graph.add(MaxOfWindows { axis, size }, &[x])
        });
    }
    check("concat and part along", &|b| {
        let (x, y, z) = (b.dense(Dense::FirstAxis)?, b.dense(Dense::Rows)?, b.dense(Dense::SecondAxis)?);
        let (first, second) = (b.axis(0), b.axis(1));
        let axis = b.graph.axis(Length::Joined(vec![Some(first), None, Some(second)]));
        let all = b.graph.add(ConcatAlong { axis }, &[x, y, z])?;
        let y = b.graph.add(PartAlong { before: vec![Some(first)], axis: None }, &[all])?;
        let z = b.graph.add(PartAlong { before: vec![Some(first), None], axis: Some(second) }, &[all])?;
        let z = b.graph.add(SumAlong, &[z])?;
        b.graph.add(Concat, &[y, z])
    });
    check("rows of positions, last position", &|b| {
        let (x, axis) = (b.dense(Dense::FirstAxis)?, b.axis(0));
        let table = b.parameter(&[3, WIDTH])?;
        let rows = b.graph.add(PositionRows { axis }, &[table])?;
        let sum = b.graph.add(Binary::Add, &[x, rows])?;
        let last = b.graph.add(LastPosition, &[sum])?;
        let all = b.graph.add(FromAxis { dims: vec![4 * WIDTH] }, &[sum])?;
        b.graph.add(Concat, &[all, last])
    });
    for (keys, queries, causal) in [(false, false, false), (true, false, true), (false, true, false), (true, true, true)] {
        let masks = Masks { keys, queries, causal };
        let within = |b: &mut Builder| {
            let (q, k, v) = (b.projected(Dense::FirstAxis, 8)?, b.projected(Dense::FirstAxis, 8)?, b.projected(Dense::FirstAxis, 4)?);
            let (lengths, axis) = (b.dense(Dense::Lengths)?, b.axis(0));
            let mask = b.graph.add(PositionMask { axis }, &[lengths])?;
            let masked = [q, k, v].into_iter().chain(std::iter::repeat_n(mask, usize::from(keys) + usize::from(queries)));
            let op = Attention { heads: 2, queries: Some(axis), keys: Some(axis), scale: 0.4, masks, penalty: -1e4, dropout: None };
            b.graph.add(op, &masked.collect::<Vec<_>>())
        };
        cases.push(case(folder.path(), &format!("attention {keys} {queries} {causal}"), within));
    }
    for causal in [false, true] {
        let within = |b: &mut Builder| {
            let (q, k, v) = (b.projected(Dense::FirstAxis, 8)?, b.projected(Dense::FirstAxis, 8)?, b.projected(Dense::FirstAxis, 4)?);
            let (factor, axis) = (b.parameter(&[])?, Some(b.axis(0)));
            b.graph.add(AdditiveAttention { queries: axis, keys: axis, causal }, &[q, k, v, factor])
        };
        cases.push(case(folder.path(), &format!("additive attention {causal}"), within));
    }
    let mut check = |name: &str, build: fn(&mut Builder) -> Built| cases.push(case(folder.path(), name, build));
    check("attention of one query", |b| {
        let (q, k, v) = (b.projected(Dense::Rows, 8)?, b.projected(Dense::FirstAxis, 8)?, b.projected(Dense::FirstAxis, 4)?);
        let keys = Some(b.axis(0));
        b.graph
            .add(Attention { heads: 2, queries: None, keys, scale: 0.4, masks: Masks::default(), penalty: 0.0, dropout: None }, &[q, k, v])
    });

    run_python(folder.path(), &json!({"cases": cases}));
}

//! A graph in two parts gives the bits of the whole one.

use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::concat::Concat;
use rankmill_graph::ops::layer_norm::LayerNorm;
use rankmill_graph::ops::leaf::{DenseInput, Parameter};
use rankmill_graph::ops::lookup::{Combiner, Lookup};
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{EqualInputs, Executor, Feed, Graph, Shape, SharedExecutor, Value, Weights};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;

const TABLE: usize = 50;
const ROWS: usize = 37;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// A graph, and the shapes of its parameters.
#[derive(Default)]
struct Built {
    graph: Graph,
    shapes: Vec<Vec<usize>>,
}

impl Built {
    fn parameter(&mut self, shape: &[usize]) -> Value {
        let shape = shape.to_vec();
        let index = self.graph.declare(&format!("p{}", self.shapes.len()), Shape::fixed(&shape), true).expect("new");
        self.shapes.push(shape.clone());
        self.graph.add(Parameter { index, shape: Shape::fixed(&shape) }, &[]).expect("fits")
    }

    fn lookup(&mut self, slot: usize, width: usize) -> Value {
        let table = self.parameter(&[TABLE, width]);
        self.graph.add(Lookup { slot, combiner: Combiner::Sum, axis: None }, &[table]).expect("fits")
    }

    fn dense(&mut self, x: Value, width: usize) -> Value {
        let from = self.graph.shape(x).width();
        let (w, b) = (self.parameter(&[from, width]), self.parameter(&[width]));
        let y = self.graph.add(MatMul::PLAIN, &[x, w]).expect("fits");
        let y = self.graph.add(Binary::Add, &[y, b]).expect("fits");
        self.graph.add(Unary::Relu, &[y]).expect("fits")
    }

    fn norm(&mut self, x: Value) -> Value {
        let width = self.graph.shape(x).width();
        let (gamma, beta) = (self.parameter(&[width]), self.parameter(&[width]));
        self.graph.add(LayerNorm { epsilon: 1e-3, relu: false }, &[x, gamma, beta]).expect("fits")
    }

    fn concat(&mut self, parts: &[Value]) -> Value {
        self.graph.add(Concat, parts).expect("fits")
    }

    /// Two id columns and a dense one of 5 numbers; compares the outputs of both ways for every choice of what is equal.
    #[track_caller]
    fn check(self, outputs: &[Value]) {
        let values: Vec<Vec<f32>> = self.shapes.iter().enumerate().map(|(i, s)| numbers(s.iter().product(), 7 + i as u64)).collect();
        let matrix = |(shape, values): (&Vec<usize>, &'_ Vec<f32>)| match shape.as_slice() {
            [rows, cols] => (*rows, *cols),
            _ => (1, values.len()),
        };
        let sizes: Vec<(usize, usize)> = self.shapes.iter().zip(&values).map(matrix).collect();
        let parameters: Vec<MatRef<'_>> = values.iter().zip(&sizes).map(|(v, (rows, cols))| MatRef::new(v, *rows, *cols)).collect();
        let pool = Pool::new(1).expect("one thread");
        for choice in 0..8_u32 {
            let is_equal = |bit: u32| choice & 1 << bit != 0;
            let column = |bit: u32| {
                let ids = (0..ROWS as u32).flat_map(|row| if is_equal(bit) { [3, 5] } else { [row % 7, row % 11] });
                IdColumn { offsets: (0..=ROWS as u32).map(|row| 2 * row).collect(), ids: ids.collect(), weights: None }
            };
            let ids = [column(0), column(1)];
            let mut dense = numbers(ROWS * 5, 3);
            if is_equal(2) {
                dense = dense[..5].repeat(ROWS);
            }
            let feed = |rows: usize| (MatRef::new(&dense[..rows * 5], rows, 5), rows);
            let columns: Vec<&IdColumn> = ids.iter().collect();
            let run = |(dense, rows): (MatRef<'_>, usize), run: &mut dyn FnMut(&Feed<'_>)| {
                run(&Feed { rows, lengths: &[], dense: &[dense], ids: &columns, seed: 0 });
            };
            let mut whole = Executor::new(self.graph.clone(), outputs, ROWS, Precision::F32);
            run(feed(ROWS), &mut |feed| whole.run(&parameters, Weights::Changed, feed, &pool));
            let equal = EqualInputs { ids: vec![is_equal(0), is_equal(1)], dense: vec![is_equal(2)] };
            let Some(mut parts) = SharedExecutor::new(&self.graph, outputs, &equal, Precision::F32) else {
                assert!(!is_equal(0) && !is_equal(1), "{choice}: nothing is shared");
                continue;
            };
            assert!(choice > 0 && parts.saved() > 0.0, "something is shared that differs");
            for weights in [Weights::Changed, Weights::Unchanged] {
                run(feed(ROWS), &mut |all| {
                    run(feed(1), &mut |first| parts.run(&parameters, weights, first, all, &pool));
                });
                for output in outputs {
                    assert!(parts.value(*output).to_vec() == whole.value(*output).to_vec(), "equal {choice}: other bits");
                }
            }
        }
    }
}

fn inputs(built: &mut Built) -> [Value; 3] {
    let [first, second] = [(0, 16), (1, 24)].map(|(slot, width)| built.lookup(slot, width));
    let numbers = built.graph.add(DenseInput { slot: 0, width: 5, axis: None }, &[]).expect("fits");
    [first, numbers, second]
}

#[test]
fn products_over_columns_of_both_kinds() {
    let mut built = Built::default();
    let parts = inputs(&mut built);
    let x = built.concat(&parts);
    // Two readers of one concatenation, as experts are; one of them with a single column.
    let (a, b) = (built.dense(x, 33), built.dense(x, 1));
    let inner = built.concat(&[a, b]);
    let nested = built.concat(&[inner, parts[2]]);
    let y = built.dense(nested, 7);
    built.check(&[y]);
}

#[test]
fn wide_products_and_norms() {
    let mut built = Built::default();
    let [first, numbers, second] = inputs(&mut built);
    let (tower, other) = (built.dense(first, 600), built.dense(second, 300));
    let x = built.concat(&[tower, numbers, other]);
    let y = built.dense(x, 40);
    let all = built.concat(&[numbers, first, second]);
    let normed = built.norm(all);
    let masked = built.dense(normed, 45);
    let product = built.graph.add(Binary::Multiply, &[all, masked]).expect("fits");
    let z = built.dense(product, 1);
    let flat = built.graph.add(Reshape { shape: Shape::batch(&[]) }, &[z]).expect("fits");
    built.check(&[y, flat, tower]);
}

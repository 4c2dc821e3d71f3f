//! What functions compute, row by row, against plain loops; and what they are refused for.

use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::{Executor, Feed, Shape, Value, Weights};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::{Builder, Mode};

use super::{Lambda, Term};

const ROWS: usize = 3;

/// Element `i` of row `b` of input `k`.
fn number(k: usize, b: usize, i: usize) -> f32 {
    ((7 * k + 5 * b + 3 * i) % 11) as f32 / 4.0 - 1.0
}

/// A builder with inputs of these dimensions, in the slots 0, 1, …
fn inputs(dims: &[&[usize]]) -> (Builder, Vec<Value>) {
    let mut builder = Builder::new(Mode::Training);
    let mut s = builder.scope("test");
    let mut values = Vec::new();
    for (slot, dims) in dims.iter().enumerate() {
        let width = dims.iter().product();
        let x = s.add(DenseInput { slot, width, axis: None }, &[]).expect("an input");
        values.push(if dims.len() == 1 { x } else { s.add(Reshape { shape: Shape::batch(dims) }, &[x]).expect("a view") });
    }
    (builder, values)
}

/// A list of all inputs, or the only one.
fn argument(values: &[Value]) -> Term {
    match values {
        [only] => Term::Tensor(*only),
        several => Term::from(Tensors::list(several.iter().copied())),
    }
}

/// The shape of each tensor that `text` makes of the inputs, and its rows.
fn run(text: &str, dims: &[&[usize]]) -> Vec<(Vec<usize>, Vec<f32>)> {
    let (mut builder, values) = inputs(dims);
    let function = if text.starts_with('[') { Lambda::subscripts(text, &["x"]) } else { Lambda::parse(text, 1) };
    let outputs = function
        .and_then(|function| function.tensors(&mut builder.scope("test"), &[argument(&values)]))
        .unwrap_or_else(|error| panic!("{text}: {} at {:?}", error.message, error.span));
    let outputs = outputs.values();
    let shapes: Vec<Vec<usize>> = outputs.iter().map(|value| builder.graph.shape(*value).dims.clone()).collect();
    let data: Vec<(usize, Vec<f32>)> = dims
        .iter()
        .enumerate()
        .map(|(k, dims)| {
            let width: usize = dims.iter().product();
            (width, (0..ROWS * width).map(|i| number(k, i / width, i % width)).collect())
        })
        .collect();
    let dense: Vec<MatRef<'_>> = data.iter().map(|(width, values)| MatRef::new(values, ROWS, *width)).collect();
    // An output that is an input is not kept by the executor: copy it.
    let copies: Vec<Value> =
        outputs.iter().map(|value| builder.graph.add(rankmill_graph::ops::unary::Unary::Copy, &[*value]).expect("a copy")).collect();
    let mut executor = Executor::new(builder.graph, &copies, ROWS, Precision::F32);
    let feed = Feed { rows: ROWS, lengths: &[], dense: &dense, ids: &[], seed: 0 };
    executor.run(&[], Weights::Changed, &feed, &Pool::new(1).expect("a thread"));
    shapes.into_iter().zip(copies.iter().map(|value| executor.value(*value).to_vec())).collect()
}

/// One tensor of these dimensions, its elements by a plain rule from the row's number.
#[track_caller]
fn check(text: &str, dims: &[&[usize]], expected_dims: &[usize], expected: impl Fn(usize) -> Vec<f32>) {
    let outputs = run(text, dims);
    assert_eq!(outputs.len(), 1, "{text} gives one tensor");
    let (found_dims, found) = &outputs[0];
    assert_eq!(found_dims, expected_dims, "{text}");
    let all: Vec<f32> = (0..ROWS).flat_map(expected).collect();
    assert_eq!(found.len(), all.len(), "{text}");
    for (i, (found, expected)) in found.iter().zip(&all).enumerate() {
        assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{text}: element {i} is {found}, not {expected}");
    }
}

/// As [`check`] for one input of `n` columns and an elementwise rule.
#[track_caller]
fn each(text: &str, rule: impl Fn(f32) -> f32) {
    check(text, &[&[5]], &[5], |b| (0..5).map(|i| rule(number(0, b, i))).collect());
}

#[test]
fn arithmetic() {
    each("lambda x: x", |x| x);
    each("lambda x: x * 0.5", |x| x * 0.5);
    each("lambda x: 2 * x + 1", |x| 2.0 * x + 1.0);
    each("lambda x: -x - 1.5", |x| -x - 1.5);
    each("lambda x: 3 - x / 4", |x| 3.0 - x / 4.0);
    each("lambda x: 1 / (x + 2)", |x| 1.0 / (x + 2.0));
    each("lambda x: x ** 2 + x ** 1", |x| x * x + x);
    each("lambda x: (x + 2) ** 0.5", |x| (x + 2.0).sqrt());
    each("lambda x: (x + 2) ** -1.5", |x| (x + 2.0).powf(-1.5));
    each("lambda x: x * x - x + x / (x + 2)", |x| x * x - x + x / (x + 2.0));
    each("lambda x: x * (1 if len([x, x]) == 2 else 0)", |x| x);
    each("lambda x: x * (7 // 2 - 7 % 4 + 2 ** 3)", |x| x * 8.0);
    each("lambda x: x * (-7 // 2) + (-7 % 3)", |x| x * -4.0 + 2.0);
    each("lambda x: x + [1, 2, 3, 4, 5] * 1 if False else x", |x| x);
    check("lambda x: x + [1, 2, 3, 4, 5]", &[&[5]], &[5], |b| (0..5).map(|i| number(0, b, i) + (i + 1) as f32).collect());
    check("lambda x: x[0] * x[1]", &[&[4], &[4]], &[4], |b| (0..4).map(|i| number(0, b, i) * number(1, b, i)).collect());
    check("lambda x: x[0] - x[1]", &[&[4], &[1]], &[4], |b| (0..4).map(|i| number(0, b, i) - number(1, b, 0)).collect());
    check("lambda x: x[1] / (x[0] + 2)", &[&[4], &[1]], &[4], |b| (0..4).map(|i| number(1, b, 0) / (number(0, b, i) + 2.0)).collect());
}

#[test]
fn broadcasting_between_fields() {
    let field = |b: usize, n: usize, d: usize| number(0, b, n * 3 + d);
    check("lambda x: x[0] * x[1]", &[&[2, 3], &[2, 1]], &[2, 3], |b| {
        (0..6).map(|i| field(b, i / 3, i % 3) * number(1, b, i / 3)).collect()
    });
    check("lambda x: x[0] + x[1]", &[&[2, 3], &[1, 3]], &[2, 3], |b| {
        (0..6).map(|i| field(b, i / 3, i % 3) + number(1, b, i % 3)).collect()
    });
    check("lambda x: tf.expand_dims(x[0], 1) * tf.expand_dims(x[1], 2)", &[&[3], &[2]], &[2, 3], |b| {
        (0..6).map(|i| number(0, b, i % 3) * number(1, b, i / 3)).collect()
    });
}

#[test]
fn elementwise_functions() {
    each("tf.nn.relu", |x| x.max(0.0));
    each("lambda x: tf.nn.sigmoid(x)", |x| 1.0 / (1.0 + (-x).exp()));
    each("lambda x: tf.tanh(features=x)", f32::tanh);
    each("lambda x: tf.square(x)", |x| x * x);
    each("lambda x: tf.sqrt(x + 1.0)", |x| (x + 1.0).sqrt());
    each("lambda x: tf.math.rsqrt(x + 2)", |x| 1.0 / (x + 2.0).sqrt());
    each("lambda x: tf.exp(x)", f32::exp);
    each("lambda x: tf.math.log(x + 2)", |x| (x + 2.0).ln());
    each("lambda x: tf.log1p(tf.abs(x))", |x| x.abs().ln_1p());
    each("lambda x: tf.negative(x)", |x| -x);
    each("lambda x: tf.math.reciprocal(x + 3)", |x| 1.0 / (x + 3.0));
    each("lambda x: tf.sin(x) + tf.cos(x)", |x| x.sin() + x.cos());
    each("lambda x: tf.clip_by_value(x, -0.5, clip_value_max=0.5)", |x| x.clamp(-0.5, 0.5));
    each("lambda x: tf.nn.leaky_relu(x, alpha=0.1)", |x| x.max(0.1 * x));
    each("lambda x: tf.nn.leaky_relu(x)", |x| x.max(0.2 * x));
    each("lambda x: tf.pow(x, 2)", |x| x * x);
    each("lambda x: tf.add(x, 1) - tf.subtract(x, 2) + tf.multiply(x, 3) + tf.divide(x, 4)", |x| 3.0 + 3.0 * x + x / 4.0);
    each("lambda x: tf.maximum(x, 0.25) + tf.minimum(x, -0.25)", |x| x.max(0.25) + x.min(-0.25));
    each("lambda x: tf.stop_gradient(x)", |x| x);
    each("lambda x: tf.identity(tf.to_float(x), name='y')", |x| x);
    each("lambda x: tf.ones_like(x) + tf.zeros_like(x)", |_| 1.0);
    each("lambda x: tf.cast(x > 0, tf.float32)", |x| f32::from(u8::from(x > 0.0)));
    each("lambda x: tf.cast(x, tf.bool) * 2", |x| if x == 0.0 { 0.0 } else { 2.0 });
    each("lambda x: tf.where(x > 0.25, x, -x)", |x| if x > 0.25 { x } else { -x });
    each("lambda x: tf.where(tf.logical_or(x < -0.5, tf.greater_equal(x, 1)), 1.0, 0.0)", |x| {
        f32::from(u8::from(!(-0.5..1.0).contains(&x)))
    });
    each("lambda x: tf.where((x > -0.5) & ~(x >= 1), x, 0)", |x| if x > -0.5 && x < 1.0 { x } else { 0.0 });
    each("lambda x: tf.where(0 <= x < 1, x, tf.zeros_like(x))", |x| if (0.0..1.0).contains(&x) { x } else { 0.0 });
    each("lambda x: tf.where(tf.equal(x, 0.5), 1, tf.where(tf.not_equal(x, -1), 2, 3))", |x| {
        if x == 0.5 {
            1.0
        } else if x != -1.0 {
            2.0
        } else {
            3.0
        }
    });
}

#[test]
fn reductions() {
    let row = |b: usize| (0..6).map(|i| number(0, b, i)).collect::<Vec<f32>>();
    check("lambda x: tf.reduce_sum(x, axis=1, keepdims=True)", &[&[6]], &[1], |b| vec![row(b).iter().sum()]);
    check("lambda x: tf.reduce_sum(x, 1)", &[&[6]], &[], |b| vec![row(b).iter().sum()]);
    check("lambda x: tf.reduce_mean(x, axis=-1, keep_dims=True)", &[&[6]], &[1], |b| vec![row(b).iter().sum::<f32>() / 6.0]);
    check("lambda x: tf.reduce_max(x, axis=[1])", &[&[6]], &[], |b| vec![row(b).into_iter().fold(f32::MIN, f32::max)]);
    check("lambda x: tf.reduce_min(x, reduction_indices=1)", &[&[6]], &[], |b| vec![row(b).into_iter().fold(f32::MAX, f32::min)]);
    check("lambda x: tf.reduce_sum(x, axis=1)", &[&[2, 3]], &[3], |b| (0..3).map(|d| row(b)[d] + row(b)[3 + d]).collect());
    check("lambda x: tf.reduce_mean(x, axis=1, keepdims=True)", &[&[2, 3]], &[1, 3], |b| {
        (0..3).map(|d| (row(b)[d] + row(b)[3 + d]) / 2.0).collect()
    });
    check("lambda x: tf.reduce_sum(x, axis=2)", &[&[2, 3]], &[2], |b| (0..2).map(|n| row(b)[3 * n..3 * n + 3].iter().sum()).collect());
    check("lambda x: tf.reduce_max(x, axis=1)", &[&[2, 3]], &[3], |b| (0..3).map(|d| row(b)[d].max(row(b)[3 + d])).collect());
    check("lambda x: tf.reduce_sum(x, axis=[1, 2])", &[&[2, 3]], &[], |b| vec![row(b).iter().sum()]);
    check("lambda x: tf.reduce_sum(x, axis=[-1, -3], keepdims=True)", &[&[3, 2, 1]], &[1, 2, 1], |b| {
        (0..2).map(|j| row(b)[j] + row(b)[2 + j] + row(b)[4 + j]).collect()
    });
    check("lambda x: tf.add_n(x)", &[&[4], &[4], &[4]], &[4], |b| (0..4).map(|i| (0..3).map(|k| number(k, b, i)).sum()).collect());
    check("lambda x: sum(x)", &[&[4], &[4]], &[4], |b| (0..4).map(|i| (0..2).map(|k| number(k, b, i)).sum()).collect());
    check("lambda x: tf.reduce_sum(x, axis=0)", &[&[4], &[4]], &[4], |b| (0..4).map(|i| (0..2).map(|k| number(k, b, i)).sum()).collect());
    check("lambda x: tf.nn.softmax(x)", &[&[6]], &[6], |b| softmax(&row(b)));
    check("lambda x: tf.nn.softmax(x, axis=1)", &[&[3, 2]], &[3, 2], |b| {
        let columns: Vec<Vec<f32>> = (0..2).map(|d| softmax(&[row(b)[d], row(b)[2 + d], row(b)[4 + d]])).collect();
        (0..6).map(|i| columns[i % 2][i / 2]).collect()
    });
    check("lambda x: tf.nn.l2_normalize(x, axis=1)", &[&[6]], &[6], |b| {
        let norm = row(b).iter().map(|x| x * x).sum::<f32>().sqrt();
        row(b).iter().map(|x| x / norm).collect()
    });
}

fn softmax(x: &[f32]) -> Vec<f32> {
    let total: f32 = x.iter().map(|x| x.exp()).sum();
    x.iter().map(|x| x.exp() / total).collect()
}

#[test]
fn rearrangements() {
    let x = |b: usize| (0..6).map(|i| number(0, b, i)).collect::<Vec<f32>>();
    let chosen = |columns: &'static [usize]| move |b: usize| columns.iter().map(|i| number(0, b, *i)).collect::<Vec<f32>>();
    check("lambda x: tf.reshape(x, [-1, 2, 3])", &[&[6]], &[2, 3], x);
    check("lambda x: tf.reshape(x, (tf.shape(x)[0], -1))", &[&[2, 3]], &[6], x);
    check("lambda x: tf.reshape(x, [-1, x.shape[1] * x.shape[2]])", &[&[2, 3]], &[6], x);
    check("lambda x: tf.reshape(x, [-1] + x.get_shape().as_list()[1:])", &[&[2, 3]], &[2, 3], x);
    check("lambda x: tf.layers.flatten(x)", &[&[2, 3]], &[6], x);
    check("lambda x: tf.transpose(x, perm=[0, 2, 1])", &[&[2, 3]], &[3, 2], chosen(&[0, 3, 1, 4, 2, 5]));
    check("lambda x: tf.expand_dims(x, axis=-1)", &[&[6]], &[6, 1], x);
    check("lambda x: tf.squeeze(tf.expand_dims(x, 1), [1])", &[&[6]], &[6], x);
    check("lambda x: tf.squeeze(x)", &[&[6, 1]], &[6], x);
    check("lambda x: x[:, 1:3]", &[&[6]], &[2], chosen(&[1, 2]));
    check("lambda x: x[:, -2:]", &[&[6]], &[2], chosen(&[4, 5]));
    check("lambda x: x[:, ::2]", &[&[6]], &[3], chosen(&[0, 2, 4]));
    check("lambda x: x[:, ::-1]", &[&[6]], &[6], chosen(&[5, 4, 3, 2, 1, 0]));
    check("lambda x: x[:, 4:1:-2]", &[&[6]], &[2], chosen(&[4, 2]));
    check("lambda x: x[:, 2]", &[&[6]], &[], chosen(&[2]));
    check("lambda x: x[:, None, 2]", &[&[6]], &[1], chosen(&[2]));
    check("lambda x: x[:, tf.newaxis]", &[&[6]], &[1, 6], x);
    check("lambda x: x[..., 0]", &[&[2, 3]], &[2], chosen(&[0, 3]));
    check("lambda x: x[:, 1, ..., None]", &[&[2, 3]], &[3, 1], chosen(&[3, 4, 5]));
    check("lambda x: x[:, :, 1:]", &[&[2, 3]], &[2, 2], chosen(&[1, 2, 4, 5]));
    check("[:, 1]", &[&[2, 3]], &[3], chosen(&[3, 4, 5]));
    check("lambda x: tf.gather(x, [2, 0, 2], axis=1)", &[&[6]], &[3], chosen(&[2, 0, 2]));
    check("lambda x: tf.gather(x, 1, axis=1)", &[&[2, 3]], &[3], chosen(&[3, 4, 5]));
    check("lambda x: tf.reverse(x, axis=[1])", &[&[2, 3]], &[2, 3], chosen(&[3, 4, 5, 0, 1, 2]));
    check("lambda x: tf.tile(x, [1, 2])", &[&[3]], &[6], chosen(&[0, 1, 2, 0, 1, 2]));
    check("lambda x: tf.tile(x, [1, 1, 2])", &[&[2, 2]], &[2, 4], chosen(&[0, 1, 0, 1, 2, 3, 2, 3]));
}

#[test]
fn lists() {
    let of = |k: usize, b: usize, n: usize| (0..n).map(|i| number(k, b, i)).collect::<Vec<f32>>();
    check("[1]", &[&[2], &[3]], &[3], |b| of(1, b, 3));
    check("[-2]", &[&[2], &[3]], &[2], |b| of(0, b, 2));
    check("lambda x: tf.concat(x, axis=-1)", &[&[2], &[3]], &[5], |b| [of(0, b, 2), of(1, b, 3)].concat());
    check("lambda x: tf.concat(x[:2] + [x[0]], 1)", &[&[2], &[3], &[9]], &[7], |b| [of(0, b, 2), of(1, b, 3), of(0, b, 2)].concat());
    check("lambda x: tf.concat(x, axis=1)", &[&[2, 3], &[1, 3]], &[3, 3], |b| [of(0, b, 6), of(1, b, 3)].concat());
    check("lambda x: tf.concat(x, axis=2)", &[&[2, 2], &[2, 1]], &[2, 3], |b| {
        let (a, c) = (of(0, b, 4), of(1, b, 2));
        vec![a[0], a[1], c[0], a[2], a[3], c[1]]
    });
    check("lambda x: tf.stack(x, axis=1)", &[&[3], &[3]], &[2, 3], |b| [of(0, b, 3), of(1, b, 3)].concat());
    check("lambda x: tf.stack(x, axis=2)", &[&[2], &[2]], &[2, 2], |b| {
        let (a, c) = (of(0, b, 2), of(1, b, 2));
        vec![a[0], c[0], a[1], c[1]]
    });
    check("lambda x: tf.stack([tf.squeeze(t, 1) for t in x], axis=1)", &[&[1], &[1]], &[2], |b| [of(0, b, 1), of(1, b, 1)].concat());
    check("lambda x: tf.concat([t for t in x if t.shape[1] > 2], 1)", &[&[2], &[3], &[4]], &[7], |b| [of(1, b, 3), of(2, b, 4)].concat());
    check("lambda x: tf.concat([x[i] * i for i in range(1, 3)], 1)", &[&[2], &[2], &[2]], &[4], |b| {
        [of(1, b, 2), of(2, b, 2).iter().map(|x| x * 2.0).collect()].concat()
    });
    check("lambda x: tf.matmul(x[0], x[1])", &[&[2, 3], &[3, 2]], &[2, 2], |b| product(&of(0, b, 6), &of(1, b, 6)));
    check("lambda x: x[0] @ x[1]", &[&[2, 3], &[3, 2]], &[2, 2], |b| product(&of(0, b, 6), &of(1, b, 6)));
    check("lambda x: tf.matmul(x[0], x[1], transpose_b=True)", &[&[2, 3], &[2, 3]], &[2, 2], |b| {
        let c = of(1, b, 6);
        product(&of(0, b, 6), &[c[0], c[3], c[1], c[4], c[2], c[5]])
    });
    check(
        "lambda x: tf.stack([tf.to_float(t) for t in x], axis=1) if x[0].shape.ndims == 1 else tf.concat(x, axis=1)",
        &[&[2], &[3]],
        &[5],
        |b| [of(0, b, 2), of(1, b, 3)].concat(),
    );
}

/// `[2, 3] · [3, 2]`.
fn product(a: &[f32], b: &[f32]) -> Vec<f32> {
    (0..4).map(|i| (0..3).map(|k| a[i / 2 * 3 + k] * b[k * 2 + i % 2]).sum()).collect()
}

#[test]
fn several_tensors_come_back() {
    let shapes = |text: &str, dims: &[&[usize]]| run(text, dims).into_iter().map(|(dims, _)| dims).collect::<Vec<_>>();
    assert_eq!(shapes("lambda x: [x, x[:, :2]]", &[&[3]]), [vec![3], vec![2]]);
    assert_eq!(shapes("lambda x: tf.unstack(tf.reshape(x, [-1, 2, 3]), axis=1)", &[&[6]]), [vec![3], vec![3]]);
    assert_eq!(shapes("lambda x: tf.split(x, 3, axis=1)", &[&[6]]), [vec![2], vec![2], vec![2]]);
    assert_eq!(shapes("lambda x: tf.split(x, [1, -1], axis=-1)", &[&[6]]), [vec![1], vec![5]]);
    assert_eq!(shapes("lambda x: tuple(x[1:])", &[&[1], &[2], &[3]]), [vec![2], vec![3]]);
    assert_eq!(shapes("lambda x: [x[0]] * 2 + list(x)", &[&[1], &[2]]), [vec![1], vec![1], vec![1], vec![2]]);
    let (mut builder, values) = inputs(&[&[2], &[3]]);
    let repeated = Lambda::parse("lambda x, i: [x[i], x[i - 1]]", 2).expect("a function");
    let both = repeated.tensors(&mut builder.scope("test"), &[argument(&values), Term::Integer(1)]).expect("two tensors");
    assert_eq!(both, Tensors::list([values[1], values[0]]));
    let slice = Lambda::subscripts("[i]", &["x", "i"]).expect("a slice");
    assert_eq!(slice.tensors(&mut builder.scope("test"), &[argument(&values), Term::Integer(1)]), Ok(Tensors::One(values[1])));
}

#[track_caller]
fn refuse(text: &str, dims: &[&[usize]], at: &str, message: &str) {
    let (mut builder, values) = inputs(dims);
    let function = if text.starts_with('[') { Lambda::subscripts(text, &["x"]) } else { Lambda::parse(text, 1) };
    let error = function.and_then(|function| function.tensors(&mut builder.scope("test"), &[argument(&values)])).expect_err(text);
    assert_eq!(error.message, message, "{text}");
    assert_eq!(&text[error.span], at, "{text}");
}

#[test]
fn names_that_are_not_there() {
    refuse("lambda x: y", &[&[2]], "y", "`y` is not defined; known here: x, tf");
    refuse("lambda xs: x", &[&[2]], "x", "`x` is not defined; known here: xs, tf");
    refuse("lambda x: tf.reduce_summ(x, 1)", &[&[2]], "tf.reduce_summ", "`tf.reduce_summ` is not supported; did you mean `tf.reduce_sum`?");
    refuse("lambda x: tf.nn.relu", &[&[2]], "tf.nn.relu", "`tf.nn.relu` is a function; call it");
    refuse("lambda x: x.foo", &[&[2]], "x.foo", "a tensor's `foo` is not supported; known: shape, get_shape()");
    refuse("lambda x: x.numpy()", &[&[2]], "x.numpy", "a tensor has no function `numpy` here");
    refuse("lambda x: x.append(1)", &[&[2], &[2]], "x.append", "a list has no function `append` here");
    refuse("lambda x: (lambda y: y)(x)", &[&[2]], "(lambda y: y)", "only functions of `tf`, and a few of Python's, can be called");
    refuse("lambda x: [lambda y: y]", &[&[2]], "lambda y: y", "a function inside of a function is not supported");
    let message = Lambda::parse("lambda x: __import__('os')", 1)
        .and_then(|function| function.tensors(&mut Builder::new(Mode::Training).scope("test"), &[Term::None]))
        .unwrap_err()
        .message;
    assert!(message.starts_with("`__import__` is not supported; supported are tf.reduce_sum, tf.reduce_mean, "), "{message}");
    assert!(message.ends_with("len, list, tuple, range, sum, and activations such as tf.nn.relu"), "{message}");
}

#[test]
fn arguments_that_do_not_fit() {
    refuse("lambda x: tf.concat(x)", &[&[2], &[2]], "tf.concat(x)", "`tf.concat` needs `axis`");
    refuse("lambda x: tf.concat(x, axes=1)", &[&[2], &[2]], "axes", "`tf.concat` has no argument `axes`; did you mean `axis`?");
    refuse("lambda x: tf.concat(x, foo=1)", &[&[2], &[2]], "foo", "`tf.concat` has no argument `foo`; it has values, axis");
    refuse("lambda x: tf.concat(x, 1, 2, 3)", &[&[2], &[2]], "2", "`tf.concat` takes 2 arguments: values, axis");
    refuse("lambda x: tf.concat(x, 1, axis=1)", &[&[2], &[2]], "axis", "`axis` of `tf.concat` is given twice");
    refuse("lambda x: tf.concat(x, 'a')", &[&[2], &[2]], "'a'", "`axis` of `tf.concat` is a whole number, not a text");
    refuse(
        "lambda x: tf.concat([1, 2], 1)",
        &[&[2]],
        "[1, 2]",
        "`values` of `tf.concat` is a list of tensors, not a list with more than tensors in it",
    );
    refuse("lambda x: tf.square(x)", &[&[2], &[2]], "x", "`x` of `tf.square` is a tensor, not a list");
    refuse("lambda x: tf.cast(x, 1)", &[&[2]], "1", "`dtype` of `tf.cast` is a type such as tf.float32, not a number");
    refuse("lambda x: tf.cast(x, tf.int32)", &[&[2]], "tf.cast(x, tf.int32)", "`tf.cast`: tensors of whole numbers are not supported");
    refuse("lambda x: tf.reduce_sum(x, 1, 2)", &[&[2]], "2", "`keepdims` of `tf.reduce_sum` is True or False, not a number");
    refuse(
        "lambda x: tf.clip_by_value(x, 2, 1)",
        &[&[2]],
        "tf.clip_by_value(x, 2, 1)",
        "`tf.clip_by_value`: the least value 2 is above the largest, 1",
    );
    refuse("lambda x: range(0, 9, 0)", &[&[2]], "range(0, 9, 0)", "`range`: the step is 0");
    refuse("lambda x: range(10000000000)", &[&[2]], "range(10000000000)", "`range`: more than 10000 numbers are too many");
}

#[test]
fn shapes_that_do_not_fit() {
    refuse(
        "lambda x: tf.concat(x, 1)",
        &[&[2], &[2, 2]],
        "tf.concat(x, 1)",
        "`tf.concat`: [B, 2] and [B, 2, 2] have different numbers of dimensions",
    );
    refuse(
        "lambda x: tf.concat(x, 1)",
        &[&[2, 3], &[2, 2]],
        "tf.concat(x, 1)",
        "`tf.concat`: [B, 2, 3] and [B, 2, 2] differ in more than dimension 1",
    );
    refuse(
        "lambda x: tf.concat(x, 0)",
        &[&[2], &[2]],
        "tf.concat(x, 0)",
        "`tf.concat`: tensors can't be put one after the other along the batch",
    );
    refuse("lambda x: tf.concat(x, 2)", &[&[2], &[2]], "tf.concat(x, 2)", "`tf.concat`: a tensor [B, 2] has no dimension 2");
    refuse(
        "lambda x: tf.stack(x)",
        &[&[2], &[2]],
        "tf.stack(x)",
        "`tf.stack`: a dimension before that of the batch or of positions is not supported",
    );
    refuse("lambda x: x[0] + x[1]", &[&[2], &[3]], "x[0] + x[1]", "[B, 2] and [B, 3] can't be repeated to the same shape");
    refuse("lambda x: x[0] * x[1]", &[&[2, 3], &[3]], "x[0] * x[1]", "[B, 2, 3] and [B, 3] can't be repeated to the same shape");
    refuse("lambda x: x + [1, 2]", &[&[3]], "x + [1, 2]", "[B, 3] and [2] can't be repeated to the same shape");
    refuse(
        "lambda x: tf.add_n(x)",
        &[&[2], &[3]],
        "tf.add_n(x)",
        "`tf.add_n`: test: sum does not accept [B, 2], [B, 3]: the shapes differ",
    );
    refuse(
        "lambda x: tf.reduce_sum(x)",
        &[&[2]],
        "tf.reduce_sum(x)",
        "`tf.reduce_sum`: without an `axis` the batch is reduced, too, which is not supported; say over which dimensions",
    );
    refuse(
        "lambda x: tf.reduce_sum(x, 0)",
        &[&[2]],
        "tf.reduce_sum(x, 0)",
        "`tf.reduce_sum`: dimension 0 is the batch, whose rows stay apart; reduce over others",
    );
    refuse(
        "lambda x: tf.reshape(x, [-1, 4])",
        &[&[6]],
        "tf.reshape(x, [-1, 4])",
        "`tf.reshape`: rows of [B, 6] don't become rows of [4]; rows keep their elements",
    );
    refuse(
        "lambda x: tf.reshape(x, [-1, -1, 3])",
        &[&[6]],
        "tf.reshape(x, [-1, -1, 3])",
        "`tf.reshape`: rows of [B, 6] don't become rows of [-1, 3]; only one dimension can be -1",
    );
    refuse(
        "lambda x: tf.reshape(x, [2, 3])",
        &[&[6]],
        "tf.reshape(x, [2, 3])",
        "`tf.reshape`: the first dimension stays that of the batch; write -1 or tf.shape(x)[0]",
    );
    refuse(
        "lambda x: tf.transpose(x)",
        &[&[2, 3]],
        "tf.transpose(x)",
        "`tf.transpose`: without `perm` the batch becomes the last dimension; give one that begins with 0",
    );
    refuse(
        "lambda x: tf.transpose(x, [1, 0, 2])",
        &[&[2, 3]],
        "tf.transpose(x, [1, 0, 2])",
        "`tf.transpose`: the dimensions of the batch and of positions stay where they are",
    );
    refuse(
        "lambda x: tf.transpose(x, [0, 1])",
        &[&[2, 3]],
        "tf.transpose(x, [0, 1])",
        "`tf.transpose`: [0, 1] is no order of the dimensions of [B, 2, 3]",
    );
    refuse("lambda x: tf.squeeze(x, 1)", &[&[6]], "tf.squeeze(x, 1)", "`tf.squeeze`: dimension 1 of [B, 6] has more than one element");
    refuse("lambda x: tf.split(x, 4, 1)", &[&[6]], "tf.split(x, 4, 1)", "`tf.split`: 6 elements can't be cut into 4 equal parts");
    refuse("lambda x: tf.split(x, [4, 4], 1)", &[&[6]], "tf.split(x, [4, 4], 1)", "`tf.split`: the sizes [4, 4] don't make up 6 elements");
    refuse("lambda x: tf.unstack(x)", &[&[6]], "tf.unstack(x)", "`tf.unstack`: the rows of a batch can't be taken apart");
    refuse(
        "lambda x: tf.matmul(x[0], x[1])",
        &[&[2, 3], &[2, 3]],
        "tf.matmul(x[0], x[1])",
        "`tf.matmul`: matrices [B, 2, 3] and [B, 2, 3] can't be multiplied",
    );
    refuse("lambda x: tf.tile(x, [2, 1])", &[&[3]], "tf.tile(x, [2, 1])", "`tf.tile`: rows of the batch can't be repeated; begin with 1");
    refuse("lambda x: tf.tile(x, [1, 100000000000])", &[&[3]], "tf.tile(x, [1, 100000000000])", "`tf.tile`: the rows become too large");
    refuse(
        "lambda x: tf.gather(x, [3], axis=1)",
        &[&[3]],
        "tf.gather(x, [3], axis=1)",
        "`tf.gather`: the indices [3] are not all among 3 elements",
    );
}

#[test]
fn indices_that_do_not_fit() {
    refuse("[2]", &[&[2], &[2]], "[2]", "index 2 is out of range: a list has 2 elements");
    refuse("[0]", &[&[2]], "[0]", "rows of the batch can't be chosen: begin with `:, `");
    refuse("[:, 2]", &[&[2]], "[:, 2]", "index 2 is out of range: dimension 1 of [B, 2] has 2 elements");
    refuse("[:, 1, 1]", &[&[2]], "[:, 1, 1]", "3 indices are too many for a tensor [B, 2]");
    refuse("[:, 2:]", &[&[2]], "[:, 2:]", "nothing is left of the tensor");
    refuse("[::0]", &[&[2], &[2]], "[::0]", "a slice of step 0 has no end");
    refuse("[0, 1]", &[&[2], &[2]], "[0, 1]", "a list has one index, not 2");
    refuse("['a']", &[&[2], &[2]], "'a'", "an index is a whole number, not a text");
    refuse("[x]", &[&[2]], "x", "an index is a whole number, not a tensor");
    refuse("[..., ...]", &[&[2]], "[..., ...]", "`...` can stand only once");
}

#[test]
fn values_that_do_not_fit() {
    refuse("lambda x: 1", &[&[2]], "1", "the function gives a number, where tensors are needed");
    refuse("lambda x: [x, 1]", &[&[2]], "[x, 1]", "the function gives a list with more than tensors in it, where tensors are needed");
    refuse("lambda x: None", &[&[2]], "None", "the function gives None, where tensors are needed");
    refuse("lambda x: x if x else x", &[&[2]], "x", "a tensor of the batch can't decide here; use tf.where");
    refuse("lambda x: not x", &[&[2]], "not x", "a tensor of the batch can't decide here; use tf.where");
    refuse("lambda x: [t for t in x]", &[&[2]], "x", "a tensor can't be gone through; unstack a tensor first");
    refuse("lambda x: x + 'a'", &[&[2]], "x + 'a'", "a text is neither a tensor nor numbers");
    refuse("lambda x: x + 1", &[&[2], &[2]], "x + 1", "`+` does not work on a list and a number");
    refuse("lambda x: x % 2", &[&[2]], "x % 2", "`%` does not work on a tensor and a number");
    refuse("lambda x: 2 ** x", &[&[2]], "2 ** x", "only a number can be the exponent of a tensor");
    refuse("lambda x: x * (1 // 0)", &[&[2]], "(1 // 0)", "the number is too large, or divided by 0");
    refuse("lambda x: x * (1 / 0)", &[&[2]], "(1 / 0)", "a division by 0");
    refuse("lambda x: x * (9 ** 99)", &[&[2]], "(9 ** 99)", "the number is too large, or divided by 0");
    refuse("lambda x: 'a' < 1", &[&[2]], "'a' < 1", "`<` does not compare a text and a number");
    refuse("lambda x: [[x for a in range(200)] for b in range(200)]", &[&[2]], "x", "the expression takes more than 20000 steps");
    refuse("lambda x: [x] * 100000", &[&[2]], "[x] * 100000", "a list of more than 10000 elements is too long");
}

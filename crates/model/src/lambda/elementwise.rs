//! Functions that compute: reductions, arithmetic, comparisons, normalisation.

use rankmill_config::expression::BinaryOperator;
use rankmill_graph::Value;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::compare::Compare;
use rankmill_graph::ops::extreme::Extreme;
use rankmill_graph::ops::fill::FillLike;

use rankmill_graph::ops::reshape::StopGradient;
use rankmill_graph::ops::softmax::Softmax;
use rankmill_graph::ops::sum::Sum;
use rankmill_graph::ops::unary::Unary;

use super::call::Call;
use super::operators::{self, choose as choose_between, logical, pair, same_shape};
use super::{LambdaError, Term};
use crate::tensor::{self, Reduce};

type Outcome = Result<Term, LambdaError>;

/// TensorFlow's default of `tf.nn.l2_normalize`.
const L2_EPSILON: f64 = 1e-12;

/// TensorFlow's default of `tf.nn.leaky_relu`.
const LEAKY_SLOPE: f64 = 0.2;

fn reduce(call: &mut Call<'_, '_>, kind: Reduce) -> Outcome {
    let axes = call.integers(1)?;
    let keep = call.flag(2)?;
    let Some(axes) = axes else {
        return Err(call.error("without an `axis` the batch is reduced, too, which is not supported; say over which dimensions"));
    };
    // TensorFlow stacks a list to a new first dimension.
    let result = match (call.argument(0), axes.as_slice()) {
        (Some(Term::List(_) | Term::Tuple(_)), [0]) if !keep => {
            let parts = call.tensors(0)?;
            tensor::stack(call.s, &parts, 1).and_then(|stacked| tensor::reduce(call.s, stacked, kind, &[1], false))
        }
        (Some(Term::List(_) | Term::Tuple(_)), _) => {
            Err("a list is reduced over its elements, axis 0; stack it for other dimensions".to_owned())
        }
        _ => {
            let x = call.tensor(0)?;
            tensor::reduce(call.s, x, kind, &axes, keep)
        }
    };
    call.finish(result.map(Term::Tensor))
}

pub(super) fn reduce_sum(call: &mut Call<'_, '_>) -> Outcome {
    reduce(call, Reduce::Sum)
}

pub(super) fn reduce_mean(call: &mut Call<'_, '_>) -> Outcome {
    reduce(call, Reduce::Mean)
}

pub(super) fn reduce_max(call: &mut Call<'_, '_>) -> Outcome {
    reduce(call, Reduce::Max)
}

pub(super) fn reduce_min(call: &mut Call<'_, '_>) -> Outcome {
    reduce(call, Reduce::Min)
}

pub(super) fn add_n(call: &mut Call<'_, '_>) -> Outcome {
    let parts = call.tensors(0)?;
    let sum = match parts.as_slice() {
        [only] => Ok(Term::Tensor(*only)),
        _ => operators::add(call.s, Sum, &parts),
    };
    call.finish(sum)
}

/// Python's `sum`.
pub(super) fn sum(call: &mut Call<'_, '_>) -> Outcome {
    let parts = call.argument(0).and_then(Term::elements).map(<[Term]>::to_vec);
    let Some(parts) = parts else { return Err(call.wrong(0, "a list")) };
    let mut parts = parts.into_iter();
    let first = parts.next().unwrap_or(Term::Integer(0));
    let total = parts.try_fold(first, |total, part| operators::binary(call.s, BinaryOperator::Add, &total, &part));
    call.finish(total)
}

fn two(call: &Call<'_, '_>) -> Result<(Term, Term), LambdaError> {
    let part = |i| call.argument(i).cloned().ok_or_else(|| call.wrong(i, "a tensor or a number"));
    Ok((part(0)?, part(1)?))
}

fn operator(call: &mut Call<'_, '_>, operator: BinaryOperator) -> Outcome {
    let (a, b) = two(call)?;
    let result = operators::binary(call.s, operator, &a, &b);
    call.finish(result)
}

pub(super) fn add(call: &mut Call<'_, '_>) -> Outcome {
    operator(call, BinaryOperator::Add)
}

pub(super) fn subtract(call: &mut Call<'_, '_>) -> Outcome {
    operator(call, BinaryOperator::Subtract)
}

pub(super) fn multiply(call: &mut Call<'_, '_>) -> Outcome {
    operator(call, BinaryOperator::Multiply)
}

pub(super) fn divide(call: &mut Call<'_, '_>) -> Outcome {
    operator(call, BinaryOperator::Divide)
}

pub(super) fn power(call: &mut Call<'_, '_>) -> Outcome {
    operator(call, BinaryOperator::Power)
}

fn extreme(call: &mut Call<'_, '_>, extreme: Extreme) -> Outcome {
    let (a, b) = two(call)?;
    let result = same_shape(call.s, &a, &b).and_then(|(a, b)| operators::add(call.s, extreme, &[a, b]));
    call.finish(result)
}

pub(super) fn maximum(call: &mut Call<'_, '_>) -> Outcome {
    extreme(call, Extreme::Maximum)
}

pub(super) fn minimum(call: &mut Call<'_, '_>) -> Outcome {
    extreme(call, Extreme::Minimum)
}

fn comparison(call: &mut Call<'_, '_>, op: Compare, swapped: bool) -> Outcome {
    let (a, b) = two(call)?;
    let (a, b) = if swapped { (b, a) } else { (a, b) };
    let result = logical(call.s, op, &a, &b);
    call.finish(result)
}

pub(super) fn equal(call: &mut Call<'_, '_>) -> Outcome {
    comparison(call, Compare::Equal, false)
}

pub(super) fn not_equal(call: &mut Call<'_, '_>) -> Outcome {
    comparison(call, Compare::NotEqual, false)
}

pub(super) fn less(call: &mut Call<'_, '_>) -> Outcome {
    comparison(call, Compare::Less, false)
}

pub(super) fn less_equal(call: &mut Call<'_, '_>) -> Outcome {
    comparison(call, Compare::LessOrEqual, false)
}

pub(super) fn greater(call: &mut Call<'_, '_>) -> Outcome {
    comparison(call, Compare::Less, true)
}

pub(super) fn greater_equal(call: &mut Call<'_, '_>) -> Outcome {
    comparison(call, Compare::LessOrEqual, true)
}

pub(super) fn logical_and(call: &mut Call<'_, '_>) -> Outcome {
    comparison(call, Compare::And, false)
}

pub(super) fn logical_or(call: &mut Call<'_, '_>) -> Outcome {
    comparison(call, Compare::Or, false)
}

pub(super) fn logical_not(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let result = logical(call.s, Compare::Equal, &Term::Tensor(x), &Term::Integer(0));
    call.finish(result)
}

pub(super) fn choose(call: &mut Call<'_, '_>) -> Outcome {
    let condition = call.tensor(0)?;
    let part = |i| call.argument(i).cloned().ok_or_else(|| call.wrong(i, "a tensor or a number"));
    let (a, b) = (part(1)?, part(2)?);
    let result = choose_between(call.s, condition, &a, &b);
    call.finish(result)
}

fn unary(call: &mut Call<'_, '_>, op: impl rankmill_graph::Op) -> Outcome {
    let x = call.tensor(0)?;
    let result = operators::add(call.s, op, &[x]);
    call.finish(result)
}

pub(super) fn square(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, Unary::Square)
}

pub(super) fn square_root(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, Unary::Root)
}

pub(super) fn inverse_root(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, Unary::Power(-0.5))
}

pub(super) fn exponential(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, Unary::Exponential)
}

pub(super) fn logarithm(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, Unary::Log(0.0))
}

pub(super) fn logarithm_of_next(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, Unary::LogarithmOfNext)
}

pub(super) fn absolute(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, Unary::Absolute)
}

pub(super) fn negative(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, Unary::Scale(-1.0))
}

pub(super) fn sine(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, Unary::Sine)
}

pub(super) fn cosine(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, Unary::Cosine)
}

pub(super) fn reciprocal(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let result = pair(call.s, Binary::Divide, &Term::Integer(1), &Term::Tensor(x));
    call.finish(result)
}

pub(super) fn clip(call: &mut Call<'_, '_>) -> Outcome {
    let bound = |i| call.number(i).and_then(|bound| bound.ok_or_else(|| call.wrong(i, "a number")));
    let (least, most) = (bound(1)? as f32, bound(2)? as f32);
    if least > most {
        return Err(call.error(format!("the least value {least} is above the largest, {most}")));
    }
    unary(call, Unary::Clip { least, most })
}

pub(super) fn leaky_relu(call: &mut Call<'_, '_>) -> Outcome {
    let slope = call.number(1)?.unwrap_or(LEAKY_SLOPE);
    unary(call, Unary::LeakyRelu(slope as f32))
}

/// Softmax over one of the dimensions, the last one unless told otherwise.
pub(super) fn softmax(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let axis = call.integer(1)?.unwrap_or(-1);
    let shape = call.s.shape(x).clone();
    let at = tensor::inner(&shape, axis);
    let at = call.finish(at)?;
    let mut order: Vec<usize> = (0..shape.dims.len()).filter(|i| *i != at).collect();
    order.push(at);
    let back: Vec<usize> = (0..order.len()).map(|i| order.iter().position(|j| *j == i).expect("a permutation")).collect();
    let view = |x: Value, shape: &rankmill_graph::Shape, order: &[usize]| tensor::view::View::of(shape, x).permuted(order);
    let turned = view(x, &shape, &order).value(call.s);
    let turned = call.finish(turned)?;
    let result = call.s.add(Softmax { width: shape.dims[at] }, &[turned]).map_err(|error| error.to_string());
    let result = call.finish(result)?;
    let turned_shape = call.s.shape(result).clone();
    let result = view(result, &turned_shape, &back).value(call.s);
    call.finish(result.map(Term::Tensor))
}

/// `x / sqrt(max(Σ x², ε))`.
pub(super) fn l2_normalize(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    let Some(axes) = call.integers(1)? else { return Err(call.error("say over which `axis`; the batch can't be among them")) };
    let least = call.number(2)?.unwrap_or(L2_EPSILON) as f32;
    let squares = call.s.add(Unary::Square, &[x]).map_err(|error| error.to_string());
    let result = squares
        .and_then(|squares| tensor::reduce(call.s, squares, Reduce::Sum, &axes, true))
        .and_then(|sum| operators::add(call.s, Unary::InverseRoot { least }, &[sum]))
        .and_then(|factor| pair(call.s, Binary::Multiply, &Term::Tensor(x), &factor));
    call.finish(result)
}

/// To numbers, which all tensors hold, or to truth values, 1 and 0.
pub(super) fn cast(call: &mut Call<'_, '_>) -> Outcome {
    let x = call.tensor(0)?;
    match call.argument(1) {
        Some(Term::Type("tf.bool")) => {
            let result = logical(call.s, Compare::NotEqual, &Term::Tensor(x), &Term::Integer(0));
            call.finish(result)
        }
        Some(Term::Type("tf.int32" | "tf.int64")) => Err(call.error("tensors of whole numbers are not supported")),
        Some(Term::Type(_)) => Ok(Term::Tensor(x)),
        Some(Term::Text(name)) if name.starts_with("float") => Ok(Term::Tensor(x)),
        _ => Err(call.wrong(1, "a type such as tf.float32")),
    }
}

pub(super) fn identity(call: &mut Call<'_, '_>) -> Outcome {
    call.tensor(0).map(Term::Tensor)
}

pub(super) fn stop_gradient(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, StopGradient)
}

pub(super) fn ones_like(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, FillLike { value: 1.0 })
}

pub(super) fn zeros_like(call: &mut Call<'_, '_>) -> Outcome {
    unary(call, FillLike { value: 0.0 })
}

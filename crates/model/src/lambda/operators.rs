//! Python's operators on numbers, lists and tensors.

use rankmill_config::expression::{BinaryOperator, Comparison, UnaryOperator};
use rankmill_graph::ops::axis::Where;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::compare::Compare;
use rankmill_graph::ops::fill::{Constant, Fill, FillLike};
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{Op, Shape, Value};
use rankmill_nn::layers::scope::Scope;

use super::Term;
use crate::tensor::{self, text};

/// Elements that a list may have after a repetition.
const MOST_ELEMENTS: usize = 10_000;

pub(super) fn unary(s: &mut Scope<'_>, operator: UnaryOperator, operand: &Term) -> Result<Term, String> {
    let refused = || format!("`{}` does not work on {}", operator.symbol(), operand.kind());
    match (operator, operand) {
        (UnaryOperator::Plus, Term::Tensor(_) | Term::Integer(_) | Term::Float(_)) => Ok(operand.clone()),
        (UnaryOperator::Minus, Term::Tensor(x)) => add(s, Unary::Scale(-1.0), &[*x]),
        (UnaryOperator::Minus, Term::Float(x)) => Ok(Term::Float(-x)),
        (UnaryOperator::Minus, other) => match other.integer() {
            Some(number) => number.checked_neg().map(Term::Integer).ok_or_else(|| "the number is too large".to_owned()),
            None => Err(refused()),
        },
        (UnaryOperator::Invert, Term::Tensor(x)) => {
            let zero = s.add(FillLike { value: 0.0 }, &[*x]).map_err(text)?;
            add(s, Compare::Equal, &[*x, zero])
        }
        (UnaryOperator::Invert, Term::Integer(number)) => Ok(Term::Integer(!number)),
        _ => Err(refused()),
    }
}

pub(super) fn binary(s: &mut Scope<'_>, operator: BinaryOperator, a: &Term, b: &Term) -> Result<Term, String> {
    let refused = || format!("`{}` does not work on {} and {}", operator.symbol(), a.kind(), b.kind());
    match (operator, a, b) {
        (BinaryOperator::Add, Term::List(x), Term::List(y)) => return Ok(Term::List(x.iter().chain(y).cloned().collect())),
        (BinaryOperator::Add, Term::Tuple(x), Term::Tuple(y)) => return Ok(Term::Tuple(x.iter().chain(y).cloned().collect())),
        (BinaryOperator::Multiply, Term::List(x), Term::Integer(n)) | (BinaryOperator::Multiply, Term::Integer(n), Term::List(x)) => {
            let count = usize::try_from(*n).unwrap_or(0);
            if x.len().saturating_mul(count) > MOST_ELEMENTS {
                return Err(format!("a list of more than {MOST_ELEMENTS} elements is too long"));
            }
            return Ok(Term::List(x.iter().cycle().take(x.len() * count).cloned().collect()));
        }
        _ => {}
    }
    if let (Some(x), Some(y)) = (a.number(), b.number()) {
        return match (a.integer(), b.integer()) {
            (Some(x), Some(y)) => integers(operator, x, y),
            _ => floats(operator, x, y),
        };
    }
    if !matches!((a, b), (Term::Tensor(_), _) | (_, Term::Tensor(_))) {
        return Err(refused());
    }
    tensors(s, operator, a, b)?.ok_or_else(refused)
}

fn integers(operator: BinaryOperator, x: i64, y: i64) -> Result<Term, String> {
    let whole = |result: Option<i64>| result.map(Term::Integer).ok_or_else(|| "the number is too large, or divided by 0".to_owned());
    match operator {
        BinaryOperator::Add => whole(x.checked_add(y)),
        BinaryOperator::Subtract => whole(x.checked_sub(y)),
        BinaryOperator::Multiply => whole(x.checked_mul(y)),
        BinaryOperator::FloorDivide => whole(x.checked_div_euclid(y).map(|q| if y < 0 && x.rem_euclid(y) != 0 { q - 1 } else { q })),
        BinaryOperator::Modulo => whole(x.checked_rem(y).map(|r| if r != 0 && (r < 0) != (y < 0) { r + y } else { r })),
        BinaryOperator::Power if y >= 0 => whole(u32::try_from(y).ok().and_then(|y| x.checked_pow(y))),
        BinaryOperator::BitAnd => Ok(Term::Integer(x & y)),
        BinaryOperator::BitOr => Ok(Term::Integer(x | y)),
        BinaryOperator::BitXor => Ok(Term::Integer(x ^ y)),
        _ => floats(operator, x as f64, y as f64),
    }
}

fn floats(operator: BinaryOperator, x: f64, y: f64) -> Result<Term, String> {
    let number = match operator {
        BinaryOperator::Add => x + y,
        BinaryOperator::Subtract => x - y,
        BinaryOperator::Multiply => x * y,
        BinaryOperator::Divide | BinaryOperator::FloorDivide | BinaryOperator::Modulo if y == 0.0 => {
            return Err("a division by 0".to_owned());
        }
        BinaryOperator::Divide => x / y,
        BinaryOperator::FloorDivide => (x / y).floor(),
        BinaryOperator::Modulo => x - y * (x / y).floor(),
        BinaryOperator::Power => x.powf(y),
        _ => return Err(format!("`{}` does not work on numbers with a fraction", operator.symbol())),
    };
    Ok(Term::Float(number))
}

/// An operator with at least one tensor; `None` if there is no such operator.
fn tensors(s: &mut Scope<'_>, operator: BinaryOperator, a: &Term, b: &Term) -> Result<Option<Term>, String> {
    let elementwise = match operator {
        BinaryOperator::Add => Binary::Add,
        BinaryOperator::Subtract => Binary::Subtract,
        BinaryOperator::Multiply => {
            if let (Term::Tensor(x), Some(factor)) = scaled(a, b) {
                return add(s, Unary::Scale(factor as f32), &[x]).map(Some);
            }
            Binary::Multiply
        }
        BinaryOperator::Divide => Binary::Divide,
        BinaryOperator::Power => return power(s, a, b).map(Some),
        BinaryOperator::MatrixMultiply => {
            let (Term::Tensor(x), Term::Tensor(y)) = (a, b) else { return Ok(None) };
            return tensor::matmul(s, *x, *y).map(|product| Some(Term::Tensor(product)));
        }
        BinaryOperator::BitAnd => return logical(s, Compare::And, a, b).map(Some),
        BinaryOperator::BitOr => return logical(s, Compare::Or, a, b).map(Some),
        _ => return Ok(None),
    };
    pair(s, elementwise, a, b).map(Some)
}

/// A tensor and a number, whichever side they are on.
fn scaled(a: &Term, b: &Term) -> (Term, Option<f64>) {
    match (a.number(), b.number()) {
        (None, Some(factor)) => (a.clone(), Some(factor)),
        (Some(factor), None) => (b.clone(), Some(factor)),
        _ => (a.clone(), None),
    }
}

fn power(s: &mut Scope<'_>, base: &Term, exponent: &Term) -> Result<Term, String> {
    let (Term::Tensor(x), Some(exponent)) = (base, exponent.number()) else {
        return Err("only a number can be the exponent of a tensor".to_owned());
    };
    match exponent {
        1.0 => Ok(base.clone()),
        2.0 => add(s, Unary::Square, &[*x]),
        0.5 => add(s, Unary::Root, &[*x]),
        other => add(s, Unary::Power(other as f32), &[*x]),
    }
}

/// An operation on two operands that are repeated to one shape; numbers and lists of numbers become constants.
pub(super) fn pair(s: &mut Scope<'_>, op: Binary, a: &Term, b: &Term) -> Result<Term, String> {
    let (x, y) = (constant(s, a)?, constant(s, b)?);
    let (x, y) = tensor::broadcast(s, x, y)?;
    add(s, op, &[x, y])
}

/// Two operands as tensors of exactly the same shape.
pub(super) fn same_shape(s: &mut Scope<'_>, a: &Term, b: &Term) -> Result<(Value, Value), String> {
    let (x, y) = (constant(s, a)?, constant(s, b)?);
    let (x, y) = tensor::broadcast(s, x, y)?;
    if s.shape(x).batch == s.shape(y).batch {
        return Ok((x, y));
    }
    // A constant is repeated by adding it to zeros.
    let fill = |s: &mut Scope<'_>, like: Value, constant: Value| {
        let zeros = s.add(FillLike { value: 0.0 }, &[like]).map_err(text)?;
        s.add(Binary::Add, &[zeros, constant]).map_err(text)
    };
    if s.shape(x).batch { Ok((x, fill(s, x, y)?)) } else { Ok((fill(s, y, x)?, y)) }
}

/// A tensor, or a constant: a number, or a list of them.
fn constant(s: &mut Scope<'_>, term: &Term) -> Result<Value, String> {
    if let Some(number) = term.number() {
        return s.add(Fill { shape: Shape::fixed(&[]), value: number as f32 }, &[]).map_err(text);
    }
    match term {
        Term::Tensor(value) => Ok(*value),
        Term::List(parts) | Term::Tuple(parts) => {
            let numbers: Option<Vec<f32>> = parts.iter().map(|part| part.number().map(|number| number as f32)).collect();
            match numbers.filter(|numbers| !numbers.is_empty()) {
                Some(numbers) => s.add(Constant { values: numbers.into() }, &[]).map_err(text),
                None => Err(format!("{} is neither a tensor nor numbers", term.kind())),
            }
        }
        other => Err(format!("{} is neither a tensor nor numbers", other.kind())),
    }
}

/// A comparison; of tensors, 1 where it holds and 0 where not.
pub(super) fn compare(s: &mut Scope<'_>, comparison: Comparison, a: &Term, b: &Term) -> Result<Term, String> {
    if matches!((a, b), (Term::Tensor(_), _) | (_, Term::Tensor(_))) && *a != Term::None && *b != Term::None {
        let (op, a, b) = match comparison {
            Comparison::Equal => (Compare::Equal, a, b),
            Comparison::NotEqual => (Compare::NotEqual, a, b),
            Comparison::Less => (Compare::Less, a, b),
            Comparison::LessOrEqual => (Compare::LessOrEqual, a, b),
            Comparison::Greater => (Compare::Less, b, a),
            Comparison::GreaterOrEqual => (Compare::LessOrEqual, b, a),
        };
        return logical(s, op, a, b);
    }
    if let (Some(x), Some(y)) = (a.number(), b.number()) {
        return Ok(Term::Bool(match comparison {
            Comparison::Equal => x == y,
            Comparison::NotEqual => x != y,
            Comparison::Less => x < y,
            Comparison::LessOrEqual => x <= y,
            Comparison::Greater => x > y,
            Comparison::GreaterOrEqual => x >= y,
        }));
    }
    match comparison {
        Comparison::Equal => Ok(Term::Bool(a == b)),
        Comparison::NotEqual => Ok(Term::Bool(a != b)),
        _ => Err(format!("`{}` does not compare {} and {}", comparison.symbol(), a.kind(), b.kind())),
    }
}

/// Both of two results of comparisons.
pub(super) fn both(s: &mut Scope<'_>, a: &Term, b: &Term) -> Result<Term, String> {
    match (a, b) {
        (Term::Bool(a), Term::Bool(b)) => Ok(Term::Bool(*a && *b)),
        _ => logical(s, Compare::And, a, b),
    }
}

/// A comparison of tensors, element by element.
pub(super) fn logical(s: &mut Scope<'_>, op: Compare, a: &Term, b: &Term) -> Result<Term, String> {
    let (x, y) = same_shape(s, a, b)?;
    add(s, op, &[x, y])
}

/// `a` where the condition holds, else `b`.
pub(super) fn choose(s: &mut Scope<'_>, condition: Value, a: &Term, b: &Term) -> Result<Term, String> {
    let (a, _) = same_shape(s, a, &Term::Tensor(condition))?;
    let (b, condition) = same_shape(s, b, &Term::Tensor(condition))?;
    if s.shape(a) != s.shape(condition) {
        return Err(format!("{} and the condition {} differ", s.shape(a), s.shape(condition)));
    }
    let zero = s.add(FillLike { value: 0.0 }, &[condition]).map_err(text)?;
    let opposite = s.add(Compare::Equal, &[condition, zero]).map_err(text)?;
    let first = s.add(Where { otherwise: 0.0 }, &[condition, a]).map_err(text)?;
    let second = s.add(Where { otherwise: 0.0 }, &[opposite, b]).map_err(text)?;
    add(s, Binary::Add, &[first, second])
}

pub(super) fn add(s: &mut Scope<'_>, op: impl Op, inputs: &[Value]) -> Result<Term, String> {
    s.add(op, inputs).map(Term::Tensor).map_err(text)
}

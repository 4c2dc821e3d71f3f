//! Goes through a tree and builds what it says.

use std::ops::Range;

use rankmill_config::expression::{Argument, BinaryOperator, Comparison, Expression, ExpressionKind, UnaryOperator};
use rankmill_config::{did_you_mean, nearest};
use rankmill_nn::layers::scope::Scope;

use super::{LambdaError, Term, functions, operators, subscripts};
use crate::tensor::{Dimension, rank};

/// Steps that an expression may take, so that comprehensions in comprehensions end.
const MOST_STEPS: usize = 20_000;

/// Types of elements that expressions may name. Tensors hold numbers; truth values are 1 and 0.
pub(super) const TYPES: &[&str] = &["tf.float32", "tf.float64", "tf.float16", "tf.bfloat16", "tf.bool", "tf.int32", "tf.int64"];

/// An expression in the making.
pub(super) struct Evaluator<'a, 'b> {
    s: &'a mut Scope<'b>,
    variables: Vec<(String, Term)>,
    steps: usize,
}

fn at<T>(span: &Range<usize>, result: Result<T, String>) -> Result<T, LambdaError> {
    result.map_err(|message| LambdaError::new(span, message))
}

impl<'a, 'b> Evaluator<'a, 'b> {
    pub(super) fn new(s: &'a mut Scope<'b>, variables: Vec<(String, Term)>) -> Evaluator<'a, 'b> {
        Evaluator { s, variables, steps: 0 }
    }

    pub(super) fn evaluate(&mut self, tree: &Expression) -> Result<Term, LambdaError> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Err(LambdaError::new(&tree.span, format!("the expression takes more than {MOST_STEPS} steps")));
        }
        let span = &tree.span;
        match &tree.kind {
            ExpressionKind::None => Ok(Term::None),
            ExpressionKind::Bool(flag) => Ok(Term::Bool(*flag)),
            ExpressionKind::Integer(number) => Ok(Term::Integer(*number)),
            ExpressionKind::Float(number) => Ok(Term::Float(*number)),
            ExpressionKind::Text(text) => Ok(Term::Text(text.clone())),
            ExpressionKind::Name(name) => self.variable(name, span),
            ExpressionKind::Attribute(value, name) => self.attribute(tree, value, name),
            ExpressionKind::Call { function, arguments } => self.call(function, arguments, span),
            ExpressionKind::Index { value, subscripts } => {
                let value = self.evaluate(value)?;
                let indices = subscripts.iter().map(|subscript| self.subscript(subscript)).collect::<Result<Vec<_>, _>>()?;
                at(span, subscripts::index(self.s, &value, &indices))
            }
            ExpressionKind::List(parts) => Ok(Term::List(self.all(parts)?)),
            ExpressionKind::Tuple(parts) => Ok(Term::Tuple(self.all(parts)?)),
            ExpressionKind::Comprehension { element, name, items, condition } => {
                self.comprehension(element, name, items, condition.as_deref())
            }
            ExpressionKind::Unary(operator, operand) => {
                let operand = self.evaluate(operand)?;
                match operator {
                    UnaryOperator::Not => Ok(Term::Bool(!truth(&operand, span)?)),
                    _ => at(span, operators::unary(self.s, *operator, &operand)),
                }
            }
            ExpressionKind::Binary(operator, left, right) => self.binary(span, *operator, left, right),
            ExpressionKind::Compare(first, rest) => self.compare(span, first, rest),
            ExpressionKind::Conditional { condition, then, otherwise } => {
                let value = self.evaluate(condition)?;
                if truth(&value, &condition.span)? { self.evaluate(then) } else { self.evaluate(otherwise) }
            }
            ExpressionKind::Lambda { .. } => Err(LambdaError::new(span, "a function inside of a function is not supported")),
        }
    }

    fn binary(
        &mut self,
        span: &Range<usize>,
        operator: BinaryOperator,
        left: &Expression,
        right: &Expression,
    ) -> Result<Term, LambdaError> {
        let first = self.evaluate(left)?;
        match operator {
            BinaryOperator::And if !truth(&first, &left.span)? => Ok(first),
            BinaryOperator::Or if truth(&first, &left.span)? => Ok(first),
            BinaryOperator::And | BinaryOperator::Or => self.evaluate(right),
            _ => {
                let second = self.evaluate(right)?;
                at(span, operators::binary(self.s, operator, &first, &second))
            }
        }
    }

    /// `a < b < c`, that is `a < b and b < c`.
    fn compare(&mut self, span: &Range<usize>, first: &Expression, rest: &[(Comparison, Expression)]) -> Result<Term, LambdaError> {
        let mut left = self.evaluate(first)?;
        let mut result = Term::Bool(true);
        for (i, (comparison, operand)) in rest.iter().enumerate() {
            let right = self.evaluate(operand)?;
            let holds = at(span, operators::compare(self.s, *comparison, &left, &right))?;
            result = if i == 0 { holds } else { at(span, operators::both(self.s, &result, &holds))? };
            left = right;
        }
        Ok(result)
    }

    fn all(&mut self, parts: &[Expression]) -> Result<Vec<Term>, LambdaError> {
        parts.iter().map(|part| self.evaluate(part)).collect()
    }

    fn variable(&self, name: &str, span: &Range<usize>) -> Result<Term, LambdaError> {
        if let Some((_, term)) = self.variables.iter().rev().find(|(variable, _)| variable == name) {
            return Ok(term.clone());
        }
        let known: Vec<&str> = self.variables.iter().map(|(variable, _)| variable.as_str()).collect();
        let near = did_you_mean(name, known.iter().copied());
        let help = if near.is_empty() { format!("known here: {}, tf", known.join(", ")) } else { near };
        Err(LambdaError::new(span, format!("`{name}` is not defined; {help}")))
    }

    fn attribute(&mut self, tree: &Expression, value: &Expression, name: &str) -> Result<Term, LambdaError> {
        let span = &tree.span;
        if let Some(dotted) = tree.dotted_name().filter(|dotted| self.is_module(dotted)) {
            if dotted == "tf.newaxis" {
                return Ok(Term::None);
            }
            if let Some(known) = TYPES.iter().find(|known| **known == dotted) {
                return Ok(Term::Type(known));
            }
            return match functions::find(&dotted) {
                Ok(_) => Err(LambdaError::new(span, format!("`{dotted}` is a function; call it"))),
                Err(message) => Err(LambdaError::new(span, message)),
            };
        }
        let value = self.evaluate(value)?;
        match (&value, name) {
            (Term::Tensor(tensor), "shape") => Ok(shape(self.s, *tensor)),
            (Term::Tensor(tensor), "dtype") => Ok(Term::Type(if self.s.shape(*tensor).batch { "tf.float32" } else { "tf.float64" })),
            (Term::Shape(parts), "ndims" | "rank") => Ok(Term::Integer(parts.len() as i64)),
            (Term::Integer(_) | Term::Length(_), "value") => Ok(value),
            (Term::Tensor(_), _) => Err(LambdaError::new(span, format!("a tensor's `{name}` is not supported; known: shape, get_shape()"))),
            _ => Err(LambdaError::new(span, format!("{} has no `{name}`", value.kind()))),
        }
    }

    /// Whether a dotted name begins with a module and not with a variable.
    fn is_module(&self, dotted: &str) -> bool {
        let first = dotted.split('.').next().unwrap_or(dotted);
        matches!(first, "tf" | "K" | "np") && !self.variables.iter().any(|(variable, _)| variable == first)
    }

    fn call(&mut self, function: &Expression, arguments: &[Argument], span: &Range<usize>) -> Result<Term, LambdaError> {
        if let ExpressionKind::Attribute(value, name) = &function.kind
            && !function.dotted_name().is_some_and(|dotted| self.is_module(&dotted))
        {
            let value = self.evaluate(value)?;
            return match (&value, name.as_str(), arguments) {
                (Term::Tensor(tensor), "get_shape", []) => Ok(shape(self.s, *tensor)),
                (Term::Shape(parts), "as_list", []) => Ok(Term::List(parts.clone())),
                _ => Err(LambdaError::new(&function.span, format!("{} has no function `{name}` here", value.kind()))),
            };
        }
        let Some(name) = function.dotted_name() else {
            return Err(LambdaError::new(&function.span, "only functions of `tf`, and a few of Python's, can be called"));
        };
        let table = functions::find(&name).map_err(|message| LambdaError::new(&function.span, message))?;
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        for argument in arguments {
            let value = (self.evaluate(&argument.value)?, argument.value.span.clone());
            match &argument.keyword {
                Some((keyword, place)) => named.push((keyword.clone(), place.clone(), value)),
                None => positional.push(value),
            }
        }
        table.call(self.s, &name, span, positional, named)
    }

    fn subscript(&mut self, subscript: &rankmill_config::expression::Subscript) -> Result<subscripts::Index, LambdaError> {
        use rankmill_config::expression::Subscript;
        match subscript {
            Subscript::Ellipsis => Ok(subscripts::Index::Ellipsis),
            Subscript::At(index) => match self.evaluate(index)? {
                Term::None => Ok(subscripts::Index::NewDimension),
                other => match other.integer() {
                    Some(number) => Ok(subscripts::Index::At(number)),
                    None => Err(LambdaError::new(&index.span, format!("an index is a whole number, not {}", other.kind()))),
                },
            },
            Subscript::Slice { start, stop, step } => {
                let mut bound = |bound: &Option<Expression>| match bound {
                    None => Ok(None),
                    Some(tree) => match self.evaluate(tree)? {
                        Term::None => Ok(None),
                        other => match other.integer() {
                            Some(number) => Ok(Some(number)),
                            None => Err(LambdaError::new(&tree.span, format!("a bound is a whole number, not {}", other.kind()))),
                        },
                    },
                };
                Ok(subscripts::Index::Slice { start: bound(start)?, stop: bound(stop)?, step: bound(step)?.unwrap_or(1) })
            }
        }
    }

    fn comprehension(
        &mut self,
        element: &Expression,
        name: &str,
        items: &Expression,
        condition: Option<&Expression>,
    ) -> Result<Term, LambdaError> {
        let list = self.evaluate(items)?;
        let Some(parts) = list.elements() else {
            return Err(LambdaError::new(&items.span, format!("{} can't be gone through; unstack a tensor first", list.kind())));
        };
        let mut out = Vec::with_capacity(parts.len());
        for part in parts {
            self.variables.push((name.to_owned(), part.clone()));
            let holds = match condition {
                None => Ok(true),
                Some(condition) => self.evaluate(condition).and_then(|value| truth(&value, &condition.span)),
            };
            let value = match holds {
                Ok(true) => self.evaluate(element).map(Some),
                Ok(false) => Ok(None),
                Err(error) => Err(error),
            };
            self.variables.pop();
            out.extend(value?);
        }
        Ok(Term::List(out))
    }
}

fn truth(term: &Term, span: &Range<usize>) -> Result<bool, LambdaError> {
    term.truth().ok_or_else(|| LambdaError::new(span, format!("{} of the batch can't decide here; use tf.where", term.kind())))
}

/// The shape of a tensor, that of the batch first.
pub(super) fn shape(s: &Scope<'_>, tensor: rankmill_graph::Value) -> Term {
    let shape = s.shape(tensor);
    let mut parts = Vec::with_capacity(rank(shape));
    if shape.batch {
        parts.push(Term::Length(Dimension::Batch));
    }
    if shape.axis.is_some() {
        parts.push(Term::Length(Dimension::Along));
    }
    parts.extend(shape.dims.iter().map(|size| Term::Integer(*size as i64)));
    Term::Shape(parts)
}

/// The nearest of some names, for messages.
pub(super) fn near<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    nearest(name, known)
}

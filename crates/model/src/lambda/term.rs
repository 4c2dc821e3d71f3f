//! What an expression is worth while it is compiled.

use rankmill_graph::Value;
use rankmill_nn::layers::Tensors;

use crate::tensor::Dimension;

/// A value of Python or a tensor of the graph.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Term {
    /// A tensor.
    Tensor(Value),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// `None`.
    None,
    /// A list.
    List(Vec<Term>),
    /// A tuple.
    Tuple(Vec<Term>),
    /// The shape of a tensor: known lengths, and lengths that each batch brings.
    Shape(Vec<Term>),
    /// The length of a dimension that each batch brings.
    Length(Dimension),
    /// A type of elements, such as `tf.float32`.
    Type(&'static str),
    /// The text of a feature, in each row another.
    FeatureText(usize),
}

impl From<Tensors> for Term {
    fn from(tensors: Tensors) -> Term {
        match tensors {
            Tensors::One(value) => Term::Tensor(value),
            Tensors::List(parts) => Term::List(parts.into_iter().map(Term::from).collect()),
            Tensors::Tuple(parts) => Term::Tuple(parts.into_iter().map(Term::from).collect()),
            Tensors::Text(number) => Term::FeatureText(number),
        }
    }
}

impl Term {
    /// The tensors, if there is nothing else.
    pub(crate) fn into_tensors(self) -> Option<Tensors> {
        let all = |parts: Vec<Term>| parts.into_iter().map(Term::into_tensors).collect::<Option<Vec<_>>>();
        match self {
            Term::Tensor(value) => Some(Tensors::One(value)),
            Term::List(parts) => all(parts).map(Tensors::List),
            Term::Tuple(parts) => all(parts).map(Tensors::Tuple),
            Term::FeatureText(number) => Some(Tensors::Text(number)),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Term::Tensor(_) => "a tensor",
            Term::Integer(_) | Term::Float(_) | Term::Length(_) => "a number",
            Term::Bool(_) => "a truth value",
            Term::Text(_) => "a text",
            Term::None => "None",
            Term::List(parts) if parts.iter().any(|part| part.clone().into_tensors().is_none()) => "a list with more than tensors in it",
            Term::Tuple(parts) if parts.iter().any(|part| part.clone().into_tensors().is_none()) => "a tuple with more than tensors in it",
            Term::List(_) => "a list",
            Term::Tuple(_) => "a tuple",
            Term::Shape(_) => "a shape",
            Term::Type(_) => "a type",
            Term::FeatureText(_) => "the text of a feature",
        }
    }

    /// A number, if it is one.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Term::Integer(number) => Some(*number as f64),
            Term::Float(number) => Some(*number),
            Term::Bool(flag) => Some(f64::from(u8::from(*flag))),
            _ => None,
        }
    }

    /// A whole number, if it is one.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Term::Integer(number) => Some(*number),
            Term::Bool(flag) => Some(i64::from(*flag)),
            _ => None,
        }
    }

    /// The elements of a list, tuple or shape.
    pub(super) fn elements(&self) -> Option<&[Term]> {
        match self {
            Term::List(parts) | Term::Tuple(parts) | Term::Shape(parts) => Some(parts),
            _ => None,
        }
    }

    /// Whether Python takes it for true; tensors are not known yet.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Term::Tensor(_) | Term::Length(_) | Term::FeatureText(_) => None,
            Term::None => Some(false),
            Term::Text(text) => Some(!text.is_empty()),
            Term::Type(_) => Some(true),
            Term::List(parts) | Term::Tuple(parts) | Term::Shape(parts) => Some(!parts.is_empty()),
            number => number.number().map(|number| number != 0.0),
        }
    }
}

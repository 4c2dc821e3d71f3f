//! Python-like expressions in configs: `lambda x: tf.reduce_sum(x, axis=1)`, `[0]`, `age / 10.0 + gender * 2`.
//!
//! A text is only ever read into a tree, with Python's grammar and precedence; what the names in it mean, and which of them
//! there are, is for those who compile the tree to say. Nothing is evaluated as code.
//!
//! Read are: numbers, texts, `True`, `False`, `None`, names, attributes, calls with keyword arguments, indices and slices, lists,
//! tuples, list comprehensions with one `for`, `lambda`, `a if c else b`, `or`, `and`, `not`, chained comparisons, `| ^ &`,
//! `+ - * / // % @`, unary `+ - ~`, and `**`.
//!
//! ```
//! use rankmill_config::expression::{ExpressionKind, parse};
//!
//! let tree = parse("lambda x: tf.nn.relu(x[:, 0]) + 1")?;
//! assert!(matches!(tree.kind, ExpressionKind::Lambda { .. }));
//! assert_eq!(tree.to_string(), "lambda x: (tf.nn.relu(x[:, 0]) + 1)");
//!
//! let error = parse("x[0").unwrap_err();
//! assert_eq!((error.to_string(), error.span), ("`[` is not closed".to_owned(), 1..2));
//! # Ok::<(), rankmill_config::expression::ExpressionError>(())
//! ```

mod function;
mod lexer;
mod parser;
mod tree;

use std::ops::Range;

pub use function::Function;
pub use parser::{parse, parse_subscripts};
pub use tree::{Argument, BinaryOperator, Comparison, Expression, ExpressionKind, Subscript, UnaryOperator};

/// How deep expressions may be nested; a sum of so many terms counts as nested, too.
pub const MAX_DEPTH: usize = 150;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// The bytes of the text that are wrong; empty at its end.
    pub span: Range<usize>,
    /// What is wrong, without a full stop.
    pub message: String,
}

impl ExpressionError {
    /// An error at bytes of the text.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> ExpressionError {
        ExpressionError { span, message: message.into() }
    }
}

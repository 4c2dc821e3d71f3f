//! The tree of an expression.

use std::fmt;
use std::ops::Range;

use super::{ExpressionError, MAX_DEPTH};

/// An expression and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// What it is.
    pub kind: ExpressionKind,
    /// Its bytes in the text.
    pub span: Range<usize>,
    /// Levels of expressions below it, 1 for a leaf.
    depth: usize,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExpressionKind {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// `12`, `0xff`.
    Integer(i64),
    /// `1.5`, `1e-3`.
    Float(f64),
    /// `'axis'`, without its quotes and escapes.
    Text(String),
    /// `x`.
    Name(String),
    /// `value.name`.
    Attribute(Box<Expression>, String),
    /// `function(arguments)`.
    Call {
        /// What is called.
        function: Box<Expression>,
        /// The arguments, positional ones first.
        arguments: Vec<Argument>,
    },
    /// `value[subscripts]`.
    Index {
        /// What is indexed.
        value: Box<Expression>,
        /// One or more, separated by commas.
        subscripts: Vec<Subscript>,
    },
    /// `[a, b]`.
    List(Vec<Expression>),
    /// `(a, b)`.
    Tuple(Vec<Expression>),
    /// `[element for name in items if condition]`.
    Comprehension {
        /// What each item gives.
        element: Box<Expression>,
        /// The name of the item.
        name: String,
        /// What is gone through.
        items: Box<Expression>,
        /// Which items count.
        condition: Option<Box<Expression>>,
    },
    /// `-x` and the like.
    Unary(UnaryOperator, Box<Expression>),
    /// `a + b` and the like.
    Binary(BinaryOperator, Box<Expression>, Box<Expression>),
    /// `a < b <= c`: the first operand, then each comparison with its right operand.
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    /// `then if condition else otherwise`.
    Conditional {
        /// What decides.
        condition: Box<Expression>,
        /// The value if it holds.
        then: Box<Expression>,
        /// The value if not.
        otherwise: Box<Expression>,
    },
    /// `lambda a, b: body`.
    Lambda {
        /// The parameters' names.
        parameters: Vec<String>,
        /// What it computes.
        body: Box<Expression>,
    },
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// The keyword, if there is one, with its place.
    pub keyword: Option<(String, Range<usize>)>,
    /// The value.
    pub value: Expression,
}

/// What stands between brackets behind a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Subscript {
    /// `[i]`; `[None]` is one of them.
    At(Expression),
    /// `[start:stop:step]`.
    Slice {
        /// The first index.
        start: Option<Expression>,
        /// The index behind the last one.
        stop: Option<Expression>,
        /// The distance of indices.
        step: Option<Expression>,
    },
    /// `[...]`.
    Ellipsis,
}

/// Operators of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOperator {
    /// `-`.
    Minus,
    /// `+`.
    Plus,
    /// `~`.
    Invert,
    /// `not`.
    Not,
}

/// Operators of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOperator {
    /// `or`.
    Or,
    /// `and`.
    And,
    /// `|`.
    BitOr,
    /// `^`.
    BitXor,
    /// `&`.
    BitAnd,
    /// `+`.
    Add,
    /// `-`.
    Subtract,
    /// `*`.
    Multiply,
    /// `/`.
    Divide,
    /// `//`.
    FloorDivide,
    /// `%`.
    Modulo,
    /// `@`.
    MatrixMultiply,
    /// `**`.
    Power,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
}

impl UnaryOperator {
    /// The operator as written.
    pub fn symbol(self) -> &'static str {
        match self {
            UnaryOperator::Minus => "-",
            UnaryOperator::Plus => "+",
            UnaryOperator::Invert => "~",
            UnaryOperator::Not => "not",
        }
    }
}

impl BinaryOperator {
    /// The operator as written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOperator::Or => "or",
            BinaryOperator::And => "and",
            BinaryOperator::BitOr => "|",
            BinaryOperator::BitXor => "^",
            BinaryOperator::BitAnd => "&",
            BinaryOperator::Add => "+",
            BinaryOperator::Subtract => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::FloorDivide => "//",
            BinaryOperator::Modulo => "%",
            BinaryOperator::MatrixMultiply => "@",
            BinaryOperator::Power => "**",
        }
    }
}

impl Comparison {
    /// The operator as written.
    pub fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

impl Expression {
    /// An expression at bytes of the text.
    ///
    /// # Errors
    /// If it is nested deeper than [`MAX_DEPTH`].
    pub(super) fn new(kind: ExpressionKind, span: Range<usize>) -> Result<Expression, ExpressionError> {
        let mut below = 0;
        kind.visit(&mut |part| below = below.max(part.depth));
        if below >= MAX_DEPTH {
            return Err(ExpressionError::new(span, format!("the expression is nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(Expression { kind, span, depth: below + 1 })
    }

    /// The same expression with the parentheses around it.
    pub(super) fn with_span(self, span: Range<usize>) -> Expression {
        Expression { span, ..self }
    }

    /// Calls `visit` for each expression directly below this one.
    pub fn visit(&self, visit: &mut dyn FnMut(&Expression)) {
        self.kind.visit(visit);
    }

    /// A dotted name: `tf.nn.relu`, or a name alone.
    pub fn dotted_name(&self) -> Option<String> {
        match &self.kind {
            ExpressionKind::Name(name) => Some(name.clone()),
            ExpressionKind::Attribute(value, name) => Some(format!("{}.{name}", value.dotted_name()?)),
            _ => None,
        }
    }
}

impl ExpressionKind {
    fn visit(&self, visit: &mut dyn FnMut(&Expression)) {
        match self {
            ExpressionKind::None
            | ExpressionKind::Bool(_)
            | ExpressionKind::Integer(_)
            | ExpressionKind::Float(_)
            | ExpressionKind::Text(_)
            | ExpressionKind::Name(_) => {}
            ExpressionKind::Attribute(value, _) | ExpressionKind::Unary(_, value) => visit(value),
            ExpressionKind::Lambda { body, .. } => visit(body),
            ExpressionKind::Call { function, arguments } => {
                visit(function);
                arguments.iter().for_each(|argument| visit(&argument.value));
            }
            ExpressionKind::Index { value, subscripts } => {
                visit(value);
                for subscript in subscripts {
                    match subscript {
                        Subscript::At(index) => visit(index),
                        Subscript::Slice { start, stop, step } => [start, stop, step].into_iter().flatten().for_each(&mut *visit),
                        Subscript::Ellipsis => {}
                    }
                }
            }
            ExpressionKind::List(parts) | ExpressionKind::Tuple(parts) => parts.iter().for_each(visit),
            ExpressionKind::Comprehension { element, items, condition, .. } => {
                visit(element);
                visit(items);
                condition.iter().for_each(|condition| visit(condition));
            }
            ExpressionKind::Binary(_, left, right) => [left, right].into_iter().for_each(|part| visit(part)),
            ExpressionKind::Compare(first, rest) => {
                visit(first);
                rest.iter().for_each(|(_, operand)| visit(operand));
            }
            ExpressionKind::Conditional { condition, then, otherwise } => {
                [condition, then, otherwise].into_iter().for_each(|part| visit(part));
            }
        }
    }
}

/// Writes the expression with all its parentheses.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExpressionKind::None => f.write_str("None"),
            ExpressionKind::Bool(true) => f.write_str("True"),
            ExpressionKind::Bool(false) => f.write_str("False"),
            ExpressionKind::Integer(number) => write!(f, "{number}"),
            ExpressionKind::Float(number) => write!(f, "{number:?}"),
            ExpressionKind::Text(text) => write_text(f, text),
            ExpressionKind::Name(name) => f.write_str(name),
            ExpressionKind::Attribute(value, name) => {
                write_operand(f, value)?;
                write!(f, ".{name}")
            }
            ExpressionKind::Call { function, arguments } => {
                write_operand(f, function)?;
                f.write_str("(")?;
                for (i, argument) in arguments.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    if let Some((keyword, _)) = &argument.keyword {
                        write!(f, "{keyword}=")?;
                    }
                    write!(f, "{}", argument.value)?;
                }
                f.write_str(")")
            }
            ExpressionKind::Index { value, subscripts } => {
                write_operand(f, value)?;
                f.write_str("[")?;
                write_list(f, subscripts)?;
                f.write_str("]")
            }
            ExpressionKind::List(parts) => {
                f.write_str("[")?;
                write_list(f, parts)?;
                f.write_str("]")
            }
            ExpressionKind::Tuple(parts) => {
                f.write_str("(")?;
                write_list(f, parts)?;
                f.write_str(if parts.len() == 1 { ",)" } else { ")" })
            }
            ExpressionKind::Comprehension { element, name, items, condition } => {
                write!(f, "[")?;
                write_nested(f, element)?;
                write!(f, " for {name} in ")?;
                write_nested(f, items)?;
                if let Some(condition) = condition {
                    write!(f, " if ")?;
                    write_nested(f, condition)?;
                }
                f.write_str("]")
            }
            ExpressionKind::Unary(UnaryOperator::Not, operand) => {
                f.write_str("(not ")?;
                write_nested(f, operand)?;
                f.write_str(")")
            }
            ExpressionKind::Unary(operator, operand) => {
                write!(f, "({}", operator.symbol())?;
                write_nested(f, operand)?;
                f.write_str(")")
            }
            ExpressionKind::Binary(operator, left, right) => {
                f.write_str("(")?;
                write_nested(f, left)?;
                write!(f, " {} ", operator.symbol())?;
                write_nested(f, right)?;
                f.write_str(")")
            }
            ExpressionKind::Compare(first, rest) => {
                f.write_str("(")?;
                write_nested(f, first)?;
                for (comparison, operand) in rest {
                    write!(f, " {} ", comparison.symbol())?;
                    write_nested(f, operand)?;
                }
                f.write_str(")")
            }
            ExpressionKind::Conditional { condition, then, otherwise } => {
                f.write_str("(")?;
                write_nested(f, then)?;
                f.write_str(" if ")?;
                write_nested(f, condition)?;
                f.write_str(" else ")?;
                write_nested(f, otherwise)?;
                f.write_str(")")
            }
            ExpressionKind::Lambda { parameters, body } => {
                f.write_str(if parameters.is_empty() { "lambda" } else { "lambda " })?;
                write_list(f, parameters)?;
                write!(f, ": {body}")
            }
        }
    }
}

impl fmt::Display for Subscript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subscript::At(index) => write_nested(f, index),
            Subscript::Ellipsis => f.write_str("..."),
            Subscript::Slice { start, stop, step } => {
                if let Some(start) = start {
                    write_nested(f, start)?;
                }
                f.write_str(":")?;
                if let Some(stop) = stop {
                    write_nested(f, stop)?;
                }
                if let Some(step) = step {
                    f.write_str(":")?;
                    write_nested(f, step)?;
                }
                Ok(())
            }
        }
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, parts: &[impl fmt::Display]) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { ", " })?;
        write!(f, "{part}")?;
    }
    Ok(())
}

/// A part of a larger expression; only a `lambda` has no parentheses of its own.
fn write_nested(f: &mut fmt::Formatter<'_>, part: &Expression) -> fmt::Result {
    if matches!(part.kind, ExpressionKind::Lambda { .. }) { write!(f, "({part})") } else { write!(f, "{part}") }
}

/// What stands before a dot or a bracket; `1.real` would be read as a number.
fn write_operand(f: &mut fmt::Formatter<'_>, part: &Expression) -> fmt::Result {
    let is_number = matches!(part.kind, ExpressionKind::Integer(_) | ExpressionKind::Float(_));
    if is_number { write!(f, "({part})") } else { write_nested(f, part) }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("'")?;
    for c in text.chars() {
        match c {
            '\'' => f.write_str("\\'")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("'")
}

//! From tokens to a tree, by precedence climbing.

use std::ops::Range;

use super::lexer::{Token, tokens};
use super::tree::{Argument, BinaryOperator, Comparison, Expression, ExpressionKind, Subscript, UnaryOperator};
use super::{ExpressionError, MAX_DEPTH};

/// Reads a whole text as one expression.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let expression = parser.expression()?;
    parser.expect_end()?;
    Ok(expression)
}

/// Reads what stands behind a value: `[1]`, `[0][:, 2]`. The value is the name `base`, its place is empty.
///
/// # Errors
/// What is wrong, and where.
pub fn parse_subscripts(text: &str, base: &str) -> Result<Expression, ExpressionError> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    if !matches!(parser.peek(), Token::Sign("[") | Token::End) {
        return Err(parser.unexpected("expected an index such as `[0]` or `[:2]`"));
    }
    let base = Expression::new(ExpressionKind::Name(base.to_owned()), 0..0)?;
    let expression = parser.trailers(base)?;
    parser.expect_end()?;
    Ok(expression)
}

/// Words that are no names.
const RESERVED: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except",
    "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try",
    "while", "with", "yield",
];

/// How tight operators bind; comparisons and `not` lie between `and` and `|`.
const COMPARISON_LEVEL: u8 = 3;
const BIT_OR_LEVEL: u8 = 4;

fn binary_operator(token: &Token) -> Option<(BinaryOperator, u8)> {
    Some(match token {
        Token::Word(word) if word == "or" => (BinaryOperator::Or, 1),
        Token::Word(word) if word == "and" => (BinaryOperator::And, 2),
        Token::Sign("|") => (BinaryOperator::BitOr, BIT_OR_LEVEL),
        Token::Sign("^") => (BinaryOperator::BitXor, 5),
        Token::Sign("&") => (BinaryOperator::BitAnd, 6),
        Token::Sign("+") => (BinaryOperator::Add, 7),
        Token::Sign("-") => (BinaryOperator::Subtract, 7),
        Token::Sign("*") => (BinaryOperator::Multiply, 8),
        Token::Sign("/") => (BinaryOperator::Divide, 8),
        Token::Sign("//") => (BinaryOperator::FloorDivide, 8),
        Token::Sign("%") => (BinaryOperator::Modulo, 8),
        Token::Sign("@") => (BinaryOperator::MatrixMultiply, 8),
        _ => return None,
    })
}

fn comparison(token: &Token) -> Option<Comparison> {
    Some(match token {
        Token::Sign("==") => Comparison::Equal,
        Token::Sign("!=") => Comparison::NotEqual,
        Token::Sign("<") => Comparison::Less,
        Token::Sign("<=") => Comparison::LessOrEqual,
        Token::Sign(">") => Comparison::Greater,
        Token::Sign(">=") => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

struct Parser {
    tokens: Vec<(Token, Range<usize>)>,
    next: usize,
    /// Expressions that are being read.
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn place(&self) -> Range<usize> {
        self.tokens[self.next].1.clone()
    }

    /// Where the last token that was taken ends.
    fn end(&self) -> usize {
        self.next.checked_sub(1).map_or(0, |last| self.tokens[last].1.end)
    }

    /// Takes the next token; the end stays where it is.
    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        if token != Token::End {
            self.next += 1;
        }
        token
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(next) if *next == sign);
        self.next += usize::from(found);
        found
    }

    fn at_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(next) if next == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        self.next += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &'static str) -> Result<(), ExpressionError> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.unexpected(&format!("expected `{sign}`"))) }
    }

    fn expect_word(&mut self, word: &'static str) -> Result<(), ExpressionError> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected(&format!("expected `{word}`"))) }
    }

    fn expect_end(&self) -> Result<(), ExpressionError> {
        if *self.peek() == Token::End { Ok(()) } else { Err(self.unexpected("expected an operator or the end")) }
    }

    /// The bracket that closes the one at `open`.
    fn expect_close(&mut self, sign: &'static str, open: Range<usize>, opened: &str) -> Result<(), ExpressionError> {
        if self.take_sign(sign) {
            return Ok(());
        }
        match self.peek() {
            Token::End => Err(ExpressionError::new(open, format!("`{opened}` is not closed"))),
            _ => Err(self.unexpected(&format!("expected `,` or `{sign}`"))),
        }
    }

    fn unexpected(&self, expected: &str) -> ExpressionError {
        let found = match self.peek() {
            Token::End => "the expression ends".to_owned(),
            Token::Sign("=") => "`=` sets nothing here".to_owned(),
            Token::Sign(sign) => format!("unexpected `{sign}`"),
            Token::Word(word) if matches!(word.as_str(), "is" | "in") => format!("`{word}` is not supported"),
            Token::Word(word) => format!("unexpected `{word}`"),
            Token::Integer(_) | Token::Float(_) => "unexpected number".to_owned(),
            Token::Text(_) => "unexpected text".to_owned(),
        };
        ExpressionError::new(self.place(), format!("{found}; {expected}"))
    }

    fn name(&mut self, what: &str) -> Result<(String, Range<usize>), ExpressionError> {
        let place = self.place();
        match self.peek() {
            Token::Word(word) if !RESERVED.contains(&word.as_str()) => {
                let word = word.clone();
                self.next += 1;
                Ok((word, place))
            }
            _ => Err(self.unexpected(&format!("expected {what}"))),
        }
    }

    fn expression(&mut self) -> Result<Expression, ExpressionError> {
        self.nested(Parser::conditional)
    }

    /// Goes one level deeper, so that no text can exhaust the stack.
    fn nested(&mut self, read: impl FnOnce(&mut Parser) -> Result<Expression, ExpressionError>) -> Result<Expression, ExpressionError> {
        if self.depth >= MAX_DEPTH {
            return Err(ExpressionError::new(self.place(), format!("the expression is nested more than {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        let expression = read(self);
        self.depth -= 1;
        expression
    }

    /// `lambda a, b: body` or `then if condition else otherwise` or what binds tighter.
    fn conditional(&mut self) -> Result<Expression, ExpressionError> {
        let start = self.place().start;
        if self.take_word("lambda") {
            return self.lambda(start);
        }
        let then = self.operators(0)?;
        if !self.take_word("if") {
            return Ok(then);
        }
        let condition = Box::new(self.operators(0)?);
        self.expect_word("else")?;
        let otherwise = Box::new(self.expression()?);
        Expression::new(ExpressionKind::Conditional { condition, then: Box::new(then), otherwise }, start..self.end())
    }

    fn lambda(&mut self, start: usize) -> Result<Expression, ExpressionError> {
        let mut parameters = Vec::new();
        while !self.take_sign(":") {
            let (name, place) = self.name("a parameter's name or `:`")?;
            if parameters.contains(&name) {
                return Err(ExpressionError::new(place, format!("parameter `{name}` is declared twice")));
            }
            parameters.push(name);
            if !self.take_sign(",") {
                self.expect_sign(":")?;
                break;
            }
        }
        let body = Box::new(self.expression()?);
        Expression::new(ExpressionKind::Lambda { parameters, body }, start..self.end())
    }

    /// Operators that bind at least as tight as `level`.
    fn operators(&mut self, level: u8) -> Result<Expression, ExpressionError> {
        let start = self.place().start;
        let mut left = if level <= COMPARISON_LEVEL && self.take_word("not") {
            let operand = Box::new(self.nested(|parser| parser.operators(COMPARISON_LEVEL))?);
            Expression::new(ExpressionKind::Unary(UnaryOperator::Not, operand), start..self.end())?
        } else {
            self.unary()?
        };
        loop {
            if level <= COMPARISON_LEVEL && comparison(self.peek()).is_some() {
                left = self.comparisons(left, start)?;
                continue;
            }
            match binary_operator(self.peek()) {
                Some((operator, binds)) if binds >= level => {
                    self.next += 1;
                    let right = self.nested(|parser| parser.operators(binds + 1))?;
                    let kind = ExpressionKind::Binary(operator, Box::new(left), Box::new(right));
                    left = Expression::new(kind, start..self.end())?;
                }
                _ => return Ok(left),
            }
        }
    }

    fn comparisons(&mut self, first: Expression, start: usize) -> Result<Expression, ExpressionError> {
        let mut rest = Vec::new();
        while let Some(comparison) = comparison(self.peek()) {
            self.next += 1;
            rest.push((comparison, self.nested(|parser| parser.operators(BIT_OR_LEVEL))?));
        }
        Expression::new(ExpressionKind::Compare(Box::new(first), rest), start..self.end())
    }

    fn unary(&mut self) -> Result<Expression, ExpressionError> {
        let start = self.place().start;
        let operator = match self.peek() {
            Token::Sign("-") => UnaryOperator::Minus,
            Token::Sign("+") => UnaryOperator::Plus,
            Token::Sign("~") => UnaryOperator::Invert,
            _ => return self.power(),
        };
        self.next += 1;
        let operand = Box::new(self.nested(Parser::unary)?);
        Expression::new(ExpressionKind::Unary(operator, operand), start..self.end())
    }

    /// `base ** exponent`: the exponent may have a sign, a sign before the base applies to the power.
    fn power(&mut self) -> Result<Expression, ExpressionError> {
        let start = self.place().start;
        let atom = self.atom()?;
        let base = self.trailers(atom)?;
        if !self.take_sign("**") {
            return Ok(base);
        }
        let exponent = self.nested(Parser::unary)?;
        Expression::new(ExpressionKind::Binary(BinaryOperator::Power, Box::new(base), Box::new(exponent)), start..self.end())
    }

    /// Attributes, calls and indices behind a value.
    fn trailers(&mut self, mut value: Expression) -> Result<Expression, ExpressionError> {
        let start = value.span.start;
        loop {
            let open = self.place();
            let kind = if self.take_sign(".") {
                let (name, _) = self.name("a name behind the dot")?;
                ExpressionKind::Attribute(Box::new(value), name)
            } else if self.take_sign("(") {
                let arguments = self.arguments(open)?;
                ExpressionKind::Call { function: Box::new(value), arguments }
            } else if self.take_sign("[") {
                let subscripts = self.subscripts(open)?;
                ExpressionKind::Index { value: Box::new(value), subscripts }
            } else {
                return Ok(value);
            };
            value = Expression::new(kind, start..self.end())?;
        }
    }

    fn arguments(&mut self, open: Range<usize>) -> Result<Vec<Argument>, ExpressionError> {
        let mut arguments: Vec<Argument> = Vec::new();
        while !self.take_sign(")") {
            let is_keyword = matches!(self.tokens.get(self.next + 1), Some((Token::Sign("="), _)));
            let keyword = if is_keyword { Some(self.name("a keyword")?) } else { None };
            match &keyword {
                Some((name, place)) => {
                    if arguments.iter().any(|argument| argument.keyword.as_ref().is_some_and(|(other, _)| other == name)) {
                        return Err(ExpressionError::new(place.clone(), format!("`{name}` is given twice")));
                    }
                    self.expect_sign("=")?;
                }
                None if arguments.last().is_some_and(|argument| argument.keyword.is_some()) => {
                    return Err(ExpressionError::new(self.place(), "an argument without a keyword follows one with a keyword"));
                }
                None => {}
            }
            arguments.push(Argument { keyword, value: self.expression()? });
            if !self.take_sign(",") {
                self.expect_close(")", open, "(")?;
                break;
            }
        }
        Ok(arguments)
    }

    fn subscripts(&mut self, open: Range<usize>) -> Result<Vec<Subscript>, ExpressionError> {
        let mut subscripts = Vec::new();
        while subscripts.is_empty() || !self.take_sign("]") {
            subscripts.push(self.subscript()?);
            if !self.take_sign(",") {
                self.expect_close("]", open, "[")?;
                break;
            }
        }
        Ok(subscripts)
    }

    fn subscript(&mut self) -> Result<Subscript, ExpressionError> {
        if self.take_sign("...") {
            return Ok(Subscript::Ellipsis);
        }
        let start = self.bound()?;
        if !self.take_sign(":") {
            return match start {
                Some(index) => Ok(Subscript::At(index)),
                None => Err(self.unexpected("expected an index")),
            };
        }
        let stop = self.bound()?;
        let step = if self.take_sign(":") { self.bound()? } else { None };
        Ok(Subscript::Slice { start, stop, step })
    }

    /// An index, unless a sign follows that ends it.
    fn bound(&mut self) -> Result<Option<Expression>, ExpressionError> {
        match self.peek() {
            Token::Sign(":" | "]" | ",") => Ok(None),
            _ => self.expression().map(Some),
        }
    }

    fn atom(&mut self) -> Result<Expression, ExpressionError> {
        let place = self.place();
        let kind = match self.peek() {
            Token::Sign("(") => return self.parentheses(),
            Token::Sign("[") => return self.list(),
            Token::Word(word) if word == "None" => ExpressionKind::None,
            Token::Word(word) if word == "True" => ExpressionKind::Bool(true),
            Token::Word(word) if word == "False" => ExpressionKind::Bool(false),
            Token::Word(word) if word == "lambda" => return Err(self.unexpected("put the `lambda` into parentheses")),
            Token::Word(word) if !RESERVED.contains(&word.as_str()) => ExpressionKind::Name(word.clone()),
            Token::Integer(number) => ExpressionKind::Integer(*number),
            Token::Float(number) => ExpressionKind::Float(*number),
            Token::Text(text) => ExpressionKind::Text(text.clone()),
            _ => return Err(self.unexpected("expected a value")),
        };
        self.advance();
        Expression::new(kind, place)
    }

    /// `(a)`, `()`, `(a,)` or `(a, b)`.
    fn parentheses(&mut self) -> Result<Expression, ExpressionError> {
        let open = self.place();
        self.advance();
        let mut parts = Vec::new();
        let mut is_tuple = self.take_sign(")");
        while !is_tuple || !parts.is_empty() {
            if is_tuple && self.take_sign(")") {
                break;
            }
            parts.push(self.expression()?);
            if !self.take_sign(",") {
                self.expect_close(")", open.clone(), "(")?;
                break;
            }
            is_tuple = true;
        }
        let span = open.start..self.end();
        match parts.pop() {
            Some(only) if !is_tuple => Ok(only.with_span(span)),
            last => {
                parts.extend(last);
                Expression::new(ExpressionKind::Tuple(parts), span)
            }
        }
    }

    /// `[a, b]` or `[element for name in items]`.
    fn list(&mut self) -> Result<Expression, ExpressionError> {
        let open = self.place();
        self.advance();
        let mut parts = Vec::new();
        while !self.take_sign("]") {
            parts.push(self.expression()?);
            if parts.len() == 1 && self.take_word("for") {
                let element = parts.remove(0);
                return self.comprehension(element, open);
            }
            if !self.take_sign(",") {
                self.expect_close("]", open.clone(), "[")?;
                break;
            }
        }
        Expression::new(ExpressionKind::List(parts), open.start..self.end())
    }

    fn comprehension(&mut self, element: Expression, open: Range<usize>) -> Result<Expression, ExpressionError> {
        let (name, _) = self.name("a name behind `for`")?;
        self.expect_word("in")?;
        let items = Box::new(self.nested(|parser| parser.operators(0))?);
        let condition = if self.take_word("if") { Some(Box::new(self.nested(|parser| parser.operators(0))?)) } else { None };
        let start = open.start;
        self.expect_close("]", open, "[")?;
        Expression::new(ExpressionKind::Comprehension { element: Box::new(element), name, items, condition }, start..self.end())
    }
}

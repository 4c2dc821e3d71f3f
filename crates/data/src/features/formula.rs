//! Formulas over columns of numbers: what `ExprFeature.expression` and the lambdas of `normalizer_fn`, `user_define_fn` and
//! `extra_label_func` compute.
//!
//! A formula has the operators `+ - * / // % **`, comparisons, `& | ^ ~` (also written `and or not`), `a if c else b`, the functions of
//! [`Function`] by their TensorFlow paths, `abs`, `tf.maximum`, `tf.minimum`, `tf.pow`, `tf.where` and `tf.cast`. Operators have the
//! precedence that they have in Python. Comparisons give conditions, `&` and its like need them, and elsewhere a condition counts 1 or
//! 0; EasyRec, whose own reader knows comparisons, `&`, `|` and parentheses around them only, stops where a condition is the result.

use rankmill_config::expression::{
    Argument, BinaryOperator, Comparison, Expression, ExpressionError, ExpressionKind, Subscript, UnaryOperator, parse,
};
use rankmill_config::nearest;

use super::function::{Function, Real, base_name};

/// A formula over some columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Formula {
    /// A column, by its place.
    Column(usize),
    Constant(f64),
    Apply(Function, Box<Formula>),
    Combine(Operation, Box<Formula>, Box<Formula>),
    /// The second where the first holds, else the third.
    Choose(Box<[Formula; 3]>),
}

/// A function of two numbers; those of conditions take and give 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
    Maximum,
    Minimum,
    Compare(Comparison),
    And,
    Or,
    Xor,
    /// The first, rounded to what the second, a constant, stands for.
    Cast(Cast),
}

/// What `tf.cast` makes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Whole,
    Single,
    Double,
}

/// What a formula calls its columns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names<'a> {
    /// Each by its name.
    Columns(&'a [&'a str]),
    /// There is one, the parameter of a lambda.
    Parameter(&'a str),
    /// `parameter['name']`, the parameter being that of a lambda.
    Entries { parameter: &'a str, names: &'a [&'a str] },
}

/// Whether a formula is a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Condition,
}

impl Formula {
    /// The formula of an expression.
    pub(crate) fn compile(tree: &Expression, names: Names<'_>) -> Result<Formula, ExpressionError> {
        compile(tree, names).map(|(formula, _)| formula)
    }

    /// The formula that a setting names for one column: the path of a [`Function`], or `lambda x: ...`.
    pub(crate) fn of_one(text: &str) -> Result<Formula, ExpressionError> {
        let tree = parse(text)?;
        match &tree.kind {
            ExpressionKind::Lambda { parameters, body } => match &parameters[..] {
                [parameter] => Formula::compile(body, Names::Parameter(parameter)),
                _ => Err(ExpressionError::new(tree.span.clone(), "a lambda of one value is needed")),
            },
            _ => {
                let function = tree.dotted_name().and_then(|path| Function::from_path(&path));
                let unknown = || {
                    let message =
                        format!("`{tree}` is not known; expected tf.math. with one of {}, or a lambda of one value", Function::names());
                    ExpressionError::new(tree.span.clone(), message)
                };
                Ok(Formula::Apply(function.ok_or_else(unknown)?, Box::new(Formula::Column(0))))
            }
        }
    }

    /// The formula `lambda labels: ...` over the entries `labels['name']`.
    pub(crate) fn of_entries(text: &str, names: &[&str]) -> Result<Formula, ExpressionError> {
        let tree = parse(text)?;
        match &tree.kind {
            ExpressionKind::Lambda { parameters, body } if parameters.len() == 1 => {
                Formula::compile(body, Names::Entries { parameter: &parameters[0], names })
            }
            _ => {
                let message =
                    "functions of Python are not run; write a lambda of the labels, such as `lambda labels: labels['a'] * labels['b']`";
                Err(ExpressionError::new(tree.span.clone(), message))
            }
        }
    }

    /// The value of each of `rows` rows.
    pub(crate) fn evaluate<T: Real>(&self, columns: &[&[T]], rows: usize) -> Vec<T> {
        match self {
            Formula::Column(place) => columns[*place].to_vec(),
            Formula::Constant(value) => vec![T::from_f64(*value); rows],
            Formula::Apply(function, operand) => {
                let mut values = operand.evaluate(columns, rows);
                values.iter_mut().for_each(|value| *value = value.apply(*function));
                values
            }
            Formula::Combine(operation, left, right) => {
                let mut values = left.evaluate(columns, rows);
                let others = right.evaluate(columns, rows);
                values.iter_mut().zip(others).for_each(|(value, other)| *value = operation.apply(*value, other));
                values
            }
            Formula::Choose(parts) => {
                let [conditions, then, otherwise] = parts.each_ref().map(|part| part.evaluate(columns, rows));
                let choices = conditions.into_iter().zip(then.into_iter().zip(otherwise));
                choices.map(|(condition, (then, otherwise))| if condition == T::ZERO { otherwise } else { then }).collect()
            }
        }
    }
}

impl Operation {
    fn apply<T: Real>(self, a: T, b: T) -> T {
        let truth = |holds: bool| if holds { T::ONE } else { T::ZERO };
        match self {
            Operation::Add => a + b,
            Operation::Subtract => a - b,
            Operation::Multiply => a * b,
            Operation::Divide => a / b,
            Operation::FloorDivide => (a / b).floor(),
            // The remainder has the sign of the divisor, as in Python.
            Operation::Modulo => {
                let rest = a % b;
                if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) { rest + b } else { rest }
            }
            Operation::Power => a.power(b),
            Operation::Maximum => {
                if a.is_nan() || a > b {
                    a
                } else {
                    b
                }
            }
            Operation::Minimum => {
                if a.is_nan() || a < b {
                    a
                } else {
                    b
                }
            }
            Operation::Compare(comparison) => truth(match comparison {
                Comparison::Equal => a == b,
                Comparison::NotEqual => a != b,
                Comparison::Less => a < b,
                Comparison::LessOrEqual => a <= b,
                Comparison::Greater => a > b,
                Comparison::GreaterOrEqual => a >= b,
            }),
            Operation::And => truth(a != T::ZERO && b != T::ZERO),
            Operation::Or => truth(a != T::ZERO || b != T::ZERO),
            Operation::Xor => truth((a != T::ZERO) != (b != T::ZERO)),
            Operation::Cast(Cast::Whole) => a.trunc(),
            Operation::Cast(Cast::Single) => a.to_single(),
            Operation::Cast(Cast::Double) => a,
        }
    }
}

/// What an expression computes, and whether that is a condition.
type Compiled = Result<(Formula, Kind), ExpressionError>;

fn combine(operation: Operation, left: Formula, right: Formula) -> Formula {
    Formula::Combine(operation, Box::new(left), Box::new(right))
}

fn compile(tree: &Expression, names: Names<'_>) -> Compiled {
    if let Some(place) = column(tree, names)? {
        return Ok((Formula::Column(place), Kind::Number));
    }
    let number = |value| Ok((Formula::Constant(value), Kind::Number));
    match &tree.kind {
        ExpressionKind::Integer(value) => number(*value as f64),
        ExpressionKind::Float(value) => number(*value),
        ExpressionKind::Bool(value) => Ok((Formula::Constant(f64::from(u8::from(*value))), Kind::Condition)),
        ExpressionKind::Unary(operator, operand) => unary(*operator, operand, names),
        ExpressionKind::Binary(operator, left, right) => binary(tree, *operator, left, right, names),
        ExpressionKind::Compare(first, rest) => chain(first, rest, names),
        ExpressionKind::Conditional { condition, then, otherwise } => choose([condition, then, otherwise], names),
        ExpressionKind::Call { function, arguments } => call(tree, function, arguments, names),
        _ => Err(ExpressionError::new(tree.span.clone(), "only numbers, columns, operators and functions of numbers can stand here")),
    }
}

/// The place of the column that an expression names.
fn column(tree: &Expression, names: Names<'_>) -> Result<Option<usize>, ExpressionError> {
    let unknown = |message: String| Err(ExpressionError::new(tree.span.clone(), message));
    match (names, &tree.kind) {
        (Names::Columns(known), ExpressionKind::Name(_) | ExpressionKind::Attribute(..)) => {
            let Some(name) = tree.dotted_name() else { return Ok(None) };
            match known.iter().position(|known| *known == name) {
                Some(place) => Ok(Some(place)),
                None => {
                    let near = nearest(&name, known.iter().copied()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                    unknown(format!("`{name}` is none of the inputs {}{near}", known.join(", ")))
                }
            }
        }
        (Names::Parameter(parameter), ExpressionKind::Name(name)) if name == parameter => Ok(Some(0)),
        (Names::Entries { parameter, names }, ExpressionKind::Index { value, subscripts }) => {
            let (ExpressionKind::Name(name), [Subscript::At(Expression { kind: ExpressionKind::Text(entry), .. })]) =
                (&value.kind, &subscripts[..])
            else {
                return Ok(None);
            };
            if name != parameter {
                return Ok(None);
            }
            match names.iter().position(|known| known == entry) {
                Some(place) => Ok(Some(place)),
                None => unknown(format!("`{entry}` is none of {}", names.join(", "))),
            }
        }
        (_, ExpressionKind::Name(name)) => unknown(format!("the name `{name}` is not known here")),
        _ => Ok(None),
    }
}

fn condition(tree: &Expression, names: Names<'_>) -> Result<Formula, ExpressionError> {
    match compile(tree, names)? {
        (formula, Kind::Condition) => Ok(formula),
        (_, Kind::Number) => {
            let message = format!("`{tree}` is a number where a condition is needed; put comparisons in parentheses");
            Err(ExpressionError::new(tree.span.clone(), message))
        }
    }
}

fn unary(operator: UnaryOperator, operand: &Expression, names: Names<'_>) -> Compiled {
    match operator {
        UnaryOperator::Plus => compile(operand, names).map(|(formula, _)| (formula, Kind::Number)),
        UnaryOperator::Minus => {
            let (formula, _) = compile(operand, names)?;
            Ok((Formula::Apply(Function::Negative, Box::new(formula)), Kind::Number))
        }
        UnaryOperator::Invert | UnaryOperator::Not => {
            let formula = condition(operand, names)?;
            Ok((combine(Operation::Xor, formula, Formula::Constant(1.0)), Kind::Condition))
        }
    }
}

fn binary(tree: &Expression, operator: BinaryOperator, left: &Expression, right: &Expression, names: Names<'_>) -> Compiled {
    let of_conditions = match operator {
        BinaryOperator::And | BinaryOperator::BitAnd => Some(Operation::And),
        BinaryOperator::Or | BinaryOperator::BitOr => Some(Operation::Or),
        BinaryOperator::BitXor => Some(Operation::Xor),
        _ => None,
    };
    if let Some(operation) = of_conditions {
        return Ok((combine(operation, condition(left, names)?, condition(right, names)?), Kind::Condition));
    }
    let operation = match operator {
        BinaryOperator::Add => Operation::Add,
        BinaryOperator::Subtract => Operation::Subtract,
        BinaryOperator::Multiply => Operation::Multiply,
        BinaryOperator::Divide => Operation::Divide,
        BinaryOperator::FloorDivide => Operation::FloorDivide,
        BinaryOperator::Modulo => Operation::Modulo,
        BinaryOperator::Power => Operation::Power,
        _ => return Err(ExpressionError::new(tree.span.clone(), format!("`{}` is no operator of numbers", operator.symbol()))),
    };
    Ok((combine(operation, compile(left, names)?.0, compile(right, names)?.0), Kind::Number))
}

/// `a < b <= c`, which is `(a < b) & (b <= c)`.
fn chain(first: &Expression, rest: &[(Comparison, Expression)], names: Names<'_>) -> Compiled {
    let mut left = compile(first, names)?.0;
    let mut all: Option<Formula> = None;
    for (comparison, operand) in rest {
        let right = compile(operand, names)?.0;
        let holds = combine(Operation::Compare(*comparison), left, right.clone());
        all = Some(match all {
            None => holds,
            Some(before) => combine(Operation::And, before, holds),
        });
        left = right;
    }
    Ok((all.unwrap_or(left), Kind::Condition))
}

fn choose([decides, then, otherwise]: [&Expression; 3], names: Names<'_>) -> Compiled {
    let parts = [condition(decides, names)?, compile(then, names)?.0, compile(otherwise, names)?.0];
    Ok((Formula::Choose(Box::new(parts)), Kind::Number))
}

fn call(tree: &Expression, function: &Expression, arguments: &[Argument], names: Names<'_>) -> Compiled {
    let path = function.dotted_name().unwrap_or_default();
    let name = if path == "abs" { "abs" } else { base_name(&path).unwrap_or_default() };
    let error = |message: String| Err(ExpressionError::new(tree.span.clone(), message));
    if let Some((keyword, span)) = arguments.iter().find_map(|argument| argument.keyword.as_ref()) {
        return Err(ExpressionError::new(span.clone(), format!("`{keyword}=` is not read; give the values without names")));
    }
    let values: Vec<&Expression> = arguments.iter().map(|argument| &argument.value).collect();
    let two = |operation| match values[..] {
        [a, b] => Ok((combine(operation, compile(a, names)?.0, compile(b, names)?.0), Kind::Number)),
        _ => error(format!("`{path}` takes two values, not {}", values.len())),
    };
    match name {
        "maximum" => two(Operation::Maximum),
        "minimum" => two(Operation::Minimum),
        "pow" => two(Operation::Power),
        "where" => match values[..] {
            [decides, then, otherwise] => choose([decides, then, otherwise], names),
            _ => error(format!("`{path}` takes a condition and two values")),
        },
        "cast" => cast(tree, &values, names),
        _ => match (Function::from_path(&format!("tf.{name}")), &values[..]) {
            (Some(function), [value]) => Ok((Formula::Apply(function, Box::new(compile(value, names)?.0)), Kind::Number)),
            (Some(_), _) => error(format!("`{path}` takes one value, not {}", values.len())),
            (None, _) => {
                let known = Function::names();
                let message = format!(
                    "`{path}` is no function of numbers; known are tf.math.{{{known}}}, tf.maximum, tf.minimum, tf.pow, tf.where, tf.cast"
                );
                Err(ExpressionError::new(function.span.clone(), message))
            }
        },
    }
}

fn cast(tree: &Expression, values: &[&Expression], names: Names<'_>) -> Compiled {
    let [value, kind] = values else {
        return Err(ExpressionError::new(tree.span.clone(), "`tf.cast` takes a value and a type"));
    };
    let cast = match kind.dotted_name().as_deref().and_then(base_name) {
        Some("int32" | "int64") => Cast::Whole,
        Some("float32") => Cast::Single,
        Some("float64" | "double") => Cast::Double,
        _ => {
            let message = format!("`{kind}` is no type; expected tf.float32, tf.float64, tf.int32 or tf.int64");
            return Err(ExpressionError::new(kind.span.clone(), message));
        }
    };
    let (formula, _) = compile(value, names)?;
    Ok((combine(Operation::Cast(cast), formula, Formula::Constant(0.0)), Kind::Number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f64; 6] = [0.0, 1.0, -2.5, 7.0, 3.0, -0.5];
    const B: [f64; 6] = [1.0, 1.0, 2.0, -3.0, 3.0, 0.25];

    #[track_caller]
    fn check(text: &str, expected: fn(f64, f64) -> f64) {
        let tree = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let formula = Formula::compile(&tree, Names::Columns(&["a", "b.c"])).unwrap_or_else(|error| panic!("{text}: {error}"));
        let expected: Vec<f64> = A.iter().zip(&B).map(|(&a, &b)| expected(a, b)).collect();
        assert_eq!(formula.evaluate(&[&A, &B], A.len()), expected, "{text}");
    }

    fn truth(holds: bool) -> f64 {
        f64::from(u8::from(holds))
    }

    #[test]
    fn arithmetic_has_pythons_precedence_and_rounding() {
        check("a / 10.0 + b.c * 2", |a, b| a / 10.0 + b * 2.0);
        check("-a ** 2 - (b.c - 1)", |a, b| -(a * a) - (b - 1.0));
        check("a // 2 + a % 2 + a % -2", |a, _| (a / 2.0).floor() + a.rem_euclid(2.0) - (-a).rem_euclid(2.0));
        check("7", |_, _| 7.0);
    }

    #[test]
    fn comparisons_are_conditions_that_count_one_or_zero() {
        check("a>=1", |a, _| truth(a >= 1.0));
        check("a<(b.c+5)", |a, b| truth(a < b + 5.0));
        check("a==b.c", |a, b| truth(a == b));
        check("(a>=b.c) & (a<=(b.c+5))", |a, b| truth(a >= b && a <= b + 5.0));
        check("(a>=b.c) | (a>5) & (b.c<0)", |a, b| truth(a >= b || a > 5.0 && b < 0.0));
        check("0 < a <= 3 and not a != b.c", |a, b| truth(0.0 < a && a <= 3.0 && a == b));
        check("(a > 0) + (b.c > 0) * 2", |a, b| truth(a > 0.0) + 2.0 * truth(b > 0.0));
        check("~((a > 0) ^ True)", |a, _| truth(a > 0.0));
    }

    #[test]
    fn functions_of_numbers() {
        check("tf.math.log1p(abs(a)) + tf.nn.relu(b.c)", |a, b| a.abs().ln_1p() + b.max(0.0));
        check("tf.maximum(a, b.c) - tf.math.minimum(a, b.c)", |a, b| a.max(b) - a.min(b));
        check("a if b.c > 0 else -1", |a, b| if b > 0.0 { a } else { -1.0 });
        check("tf.where(a > b.c, a, b.c)", |a, b| if a > b { a } else { b });
        check("tf.cast(a, tf.int32) + tf.cast(b.c / 3, tf.float32)", |a, b| a.trunc() + f64::from((b / 3.0) as f32));
    }

    #[test]
    fn what_is_no_formula_is_refused_with_its_place() {
        for (text, place, message) in [
            ("a + c", 4..5, "`c` is none of the inputs a, b.c"),
            ("a & (a > 1)", 0..1, "`a` is a number where a condition is needed"),
            ("a > 1 & a < 2", 4..5, "`1` is a number where a condition is needed"),
            ("not a", 4..5, "is a number where a condition is needed"),
            ("tf.eval(a)", 0..7, "`tf.eval` is no function of numbers"),
            ("tf.exp(a, a)", 0..12, "takes one value, not 2"),
            ("tf.cast(a, tf.string)", 11..20, "is no type"),
            ("tf.cast(a, dtype=tf.int32)", 11..16, "`dtype=` is not read"),
            ("'a'", 0..3, "only numbers, columns"),
            ("a @ a", 0..5, "`@` is no operator of numbers"),
            ("[a]", 0..3, "only numbers, columns"),
        ] {
            let error = Formula::compile(&parse(text).expect("an expression"), Names::Columns(&["a", "b.c"])).expect_err(text);
            assert!(error.message.contains(message) && error.span == place, "{text}: {error:?}");
        }
    }

    #[test]
    fn lambdas() {
        let run = |text: &str| Formula::of_one(text).map(|formula| formula.evaluate(&[&[0.0_f32, 1.0, 3.0]], 3));
        assert_eq!(run("lambda x: (x - 1) / 2.0"), Ok(vec![-0.5, 0.0, 1.0]));
        assert_eq!(run("tf.math.square"), Ok(vec![0.0, 1.0, 9.0]));
        for (text, message) in [
            ("lambda x, y: x", "a lambda of one value"),
            ("lambda x: y", "the name `y` is not known"),
            ("tf.eval", "`tf.eval` is not known"),
            ("(x", "not closed"),
        ] {
            let error = run(text).expect_err(text);
            assert!(error.message.contains(message), "{text}: {error}");
        }
        let of_entries = |text: &str| Formula::of_entries(text, &["click", "buy"]);
        let formula = of_entries("lambda labels: labels['buy'] * labels['click']").expect("a formula");
        assert_eq!(formula.evaluate(&[&[1.0_f32, 2.0], &[3.0, 4.0]], 2), [3.0, 8.0]);
        let error = of_entries("lambda labels: labels['like']").expect_err("unknown");
        assert!(error.message.contains("`like` is none of click, buy"), "{error}");
        let error = of_entries("my.module.function").expect_err("Python");
        assert!(error.message.contains("write a lambda of the labels"), "{error}");
    }
}

//! Expressions: Python's grammar and precedence, errors with their places, and no text that panics.

use proptest::prelude::*;
use rankmill_config::expression::{MAX_DEPTH, parse, parse_subscripts};
use rankmill_config::{Edits, Pipeline};

#[track_caller]
fn check(text: &str, expected: &str) {
    let tree = parse(text).unwrap_or_else(|error| panic!("{text}: {error} at {:?}", error.span));
    assert_eq!(tree.to_string(), expected);
    assert_eq!(tree.span, text.len() - text.trim_start().len()..text.trim_end().len());
    assert_eq!(parse(expected).expect("what is written can be read").to_string(), expected);
}

#[track_caller]
fn refuse(text: &str, at: &str, message: &str) {
    let error = parse(text).expect_err(text);
    assert_eq!(error.message, message);
    assert_eq!(&text[error.span.clone()], at, "{text}: {:?}", error.span);
}

#[test]
fn values() {
    check("12", "12");
    check("1_000", "1000");
    check("0x1F", "31");
    check("00", "0");
    check("1.", "1.0");
    check(".5", "0.5");
    check("1e-3", "0.001");
    check("1_0.5e1", "105.0");
    check(r#" "a'\n\\\d" "#, r"'a\'\n\\\\d'");
    check("[True, False, None]", "[True, False, None]");
    check("用户_1", "用户_1");
    check("[]", "[]");
    check("[1, 2,]", "[1, 2]");
    check("()", "()");
    check("(1,)", "(1,)");
    check("(1, 2)", "(1, 2)");
    check("((1))", "1");
    check("tf.nn.relu", "tf.nn.relu");
}

#[test]
fn precedence_is_that_of_python() {
    check("1 + 2 * 3", "(1 + (2 * 3))");
    check("1 - 2 - 3", "((1 - 2) - 3)");
    check("(1 - 2) * 3", "((1 - 2) * 3)");
    check("a / b // c % d @ e", "((((a / b) // c) % d) @ e)");
    check("-2 ** 2", "(-(2 ** 2))");
    check("2 ** -1", "(2 ** (-1))");
    check("2 ** 3 ** 4", "(2 ** (3 ** 4))");
    check("-x[0].y ** 2", "(-(x[0].y ** 2))");
    check("~a & b ^ c | d", "((((~a) & b) ^ c) | d)");
    check("a | b == c & d", "((a | b) == (c & d))");
    check("a < b <= c + 1", "(a < b <= (c + 1))");
    check("(a < b) < c", "((a < b) < c)");
    check("not a == b and c or d", "(((not (a == b)) and c) or d)");
    check("not not a", "(not (not a))");
    check("a or b and c", "(a or (b and c))");
    check("a if b else c if d else e", "(a if b else (c if d else e))");
    check("a if b > 1 else lambda: 1", "(a if (b > 1) else (lambda: 1))");
    check("a > 1 and b != 2 or c >= -3", "(((a > 1) and (b != 2)) or (c >= (-3)))");
}

#[test]
fn forms_of_sample_configs() {
    check("lambda x: tf.reduce_sum(x, axis=1, keepdims=True)", "lambda x: tf.reduce_sum(x, axis=1, keepdims=True)");
    check("lambda x, i: [x[i], x[i+1]]", "lambda x, i: [x[i], x[(i + 1)]]");
    check("lambda x: x[:2]", "lambda x: x[:2]");
    check("lambda x: x[:, None, 1:-1, ::2, ...]", "lambda x: x[:, None, 1:(-1), ::2, ...]");
    check("lambda x: tf.unstack(tf.reshape(x, [-1, 26, 16]), axis=1)", "lambda x: tf.unstack(tf.reshape(x, [(-1), 26, 16]), axis=1)");
    check(
        "lambda x: tf.stack([tf.to_float(t) for t in x], axis=1) if x[0].shape.ndims == 1 else tf.concat(x, axis=1)",
        "lambda x: (tf.stack([tf.to_float(t) for t in x], axis=1) if (x[0].shape.ndims == 1) else tf.concat(x, axis=1))",
    );
    check("[t for t in x if t > 1]", "[t for t in x if (t > 1)]");
    check("age / 10.0 + gender * 2", "((age / 10.0) + (gender * 2))");
    check("tf.nn.relu(features = x)", "tf.nn.relu(features=x)");
    check("(lambda x: x)(1)", "(lambda x: x)(1)");
}

#[test]
fn subscripts_alone() {
    for (text, expected) in [("[1]", "x[1]"), ("[0][:, 2]", "x[0][:, 2]"), ("", "x"), (" [-1] ", "x[(-1)]"), ("[0].a", "x[0].a")] {
        assert_eq!(parse_subscripts(text, "x").map(|tree| tree.to_string()), Ok(expected.to_owned()));
    }
    assert_eq!(parse_subscripts("1", "x").unwrap_err().message, "unexpected number; expected an index such as `[0]` or `[:2]`");
    assert_eq!(parse_subscripts("[1] + 2", "x").unwrap_err().message, "unexpected `+`; expected an operator or the end");
}

#[test]
fn errors_have_places() {
    refuse("", "", "the expression ends; expected a value");
    refuse("1 +", "", "the expression ends; expected a value");
    refuse("x[0", "[", "`[` is not closed");
    refuse("f(x", "(", "`(` is not closed");
    refuse("f(x]", "]", "unexpected `]`; expected `,` or `)`");
    refuse("[1, 2", "[", "`[` is not closed");
    refuse("(1, 2", "(", "`(` is not closed");
    refuse("x[]", "]", "unexpected `]`; expected an index");
    refuse("x = 1", "=", "`=` sets nothing here; expected an operator or the end");
    refuse("x y", "y", "unexpected `y`; expected an operator or the end");
    refuse("x in y", "in", "`in` is not supported; expected an operator or the end");
    refuse("a if b", "", "the expression ends; expected `else`");
    refuse("lambda x", "", "the expression ends; expected `:`");
    refuse("lambda x, x: 1", "x", "parameter `x` is declared twice");
    refuse("lambda 1: 1", "1", "unexpected number; expected a parameter's name or `:`");
    refuse("1 + lambda: 1", "lambda", "unexpected `lambda`; put the `lambda` into parentheses");
    refuse("f(a=1, a=2)", "a", "`a` is given twice");
    refuse("f(a=1, 2)", "2", "an argument without a keyword follows one with a keyword");
    refuse("x.1", ".1", "unexpected number; expected an operator or the end");
    refuse("x.(", "(", "unexpected `(`; expected a name behind the dot");
    refuse("x ? y", "?", "`?` has no meaning here");
    refuse("'abc", "'", "' is not closed");
    refuse("f'abc'", "f", "texts with a prefix such as `f` are not supported");
    refuse("1abc", "1abc", "`1abc` is no number");
    refuse("1j", "1j", "`1j` is no number");
    refuse("0x", "0x", "`0x` is no number");
    refuse("012", "012", "`012` is no number: it begins with 0");
    refuse("1__0", "1__0", "`1__0` is no number");
    refuse("99999999999999999999", "99999999999999999999", "`99999999999999999999` is too large a number");
    refuse("1e999", "1e999", "`1e999` is too large a number");
    refuse("[t for 1 in x]", "1", "unexpected number; expected a name behind `for`");
    refuse("import os", "import", "unexpected `import`; expected a value");
}

#[test]
fn nesting_is_limited() {
    let deep = MAX_DEPTH + 10;
    for text in [
        "(".repeat(deep),
        format!("{}x{}", "(".repeat(deep), ")".repeat(deep)),
        format!("x{}", "[0]".repeat(deep)),
        format!("x{}", "+x".repeat(deep)),
        format!("x{}", "**x".repeat(deep)),
        format!("{}x", "-".repeat(deep)),
        format!("{}x", "not ".repeat(deep)),
        format!("{}x", "lambda: ".repeat(deep)),
        format!("x{}", ".x".repeat(deep)),
        "[".repeat(100_000),
        "x if x else ".repeat(100_000),
    ] {
        let error = parse(&text).expect_err("too deep");
        assert!(error.message.contains("nested more than") || error.message.contains("not closed"), "{}", error.message);
    }
    assert!(parse(&format!("x{}", "+x".repeat(MAX_DEPTH / 2))).is_ok());
}

/// A random expression, written out.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["x", "y_1", "1", "2.5", "'a'", "None", "True", "tf.nn.relu"]).prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 4, |inner| {
        let sign = prop::sample::select(vec!["+", "-", "*", "/", "//", "%", "@", "**", "|", "^", "&", "<", "==", ">=", " and ", " or "]);
        prop_oneof![
            (inner.clone(), sign, inner.clone()).prop_map(|(a, sign, b)| format!("{a}{sign}{b}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("(not {a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("f({a}, k={b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("x[{a}:{b}, ..., {a}]")),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|parts| format!("[{}]", parts.join(","))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a},{b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} if {b} else {a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a} for t in {b}]")),
            inner.prop_map(|a| format!("(lambda x, y: {a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_text_is_read_or_refused_at_a_place(text in any::<String>()) {
        if let Err(error) = parse(&text) {
            prop_assert!(text.get(error.span).is_some());
        }
    }

    #[test]
    fn random_tokens_are_read_or_refused(tokens in prop::collection::vec(prop::sample::select(vec![
        "lambda", "x", ":", "[", "]", "(", ")", ",", "=", "1", "2.", "-", "**", "not", "and", "if", "else", "for", "in", ".", "...", "'a'",
        "None", "<", "~", "|",
    ]), 0..40)) {
        let text = tokens.join(" ");
        match parse(&text) {
            Ok(tree) => prop_assert_eq!(parse(&tree.to_string()).map(|tree| tree.to_string()), Ok(tree.to_string())),
            Err(error) => prop_assert!(text.get(error.span).is_some()),
        }
    }

    #[test]
    fn what_is_written_reads_the_same(text in expression()) {
        let tree = parse(&text).expect("a valid expression");
        let written = tree.to_string();
        prop_assert_eq!(parse(&written).expect("what is written can be read").to_string(), written);
    }
}

#[test]
fn errors_point_into_the_config() {
    let text = "model_config { model_name: 'x[0' }\nmodel_dir: 'a' 'b'";
    let pipeline = Pipeline::parse("f", text, &Edits::default()).expect("a config");
    let error = parse("x[0").unwrap_err();
    let diagnostic = pipeline.error_within("model_config.model_name", error.span.clone(), error.message);
    assert_eq!(
        diagnostic.to_string(),
        "f:1:30: `[` is not closed\n  | model_config { model_name: 'x[0' }\n  |                              ^"
    );
    let whole = pipeline.error_within("model_dir", 0..1, "wrong");
    assert_eq!(whole.span(), pipeline.locate("model_dir"));
    assert_eq!(pipeline.error_within("model_dir", 5..9, "wrong").span(), pipeline.locate("model_dir"));
}

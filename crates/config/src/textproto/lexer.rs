//! Splits protobuf text into words, quoted strings and symbols.
//!
//! A word is whatever could be a name or a number; `tf.nn.relu` and `a/b` are single words, so that a forgotten quote
//! gives one message instead of several.

use std::ops::Range;

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name, a number, `true`, `-inf`.
    Word,
    /// A quoted string on one line.
    Quoted,
    /// A quoted string whose closing quote is missing; it ends with its line.
    Unclosed,
    /// Any other single character.
    Symbol(char),
    /// The end of the text.
    End,
}

/// A token and the bytes it covers.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
}

/// All tokens of a text, the last of kind [`Kind::End`].
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let start = at;
        at += first.len_utf8();
        let kind = match first {
            c if c.is_whitespace() => continue,
            '#' => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
                continue;
            }
            '"' | '\'' => {
                let (length, kind) = quoted(&text[at..], first);
                at += length;
                kind
            }
            c if in_word(c) => {
                at += text[at..].find(|c| !in_word(c)).unwrap_or(text.len() - at);
                Kind::Word
            }
            c => Kind::Symbol(c),
        };
        found.push(Token { kind, range: start..at });
    }
    found.push(Token { kind: Kind::End, range: at..at });
    found
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '+' | '-' | '.' | '/')
}

/// Length of a string after its opening quote, with the closing one.
fn quoted(rest: &str, quote: char) -> (usize, Kind) {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            '\n' => return (at, Kind::Unclosed),
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return (at + 1, Kind::Quoted),
            _ => {}
        }
    }
    (rest.len(), Kind::Unclosed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits() {
        let text = "a_b: -1.5e3 # c\n'x\\'y'\"z\" {<[用户 tf.nn.relu 'open\n}";
        let words: Vec<(Kind, &str)> = tokens(text).into_iter().map(|t| (t.kind, &text[t.range])).collect();
        assert_eq!(
            words,
            [
                (Kind::Word, "a_b"),
                (Kind::Symbol(':'), ":"),
                (Kind::Word, "-1.5e3"),
                (Kind::Quoted, "'x\\'y'"),
                (Kind::Quoted, "\"z\""),
                (Kind::Symbol('{'), "{"),
                (Kind::Symbol('<'), "<"),
                (Kind::Symbol('['), "["),
                (Kind::Word, "用户"),
                (Kind::Word, "tf.nn.relu"),
                (Kind::Unclosed, "'open"),
                (Kind::Symbol('}'), "}"),
                (Kind::End, ""),
            ]
        );
    }
}

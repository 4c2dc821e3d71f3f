//! Cuts the text of an expression into tokens.

use std::ops::Range;

use super::ExpressionError;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Integer(i64),
    Float(f64),
    Text(String),
    /// A name or a word such as `lambda`.
    Word(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Operators and brackets, longer ones first.
const SIGNS: &[&str] = &[
    "...", "**", "//", "==", "!=", "<=", ">=", "(", ")", "[", "]", ",", ":", ".", "+", "-", "*", "/", "%", "@", "|", "^", "&", "~", "<",
    ">", "=",
];

/// The tokens with their places; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, ExpressionError> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (token, length) = token(text, at, c)?;
        out.push((token, at..at + length));
        at += length;
    }
    out.push((Token::End, text.len()..text.len()));
    Ok(out)
}

fn token(text: &str, at: usize, first: char) -> Result<(Token, usize), ExpressionError> {
    let rest = &text[at..];
    let second_is_digit = rest[first.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
    match first {
        '\'' | '"' => quoted(text, at, first),
        '0'..='9' => number(text, at),
        '.' if second_is_digit => number(text, at),
        _ if is_word_start(first) => {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if rest[length..].starts_with(['\'', '"']) {
                let message = format!("texts with a prefix such as `{}` are not supported", &rest[..length]);
                return Err(ExpressionError::new(at..at + length, message));
            }
            Ok((Token::Word(rest[..length].to_owned()), length))
        }
        _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => Ok((Token::Sign(sign), sign.len())),
            None => Err(ExpressionError::new(at..at + first.len_utf8(), format!("`{}` has no meaning here", first.escape_debug()))),
        },
    }
}

fn is_word_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// A number: digits, a fraction, an exponent; `_` may stand between digits.
fn number(text: &str, at: usize) -> Result<(Token, usize), ExpressionError> {
    let rest = &text[at..];
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'_').count();
    let mut end = 0;
    let mut is_float = false;
    if rest.starts_with("0x") || rest.starts_with("0X") {
        end = 2 + bytes[2..].iter().take_while(|byte| byte.is_ascii_hexdigit() || **byte == b'_').count();
    } else {
        end += digits(0);
        if bytes.get(end) == Some(&b'.') {
            is_float = true;
            end += 1 + digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > 0 {
                is_float = true;
                end += 1 + sign + exponent;
            }
        }
    }
    let tail = rest[end..].find(|c| !is_word(c)).unwrap_or(rest.len() - end);
    let wrong = |reason: &str| Err(ExpressionError::new(at..at + end + tail, format!("`{}` is {reason}", &rest[..end + tail])));
    let shown = &rest[..end];
    if tail > 0 || shown.ends_with('_') || shown.contains("__") || shown.contains("_.") || shown.contains("._") {
        return wrong("no number");
    }
    let plain = shown.replace('_', "");
    if is_float {
        return match plain.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok((Token::Float(number), end)),
            Ok(_) => wrong("too large a number"),
            Err(_) => wrong("no number"),
        };
    }
    let (digits, radix) = match plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (plain.as_str(), 10),
    };
    if radix == 10 && digits.len() > 1 && digits.starts_with('0') && !digits.trim_matches('0').is_empty() {
        return wrong("no number: it begins with 0");
    }
    match i64::from_str_radix(digits, radix) {
        Ok(number) => Ok((Token::Integer(number), end)),
        Err(_) if digits.is_empty() => wrong("no number"),
        Err(_) => wrong("too large a number"),
    }
}

/// A text in quotes, with the escapes `\\`, `\'`, `\"`, `\n`, `\t`, `\r`; another backslash stands for itself.
fn quoted(text: &str, at: usize, quote: char) -> Result<(Token, usize), ExpressionError> {
    let mut value = String::new();
    let mut chars = text[at + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((Token::Text(value), offset + 2)),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, escaped @ ('\\' | '\'' | '"'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err(ExpressionError::new(at..at + 1, format!("{quote} is not closed")))
}

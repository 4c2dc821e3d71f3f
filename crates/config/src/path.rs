//! Paths into a config: `model_config.feature_groups[0].feature_names[1]`, as used by diagnostics and edits.

use std::fmt;

/// Which elements of a repeated field a step means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    /// `[3]`; `[-1]` is the last one.
    At(i64),
    /// `[+]`: a new element at the end.
    Append,
    /// `[:]`, `[1:3]`, `[2:]`.
    Range(Option<usize>, Option<usize>),
    /// `[input_names[0]="user_id"]`: the elements whose field compares so.
    Where(Vec<Step>, Comparison, String),
    /// `["units"]`: a map's key.
    Key(String),
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) selector: Option<Selector>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.selector {
            Some(Selector::At(index)) => write!(f, "[{index}]"),
            Some(Selector::Append) => f.write_str("[+]"),
            Some(_) => f.write_str("[…]"),
            None => Ok(()),
        }
    }
}

/// Reads a path.
pub(crate) fn parse(path: &str) -> Result<Vec<Step>, String> {
    parse_nested(path, 0)
}

fn parse_nested(path: &str, depth: usize) -> Result<Vec<Step>, String> {
    if depth > 8 {
        return Err("conditions are nested too deep".to_owned());
    }
    split(path)?.into_iter().map(|part| step(part, depth)).collect()
}

/// Splits at the dots outside brackets and quotes.
fn split(path: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let mut start = 0;
    for at in outside(path)? {
        if path.as_bytes()[at] == b'.' {
            parts.push(&path[start..at]);
            start = at + 1;
        }
    }
    parts.push(&path[start..]);
    Ok(parts)
}

/// Offsets of the ASCII characters outside brackets and quotes.
fn outside(path: &str) -> Result<Vec<usize>, String> {
    let (mut depth, mut quote) = (0_usize, None);
    let mut found = Vec::new();
    for (at, c) in path.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => depth = depth.checked_sub(1).ok_or_else(|| format!("`]` without `[` in `{path}`"))?,
            (None, c) if depth == 0 && c.is_ascii() => found.push(at),
            _ => {}
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is not closed in `{path}`"));
    }
    if depth > 0 {
        return Err(format!("`[` is not closed in `{path}`"));
    }
    Ok(found)
}

fn step(part: &str, depth: usize) -> Result<Step, String> {
    let part = part.trim();
    let Some(open) = part.find('[') else {
        if part.is_empty() {
            return Err("a name is empty".to_owned());
        }
        return Ok(Step { name: part.to_owned(), selector: None });
    };
    let (name, rest) = part.split_at(open);
    let inner = rest[1..].strip_suffix(']').ok_or_else(|| format!("`{part}` must end with `]`"))?.trim();
    if name.is_empty() {
        return Err(format!("`{part}` has no name before `[`"));
    }
    let selector = selector(inner, depth)?;
    Ok(Step { name: name.trim().to_owned(), selector: Some(selector) })
}

fn selector(inner: &str, depth: usize) -> Result<Selector, String> {
    if inner == "+" {
        return Ok(Selector::Append);
    }
    if let Ok(index) = inner.parse() {
        return Ok(Selector::At(index));
    }
    if let Some(key) = unquoted(inner) {
        return Ok(Selector::Key(key.to_owned()));
    }
    let outside = outside(inner)?;
    for (sign, comparison) in [
        (">=", Comparison::GreaterOrEqual),
        ("<=", Comparison::LessOrEqual),
        ("==", Comparison::Equal),
        (">", Comparison::Greater),
        ("<", Comparison::Less),
        ("=", Comparison::Equal),
    ] {
        let Some(&at) = outside.iter().find(|&&at| inner[at..].starts_with(sign)) else { continue };
        let value = inner[at + sign.len()..].trim();
        let value = unquoted(value).unwrap_or(value).to_owned();
        return Ok(Selector::Where(parse_nested(&inner[..at], depth + 1)?, comparison, value));
    }
    let bound = |text: &str| match text.trim() {
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| refused(inner)),
    };
    let (from, to) = inner.split_once(':').ok_or_else(|| refused(inner))?;
    Ok(Selector::Range(bound(from)?, bound(to)?))
}

fn refused(inner: &str) -> String {
    format!("`[{inner}]` selects nothing; expected `[0]`, `[+]`, `[:]`, `[1:3]` or `[field=value]`")
}

fn unquoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = text[1..].strip_suffix(quote)?;
    (!inner.contains(quote)).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(name: &str) -> Step {
        Step { name: name.into(), selector: None }
    }

    fn with(name: &str, selector: Selector) -> Step {
        Step { name: name.into(), selector: Some(selector) }
    }

    #[test]
    fn reads_every_selector() {
        assert_eq!(parse("a.b"), Ok(vec![plain("a"), plain("b")]));
        assert_eq!(parse("a[0].b[-1]"), Ok(vec![with("a", Selector::At(0)), with("b", Selector::At(-1))]));
        assert_eq!(parse("a[+]"), Ok(vec![with("a", Selector::Append)]));
        assert_eq!(parse("a[:]"), Ok(vec![with("a", Selector::Range(None, None))]));
        assert_eq!(parse("a[1:3]"), Ok(vec![with("a", Selector::Range(Some(1), Some(3)))]));
        assert_eq!(parse("a[\"k.[x\"]"), Ok(vec![with("a", Selector::Key("k.[x".into()))]));
        let condition = Selector::Where(vec![with("n", Selector::At(0))], Comparison::Equal, "x.y".into());
        assert_eq!(parse("a[n[0]=\"x.y\"].b"), Ok(vec![with("a", condition), plain("b")]));
        let condition = Selector::Where(vec![plain("n"), plain("m")], Comparison::GreaterOrEqual, "5".into());
        assert_eq!(parse("a[n.m >= 5]"), Ok(vec![with("a", condition)]));
    }

    #[test]
    fn refuses_nonsense() {
        for path in ["", "a.", ".a", "a[", "a]", "a[x]", "[0]", "a[0]b", "a['x]", "a[1:x]", "a[[0]]"] {
            assert!(parse(path).is_err(), "{path}");
        }
    }
}

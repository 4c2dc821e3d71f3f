//! Problems of a config, each with its place: `file:line:column: message; help`, the source line and a caret below.

use std::fmt;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The config works, but likely not as meant.
    Warning,
    /// The config cannot be used.
    Error,
}

/// Where something stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The file's name, or the edit (`--set train_config.num_steps=100`) that set the value.
    pub file: String,
    /// Line, counted from 1; 0 when only the file is known.
    pub line: usize,
    /// Column in characters, counted from 1; 0 when only the file is known.
    pub column: usize,
    /// Number of characters to underline; may be 0.
    pub length: usize,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One problem and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The file's name, or the edit (`--set …`) that set the value.
    pub file: String,
    /// Line, counted from 1; 0 when only the file is known.
    pub line: usize,
    /// Column in characters, counted from 1; 0 when only the file is known.
    pub column: usize,
    /// Number of characters to underline.
    pub length: usize,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What was expected or how to repair it.
    pub help: Option<String>,
    /// The line of the file that holds the place.
    pub source_line: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: span.file,
            line: span.line,
            column: span.column,
            length: span.length,
            message: message.into(),
            help: None,
            source_line: None,
        }
    }

    /// A warning at a place.
    pub fn warning(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(span, message) }
    }

    /// Adds what was expected or how to repair it; a second help is appended after a semicolon.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Diagnostic {
        let help = help.into();
        if help.is_empty() {
            return self;
        }
        self.help = Some(match self.help {
            Some(earlier) => format!("{earlier}; {help}"),
            None => help,
        });
        self
    }

    /// Adds the line of the file that holds the place.
    #[must_use]
    pub fn with_source_line(mut self, line: Option<&str>) -> Diagnostic {
        self.source_line = line.map(str::to_owned);
        self
    }

    /// The place.
    #[must_use]
    pub fn span(&self) -> Span {
        Span { file: self.file.clone(), line: self.line, column: self.column, length: self.length }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.span())?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        let (Some(source), true) = (&self.source_line, self.line > 0) else {
            return Ok(());
        };
        let column = self.column.saturating_sub(1);
        write!(f, "\n  | ")?;
        source.chars().try_for_each(|c| write!(f, "{}", if c.is_control() { ' ' } else { c }))?;
        write!(f, "\n  | {:column$}", "")?;
        let room = source.chars().count().saturating_sub(column).max(1);
        write!(f, "{:^<width$}", "^", width = self.length.clamp(1, room))
    }
}

/// All problems found, in the order of their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of problems.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The problems in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Whether at least one is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Sorts by place; problems of the same place keep their order.
    pub(crate) fn sort(&mut self) {
        self.0.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics(vec![diagnostic])
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            writeln!(f, "{diagnostic}")?;
        }
        let errors = self.0.iter().filter(|d| d.severity == Severity::Error).count();
        let warnings = self.0.len() - errors;
        let count = |number: usize, word: &str| match number {
            1 => format!("1 {word}"),
            _ => format!("{number} {word}s"),
        };
        match (errors, warnings) {
            (_, 0) => f.write_str(&count(errors, "error")),
            (0, _) => f.write_str(&count(warnings, "warning")),
            _ => write!(f, "{}, {}", count(errors, "error"), count(warnings, "warning")),
        }
    }
}

impl std::error::Error for Diagnostics {}

/// Says which of `valid` was probably meant by `found`: "did you mean `x`?", or nothing if none is near.
#[must_use]
pub fn did_you_mean<'a>(found: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(found, valid) {
        Some(name) => format!("did you mean `{name}`?"),
        None => String::new(),
    }
}

/// The nearest of `valid` by edit distance, if it is near enough to be a slip of the hand.
#[must_use]
pub fn nearest<'a>(found: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(found);
    let mut best: Option<(usize, &str)> = None;
    for name in valid {
        let other = fold(name);
        let limit = (folded.len().max(other.len()) / 3).min(4);
        let distance = edit_distance(&folded, &other);
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

fn fold(name: &str) -> Vec<char> {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    letters.flat_map(char::to_lowercase).take(200).collect()
}

/// Levenshtein distance in which swapping two neighbours counts as one edit.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut cost = (above[j] + usize::from(a[i] != b[j])).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("embeding_dim", "embedding_dim", 1), ("", "abc", 3), ("ab", "ba", 1), ("kitten", "sitting", 3), ("same", "same", 0)]
        {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert_eq!(edit_distance(&a, &b), expected);
            assert_eq!(edit_distance(&b, &a), expected);
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["embedding_dim", "embedding_name", "separator"];
        assert_eq!(nearest("embeding_dim", names), Some("embedding_dim"));
        assert_eq!(nearest("Separator", names), Some("separator"));
        assert_eq!(nearest("batch_size", names), None);
        assert_eq!(nearest("x", names), None);
    }

    #[test]
    fn rendering() {
        let span = Span { file: "a.config".into(), line: 2, column: 3, length: 4 };
        let diagnostic = Diagnostic::error(span, "message").with_help("one").with_help("two").with_source_line(Some("\tabcdef"));
        assert_eq!(diagnostic.to_string(), "a.config:2:3: message; one; two\n  |  abcdef\n  |   ^^^^");
        let warning = Diagnostic::warning(Span { file: "--set a=1".into(), ..Span::default() }, "ignored");
        assert_eq!(warning.to_string(), "--set a=1: warning: ignored");
        let both = Diagnostics(vec![diagnostic, warning]);
        assert!(both.to_string().ends_with("\n1 error, 1 warning"));
    }
}

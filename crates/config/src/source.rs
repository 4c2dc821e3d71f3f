//! A text with a name, and the way from byte offsets to lines and columns.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Severity, Span};

/// A config file, or an edit from the command line.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    name: String,
    text: String,
    line_starts: Vec<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Edit,
}

impl Source {
    pub(crate) fn file(name: &str, text: &str) -> Source {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Source { name: name.to_owned(), text: text.to_owned(), line_starts, kind: Kind::File }
    }

    /// The value of an edit; `name` is the whole edit, which says more than a column would.
    pub(crate) fn edit(name: &str, text: &str) -> Source {
        Source { kind: Kind::Edit, ..Source::file(name, text) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Line, counted from 1, of a byte offset.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }

    /// Text of a line, counted from 1.
    pub(crate) fn line(&self, number: usize) -> Option<&str> {
        let start = *self.line_starts.get(number.checked_sub(1)?)?;
        let rest = &self.text[start..];
        let line = rest.split('\n').next().unwrap_or(rest);
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    pub(crate) fn span(&self, range: &Range<usize>) -> Span {
        if self.kind == Kind::Edit {
            return Span { file: self.name.clone(), ..Span::default() };
        }
        let line = self.line_of(range.start);
        let start = self.line_starts[line - 1];
        let column = self.text[start..range.start].chars().count() + 1;
        let shown = self.text[range.clone()].split('\n').next().unwrap_or("");
        Span { file: self.name.clone(), line, column, length: shown.chars().count() }
    }

    /// Number of blanks before the first word of the line of `offset`.
    pub(crate) fn indent_of(&self, offset: usize) -> usize {
        self.blanks_before(offset).chars().count()
    }

    /// Whether only blanks stand before `offset` in its line.
    pub(crate) fn begins_line(&self, offset: usize) -> bool {
        self.line_starts[self.line_of(offset) - 1] + self.blanks_before(offset).len() == offset
    }

    /// The blanks at the start of the line of `offset`. It must not look at the rest of the line, which may be long.
    fn blanks_before(&self, offset: usize) -> &str {
        let rest = &self.text[self.line_starts[self.line_of(offset) - 1]..];
        let end = rest.find(|c: char| c == '\n' || !c.is_whitespace()).unwrap_or(rest.len());
        &rest[..end]
    }

    pub(crate) fn problem(&self, severity: Severity, range: &Range<usize>, message: String) -> Diagnostic {
        let span = self.span(range);
        let line = self.line(span.line);
        let diagnostic = match severity {
            Severity::Error => Diagnostic::error(span, message),
            Severity::Warning => Diagnostic::warning(span, message),
        };
        diagnostic.with_source_line(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters() {
        let source = Source::file("f", "\u{feff}ab\r\n用户x\n");
        let at = source.text().find('x').expect("x is there");
        let span = source.span(&(at..at + 1));
        assert_eq!((span.line, span.column, span.length), (2, 3, 1));
        assert_eq!(source.line(1), Some("ab"));
        assert_eq!(source.line(2), Some("用户x"));
        assert_eq!(source.line(0), None);
        assert_eq!(source.line(9), None);
        let end = source.text().len();
        assert_eq!(source.span(&(end..end)).line, 3);
    }
}

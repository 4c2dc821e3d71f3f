//! How reading goes on after a problem: what to skip, and which brace was forgotten.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::lexer::{Kind as TokenKind, Token};
use super::reader::{Closed, Reader, Suspect};
use super::scalar;

impl Reader<'_> {
    /// Whether a token can begin a value. A word before a colon or a brace is the next field's name instead.
    pub(super) fn starts_value(&self, token: &Token) -> bool {
        match token.kind {
            TokenKind::Word => {
                let after = self.tokens.get(self.next + 1).map(|token| token.kind);
                !matches!(after, Some(TokenKind::Symbol(':' | '{' | '<')))
            }
            TokenKind::Quoted | TokenKind::Unclosed => true,
            TokenKind::Symbol(symbol) => matches!(symbol, '{' | '<' | '['),
            TokenKind::End => false,
        }
    }

    /// Skips an optional colon and the value behind it, whatever it is.
    pub(super) fn skip_value(&mut self) {
        let colon = self.accept(':');
        let token = self.token();
        match token.kind {
            TokenKind::Symbol('{' | '<' | '[') => self.skip_block(),
            TokenKind::Quoted | TokenKind::Unclosed => {
                while matches!(self.token().kind, TokenKind::Quoted | TokenKind::Unclosed) {
                    self.next += 1;
                }
            }
            TokenKind::Word if self.starts_value(&token) => {
                let line = |at: usize| self.source.line_of(self.tokens[at].range.start);
                if colon || (self.next > 0 && line(self.next) == line(self.next - 1)) {
                    self.next += 1;
                }
            }
            _ => {}
        }
    }

    /// Skips from an opening brace or bracket to its closing one.
    pub(super) fn skip_block(&mut self) {
        let opening = self.token();
        let mut depth = 0_usize;
        loop {
            match self.token().kind {
                TokenKind::Symbol('{' | '<' | '[') => depth += 1,
                TokenKind::Symbol('}' | '>' | ']') => depth -= 1,
                TokenKind::End => {
                    self.error(&opening.range, format!("`{}` is never closed", self.text(&opening.range)), "");
                    return;
                }
                _ => {}
            }
            self.next += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Whether a field is none of the open message, but one of a message around it, and stands no further right than
    /// the open message's own field: then a closing brace is missing before it.
    pub(super) fn belongs_outside(&self, token: &Token) -> bool {
        let name = self.text(&token.range);
        let Some((open, around)) = self.open.split_last() else { return false };
        if open.brace.is_none() || open.descriptor.get_field_by_name(name).is_some() {
            return false;
        }
        if self.source.indent_of(token.range.start) > open.indent {
            return false;
        }
        let knows = |descriptor: &MessageDescriptor| descriptor.get_field_by_name(name).is_some();
        around.iter().any(|outer| knows(&outer.descriptor))
    }

    /// Consumes the closing brace of a message, or reports that it is missing.
    pub(super) fn close(&mut self, opening: &Token, name: &str, indent: usize, descriptor: MessageDescriptor) {
        let token = self.token();
        let closing = if self.text(&opening.range) == "<" { '>' } else { '}' };
        let TokenKind::Symbol(found @ ('}' | '>')) = token.kind else {
            self.unclosed(opening, name);
            return;
        };
        self.next += 1;
        let line = self.source.line_of(token.range.start);
        self.closed = Some(Closed { descriptor, name: name.to_owned(), line });
        if found != closing {
            let opened = self.text(&opening.range);
            self.error(&token.range, format!("`{found}` closes the `{opened}` of `{name}`"), &format!("expected `{closing}`"));
        }
        let first_of_line = self.source.begins_line(token.range.start);
        let left_of_field = first_of_line && self.source.indent_of(token.range.start) < indent;
        let other_line = self.source.line_of(token.range.start) != self.source.line_of(opening.range.start);
        if left_of_field && other_line {
            self.suspects.push(Suspect { brace: opening.range.clone(), name: name.to_owned() });
        }
    }

    fn unclosed(&mut self, opening: &Token, name: &str) {
        let suspects = std::mem::take(&mut self.suspects).into_iter();
        let suspect = suspects.filter(|suspect| suspect.brace.start > opening.range.start).min_by_key(|s| s.brace.start);
        let (brace, name) = match &suspect {
            Some(suspect) => (suspect.brace.clone(), suspect.name.as_str()),
            None => (opening.range.clone(), name),
        };
        let token = self.token();
        let line = self.source.line_of(token.range.start);
        let help = match token.kind {
            TokenKind::End => format!("expected `{}` before the end of the file", closing_of(self.text(&brace))),
            _ => format!("expected `{}` before `{}` in line {line}", closing_of(self.text(&brace)), self.text(&token.range)),
        };
        self.error(&brace, format!("the `{}` of `{name}` is never closed", self.text(&brace)), &help);
    }

    pub(super) fn unclosed_list(&mut self, field: &FieldDescriptor, opening: &Token, found: &Token) {
        let after_comma = self.next > 0 && self.text(&self.tokens[self.next - 1].range.clone()) == ",";
        if after_comma && found.kind == TokenKind::Symbol(']') {
            self.error(&found.range, format!("expected a value after `,` in the list of `{}`", field.name()), "");
            self.next += 1;
            return;
        }
        self.error(&opening.range, format!("the `[` of `{}` is never closed", field.name()), "expected `]`");
    }

    pub(super) fn unexpected_in_message(&mut self, token: &Token) {
        let text = self.text(&token.range).to_owned();
        let (message, help) = match token.kind {
            TokenKind::Quoted | TokenKind::Unclosed => (format!("unexpected string {text}"), "expected a field name"),
            TokenKind::Symbol('[') => ("extensions and `Any` are not supported".to_owned(), "expected a field name"),
            _ => (format!("unexpected `{text}`"), "expected a field name"),
        };
        self.error(&token.range, message, help);
        match token.kind {
            TokenKind::Symbol('{' | '<' | '[') => self.skip_value(),
            _ => self.next += 1,
        }
    }

    pub(super) fn wrong_value(&mut self, field: &FieldDescriptor) {
        let token = self.token();
        let name = field.name();
        let message = match (token.kind, field.kind()) {
            (TokenKind::Symbol('['), _) => format!("`{name}` takes one value, not a list"),
            (TokenKind::Symbol('{' | '<'), _) => format!("`{name}` takes no message"),
            (_, Kind::Message(_)) => format!("`{name}` takes a message, not {}", self.text(&token.range)),
            _ => format!("`{name}` takes no {}", self.text(&token.range)),
        };
        self.error(&token.range, message, &scalar::expected(&field.kind()));
    }

    pub(super) fn missing_value(&mut self, field: &FieldDescriptor, name: &std::ops::Range<usize>) {
        self.error(name, format!("`{}` has no value", field.name()), &scalar::expected(&field.kind()));
    }
}

fn closing_of(opening: &str) -> &'static str {
    if opening == "<" { ">" } else { "}" }
}

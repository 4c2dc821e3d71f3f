//! The grammar: fields, messages, lists and scalars, driven by the descriptors of the schema.

use std::ops::Range;

use prost_reflect::{Cardinality, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

use super::Origin;
use super::lexer::{self, Kind as TokenKind, Token};
use super::scalar::{self, Refused};
use crate::diagnostic::{Diagnostic, Severity, did_you_mean};
use crate::places::{Index, Place, Places};
use crate::source::Source;

/// Messages may nest this deep; protobuf's own readers stop there too.
const MAX_DEPTH: usize = 100;

/// A message whose closing brace has not been seen yet.
pub(super) struct Open {
    pub(super) descriptor: MessageDescriptor,
    /// The opening brace; `None` for the root.
    pub(super) brace: Option<Range<usize>>,
    pub(super) indent: usize,
}

pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    pub(super) tokens: Vec<Token>,
    pub(super) next: usize,
    pub(super) problems: Vec<Diagnostic>,
    pub(super) open: Vec<Open>,
    /// Braces closed by one that stands further left than their field: the likely culprits if a brace turns out to be
    /// missing.
    pub(super) suspects: Vec<Suspect>,
    /// The message that was closed last.
    pub(super) closed: Option<Closed>,
    origin: Origin,
}

/// A message that has been read to its closing brace in that line.
pub(super) struct Closed {
    pub(super) descriptor: MessageDescriptor,
    pub(super) name: String,
    pub(super) line: usize,
}

/// See [`Reader::suspects`].
pub(super) struct Suspect {
    pub(super) brace: Range<usize>,
    pub(super) name: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source, origin: Origin) -> Reader<'a> {
        let tokens = lexer::tokens(source.text());
        Reader { source, tokens, next: 0, problems: Vec::new(), open: Vec::new(), suspects: Vec::new(), closed: None, origin }
    }

    /// Reads the fields of the root message, up to the end of the text.
    pub(super) fn fields(&mut self, message: &mut DynamicMessage, places: &mut Places) {
        self.open.push(Open { descriptor: message.descriptor(), brace: None, indent: 0 });
        loop {
            self.field_list(message, places);
            let token = self.token();
            if token.kind == TokenKind::End {
                break;
            }
            self.error(&token.range, format!("unexpected `{}`: nothing is open here", self.text(&token.range)), "");
            self.next += 1;
        }
        self.open.clear();
    }

    /// Reads fields until a closing brace, the end, or a field that shows that a brace is missing.
    fn field_list(&mut self, message: &mut DynamicMessage, places: &mut Places) {
        loop {
            let token = self.token();
            match token.kind {
                TokenKind::End | TokenKind::Symbol('}' | '>') => return,
                TokenKind::Symbol(',' | ';') => {
                    // A lone separator; those after a value are consumed with it.
                    self.error(&token.range, format!("unexpected `{}`", self.text(&token.range)), "expected a field name");
                    self.next += 1;
                }
                TokenKind::Word => {
                    if self.belongs_outside(&token) {
                        return;
                    }
                    self.field(message, places, &token);
                    if matches!(self.token().kind, TokenKind::Symbol(',' | ';')) {
                        self.next += 1;
                    }
                }
                _ => self.unexpected_in_message(&token),
            }
        }
    }

    fn field(&mut self, message: &mut DynamicMessage, places: &mut Places, token: &Token) {
        let name = self.text(&token.range).to_owned();
        self.next += 1;
        let Some(field) = message.descriptor().get_field_by_name(&name) else {
            self.unknown_field(&message.descriptor(), token, &name);
            self.skip_value();
            return;
        };
        let colon = self.accept(':');
        self.note_replaced(message, places, &field, &token.range);
        if matches!(field.kind(), Kind::Message(_)) {
            self.message_field(message, places, &field, &token.range);
            return;
        }
        if !colon {
            let found = self.token();
            self.error(&found.range, format!("expected `:` after `{name}`"), "");
            if !self.starts_value(&found) {
                return;
            }
        }
        self.scalar_field(message, places, &field, &token.range);
    }

    fn message_field(&mut self, message: &mut DynamicMessage, places: &mut Places, field: &FieldDescriptor, name: &Range<usize>) {
        let opening = self.token();
        match opening.kind {
            TokenKind::Symbol('{' | '<') => self.message_value(message, places, field, name),
            TokenKind::Symbol('[') if field.cardinality() == Cardinality::Repeated => {
                self.list(field, |reader| {
                    if matches!(reader.token().kind, TokenKind::Symbol('{' | '<')) {
                        reader.message_value(message, places, field, name);
                        return true;
                    }
                    reader.wrong_value(field);
                    false
                });
            }
            _ if self.starts_value(&opening) => {
                self.wrong_value(field);
                self.skip_value();
            }
            _ => self.missing_value(field, name),
        }
    }

    /// Reads `{ … }` into a new element, or into the message that is there already.
    fn message_value(&mut self, message: &mut DynamicMessage, places: &mut Places, field: &FieldDescriptor, name: &Range<usize>) {
        if self.open.len() > MAX_DEPTH {
            let range = self.token().range;
            self.error(&range, format!("messages are nested more than {MAX_DEPTH} deep"), "");
            self.skip_block();
            return;
        }
        let here = self.place(name);
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return };
            let mut inner = DynamicMessage::new(entry);
            let mut inner_places = Places::at(here);
            self.block(&mut inner, &mut inner_places, field.name(), name);
            insert_entry(message, places, field, &inner, inner_places);
        } else if field.is_list() {
            let Kind::Message(element) = field.kind() else { return };
            let mut inner = DynamicMessage::new(element);
            let mut inner_places = Places::at(here);
            self.block(&mut inner, &mut inner_places, field.name(), name);
            let Some(list) = message.get_field_mut(field).as_list_mut() else { return };
            places.set(field.number(), Index::At(list.len()), inner_places);
            list.push(Value::Message(inner));
        } else {
            let inner_places = places.get_mut(field.number(), Index::At(0));
            if matches!(inner_places.here, Place::Unknown) {
                inner_places.here = here;
            }
            let Some(inner) = message.get_field_mut(field).as_message_mut() else { return };
            self.block(inner, inner_places, field.name(), name);
        }
    }

    /// Reads from an opening brace to its closing one.
    fn block(&mut self, message: &mut DynamicMessage, places: &mut Places, name: &str, name_range: &Range<usize>) {
        let opening = self.token();
        self.next += 1;
        let indent = self.source.indent_of(name_range.start);
        self.open.push(Open { descriptor: message.descriptor(), brace: Some(opening.range.clone()), indent });
        self.field_list(message, places);
        self.open.pop();
        self.close(&opening, name, indent, message.descriptor());
    }

    fn scalar_field(&mut self, message: &mut DynamicMessage, places: &mut Places, field: &FieldDescriptor, name: &Range<usize>) {
        let first = self.token();
        if first.kind == TokenKind::Symbol('[') && field.is_list() {
            self.list(field, |reader| reader.element(message, places, field));
            return;
        }
        if !self.starts_value(&first) {
            self.missing_value(field, name);
            return;
        }
        if !self.element(message, places, field) {
            self.skip_value();
        }
    }

    /// Reads one scalar into its field; false if it was not one and nothing was consumed.
    fn element(&mut self, message: &mut DynamicMessage, places: &mut Places, field: &FieldDescriptor) -> bool {
        let first = self.token();
        let value = match first.kind {
            TokenKind::Word => {
                self.next += 1;
                scalar::word(&field.kind(), self.text(&first.range))
            }
            TokenKind::Quoted | TokenKind::Unclosed => self.string(field),
            _ => {
                self.wrong_value(field);
                return false;
            }
        };
        let range = first.range.start..self.tokens[self.next - 1].range.end;
        match value {
            Ok(value) => self.store(message, places, field, value, &range),
            Err(refused) if refused.message.is_empty() => {}
            Err(refused) => self.error(&range, refused.message, &refused.help),
        }
        true
    }

    /// Reads adjacent quoted strings as one. A problem that has been reported already comes back as an empty refusal.
    fn string(&mut self, field: &FieldDescriptor) -> Result<Value, Refused> {
        let start = self.token().range.start;
        let mut bytes = Vec::new();
        let mut failed = false;
        loop {
            let token = self.token();
            match token.kind {
                TokenKind::Quoted => match scalar::unescape(self.text(&token.range)) {
                    Ok(part) => bytes.extend(part),
                    Err(refused) => {
                        self.error(&token.range, refused.message, &refused.help);
                        failed = true;
                    }
                },
                TokenKind::Unclosed => {
                    let quote = self.text(&token.range).chars().next().unwrap_or('"');
                    self.error(
                        &token.range,
                        "the string is not closed".to_owned(),
                        &format!("expected {quote} before the end of the line"),
                    );
                    failed = true;
                }
                _ => break,
            }
            self.next += 1;
        }
        let already_reported = || Refused { message: String::new(), help: String::new() };
        if failed {
            return Err(already_reported());
        }
        match field.kind() {
            Kind::String => String::from_utf8(bytes).map(Value::String).map_err(|_| Refused {
                message: "the string is not UTF-8".to_owned(),
                help: "its escapes must make up whole characters".to_owned(),
            }),
            Kind::Bytes => Ok(Value::Bytes(bytes.into())),
            kind => {
                let end = self.tokens[self.next - 1].range.end;
                let text = self.text(&(start..end)).lines().next().unwrap_or("").to_owned();
                let unquoted = text.trim_matches(['"', '\'']);
                let help = match scalar::word(&kind, unquoted) {
                    Ok(_) => format!("{}; leave out the quotes", scalar::expected(&kind)),
                    Err(refused) => refused.help,
                };
                Err(Refused { message: format!("`{}` takes no string, got {text}", field.name()), help })
            }
        }
    }

    fn store(&mut self, message: &mut DynamicMessage, places: &mut Places, field: &FieldDescriptor, value: Value, range: &Range<usize>) {
        let here = self.place(range);
        if !field.is_list() {
            places.set(field.number(), Index::At(0), Places::at(here));
            message.set_field(field, value);
            return;
        }
        let Some(list) = message.get_field_mut(field).as_list_mut() else { return };
        places.set(field.number(), Index::At(list.len()), Places::at(here));
        list.push(value);
    }

    /// Reads `[a, b]`; `element` reads one element and says whether it consumed anything.
    fn list(&mut self, field: &FieldDescriptor, mut element: impl FnMut(&mut Self) -> bool) {
        let opening = self.token();
        self.next += 1;
        if self.accept(']') {
            return;
        }
        loop {
            let token = self.token();
            if !self.starts_value(&token) {
                self.unclosed_list(field, &opening, &token);
                return;
            }
            let before = self.next;
            if !element(self) {
                self.skip_value();
            }
            self.next = self.next.max(before + 1);
            let token = self.token();
            match token.kind {
                TokenKind::Symbol(']') => {
                    self.next += 1;
                    return;
                }
                TokenKind::Symbol(',') => self.next += 1,
                _ if self.starts_value(&token) => {
                    self.error(&token.range, format!("expected `,` or `]` in the list of `{}`", field.name()), "");
                }
                _ => {
                    self.unclosed_list(field, &opening, &token);
                    return;
                }
            }
        }
    }

    /// Reads the value of an edit. See [`super::merge_field`].
    pub(super) fn bare_value(&mut self, message: &mut DynamicMessage, places: &mut Places, field: &FieldDescriptor) {
        let root = MessageDescriptor::clone(field.parent_message());
        self.open.push(Open { descriptor: root, brace: None, indent: 0 });
        let whole = 0..self.source.text().len();
        let first = self.token();
        let quoted = first.kind == TokenKind::Quoted;
        let listed = field.is_list() && first.kind == TokenKind::Symbol('[');
        match field.kind() {
            Kind::Message(_) => self.message_field(message, places, field, &whole),
            Kind::String if listed => self.list(field, |reader| reader.loose_string(message, places, field)),
            Kind::String if !quoted => {
                let text = self.source.text().trim().to_owned();
                self.store(message, places, field, Value::String(text), &whole);
                return;
            }
            _ => self.scalar_field(message, places, field, &whole),
        }
        let rest = self.token();
        if rest.kind != TokenKind::End && self.problems.is_empty() {
            self.error(&rest.range, format!("unexpected `{}` after the value", self.text(&rest.range)), "");
        }
    }

    /// A string in the list of an edit: quoted, or everything up to the next comma.
    fn loose_string(&mut self, message: &mut DynamicMessage, places: &mut Places, field: &FieldDescriptor) -> bool {
        let first = self.token();
        if first.kind != TokenKind::Word {
            return self.element(message, places, field);
        }
        while !matches!(self.token().kind, TokenKind::Symbol(',' | ']') | TokenKind::End) {
            self.next += 1;
        }
        let range = first.range.start..self.tokens[self.next - 1].range.end;
        let text = self.text(&range).to_owned();
        self.store(message, places, field, Value::String(text), &range);
        true
    }

    /// Warns when a value replaces an earlier one.
    fn note_replaced(&mut self, message: &DynamicMessage, places: &mut Places, field: &FieldDescriptor, range: &Range<usize>) {
        if let Some(oneof) = field.containing_oneof() {
            for other in oneof.fields().filter(|other| other != field && message.has_field(other)) {
                let said = self.where_set(places, &other);
                let text = format!("`{}` replaces `{}`{said}: only one of `{}` can be set", field.name(), other.name(), oneof.name());
                self.warn(range, text, "remove one of them");
                places.clear(other.number());
            }
        }
        let singular_scalar = !field.is_list() && !field.is_map() && !matches!(field.kind(), Kind::Message(_));
        if singular_scalar && message.has_field(field) {
            let said = self.where_set(places, field);
            self.warn(range, format!("`{}` is set again{said}: the last value wins", field.name()), "remove one of them");
        }
    }

    fn where_set(&self, places: &Places, field: &FieldDescriptor) -> String {
        match places.get(field.number(), &Index::At(0)).map(|found| &found.here) {
            Some(Place::Text(range)) => format!(", set in line {}", self.source.line_of(range.start)),
            _ => String::new(),
        }
    }

    fn unknown_field(&mut self, descriptor: &MessageDescriptor, token: &Token, name: &str) {
        let names: Vec<String> = descriptor.fields().map(|field| field.name().to_owned()).collect();
        let mut help = did_you_mean(name, names.iter().map(String::as_str));
        let closed = self.closed.as_ref().filter(|closed| closed.descriptor.get_field_by_name(name).is_some());
        if let Some(closed) = closed {
            help = format!("it is a field of `{}`, which is closed in line {}", closed.name, closed.line);
        } else if help.is_empty() && !names.is_empty() && names.len() <= 16 {
            help = format!("expected one of {}", names.join(", "));
        }
        self.error(&token.range, format!("{} has no field `{name}`", descriptor.name()), &help);
    }

    fn place(&self, range: &Range<usize>) -> Place {
        match &self.origin {
            Origin::Text => Place::Text(range.clone()),
            Origin::Edit(place) => place.clone(),
        }
    }

    pub(super) fn token(&self) -> Token {
        self.tokens[self.next.min(self.tokens.len() - 1)].clone()
    }

    pub(super) fn text(&self, range: &Range<usize>) -> &'a str {
        &self.source.text()[range.clone()]
    }

    pub(super) fn accept(&mut self, symbol: char) -> bool {
        let found = self.token().kind == TokenKind::Symbol(symbol);
        self.next += usize::from(found);
        found
    }

    pub(super) fn error(&mut self, range: &Range<usize>, message: String, help: &str) {
        self.problems.push(self.source.problem(Severity::Error, range, message).with_help(help));
    }

    fn warn(&mut self, range: &Range<usize>, message: String, help: &str) {
        self.problems.push(self.source.problem(Severity::Warning, range, message).with_help(help));
    }
}

/// Puts a `{ key value }` entry into a map; the last value of a key wins.
fn insert_entry(message: &mut DynamicMessage, places: &mut Places, field: &FieldDescriptor, entry: &DynamicMessage, entry_places: Places) {
    let Some(key) = entry.get_field_by_name("key").and_then(|key| key.into_owned().into_map_key()) else { return };
    let Some(value) = entry.get_field_by_name("value") else { return };
    let name = match &key {
        prost_reflect::MapKey::String(name) => name.clone(),
        other => format!("{other:?}"),
    };
    places.set(field.number(), Index::Key(name), entry_places);
    if let Some(map) = message.get_field_mut(field).as_map_mut() {
        map.insert(key, value.into_owned());
    }
}

//! A config that has been read: the message, and where each of its values stands.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use prost_reflect::{DynamicMessage, Kind, ReflectMessage};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity, Span};
use crate::edit::{self, Edits};
use crate::path::{self, Selector, Step};
use crate::places::{Index, Place, Places};
use crate::proto;
use crate::source::Source;
use crate::textproto::{self, Origin};
use crate::writer;

/// A pipeline config.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The config as read and edited; unset fields are `None`, their accessors give the declared defaults.
    pub proto: proto::EasyRecConfig,
    message: DynamicMessage,
    source: Arc<Source>,
    places: Places,
    warnings: Vec<Diagnostic>,
}

impl Pipeline {
    /// Reads a config file, protobuf text or JSON, and applies the edits.
    ///
    /// # Errors
    /// All problems of the file and of the edits.
    pub fn load(path: &Path, edits: &Edits) -> Result<Pipeline, Diagnostics> {
        let name = path.display().to_string();
        let alone = |message: String| Diagnostics::from(Diagnostic::error(Span { file: name.clone(), ..Span::default() }, message));
        let bytes = fs::read(path).map_err(|error| alone(format!("cannot be read: {error}")))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Pipeline::parse(&name, text, edits),
            Err(error) => {
                let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
                Err(alone(format!("line {line} is not UTF-8; save the file as UTF-8")))
            }
        }
    }

    /// Reads a config from a text, protobuf text or JSON, and applies the edits; `file_name` appears in messages.
    ///
    /// # Errors
    /// All problems of the text and of the edits.
    pub fn parse(file_name: &str, text: &str, edits: &Edits) -> Result<Pipeline, Diagnostics> {
        let source = Source::file(file_name, text);
        let mut message = DynamicMessage::new(proto::root_descriptor());
        let mut places = Places::default();
        let mut problems = Diagnostics::default();
        if source.text().trim_start().starts_with('{') {
            message = from_json(&source)?;
        } else {
            let outcome = textproto::merge(&source, &mut message, places, Origin::Text);
            places = outcome.places;
            problems = outcome.problems;
        }
        problems.0.extend(edit::apply(edits, &mut message, &mut places));
        if problems.has_errors() {
            return Err(problems);
        }
        let proto = message.transcode_to().map_err(|error| {
            let span = Span { file: file_name.to_owned(), ..Span::default() };
            Diagnostics::from(Diagnostic::error(span, format!("does not fit the schema: {error}")))
        })?;
        Ok(Pipeline { proto, message, source: Arc::new(source), places, warnings: problems.0 })
    }

    /// Name of the config file.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.source.name()
    }

    /// What was noticed while reading, such as a scalar that is set twice.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Whether the config asks for the evident intention of what this lint is about, instead of EasyRec's numbers.
    #[must_use]
    pub fn is_fixed(&self, lint: &str) -> bool {
        self.proto.rankmill_fix.iter().any(|name| name == lint)
    }

    /// The config with all edits, as protobuf text that reads back to the same message.
    #[must_use]
    pub fn to_text(&self) -> String {
        writer::to_text(&self.message)
    }

    /// Takes what was changed in [`Pipeline::proto`] over into what [`Pipeline::to_text`] writes.
    pub fn take_over(&mut self) {
        let mut message = DynamicMessage::new(self.message.descriptor());
        message.transcode_from(&self.proto).expect("both messages are of one schema");
        self.message = message;
    }

    /// Where the value at a path such as `model_config.backbone.blocks[0].name` stands.
    ///
    /// A path that is not set gives the place of its nearest ancestor.
    #[must_use]
    pub fn locate(&self, path: &str) -> Span {
        self.find(path).0
    }

    /// An error at the value of a path; see [`Pipeline::locate`].
    #[must_use]
    pub fn error(&self, path: &str, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Error, path, message)
    }

    /// A warning at the value of a path; see [`Pipeline::locate`].
    #[must_use]
    pub fn warning(&self, path: &str, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Warning, path, message)
    }

    /// An error at some bytes of the text at a path, such as a part of an expression. Where the text is written with escapes or in
    /// pieces, the whole of it is the place.
    #[must_use]
    pub fn error_within(&self, path: &str, bytes: Range<usize>, message: impl Into<String>) -> Diagnostic {
        if let Place::Text(range) = self.place(&path::parse(path).unwrap_or_default())
            && let Some(inner) = plainly_quoted(&self.source.text()[range.clone()])
            && bytes.end <= inner.len()
        {
            let start = range.start + 1;
            let whole = self.source.span(&range);
            let span = self.source.span(&(start + bytes.start..start + bytes.end));
            debug_assert_eq!(span.line, whole.line);
            return Diagnostic::error(span, message).with_source_line(self.source.line(whole.line));
        }
        self.error(path, message)
    }

    fn diagnostic(&self, severity: Severity, path: &str, message: impl Into<String>) -> Diagnostic {
        let (span, source_line) = self.find(path);
        let diagnostic = match severity {
            Severity::Error => Diagnostic::error(span, message),
            Severity::Warning => Diagnostic::warning(span, message),
        };
        diagnostic.with_source_line(source_line.as_deref())
    }

    fn find(&self, path: &str) -> (Span, Option<String>) {
        let steps = path::parse(path).unwrap_or_default();
        match self.place(&steps) {
            Place::Text(range) => {
                let span = self.source.span(&range);
                let line = self.source.line(span.line).map(str::to_owned);
                (span, line)
            }
            Place::Edit(source) => (source.span(&(0..0)), None),
            Place::Unknown => (Span { file: self.source.name().to_owned(), ..Span::default() }, None),
        }
    }

    /// The place of the deepest step that has one.
    fn place(&self, steps: &[Step]) -> Place {
        let mut best = Place::Unknown;
        let mut places = &self.places;
        let mut descriptor = self.message.descriptor();
        for step in steps {
            let Some(field) = descriptor.get_field_by_name(&step.name) else { break };
            let index = match &step.selector {
                Some(Selector::At(index)) => Index::At(usize::try_from(*index).unwrap_or(usize::MAX)),
                Some(Selector::Key(key)) => Index::Key(key.clone()),
                _ => Index::At(0),
            };
            let Some(inner) = places.get(field.number(), &index) else { break };
            places = inner;
            if !matches!(places.here, Place::Unknown) {
                best = places.here.clone();
            }
            let Kind::Message(next) = field.kind() else { break };
            descriptor = next;
        }
        best
    }

    /// The config as a message that can be walked by its descriptors.
    pub(crate) fn message(&self) -> &DynamicMessage {
        &self.message
    }

    /// The set string fields of these names, in any message, with their paths.
    #[must_use]
    pub fn strings(&self, names: &[&str]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        crate::walk::scalars(&self.message, &mut |path, field, value| {
            if let Some(text) = value.as_str().filter(|_| names.contains(&field.name())) {
                found.push((path.to_owned(), text.to_owned()));
            }
        });
        found
    }

    /// Whether a path is set, by the file or by an edit.
    #[must_use]
    pub fn is_set(&self, path: &str) -> bool {
        let Ok(steps) = path::parse(path) else { return false };
        edit::is_set(&self.message, &steps)
    }
}

/// What stands between the quotes of a text that is written as it is.
fn plainly_quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text[1..].strip_suffix(quote)?;
    (!inner.contains(['\\', '\n', quote])).then_some(inner)
}

fn from_json(source: &Source) -> Result<DynamicMessage, Diagnostics> {
    let mut reader = serde_json::Deserializer::from_str(source.text());
    let read = DynamicMessage::deserialize(proto::root_descriptor(), &mut reader);
    let message = read.and_then(|message| reader.end().map(|()| message));
    message.map_err(|error| {
        let shown = error.to_string();
        let message = shown.split(" at line ").next().unwrap_or(&shown).to_owned();
        let span = Span { file: source.name().to_owned(), line: error.line(), column: error.column(), length: 1 };
        Diagnostics::from(Diagnostic::error(span, message).with_source_line(source.line(error.line())))
    })
}

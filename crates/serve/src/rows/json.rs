//! Rows as JSON objects from field names to values. A field that is null or not there has no value. Lists are joined by the separator
//! that the feature's config names.

use std::fmt;
use std::sync::Arc;

use rankmill_data::{FieldRows, TextSpan, shown};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::error::{ErrorKind, ServeError};
use crate::limits::Limits;
use crate::schema::Schema;
use crate::tensors::join;
use crate::texts::{Texts, Values};

/// Rows that are read, and the values that all of them share.
pub(crate) struct JsonRows<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) limits: &'a Limits,
    pub(crate) rows: FieldRows,
    /// Values for all rows that do not have their own.
    context: Vec<(usize, TextSpan)>,
    /// What was wrong first; serde's own errors have no kind.
    problem: Option<ServeError>,
    texts: Texts,
    /// The fields of the object before in the order of their names there: the next one as a rule has the same.
    order: Vec<usize>,
    /// How many fields of this object were read.
    read: usize,
}

impl<'a> JsonRows<'a> {
    pub(crate) fn new(schema: &'a Schema, limits: &'a Limits) -> JsonRows<'a> {
        let rows = FieldRows::new(Arc::clone(&schema.names));
        JsonRows { schema, limits, rows, context: Vec::new(), problem: None, texts: Texts::default(), order: Vec::new(), read: 0 }
    }

    /// The rows, with the context in all of them.
    pub(crate) fn finish(mut self) -> FieldRows {
        for (field, text) in self.context {
            self.rows.broadcast(field, text);
        }
        self.rows
    }

    /// What to say of an error of serde's.
    pub(crate) fn explain(&mut self, error: &serde_json::Error, what: &str) -> ServeError {
        self.problem.take().unwrap_or_else(|| ServeError::invalid(format!("{what}: {error}")))
    }

    /// The place of the next field of an object.
    fn place(&mut self, name: &str) -> Result<usize, ServeError> {
        let expected = self.order.get(self.read).copied().filter(|place| self.schema.names.names()[*place] == name);
        let place = match expected {
            Some(place) => place,
            None => {
                let place = self.schema.place(name)?;
                self.order.truncate(self.read);
                self.order.push(place);
                place
            }
        };
        self.read += 1;
        Ok(place)
    }

    fn fail<E: Error>(&mut self, error: ServeError) -> E {
        let raised = E::custom(&error.message);
        self.problem.get_or_insert(error);
        raised
    }

    /// Reads an object whose values are those of all rows.
    pub(crate) fn read_context(&mut self, text: &[u8], what: &str) -> Result<(), ServeError> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let read = ContextSeed(self).deserialize(&mut deserializer).and_then(|()| deserializer.end());
        read.map_err(|error| self.explain(&error, what))
    }

    /// Whether there is a value of a field for all rows.
    pub(crate) fn has_context(&self, place: usize) -> bool {
        self.context.iter().any(|(field, _)| *field == place)
    }

    /// Checks the columns of a body that names them once: each is one field, and with the context they are all that the model needs.
    pub(crate) fn check_columns(&self, places: &[usize]) -> Result<(), ServeError> {
        let problem = |place: usize, problem: &str| ServeError::invalid(format!("field `{}` {problem}", self.schema.fields[place].name));
        for (at, place) in places.iter().enumerate() {
            if places[..at].contains(place) {
                return Err(problem(*place, "is twice among the columns"));
            }
            if self.has_context(*place) {
                return Err(problem(*place, "is among the columns and in the context"));
            }
        }
        let is_there = |place: &usize| places.contains(place) || self.has_context(*place);
        let missing = (0..self.schema.fields.len()).find(|place| self.schema.fields[*place].is_read && !is_there(place));
        missing.map_or(Ok(()), |place| Err(problem(place, "is not among the columns")))
    }

    /// Reads lines, an object each; the first may be `{"context": {...}}`.
    pub(crate) fn read_lines(&mut self, body: &[u8]) -> Result<(), ServeError> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ContextLine {
            context: Box<serde_json::value::RawValue>,
        }
        let is_text = |line: &&[u8]| !line.iter().all(u8::is_ascii_whitespace);
        for (number, line) in body.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| is_text(line)) {
            let what = format!("line {}", number + 1);
            let context = match number {
                0 => serde_json::from_slice::<ContextLine>(line).ok(),
                _ => None,
            };
            let read = match &context {
                Some(line) => ContextSeed(self).deserialize(&mut serde_json::Deserializer::from_str(line.context.get())),
                None => {
                    let mut deserializer = serde_json::Deserializer::from_slice(line);
                    RowSeed(self).deserialize(&mut deserializer).and_then(|()| deserializer.end())
                }
            };
            read.map_err(|error| self.explain(&error, &what))?;
        }
        Ok(())
    }
}

/// An array of rows.
pub(crate) struct RowsSeed<'a, 'b>(pub(crate) &'a mut JsonRows<'b>);
/// A row.
struct RowSeed<'a, 'b>(&'a mut JsonRows<'b>);
/// An object whose values are those of all rows.
pub(crate) struct ContextSeed<'a, 'b>(pub(crate) &'a mut JsonRows<'b>);

impl<'de> DeserializeSeed<'de> for RowsSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while rows.next_element_seed(RowSeed(self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row: an object from field names to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let row = self.0.rows.add_rows(1);
        if let Err(error) = self.0.limits.check_rows(row + 1) {
            return Err(self.0.fail(error));
        }
        self.0.read = 0;
        while let Some((field, text)) = next_value(self.0, &mut entries, Some(row))? {
            self.0.rows.set(row, field, text);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ContextSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ContextSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a context: an object from field names to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.0.read = 0;
        while let Some(value) = next_value(self.0, &mut entries, None)? {
            self.0.context.push(value);
        }
        Ok(())
    }
}

/// The next field of an object, and its text.
fn next_value<'de, A: MapAccess<'de>>(
    all: &mut JsonRows<'_>,
    entries: &mut A,
    row: Option<usize>,
) -> Result<Option<(usize, TextSpan)>, A::Error> {
    let Some(place) = entries.next_key_seed(FieldSeed(all))? else { return Ok(None) };
    let mut texts = std::mem::take(&mut all.texts);
    texts.clear();
    entries.next_value_seed(Values { texts: &mut texts, depth: 0 })?;
    let stored = store(all, place, &texts).map_err(|problem| {
        let row = row.map_or("context".to_owned(), |row| format!("row {}", row + 1));
        let message = format!("field `{}`: {row}: {}", all.schema.fields[place].name, problem.message);
        all.fail(ServeError::new(problem.kind, message))
    });
    all.texts = texts;
    Ok(Some((place, stored?)))
}

fn store(all: &mut JsonRows<'_>, place: usize, texts: &Texts) -> Result<TextSpan, ServeError> {
    let field = &all.schema.fields[place];
    if let Some(problem) = &texts.problem {
        return Err(ServeError::invalid(format!("it has {problem}")));
    }
    let mut joined = Vec::new();
    let text = match texts.depth {
        0 => texts.get(0),
        1 => {
            join(&mut joined, field, (0..texts.len()).map(|at| texts.get(at))).map_err(ServeError::invalid)?;
            &joined
        }
        _ => return Err(ServeError::invalid("it has arrays within an array")),
    };
    if text.len() > all.limits.text_bytes {
        let message = format!("a value has {} bytes; at most {} are allowed", text.len(), all.limits.text_bytes);
        return Err(ServeError::new(ErrorKind::TooLarge, message));
    }
    all.rows.store(text).map_err(|rule| ServeError::new(ErrorKind::TooLarge, rule.to_string()))
}

/// A field's name, as its place.
struct FieldSeed<'a, 'b>(&'a mut JsonRows<'b>);

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldSeed<'_, '_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        self.0.place(name).map_err(|error| {
            let place = self.0.rows.rows();
            let at = if place > 0 { format!("row {place}: ") } else { String::new() };
            self.0.fail(ServeError::invalid(format!("{at}{}", error.message)))
        })
    }
}

/// What to say of a body that is no JSON of the expected form.
pub(crate) fn not_json(error: &serde_json::Error) -> ServeError {
    ServeError::invalid(format!("the body is not the JSON that is expected: {}", shown(error.to_string().as_bytes())))
}

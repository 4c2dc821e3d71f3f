//! Fields from JSON objects, one object a line.
//!
//! A member is the field of its name; `a.b` is the member `b` of the member `a`, unless there is a member `a.b`. Strings are taken as they
//! are, numbers as they are written, truth values as the field's type has them. `null`, or no such member, is an empty field. A list is
//! joined as lists are, an object as maps are; see [`Joining`](crate::sources::Joining).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::cell::CellKind;
use super::example::Columns;
use super::{Origin, RawRows};
use crate::error::Rule;
use crate::sources::{List, SourceField, entry};

/// What lists and objects may be nested in a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Field,
    InList,
    Innermost,
}

/// Makes rows of objects.
#[derive(Clone, Debug)]
pub(crate) struct JsonRows {
    columns: Columns,
    /// Fields whose names have a point: the path, and the column.
    nested: Vec<(Vec<String>, usize)>,
}

impl JsonRows {
    pub(crate) fn new(fields: &Arc<[SourceField]>) -> JsonRows {
        let path = |field: &SourceField| field.name.split('.').map(str::to_owned).collect::<Vec<_>>();
        let nested = fields.iter().enumerate().filter(|(_, field)| field.is_read() && field.name.contains('.'));
        JsonRows { columns: Columns::new(fields), nested: nested.map(|(column, field)| (path(field), column)).collect() }
    }

    /// Adds a line as a row; one that is no object becomes a broken row.
    ///
    /// # Errors
    /// [`Rule::BatchTooLarge`] beyond 4 GB of text.
    pub(crate) fn push(&self, rows: &mut RawRows, line: &[u8], origin: Origin) -> Result<(), Rule> {
        match self.members(line) {
            Ok(members) => rows.push_row(origin, |column, text| {
                if let Some(value) = members[column] {
                    write(&self.columns.fields[column], value.get(), Place::Field, text)?;
                }
                Ok(CellKind::Text)
            }),
            Err(rule) => {
                rows.push_broken(rule, origin);
                Ok(())
            }
        }
    }

    /// The value of each column.
    fn members<'a>(&self, line: &'a [u8]) -> Result<Vec<Option<&'a RawValue>>, Rule> {
        let mut members = vec![None; self.columns.fields.len()];
        let mut parents: Vec<(String, &RawValue)> = Vec::new();
        each_member(line, |name, value| {
            if let Some(column) = self.columns.find(name.as_bytes()) {
                members[column] = Some(value);
            } else if self.nested.iter().any(|(path, _)| path[0] == name) {
                parents.push((name.into_owned(), value));
            }
        })?;
        for (path, column) in &self.nested {
            let parent = parents.iter().rev().find(|(name, _)| *name == path[0]);
            if let (None, Some((_, parent))) = (members[*column], parent) {
                members[*column] = descend(parent, &path[1..])?;
            }
        }
        Ok(members)
    }
}

/// The value at a path within a value.
fn descend<'a>(value: &'a RawValue, path: &[String]) -> Result<Option<&'a RawValue>, Rule> {
    let Some((name, rest)) = path.split_first() else {
        return Ok(Some(value));
    };
    if value.get() == "null" {
        return Ok(None);
    }
    let mut found = None;
    each_member(value.get().as_bytes(), |member, value| {
        if member == *name {
            found = Some(value);
        }
    })?;
    found.map_or(Ok(None), |value| descend(value, rest))
}

/// Hands the members of an object to `take`.
fn each_member<'a>(object: &'a [u8], take: impl FnMut(Cow<'a, str>, &'a RawValue)) -> Result<(), Rule> {
    let mut json = serde_json::Deserializer::from_slice(object);
    json.deserialize_map(Members(take)).and_then(|()| json.end()).map_err(|error| not_json(&error))
}

fn not_json(error: &serde_json::Error) -> Rule {
    Rule::NotJson { problem: error.to_string() }
}

struct Members<F>(F);

impl<'a, F: FnMut(Cow<'a, str>, &'a RawValue)> Visitor<'a> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            (self.0)(name, map.next_value()?);
        }
        Ok(())
    }
}

/// A string, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Appends a value.
fn write(field: &SourceField, json: &str, place: Place, text: &mut Vec<u8>) -> Result<(), Rule> {
    match json.as_bytes() {
        [b'"', inner @ .., b'"'] if memchr::memchr(b'\\', inner).is_none() => text.extend_from_slice(inner),
        [b'"', ..] => {
            let Name(string) = serde_json::from_str(json).map_err(|error| not_json(&error))?;
            text.extend_from_slice(string.as_bytes());
        }
        b"null" => {}
        b"true" | b"false" => field.boolean(json == "true", text),
        [b'[', ..] => return write_list(field, json, place, text),
        [b'{', ..] => return write_object(field, json, place, text),
        number => match field.modulus.and_then(|_| json.parse().ok()) {
            Some(integer) => field.integer(integer, text),
            None => text.extend_from_slice(number),
        },
    }
    Ok(())
}

fn write_list(field: &SourceField, json: &str, place: Place, text: &mut Vec<u8>) -> Result<(), Rule> {
    let (mut list, inner) = match place {
        Place::Field => (List::new(field), Place::InList),
        Place::InList => (List::within(field), Place::Innermost),
        Place::Innermost => return Err(Rule::NestedTooDeep { field: field.name.clone() }),
    };
    let values: Vec<&RawValue> = serde_json::from_str(json).map_err(|error| not_json(&error))?;
    for value in values {
        list.value(text, |text| write(field, value.get(), inner, text))?;
    }
    Ok(())
}

fn write_object(field: &SourceField, json: &str, place: Place, text: &mut Vec<u8>) -> Result<(), Rule> {
    if place != Place::Field {
        return Err(Rule::NestedTooDeep { field: field.name.clone() });
    }
    let mut list = List::new(field);
    let mut outcome = Ok(());
    each_member(json.as_bytes(), |key, value| {
        if outcome.is_ok() {
            let put = |text: &mut Vec<u8>| {
                text.extend_from_slice(key.as_bytes());
                Ok(())
            };
            outcome = list.value(text, |text| entry(field, text, put, |text| write(field, value.get(), Place::Innermost, text)));
        }
    })?;
    outcome
}

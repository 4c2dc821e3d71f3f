//! Requests in JSON whose rows are objects: those of `/score`, and TensorFlow Serving's.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::replace;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::json::{ContextSeed, JsonRows, RowsSeed};
use crate::error::ServeError;
use crate::texts::Texts;

/// The keys that a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// `rows`, which must be there, and `context`.
    Score,
    /// `instances` and `context`, or `inputs`; and `signature_name`.
    TensorFlow,
}

impl Keys {
    fn rows(self) -> &'static str {
        match self {
            Keys::Score => "rows",
            Keys::TensorFlow => "instances",
        }
    }

    fn all(self) -> &'static [&'static str] {
        match self {
            Keys::Score => &["context", "rows"],
            Keys::TensorFlow => &["context", "inputs", "instances", "signature_name"],
        }
    }
}

/// What a request has beside its rows.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rows: bool,
    pub(crate) context: bool,
    pub(crate) columns: Option<BTreeMap<String, Texts>>,
}

/// Adds the rows and the context of a body.
pub(crate) fn read(rows: &mut JsonRows<'_>, keys: Keys, body: &[u8]) -> Result<Found, ServeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = RequestSeed { rows, keys }.deserialize(&mut deserializer);
    let read = read.and_then(|found| deserializer.end().map(|()| found));
    read.map_err(|error| rows.explain(&error, "the body"))
}

struct RequestSeed<'a, 'b> {
    rows: &'a mut JsonRows<'b>,
    keys: Keys,
}

impl<'de> DeserializeSeed<'de> for RequestSeed<'_, '_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RequestSeed<'_, '_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.keys {
            Keys::Score => "an object with `rows` and, if some values are those of all rows, `context`",
            Keys::TensorFlow => "an object with `instances` or `inputs`",
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while let Some(key) = entries.next_key::<String>()? {
            if !self.keys.all().contains(&key.as_str()) {
                return Err(A::Error::unknown_field(&rankmill_data::shown(key.as_bytes()), self.keys.all()));
            }
            match key.as_str() {
                "signature_name" => check_signature(&entries.next_value::<String>()?).map_err(A::Error::custom)?,
                "inputs" if found.columns.is_none() => found.columns = Some(entries.next_value()?),
                "context" if !replace(&mut found.context, true) => entries.next_value_seed(ContextSeed(self.rows))?,
                key if key == self.keys.rows() && !replace(&mut found.rows, true) => entries.next_value_seed(RowsSeed(self.rows))?,
                key => return Err(A::Error::custom(format!("`{key}` is there twice"))),
            }
        }
        if self.keys == Keys::Score && !found.rows { Err(A::Error::missing_field("rows")) } else { Ok(found) }
    }
}

/// Models have one signature.
pub(crate) fn check_signature(name: &str) -> Result<(), String> {
    match name {
        "" | "serving_default" => Ok(()),
        name => Err(format!("there is no signature `{}`, only `serving_default`", rankmill_data::shown(name.as_bytes()))),
    }
}

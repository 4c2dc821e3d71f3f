//! Values on their way from a request to the fields of rows: texts, one after the other in one buffer.

use std::fmt;
use std::io::Write;

use rankmill_kernels::fingerprint::Decimal;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::limits::DEPTH;

/// What the values of a tensor were written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    pub(crate) texts: bool,
    pub(crate) whole_numbers: bool,
    pub(crate) fractions: bool,
    pub(crate) booleans: bool,
}

/// Texts in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    pub(crate) kinds: Kinds,
    /// The first value that can't be one, in words; values after it are not kept.
    pub(crate) problem: Option<String>,
    /// Arrays within arrays.
    pub(crate) depth: usize,
    /// Elements of the outermost array.
    pub(crate) outer: usize,
    /// Elements of each array within it.
    pub(crate) inner: Option<usize>,
}

impl Texts {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// One of them.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// Forgets all and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        *self = Texts { bytes: std::mem::take(&mut self.bytes), ends: std::mem::take(&mut self.ends), ..Texts::default() };
    }

    /// Adds a text that `write` appends.
    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.problem.is_none() {
            write(&mut self.bytes);
            match u32::try_from(self.bytes.len()) {
                Ok(end) => self.ends.push(end),
                Err(_) => self.problem = Some("more than 4 GB of values".to_owned()),
            }
        }
    }

    pub(crate) fn add_text(&mut self, text: &[u8]) {
        self.kinds.texts = true;
        self.add(|bytes| bytes.extend_from_slice(text));
    }

    pub(crate) fn add_whole(&mut self, number: impl TryInto<i64> + fmt::Display + Copy) {
        self.kinds.whole_numbers = true;
        self.add(|bytes| match number.try_into() {
            Ok(number) => bytes.extend_from_slice(Decimal::new(number).as_bytes()),
            Err(_) => write_display(number, bytes),
        });
    }

    pub(crate) fn add_f32(&mut self, number: f32) {
        self.kinds.fractions = true;
        self.add(|bytes| write_debug(number, bytes));
    }

    pub(crate) fn add_f64(&mut self, number: f64) {
        self.kinds.fractions = true;
        self.add(|bytes| write_debug(number, bytes));
    }

    pub(crate) fn add_bool(&mut self, value: bool) {
        self.kinds.booleans = true;
        self.add(|bytes| write_display(value, bytes));
    }

    /// Adds a missing value.
    pub(crate) fn add_missing(&mut self) {
        self.add(|_| {});
    }

    /// The last of them, an empty one if there is none.
    pub(crate) fn last(&self) -> &[u8] {
        self.len().checked_sub(1).map_or(&[], |last| self.get(last))
    }

    /// Adds the last text again, until there are `count`.
    pub(crate) fn repeat_last(&mut self, count: usize) {
        let text = self.last().to_vec();
        while (1..count).contains(&self.len()) && self.problem.is_none() {
            self.add(|bytes| bytes.extend_from_slice(&text));
        }
    }

    pub(crate) fn fail(&mut self, problem: impl Into<String>) {
        self.problem.get_or_insert_with(|| problem.into());
    }
}

fn write_display(value: impl fmt::Display, bytes: &mut Vec<u8>) {
    write!(bytes, "{value}").expect("a Vec takes all");
}

/// The shortest text that reads as the same number: never longer than the 31 characters that TensorFlow takes.
fn write_debug(value: impl fmt::Debug, bytes: &mut Vec<u8>) {
    write!(bytes, "{value:?}").expect("a Vec takes all");
}

/// Reads a value, or an array of arrays of values. What can't be a value is noted and not raised, so that whoever knows the name of the
/// input can say it.
impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Texts, D::Error> {
        let mut texts = Texts::default();
        Values { texts: &mut texts, depth: 0 }.deserialize(deserializer)?;
        Ok(texts)
    }
}

/// A place where values may stand.
pub(crate) struct Values<'a> {
    pub(crate) texts: &'a mut Texts,
    pub(crate) depth: usize,
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, a boolean, null or an array of those")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.texts.add_text(text.as_bytes());
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.texts.add_whole(number);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.texts.add_whole(number);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.texts.add_f64(number);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.texts.add_bool(value);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.texts.add_missing();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let depth = self.depth + 1;
        self.texts.depth = self.texts.depth.max(depth);
        if depth > DEPTH {
            self.texts.fail(format!("arrays within arrays, deeper than {DEPTH}"));
        }
        let mut count = 0;
        while values.next_element_seed(Values { texts: &mut *self.texts, depth })?.is_some() {
            count += 1;
        }
        match depth {
            1 => self.texts.outer = count,
            2 if *self.texts.inner.get_or_insert(count) != count => self.texts.fail("arrays of different lengths within an array"),
            _ => {}
        }
        Ok(())
    }

    /// `{"b64": "..."}` is a text in base64, as in TensorFlow Serving.
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        use base64::Engine;
        let mut decoded = None;
        while let Some(key) = entries.next_key::<String>()? {
            let mut inner = Texts::default();
            entries.next_value_seed(Values { texts: &mut inner, depth: self.depth + 1 })?;
            let is_text = inner.len() == 1 && inner.kinds == Kinds { texts: true, ..Kinds::default() } && inner.depth == 0;
            match (key.as_str(), decoded.is_some() || !is_text) {
                ("b64", false) => match base64::engine::general_purpose::STANDARD.decode(inner.get(0)) {
                    Ok(bytes) => decoded = Some(bytes),
                    Err(error) => self.texts.fail(format!("`b64` that is not base64: {error}")),
                },
                _ => self.texts.fail("an object; only {\"b64\": \"...\"} is a value"),
            }
        }
        match decoded {
            Some(bytes) => self.texts.add_text(&bytes),
            None => self.texts.fail("an object; only {\"b64\": \"...\"} is a value"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (Vec<String>, Option<String>) {
        let texts: Texts = serde_json::from_str(json).expect("JSON");
        ((0..texts.len()).map(|i| String::from_utf8(texts.get(i).to_vec()).expect("UTF-8")).collect(), texts.problem)
    }

    #[test]
    fn values_become_the_texts_a_file_would_have() {
        let (texts, problem) = read(r#"[["a|b", 1193], [-5, 0.1], [1e300, true], [null, {"b64": "4pyT"}]]"#);
        assert_eq!(texts, ["a|b", "1193", "-5", "0.1", "1e300", "true", "", "✓"]);
        assert_eq!(problem, None);
    }

    #[test]
    fn what_can_be_no_value_is_noted() {
        for json in [r#"[1, {}]"#, r#"[{"b64": 1}]"#, r#"[{"b64": "*"}]"#, r#"[{"a": {"b": 1}}]"#, "[[[[[1]]]]]", "[[1, 2], [3]]"] {
            assert!(read(json).1.is_some(), "{json}");
        }
    }
}

//! `st_params`: a component's settings as a free-form `google.protobuf.Struct`.

use prost_types::Struct;
use prost_types::value::Kind;

use super::LayerError;

/// The settings of one component.
#[derive(Clone, Copy, Debug)]
pub struct StructParams<'a>(pub Option<&'a Struct>);

impl<'a> StructParams<'a> {
    fn get(&self, name: &str) -> Option<&'a Kind> {
        self.0?.fields.get(name)?.kind.as_ref()
    }

    fn wrong(name: &str, expected: &str) -> LayerError {
        LayerError::field("st_params", format!("`{name}` is {expected}"))
    }

    /// A whole number above 0.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn count(&self, name: &str) -> Result<Option<usize>, LayerError> {
        match self.get(name) {
            None => Ok(None),
            Some(Kind::NumberValue(n)) if *n >= 1.0 && *n <= f64::from(u32::MAX) && n.fract() == 0.0 => Ok(Some(*n as usize)),
            Some(_) => Err(Self::wrong(name, "a whole number above 0")),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, LayerError> {
        match self.get(name) {
            None => Ok(None),
            Some(Kind::StringValue(text)) => Ok(Some(text)),
            Some(_) => Err(Self::wrong(name, "a text")),
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, LayerError> {
        match self.get(name) {
            None => Ok(None),
            Some(Kind::BoolValue(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Self::wrong(name, "true or false")),
        }
    }

    /// Refuses settings that nobody reads.
    ///
    /// # Errors
    /// The first setting, in alphabetical order, that is in neither list.
    pub fn expect_only(&self, known: &[&str], ignored: &[&str]) -> Result<(), LayerError> {
        let Some(fields) = self.0.map(|params| &params.fields) else { return Ok(()) };
        match fields.keys().find(|key| !known.contains(&key.as_str()) && !ignored.contains(&key.as_str())) {
            Some(key) => Err(LayerError::field("st_params", format!("unknown setting `{key}`; known: {}", known.join(", ")))),
            None => Ok(()),
        }
    }
}

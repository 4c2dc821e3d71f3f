//! The settings of a component by name, whether they come from its message or from `st_params`, with EasyRec's defaults (behaviours 28
//! and 185).
//!
//! EasyRec's components state a default of their own in code. Of a message, a number or truth value that is not set has the *code's*
//! default, whatever the schema says; a text has the schema's, if that is not empty. Of `st_params`, whatever is not set has the code's
//! default. So every reader here takes the code's default.

use std::collections::BTreeMap;

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage, Value};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct};

use crate::diagnostic::did_you_mean;
use crate::proto::keras_layer::Params;
use crate::proto::{self, KerasLayer};

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SettingError {
    /// Path of the setting inside of its `keras_layer`.
    pub field: String,
    /// What is wrong, in words.
    pub message: String,
}

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
enum Setting {
    Number(f64),
    Text(String),
    Flag(bool),
    List(Vec<Setting>),
    Group(Settings),
}

/// The settings of a component, or of a group inside of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    path: String,
    free: bool,
    values: BTreeMap<String, Setting>,
    /// Of the message that they come from, or whose names they use in `st_params`.
    descriptor: Option<MessageDescriptor>,
}

impl Settings {
    /// No settings at all.
    pub fn empty() -> Settings {
        Settings { path: String::new(), free: true, values: BTreeMap::new(), descriptor: None }
    }

    /// Those of a layer: of the message in field `message` of [`KerasLayer`], or of `st_params`.
    ///
    /// # Errors
    /// If the layer has another message.
    ///
    /// # Panics
    /// If `message` is no field of [`KerasLayer`].
    pub fn of_layer(layer: &KerasLayer, message: Option<&str>) -> Result<Settings, SettingError> {
        let descriptor = message.map(message_of);
        match &layer.params {
            None => Ok(Settings { descriptor, ..Settings::empty() }),
            Some(Params::StParams(values)) => Ok(from_struct(values, "st_params".to_owned(), descriptor)),
            Some(_) => {
                let whole = dynamic(layer, "protos.KerasLayer");
                let given = whole.fields().find(|(field, _)| field.name() != "class_name");
                match (given, message) {
                    (Some((field, Value::Message(inner))), Some(name)) if field.name() == name => Ok(from_message(inner, name.to_owned())),
                    (given, _) => {
                        let field = given.map(|(field, _)| field.name().to_owned()).unwrap_or_default();
                        let places = message.map(|name| format!("a `{name}` message or ")).unwrap_or_default();
                        let message = format!("{} takes its settings from {places}st_params, not `{field}`", layer.class_name());
                        Err(SettingError { field, message })
                    }
                }
            }
        }
    }

    /// Those of a message by itself, `name` being its full name in the schema.
    ///
    /// # Panics
    /// If the schema has no such message.
    pub fn of_message(message: &impl Message, name: &str) -> Settings {
        from_message(&dynamic(message, name), String::new())
    }

    /// Whether they come from `st_params` or are missing altogether, so that no schema gives defaults.
    pub fn is_free(&self) -> bool {
        self.free
    }

    /// Refuses names in `st_params` that neither the component's message has nor one of the lists; `ignored` ones are not suggested.
    ///
    /// # Errors
    /// The first such name, in alphabetical order.
    pub fn expect_only(&self, known: &[&str], ignored: &[&str]) -> Result<(), SettingError> {
        if !self.free {
            return Ok(());
        }
        let fields: Vec<FieldDescriptor> = self.descriptor.iter().flat_map(MessageDescriptor::fields).collect();
        let mut names: Vec<&str> = fields.iter().map(FieldDescriptor::name).chain(known.iter().copied()).collect();
        names.sort_unstable();
        names.dedup();
        match self.values.keys().find(|key| !names.contains(&key.as_str()) && !ignored.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let near = did_you_mean(key, names.iter().copied());
                let known = if names.is_empty() { "there are none".to_owned() } else { format!("known: {}", names.join(", ")) };
                let message = format!("unknown setting `{key}`; {near}{}{known}", if near.is_empty() { "" } else { " " });
                Err(self.error(key, message))
            }
        }
    }

    /// An error at a setting.
    pub fn error(&self, name: &str, message: impl Into<String>) -> SettingError {
        let field = match (self.path.is_empty(), self.free) {
            (true, true) => String::new(),
            (true, false) => name.to_owned(),
            (false, true) if self.values.contains_key(name) => format!("{}.fields[\"{name}\"]", self.path),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{name}", self.path),
        };
        SettingError { field, message: message.into() }
    }

    /// An error at an element of a list.
    pub fn element_error(&self, name: &str, at: usize, message: impl Into<String>) -> SettingError {
        let error = self.error(name, message);
        if self.free { error } else { SettingError { field: format!("{}[{at}]", error.field), ..error } }
    }

    fn wrong(&self, name: &str, expected: &str) -> SettingError {
        self.error(name, format!("`{name}` is {expected}"))
    }

    /// Whether the setting is written.
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A number, if it is set.
    ///
    /// # Errors
    /// If it is something else.
    pub fn optional_number(&self, name: &str) -> Result<Option<f32>, SettingError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Setting::Number(number)) => Ok(Some(*number as f32)),
            Some(_) => Err(self.wrong(name, "a number")),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// If it is something else.
    pub fn number(&self, name: &str, default: f32) -> Result<f32, SettingError> {
        Ok(self.optional_number(name)?.unwrap_or(default))
    }

    /// A whole number that is not negative, if it is set.
    ///
    /// # Errors
    /// If it is something else.
    pub fn optional_count(&self, name: &str) -> Result<Option<usize>, SettingError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(value) => count(value).map(Some).ok_or_else(|| self.wrong(name, "a whole number, not negative")),
        }
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// If it is something else.
    pub fn count(&self, name: &str, default: usize) -> Result<usize, SettingError> {
        Ok(self.optional_count(name)?.unwrap_or(default))
    }

    /// A whole number above 0 that must be set.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn required_count(&self, name: &str) -> Result<usize, SettingError> {
        match self.optional_count(name)? {
            Some(number) if number > 0 => Ok(number),
            Some(_) => Err(self.wrong(name, "a whole number above 0")),
            None => Err(self.error(name, format!("`{name}` must be set"))),
        }
    }

    /// A truth value. In `st_params` a number other than 0 is true.
    ///
    /// # Errors
    /// If it is something else.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, SettingError> {
        match self.values.get(name) {
            None => Ok(default),
            Some(Setting::Flag(flag)) => Ok(*flag),
            Some(Setting::Number(number)) => Ok(*number != 0.0),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    /// A text, or the schema's default, unless either is empty.
    ///
    /// # Errors
    /// If it is something else.
    pub fn optional_text(&self, name: &str) -> Result<Option<String>, SettingError> {
        let text = match self.values.get(name) {
            Some(Setting::Text(text)) => Some(text.clone()),
            Some(_) => return Err(self.wrong(name, "a text")),
            None if self.free => None,
            None => self.schema_text(name),
        };
        Ok(text.filter(|text| self.free || !text.is_empty()))
    }

    fn schema_text(&self, name: &str) -> Option<String> {
        self.descriptor.as_ref()?.get_field_by_name(name)?.default_value().as_str().map(str::to_owned)
    }

    /// A text, or the schema's default, unless either is empty; else `default`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn text(&self, name: &str, default: &str) -> Result<String, SettingError> {
        Ok(self.optional_text(name)?.unwrap_or_else(|| default.to_owned()))
    }

    /// Whole numbers that are not negative; a single one counts as a list. Empty where nothing is set.
    ///
    /// # Errors
    /// If one is something else.
    pub fn counts(&self, name: &str) -> Result<Vec<usize>, SettingError> {
        let counts = self.list(name).iter().map(|value| count(value)).collect::<Option<Vec<usize>>>();
        counts.ok_or_else(|| self.wrong(name, "a list of whole numbers, none of them negative"))
    }

    /// Numbers; a single one counts as a list. Empty where nothing is set.
    ///
    /// # Errors
    /// If one is something else.
    pub fn numbers(&self, name: &str) -> Result<Vec<f32>, SettingError> {
        let number = |value: &&Setting| if let Setting::Number(number) = value { Some(*number as f32) } else { None };
        let numbers = self.list(name).iter().map(number).collect::<Option<Vec<f32>>>();
        numbers.ok_or_else(|| self.wrong(name, "a list of numbers"))
    }

    /// Texts; a single one counts as a list. Empty where nothing is set.
    ///
    /// # Errors
    /// If one is something else.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, SettingError> {
        let text = |value: &&Setting| if let Setting::Text(text) = value { Some(text.clone()) } else { None };
        let texts = self.list(name).iter().map(text).collect::<Option<Vec<String>>>();
        texts.ok_or_else(|| self.wrong(name, "a list of texts"))
    }

    fn list(&self, name: &str) -> Vec<&Setting> {
        match self.values.get(name) {
            None => Vec::new(),
            Some(Setting::List(values)) => values.iter().collect(),
            Some(value) => vec![value],
        }
    }

    /// The settings of a part, such as `mlp`.
    ///
    /// # Errors
    /// If it is no group, or has unknown names.
    pub fn group(&self, name: &str) -> Result<Option<Settings>, SettingError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Setting::Group(group)) => group.expect_only(&[], &[]).map(|()| Some(group.clone())),
            Some(_) => Err(self.wrong(name, "a group of settings")),
        }
    }

    /// The settings of a part that must be there.
    ///
    /// # Errors
    /// If it is missing, no group, or has unknown names.
    pub fn required_group(&self, name: &str) -> Result<Settings, SettingError> {
        self.group(name)?.ok_or_else(|| self.error(name, format!("`{name}` must be set")))
    }

    /// The settings of several parts of one name, such as `mask_blocks`.
    ///
    /// # Errors
    /// If one is no group, or has unknown names.
    pub fn groups(&self, name: &str) -> Result<Vec<Settings>, SettingError> {
        let group = |value: &Setting| match value {
            Setting::Group(group) => group.expect_only(&[], &[]).map(|()| group.clone()),
            _ => Err(self.wrong(name, "a list of groups of settings")),
        };
        self.list(name).into_iter().map(group).collect()
    }
}

/// The names of the settings that a component's message has, by its field in [`KerasLayer`].
///
/// # Panics
/// If it is no field of [`KerasLayer`].
pub fn message_settings(message: &str) -> Vec<String> {
    message_of(message).fields().map(|field| field.name().to_owned()).collect()
}

fn message_of(field: &str) -> MessageDescriptor {
    let field = proto::descriptor("protos.KerasLayer").get_field_by_name(field).expect("a field of KerasLayer");
    field.kind().as_message().expect("a message field").clone()
}

fn count(value: &Setting) -> Option<usize> {
    match value {
        Setting::Number(n) if *n >= 0.0 && *n <= f64::from(u32::MAX) && n.fract() == 0.0 => Some(*n as usize),
        _ => None,
    }
}

fn dynamic(message: &impl Message, name: &str) -> DynamicMessage {
    DynamicMessage::decode(proto::descriptor(name), message.encode_to_vec().as_slice()).expect("the schema reads what it wrote")
}

fn from_message(message: &DynamicMessage, path: String) -> Settings {
    let values = message.fields().map(|(field, value)| {
        let path = if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
        (field.name().to_owned(), from_value(value, &path))
    });
    Settings { values: values.collect(), path, free: false, descriptor: Some(message.descriptor()) }
}

fn from_value(value: &Value, path: &str) -> Setting {
    match value {
        Value::Bool(flag) => Setting::Flag(*flag),
        Value::I32(number) | Value::EnumNumber(number) => Setting::Number(f64::from(*number)),
        Value::U32(number) => Setting::Number(f64::from(*number)),
        Value::I64(number) => Setting::Number(*number as f64),
        Value::U64(number) => Setting::Number(*number as f64),
        Value::F32(number) => Setting::Number(f64::from(*number)),
        Value::F64(number) => Setting::Number(*number),
        Value::String(text) => Setting::Text(text.clone()),
        Value::Bytes(bytes) => Setting::Text(String::from_utf8_lossy(bytes).into_owned()),
        Value::Message(message) => Setting::Group(from_message(message, path.to_owned())),
        Value::List(values) => {
            Setting::List(values.iter().enumerate().map(|(i, value)| from_value(value, &format!("{path}[{i}]"))).collect())
        }
        Value::Map(_) => Setting::Group(Settings::empty()),
    }
}

fn from_struct(values: &Struct, path: String, descriptor: Option<MessageDescriptor>) -> Settings {
    let convert = |(name, value): (&String, &prost_types::Value)| {
        let part = descriptor.as_ref().and_then(|d| d.get_field_by_name(name)).and_then(|field| field.kind().as_message().cloned());
        let path = format!("{path}.fields[\"{name}\"]");
        from_kind(value.kind.as_ref(), &path, part.as_ref()).map(|setting| (name.clone(), setting))
    };
    Settings { values: values.fields.iter().filter_map(convert).collect(), path, free: true, descriptor }
}

/// Null counts as not set.
fn from_kind(kind: Option<&Kind>, path: &str, part: Option<&MessageDescriptor>) -> Option<Setting> {
    match kind? {
        Kind::NullValue(_) => None,
        Kind::NumberValue(number) => Some(Setting::Number(*number)),
        Kind::StringValue(text) => Some(Setting::Text(text.clone())),
        Kind::BoolValue(flag) => Some(Setting::Flag(*flag)),
        Kind::StructValue(values) => Some(Setting::Group(from_struct(values, format!("{path}.struct_value"), part.cloned()))),
        Kind::ListValue(ListValue { values }) => {
            let element =
                |(i, value): (usize, &prost_types::Value)| from_kind(value.kind.as_ref(), &format!("{path}.list_value.values[{i}]"), part);
            Some(Setting::List(values.iter().enumerate().filter_map(element).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Edits, Pipeline};

    fn layer(text: &str) -> KerasLayer {
        let config = format!("model_config {{ backbone {{ blocks {{ name: 'b' keras_layer {{ {text} }} }} }} }}");
        let pipeline = Pipeline::parse("a.config", &config, &Edits::default()).expect("the text is right");
        let backbone = pipeline.proto.model_config.and_then(|model| model.backbone).expect("a backbone");
        match backbone.blocks.into_iter().next().and_then(|block| block.layer) {
            Some(proto::block::Layer::KerasLayer(layer)) => layer,
            other => panic!("{other:?}"),
        }
    }

    fn field(key: &str, value: &str) -> String {
        format!("fields {{ key: '{key}' value {{ {value} }} }}")
    }

    #[test]
    fn unset_numbers_have_the_codes_default_and_unset_texts_the_schemas() {
        let layer = layer("class_name: 'Highway' highway { emb_size: 4 }");
        let settings = Settings::of_layer(&layer, Some("highway")).expect("its own message");
        assert_eq!(settings.number("init_gate_bias", -7.0), Ok(-7.0));
        assert_eq!(settings.text("activation", "gelu"), Ok("relu".to_owned()));
        assert_eq!(settings.required_count("emb_size"), Ok(4));
        assert_eq!(settings.count("num_layers", 9), Ok(9));
    }

    #[test]
    fn st_params_have_the_codes_defaults() {
        let fields = [
            field("emb_size", "number_value: 4"),
            field("use_it", "number_value: 1"),
            field("sizes", "list_value { values { number_value: 3 } values { number_value: 2 } }"),
        ];
        let layer = layer(&format!("class_name: 'Highway' st_params {{ {} }}", fields.join(" ")));
        let settings = Settings::of_layer(&layer, Some("highway")).expect("st_params");
        assert_eq!(settings.text("activation", "gelu"), Ok("gelu".to_owned()));
        assert_eq!(settings.required_count("emb_size"), Ok(4));
        assert_eq!(settings.flag("use_it", false), Ok(true));
        assert_eq!(settings.counts("sizes"), Ok(vec![3, 2]));
        assert_eq!(settings.counts("emb_size"), Ok(vec![4]));
        let error = settings.expect_only(&["sizes"], &[]).expect_err("use_it is unknown");
        assert_eq!(error.field, "st_params.fields[\"use_it\"]");
        assert!(error.message.contains("known: activation, dropout_rate, emb_size"), "{error}");
        assert_eq!(settings.expect_only(&["sizes"], &["use_it"]), Ok(()));
    }

    #[test]
    fn groups_are_checked_in_depth() {
        let inner = format!("struct_value {{ {} {} }}", field("hidden_units", "number_value: 4"), field("use_bm", "bool_value: true"));
        let layer = layer(&format!("class_name: 'AITMTower' st_params {{ {} }}", field("transfer_mlp", &inner)));
        let settings = Settings::of_layer(&layer, Some("aitm")).expect("st_params");
        let error = settings.group("transfer_mlp").expect_err("use_bm is unknown");
        assert_eq!(error.field, "st_params.fields[\"transfer_mlp\"].struct_value.fields[\"use_bm\"]");
        assert!(error.message.contains("did you mean `use_bn`?"), "{error}");
    }

    #[test]
    fn another_components_message_is_refused() {
        let layer = layer("class_name: 'FM' mlp { hidden_units: 4 }");
        let error = Settings::of_layer(&layer, Some("fm")).expect_err("an mlp is no fm");
        assert_eq!(error.field, "mlp");
        assert_eq!(error.message, "FM takes its settings from a `fm` message or st_params, not `mlp`");
    }

    #[test]
    fn kinds_are_checked() {
        let layer = layer(&format!(
            "class_name: 'Dense' st_params {{ {} {} }}",
            field("units", "number_value: 1.5"),
            field("activation", "bool_value: true")
        ));
        let settings = Settings::of_layer(&layer, None).expect("st_params");
        assert!(settings.count("units", 1).is_err() && settings.text("activation", "").is_err() && settings.group("units").is_err());
        assert_eq!(settings.number("units", 0.0), Ok(1.5));
        assert!(settings.required_count("unit").expect_err("missing").message.contains("must be set"));
    }
}

//! Writes a message as protobuf text: two blanks of indentation, fields by number, strings readable in UTF-8.

use std::fmt::Write as _;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

/// The text of a message; reading it gives the same message.
pub(crate) fn to_text(message: &DynamicMessage) -> String {
    let mut text = String::new();
    fields(message, 0, &mut text);
    text
}

fn fields(message: &DynamicMessage, depth: usize, text: &mut String) {
    let mut set: Vec<FieldDescriptor> = message.descriptor().fields().filter(|field| message.has_field(field)).collect();
    set.sort_by_key(FieldDescriptor::number);
    for field in set {
        match message.get_field(&field).as_ref() {
            Value::List(values) => values.iter().for_each(|value| one(&field, value, depth, text)),
            Value::Map(entries) => {
                let mut keys: Vec<&MapKey> = entries.keys().collect();
                keys.sort();
                for key in keys {
                    let Kind::Message(entry) = field.kind() else { continue };
                    let mut inner = DynamicMessage::new(entry);
                    inner.set_field_by_name("key", Value::from(key.clone()));
                    inner.set_field_by_name("value", entries[key].clone());
                    one(&field, &Value::Message(inner), depth, text);
                }
            }
            value => one(&field, value, depth, text),
        }
    }
}

fn one(field: &FieldDescriptor, value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let name = field.name();
    if let Value::Message(inner) = value {
        let _ = writeln!(text, "{indent}{name} {{");
        fields(inner, depth + 1, text);
        let _ = writeln!(text, "{indent}}}");
        return;
    }
    let _ = writeln!(text, "{indent}{name}: {}", scalar(field, value));
}

/// One scalar as it is written in a config.
pub(crate) fn scalar(field: &FieldDescriptor, value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F32(value) => float(f64::from(*value), format!("{value:?}")),
        Value::F64(value) => float(*value, format!("{value:?}")),
        Value::String(value) => quoted(value),
        Value::Bytes(value) => quoted(&String::from_utf8_lossy(value)),
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(descriptor) => descriptor.get_value(*number).map_or_else(|| number.to_string(), |value| value.name().to_owned()),
            _ => number.to_string(),
        },
        Value::Message(_) | Value::List(_) | Value::Map(_) => String::new(),
    }
}

fn float(value: f64, shortest: String) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    shortest
}

/// A string in quotes, readable in UTF-8.
pub(crate) fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _ = write!(text, "\\{:03o}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

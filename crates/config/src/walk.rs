//! Visits every set scalar of a config with its path.

use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage, Value};

/// Calls `visit` with the path, the field and the value of each scalar that is set, elements of lists one by one.
pub(crate) fn scalars(message: &DynamicMessage, visit: &mut dyn FnMut(&str, &FieldDescriptor, &Value)) {
    step(message, "", visit);
}

fn step(message: &DynamicMessage, path: &str, visit: &mut dyn FnMut(&str, &FieldDescriptor, &Value)) {
    let dot = if path.is_empty() { "" } else { "." };
    for field in message.descriptor().fields().filter(|field| message.has_field(field)) {
        let path = format!("{path}{dot}{}", field.name());
        match message.get_field(&field).as_ref() {
            Value::List(values) => {
                for (at, value) in values.iter().enumerate() {
                    one(&format!("{path}[{at}]"), &field, value, visit);
                }
            }
            // The only map is the free-form `st_params`, which each layer checks by itself.
            Value::Map(_) => {}
            value => one(&path, &field, value, visit),
        }
    }
}

fn one(path: &str, field: &FieldDescriptor, value: &Value, visit: &mut dyn FnMut(&str, &FieldDescriptor, &Value)) {
    match value {
        Value::Message(inner) => step(inner, path, visit),
        value => visit(path, field, value),
    }
}

//! Edits of a config from the command line: `--set path=value` and EasyRec's `--edit_config_json`.
//!
//! A path walks from the root: `model_config.feature_groups[0].feature_names[+]`.
//! Lists are indexed by `[0]`, `[-1]`, `[+]` (append), `[:]`, `[1:3]` or a condition such as
//! `[input_names[0]="user_id"]`, which may select several elements.

use std::cmp::Ordering;
use std::sync::Arc;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use crate::diagnostic::{Diagnostic, Span, did_you_mean, nearest};
use crate::path::{self, Comparison, Selector, Step};
use crate::places::{Index, Place, Places};
use crate::source::Source;
use crate::textproto::{self, Origin, scalar};
use crate::writer;

/// Changes to make to a config after reading it, in this order: the JSON object first, then each `path=value`.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// `path=value` each, with the value in protobuf text; strings need no quotes.
    pub set: Vec<String>,
    /// EasyRec's `--edit_config_json`: an object from paths to values.
    pub json: Option<String>,
}

/// Applies all edits; what comes back are problems.
pub(crate) fn apply(edits: &Edits, message: &mut DynamicMessage, places: &mut Places) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut pairs = Vec::new();
    if let Some(json) = &edits.json {
        match json_pairs(json) {
            Ok(found) => pairs.extend(found.into_iter().map(|(path, value)| (format!("--edit-config-json {path}"), path, value))),
            Err(problem) => problems.push(problem),
        }
    }
    for text in &edits.set {
        match split_assignment(text) {
            Some((path, value)) => pairs.push((format!("--set {text}"), path.to_owned(), value.to_owned())),
            None => problems.push(alone(format!("--set {text}"), "has no `=`").with_help("expected `path=value`")),
        }
    }
    for (name, path, value) in pairs {
        let editor = Editor { source: Arc::new(Source::edit(&name, value.trim())), path: path.trim().to_owned() };
        problems.extend(editor.run(message, places));
    }
    problems
}

fn alone(name: String, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Span { file: name, ..Span::default() }, message)
}

/// Splits at the first `=` outside brackets and quotes.
fn split_assignment(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '=' if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// Paths and values of EasyRec's JSON form. `"a;b": "1;2"` stands for two edits.
fn json_pairs(json: &str) -> Result<Vec<(String, String)>, Diagnostic> {
    let refused = |message: String| {
        let help = "expected an object such as {\"train_config.num_steps\": 100}";
        alone("--edit-config-json".to_owned(), message).with_help(help)
    };
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).map_err(|error| refused(error.to_string()))?;
    let mut pairs = Vec::new();
    for (path, value) in object {
        let text = json_text(&value).ok_or_else(|| refused(format!("the value of `{path}` is no value of a config")))?;
        let (paths, values): (Vec<&str>, Vec<&str>) = (path.split(';').collect(), text.split(';').collect());
        if paths.len() > 1 && paths.len() == values.len() {
            pairs.extend(paths.iter().zip(&values).map(|(path, value)| ((*path).to_owned(), (*value).to_owned())));
        } else {
            pairs.push((path, text));
        }
    }
    Ok(pairs)
}

/// A JSON value in protobuf text.
fn json_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Some(value.to_string()),
        serde_json::Value::Array(values) => {
            let texts: Option<Vec<String>> = values
                .iter()
                .map(|value| match value {
                    serde_json::Value::String(text) => Some(writer::quoted(text)),
                    other => json_text(other),
                })
                .collect();
            Some(format!("[{}]", texts?.join(", ")))
        }
        serde_json::Value::Null | serde_json::Value::Object(_) => None,
    }
}

/// One edit: the source holds its value.
struct Editor {
    source: Arc<Source>,
    path: String,
}

impl Editor {
    fn run(&self, message: &mut DynamicMessage, places: &mut Places) -> Vec<Diagnostic> {
        let steps = match path::parse(&self.path) {
            Ok(steps) => steps,
            Err(refused) => return vec![self.refuse(refused)],
        };
        self.descend(message, places, &steps).err().unwrap_or_default()
    }

    fn refuse(&self, message: impl Into<String>) -> Diagnostic {
        alone(self.source.name().to_owned(), message)
    }

    fn place(&self) -> Place {
        Place::Edit(Arc::clone(&self.source))
    }

    fn descend(&self, message: &mut DynamicMessage, places: &mut Places, steps: &[Step]) -> Result<(), Vec<Diagnostic>> {
        let Some((step, rest)) = steps.split_first() else { return Ok(()) };
        let descriptor = message.descriptor();
        let Some(field) = descriptor.get_field_by_name(&step.name) else {
            let names: Vec<String> = descriptor.fields().map(|field| field.name().to_owned()).collect();
            let mut help = did_you_mean(&step.name, names.iter().map(String::as_str));
            if help.is_empty() {
                help = format!("expected one of {}", names.join(", "));
            }
            return Err(vec![self.refuse(format!("{} has no field `{}`", descriptor.name(), step.name)).with_help(help)]);
        };
        if rest.is_empty() {
            return self.assign(message, places, step, &field);
        }
        let Kind::Message(inner) = field.kind() else {
            return Err(vec![self.refuse(format!("`{}` is a single value and has no field `{}`", step.name, rest[0].name))]);
        };
        if field.is_map() {
            return self.descend_map(message, places, step, &field, rest);
        }
        if !field.is_list() {
            if step.selector.is_some() {
                return Err(vec![self.not_a_list(step)]);
            }
            forget_rivals(places, &field);
            let inner_places = places.get_mut(field.number(), Index::At(0));
            if matches!(inner_places.here, Place::Unknown) {
                inner_places.here = self.place();
            }
            let Some(inner) = message.get_field_mut(&field).as_message_mut() else { return Ok(()) };
            return self.descend(inner, inner_places, rest);
        }
        let Some(list) = message.get_field_mut(&field).as_list_mut() else { return Ok(()) };
        for at in self.selected(list, step)? {
            if at == list.len() {
                list.push(Value::Message(DynamicMessage::new(inner.clone())));
                places.set(field.number(), Index::At(at), Places::at(self.place()));
            }
            let inner_places = places.get_mut(field.number(), Index::At(at));
            let Some(inner) = list[at].as_message_mut() else { continue };
            self.descend(inner, inner_places, rest)?;
        }
        Ok(())
    }

    fn descend_map(
        &self,
        message: &mut DynamicMessage,
        places: &mut Places,
        step: &Step,
        field: &FieldDescriptor,
        rest: &[Step],
    ) -> Result<(), Vec<Diagnostic>> {
        let Some(Selector::Key(key)) = &step.selector else {
            return Err(vec![self.refuse(format!("`{}` needs a key", step.name)).with_help(format!("expected `{}[\"key\"]`", step.name))]);
        };
        let Kind::Message(entry) = field.kind() else { return Ok(()) };
        let Some(Kind::Message(value)) = entry.get_field_by_name("value").map(|value| value.kind()) else { return Ok(()) };
        let Some(map) = message.get_field_mut(field).as_map_mut() else { return Ok(()) };
        let inner = map.entry(MapKey::String(key.clone())).or_insert_with(|| Value::Message(DynamicMessage::new(value)));
        let inner_places = places.get_mut(field.number(), Index::Key(key.clone()));
        inner_places.here = self.place();
        let Some(inner) = inner.as_message_mut() else { return Ok(()) };
        self.descend(inner, inner_places, rest)
    }

    /// Sets the field of the last step.
    fn assign(
        &self,
        message: &mut DynamicMessage,
        places: &mut Places,
        step: &Step,
        field: &FieldDescriptor,
    ) -> Result<(), Vec<Diagnostic>> {
        if field.is_map() {
            return Err(vec![self.refuse(format!("`{}` needs a key and a field of its value", step.name))]);
        }
        let Some(_) = &step.selector else {
            message.clear_field(field);
            places.clear(field.number());
            forget_rivals(places, field);
            return self.read(message, places, field);
        };
        if !field.is_list() {
            return Err(vec![self.not_a_list(step)]);
        }
        let Some(list) = message.get_field_mut(field).as_list_mut() else { return Ok(()) };
        for at in self.selected(list, step)? {
            let mut scratch = DynamicMessage::new(field.parent_message().clone());
            let mut scratch_places = Places::default();
            self.read(&mut scratch, &mut scratch_places, field)?;
            let values = scratch.get_field(field).as_list().map(<[Value]>::to_vec).unwrap_or_default();
            let Ok([value]) = <[Value; 1]>::try_from(values) else {
                return Err(vec![self.refuse(format!("`{step}` takes one value, not a list"))]);
            };
            if at == list.len() {
                list.push(value);
            } else {
                list[at] = value;
            }
            let new_places = scratch_places.get(field.number(), &Index::At(0)).cloned();
            places.set(field.number(), Index::At(at), new_places.unwrap_or_default());
        }
        Ok(())
    }

    fn read(&self, message: &mut DynamicMessage, places: &mut Places, field: &FieldDescriptor) -> Result<(), Vec<Diagnostic>> {
        let taken = std::mem::take(places);
        let outcome = textproto::merge_field(&self.source, message, taken, field, Origin::Edit(self.place()));
        *places = outcome.places;
        if outcome.problems.has_errors() {
            return Err(outcome.problems.0);
        }
        Ok(())
    }

    fn not_a_list(&self, step: &Step) -> Diagnostic {
        self.refuse(format!("`{}` is not a list", step.name)).with_help(format!("write `{}` without an index", step.name))
    }

    /// Positions in a list that a step means; its length stands for a new element.
    fn selected(&self, list: &[Value], step: &Step) -> Result<Vec<usize>, Vec<Diagnostic>> {
        let length = list.len();
        let refuse = |message: String, help: &str| Err(vec![self.refuse(message).with_help(help)]);
        match &step.selector {
            None => refuse(format!("`{}` is a list", step.name), &format!("write `{}[0]`, or `{}[:]` for all", step.name, step.name)),
            Some(Selector::Append) => Ok(vec![length]),
            Some(Selector::At(index)) => {
                let at = if *index < 0 { i64::try_from(length).unwrap_or(i64::MAX) + index } else { *index };
                match usize::try_from(at) {
                    Ok(at) if at <= length => Ok(vec![at]),
                    _ => refuse(format!("`{step}` is past the end: `{}` has {length} elements", step.name), ""),
                }
            }
            Some(Selector::Range(from, to)) => {
                let to = to.unwrap_or(length).min(length);
                Ok((from.unwrap_or(0)..to).collect())
            }
            Some(Selector::Key(_)) => refuse(format!("`{}` is a list and has no keys", step.name), "expected an index"),
            Some(Selector::Where(steps, comparison, wanted)) => self.matching(list, step, steps, *comparison, wanted),
        }
    }

    fn matching(
        &self,
        list: &[Value],
        step: &Step,
        steps: &[Step],
        comparison: Comparison,
        wanted: &str,
    ) -> Result<Vec<usize>, Vec<Diagnostic>> {
        let mut found = Vec::new();
        let mut seen = Vec::new();
        for (at, element) in list.iter().enumerate() {
            let Some((field, value)) = element.as_message().and_then(|message| value_at(message, steps)) else { continue };
            let order = match &value {
                Value::String(text) => Some(text.as_str().cmp(wanted)),
                value => scalar::word(&field.kind(), wanted).ok().and_then(|wanted| compare(value, &wanted)),
            };
            if order.is_some_and(|order| holds(comparison, order)) {
                found.push(at);
            }
            seen.push(value);
        }
        if found.is_empty() {
            let texts = seen.iter().filter_map(Value::as_str);
            let near = nearest(wanted, texts).map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
            let path: Vec<String> = steps.iter().map(Step::to_string).collect();
            let message = format!("no element of `{}` has `{}` {} `{wanted}`", step.name, path.join("."), sign(comparison));
            return Err(vec![self.refuse(message).with_help(near)]);
        }
        Ok(found)
    }
}

/// Forgets the places of the other members of the field's oneof, which the field replaces.
fn forget_rivals(places: &mut Places, field: &FieldDescriptor) {
    let Some(oneof) = field.containing_oneof() else { return };
    for other in oneof.fields().filter(|other| other != field) {
        places.clear(other.number());
    }
}

/// The value at a path, or the declared default of an unset scalar.
fn value_at(message: &DynamicMessage, steps: &[Step]) -> Option<(FieldDescriptor, Value)> {
    let (step, rest) = steps.split_first()?;
    let field = message.descriptor().get_field_by_name(&step.name)?;
    let whole = message.get_field(&field);
    let value = match (&step.selector, whole.as_ref()) {
        (Some(Selector::At(index)), Value::List(list)) => list.get(usize::try_from(*index).ok()?)?.clone(),
        (Some(Selector::Key(key)), Value::Map(map)) => map.get(&MapKey::String(key.clone()))?.clone(),
        (None, value) if !field.is_list() && !field.is_map() => value.clone(),
        _ => return None,
    };
    if rest.is_empty() {
        return Some((field, value));
    }
    value_at(value.as_message()?, rest)
}

/// Whether everything on the path is there: set fields, existing elements.
pub(crate) fn is_set(message: &DynamicMessage, steps: &[Step]) -> bool {
    let Some((step, rest)) = steps.split_first() else { return true };
    let Some(field) = message.descriptor().get_field_by_name(&step.name) else { return false };
    if !message.has_field(&field) {
        return false;
    }
    let whole = message.get_field(&field);
    let inner = match (&step.selector, whole.as_ref()) {
        (Some(Selector::At(index)), Value::List(list)) => usize::try_from(*index).ok().and_then(|at| list.get(at)),
        (Some(Selector::Key(key)), Value::Map(map)) => map.get(&MapKey::String(key.clone())),
        (None, value) => Some(value),
        _ => None,
    };
    match inner {
        None => false,
        Some(_) if rest.is_empty() => true,
        Some(Value::Message(inner)) => is_set(inner, rest),
        Some(_) => false,
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    number(a)?.partial_cmp(&number(b)?)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::I32(value) | Value::EnumNumber(value) => Some(f64::from(*value)),
        Value::I64(value) => Some(*value as f64),
        Value::U32(value) => Some(f64::from(*value)),
        Value::U64(value) => Some(*value as f64),
        Value::F32(value) => Some(f64::from(*value)),
        Value::F64(value) => Some(*value),
        _ => None,
    }
}

fn holds(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

//! Reads protobuf text into a message and the places of its fields.
//!
//! The rules are those of Python's `text_format.Merge`, which EasyRec uses (EasyRec behaviour 57): the last value of a
//! scalar wins, messages merge, the last member of a oneof wins; `required` is not enforced.
//! Reading goes on after a problem, so that all of them are reported at once.

mod lexer;
mod reader;
mod recover;
pub(crate) mod scalar;

use prost_reflect::{DynamicMessage, FieldDescriptor};

use crate::diagnostic::Diagnostics;
use crate::places::{Place, Places};
use crate::source::Source;
use reader::Reader;

/// What was read, and what was noticed on the way: warnings, or errors if the message is not to be trusted.
pub(crate) struct Outcome {
    pub(crate) places: Places,
    pub(crate) problems: Diagnostics,
}

/// How the places of an edit's values are recorded.
pub(crate) enum Origin {
    /// Each value at its own bytes.
    Text,
    /// All values at one place.
    Edit(Place),
}

/// Merges a text into a message.
pub(crate) fn merge(source: &Source, message: &mut DynamicMessage, places: Places, origin: Origin) -> Outcome {
    let mut reader = Reader::new(source, origin);
    let mut places = places;
    reader.fields(message, &mut places);
    finish(reader, places)
}

/// Reads a text as the value, or the list of values, of one field: `5`, `[a, b]`, `{ … }`. Strings need no quotes.
pub(crate) fn merge_field(
    source: &Source,
    message: &mut DynamicMessage,
    places: Places,
    field: &FieldDescriptor,
    origin: Origin,
) -> Outcome {
    let mut reader = Reader::new(source, origin);
    let mut places = places;
    reader.bare_value(message, &mut places, field);
    finish(reader, places)
}

fn finish(reader: Reader<'_>, places: Places) -> Outcome {
    let mut problems = Diagnostics(reader.problems);
    problems.sort();
    Outcome { places, problems }
}

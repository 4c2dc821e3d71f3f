//! Where each field of a config was set: a tree beside the message.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::source::Source;

/// Where a value was set.
#[derive(Clone, Debug, Default)]
pub(crate) enum Place {
    /// By nothing we know of, such as a JSON file.
    #[default]
    Unknown,
    /// By these bytes of the file.
    Text(Range<usize>),
    /// By an edit.
    Edit(Arc<Source>),
}

/// Which value of a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Index {
    /// Position in a repeated field; 0 for a singular one.
    At(usize),
    /// Key of a map entry.
    Key(String),
}

/// Places of a value and, for a message, of its fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// The value itself; for a message, the name of the field that opens it.
    pub(crate) here: Place,
    fields: BTreeMap<(u32, Index), Places>,
}

impl Places {
    pub(crate) fn at(here: Place) -> Places {
        Places { here, fields: BTreeMap::new() }
    }

    pub(crate) fn get(&self, field: u32, index: &Index) -> Option<&Places> {
        self.fields.get(&(field, index.clone()))
    }

    pub(crate) fn get_mut(&mut self, field: u32, index: Index) -> &mut Places {
        self.fields.entry((field, index)).or_default()
    }

    pub(crate) fn set(&mut self, field: u32, index: Index, places: Places) {
        self.fields.insert((field, index), places);
    }

    /// Forgets a field.
    pub(crate) fn clear(&mut self, field: u32) {
        self.fields.retain(|(number, _), _| *number != field);
    }
}

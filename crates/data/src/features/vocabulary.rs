//! Vocabularies: `vocab_list` and `vocab_file`, a value a line (EasyRec behaviour 10).

use std::collections::HashMap;
use std::sync::Arc;

use crate::sources::TextFile;

/// The place of each value.
pub(crate) type Places = HashMap<Box<[u8]>, u32>;

/// The places of a list's values, in order.
pub(crate) fn from_list<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Places, String> {
    let mut places = Places::new();
    for (place, value) in values.into_iter().enumerate() {
        if let Some(first) = places.insert(value.into(), place as u32) {
            return Err(format!("the vocabulary has \"{}\" twice: as entries {first} and {place}", crate::error::shown(value)));
        }
    }
    Ok(places)
}

/// The places of the lines of a file.
pub(crate) fn from_file(path: &str) -> Result<Places, String> {
    from_list(read_vocabulary(path)?.iter().map(Vec::as_slice))
}

/// The words of a vocabulary file, in order.
///
/// # Errors
/// In words, if the file can't be read or has none.
pub fn read_vocabulary(path: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut file = TextFile::open(path, &Arc::default()).map_err(|error| error.to_string())?;
    let mut words = Vec::new();
    while let Some((line, _)) = file.next_line().map_err(|error| error.to_string())? {
        words.push(line.to_vec());
    }
    if words.is_empty() { Err(format!("{path} has no lines")) } else { Ok(words) }
}

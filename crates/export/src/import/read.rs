//! Named arrays from files: safetensors, and NumPy's npz.
//!
//! Names are EasyRec's: TensorFlow's `:0` at the end is dropped, and the parts of a variable that was cut by rows, `NAME/part_0`,
//! `NAME/part_1`, …, are put together.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use zip::ZipArchive;

use super::ImportError;
use super::npy;

/// An array of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements, row by row.
    pub values: Vec<f32>,
}

/// Reads all floating-point arrays of a file, by name; arrays of integers, such as `global_step`, are passed over. The content decides
/// what kind of file it is.
///
/// # Errors
/// If the file can't be read, or is neither safetensors nor npz.
pub fn read_variables(path: &Path) -> Result<Vec<Variable>, ImportError> {
    let unreadable = |reason: String| ImportError::Unreadable { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let arrays = if bytes.starts_with(b"PK") { of_npz(&bytes) } else { of_safetensors(&bytes) };
    named(arrays.map_err(unreadable)?).map_err(unreadable)
}

fn of_npz(bytes: &[u8]) -> Result<Vec<Variable>, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut variables = Vec::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).map_err(|error| error.to_string())?;
        let entry = file.name().map_err(|error| error.to_string())?.into_owned();
        let name = entry.strip_suffix(".npy").ok_or_else(|| format!("`{entry}` is no array (.npy)"))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|error| format!("`{name}`: {error}"))?;
        let array = npy::read(&content).map_err(|reason| format!("`{name}`: {reason}"))?;
        variables.extend(array.map(|(shape, values)| Variable { name: name.to_owned(), shape, values }));
    }
    Ok(variables)
}

fn of_safetensors(bytes: &[u8]) -> Result<Vec<Variable>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| format!("neither npz nor safetensors: {error}"))?;
    let mut variables = Vec::new();
    for (name, view) in file.iter() {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F64 => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
            Dtype::BF16 => data.chunks_exact(2).map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)).collect(),
            Dtype::I64 | Dtype::I32 | Dtype::U64 | Dtype::U32 => continue,
            other => return Err(format!("`{name}` is {other:?}; F32, F64 and BF16 are read")),
        };
        variables.push(Variable { name: name.to_owned(), shape: view.shape().to_vec(), values });
    }
    Ok(variables)
}

/// The variables by EasyRec's names, in their order.
fn named(arrays: Vec<Variable>) -> Result<Vec<Variable>, String> {
    let mut parts: BTreeMap<String, BTreeMap<usize, Variable>> = BTreeMap::new();
    for array in arrays {
        let name = array.name.strip_suffix(":0").unwrap_or(&array.name).to_owned();
        let cut = name.rsplit_once("/part_").and_then(|(whole, part)| Some((whole.to_owned(), part.parse().ok()?)));
        let (whole, part) = cut.unwrap_or((name, 0));
        if parts.entry(whole.clone()).or_default().insert(part, array).is_some() {
            return Err(format!("`{whole}` is there twice"));
        }
    }
    parts.into_iter().map(|(name, parts)| joined(name, parts)).collect()
}

/// A variable from its parts, which are some of its rows each.
fn joined(name: String, parts: BTreeMap<usize, Variable>) -> Result<Variable, String> {
    let mut whole: Option<Variable> = None;
    for (expected, (part, array)) in parts.into_iter().enumerate() {
        if part != expected {
            return Err(format!("`{name}/part_{expected}` is missing"));
        }
        match &mut whole {
            None => whole = Some(array),
            Some(whole) if !whole.shape.is_empty() && whole.shape.get(1..) == array.shape.get(1..) => {
                whole.shape[0] += array.shape[0];
                whole.values.extend(array.values);
            }
            Some(whole) => return Err(format!("`{name}/part_{part}` has shape {:?}, parts before it {:?}", array.shape, whole.shape)),
        }
    }
    let whole = whole.ok_or_else(|| format!("`{name}` has no parts"))?;
    Ok(Variable { name, ..whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, shape: &[usize], first: f32) -> Variable {
        let count: usize = shape.iter().product();
        Variable { name: name.to_owned(), shape: shape.to_vec(), values: (0..count).map(|i| first + i as f32).collect() }
    }

    #[test]
    fn names_lose_tensorflows_endings_and_parts_are_put_together() {
        let arrays = vec![variable("t/part_1:0", &[1, 2], 4.0), variable("b:0", &[3], 0.0), variable("t/part_0:0", &[2, 2], 0.0)];
        assert_eq!(named(arrays), Ok(vec![variable("b", &[3], 0.0), variable("t", &[3, 2], 0.0)]));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        for (arrays, words) in [
            (vec![variable("t/part_1", &[1, 2], 0.0)], "part_0` is missing"),
            (vec![variable("t/part_0", &[1, 2], 0.0), variable("t/part_1", &[1, 3], 0.0)], "[1, 3]"),
            (vec![variable("t", &[1], 0.0), variable("t:0", &[1], 0.0)], "twice"),
        ] {
            let error = named(arrays).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        for bytes in [&b""[..], b"PK", b"PK\x03\x04 but not", b"{}", &[0xff; 40]] {
            let read = if bytes.starts_with(b"PK") { of_npz(bytes) } else { of_safetensors(bytes) };
            assert!(read.is_err(), "{bytes:?}");
        }
    }
}

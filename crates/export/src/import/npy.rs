//! NumPy's array file, version 1 to 3: a magic number, a header that is a Python dictionary, the elements.

/// Shape and elements, row by row.
pub(super) type Floats = (Vec<usize>, Vec<f32>);

/// An array of floats; `None` for one of integers or truth values.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Floats>, String> {
    let (header, data) = header(bytes).ok_or("this is no array of NumPy")?;
    let descr =
        value(header, "descr").and_then(|text| text.trim().strip_prefix('\'')?.strip_suffix('\'')).ok_or("its header has no `descr`")?;
    let shape = value(header, "shape").and_then(shape).ok_or("its header has no `shape`")?;
    let by_columns = value(header, "fortran_order").is_some_and(|text| text.trim() == "True");
    let values: Vec<f32> = match descr {
        "<f4" => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        "<f8" => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        integers if integers.get(1..).is_some_and(|kind| kind.starts_with(['i', 'u', 'b'])) => return Ok(None),
        other => return Err(format!("its elements are `{other}`; `<f4` and `<f8` are read")),
    };
    let elements = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    if elements != Some(values.len()) {
        return Err(format!("it has {} elements, not those of shape {shape:?}", values.len()));
    }
    let values = if by_columns { by_rows(&shape, &values) } else { values };
    Ok(Some((shape, values)))
}

/// The text of the header and what follows it.
fn header(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (version, rest) = rest.split_at_checked(2)?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_le_bytes(*length)), rest))?,
        2 | 3 => rest.split_first_chunk::<4>().map(|(length, rest)| (u32::from_le_bytes(*length) as usize, rest))?,
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

/// The text of the value of `key` in a dictionary without nested ones; tuples are the only values with commas.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}':"))?;
    let rest = rest.trim_start();
    let end = if rest.starts_with('(') { rest.find(')')? + 1 } else { rest.find([',', '}'])? };
    Some(&rest[..end])
}

/// The sizes of a tuple such as `(3, 4)`, `(3,)` or `()`.
fn shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    inner.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| size.parse().ok()).collect()
}

/// Elements by rows from elements by columns.
fn by_rows(shape: &[usize], values: &[f32]) -> Vec<f32> {
    let mut index = vec![0; shape.len()];
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let place = index.iter().zip(shape).rev().fold(0, |place, (i, size)| place * size + i);
        out.push(values[place]);
        for (i, size) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *size {
                break;
            }
            *i = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn rows_and_columns() {
        let data = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let by_rows = array("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", &data);
        assert_eq!(read(&by_rows), Ok(Some((vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))));
        let by_columns = array("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }  \n", &data);
        assert_eq!(read(&by_columns), Ok(Some((vec![2, 3], vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0]))));
    }

    #[test]
    fn other_elements() {
        let doubles: Vec<u8> = [0.1_f64, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(
            read(&array("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n", &doubles)),
            Ok(Some((vec![2], vec![0.1, -2.0])))
        );
        assert_eq!(
            read(&array("{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", &floats(&[7.0]))),
            Ok(Some((vec![], vec![7.0])))
        );
        assert_eq!(read(&array("{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n", &[0; 8])), Ok(None));
        assert!(read(&array("{'descr': '<c8', 'fortran_order': False, 'shape': (), }\n", &[0; 8])).is_err());
    }

    #[test]
    fn damaged_files_are_refused() {
        let whole = array("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", &floats(&[0.0; 6]));
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
        let huge = array("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999), }\n", &[]);
        assert!(read(&huge).is_err());
    }
}

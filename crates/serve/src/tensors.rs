//! Named tensors into rows and scores into named tensors: what REST and gRPC have in common.

use rankmill_data::FieldRows;

use crate::error::ServeError;
use crate::limits::Limits;
use crate::schema::Schema;
use crate::texts::Texts;

/// A datatype of KServe's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Datatype {
    Bool,
    Uint(usize),
    Int(usize),
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    pub(crate) fn from_name(name: &str) -> Option<Datatype> {
        Some(match name {
            "BOOL" => Datatype::Bool,
            "UINT8" => Datatype::Uint(1),
            "UINT16" => Datatype::Uint(2),
            "UINT32" => Datatype::Uint(4),
            "UINT64" => Datatype::Uint(8),
            "INT8" => Datatype::Int(1),
            "INT16" => Datatype::Int(2),
            "INT32" => Datatype::Int(4),
            "INT64" => Datatype::Int(8),
            "FP16" => Datatype::Fp16,
            "BF16" => Datatype::Bf16,
            "FP32" => Datatype::Fp32,
            "FP64" => Datatype::Fp64,
            "BYTES" => Datatype::Bytes,
            _ => return None,
        })
    }

    /// Bytes of an element; none for `BYTES`, whose elements have their lengths before them.
    fn width(self) -> Option<usize> {
        Some(match self {
            Datatype::Bool => 1,
            Datatype::Uint(width) | Datatype::Int(width) => width,
            Datatype::Fp16 | Datatype::Bf16 => 2,
            Datatype::Fp32 => 4,
            Datatype::Fp64 => 8,
            Datatype::Bytes => return None,
        })
    }

    /// Whether values written like this can be of the type.
    fn takes(self, texts: &Texts) -> bool {
        let kinds = texts.kinds;
        match self {
            Datatype::Bool => !kinds.texts && !kinds.whole_numbers && !kinds.fractions,
            Datatype::Uint(_) | Datatype::Int(_) => !kinds.texts && !kinds.booleans && !kinds.fractions,
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => !kinds.texts && !kinds.booleans,
            Datatype::Bytes => !kinds.booleans && !kinds.whole_numbers && !kinds.fractions,
        }
    }

    /// Elements in little-endian order, as texts.
    pub(crate) fn decode(self, raw: &[u8]) -> Result<Texts, String> {
        let mut texts = Texts::default();
        let Some(width) = self.width() else {
            let mut rest = raw;
            while !rest.is_empty() {
                let Some((length, tail)) = rest.split_first_chunk::<4>() else {
                    return Err("the length before an element is cut off".to_owned());
                };
                let length = u32::from_le_bytes(*length) as usize;
                let Some((text, tail)) = tail.split_at_checked(length) else {
                    return Err(format!("an element of {length} bytes, of which {} are there", tail.len()));
                };
                texts.add_text(text);
                rest = tail;
            }
            return Ok(texts);
        };
        if !raw.len().is_multiple_of(width) {
            return Err(format!("{} bytes are no whole number of elements of {width}", raw.len()));
        }
        for element in raw.chunks_exact(width) {
            let mut wide = [0; 8];
            wide[..width].copy_from_slice(element);
            let bits = u64::from_le_bytes(wide);
            let unused = 64 - 8 * width as u32;
            match self {
                Datatype::Bool => texts.add_bool(bits != 0),
                Datatype::Uint(_) => texts.add_whole(bits),
                Datatype::Int(_) => texts.add_whole((bits << unused) as i64 >> unused),
                Datatype::Fp16 => texts.add_f32(half_to_f32(bits as u16)),
                Datatype::Bf16 => texts.add_f32(f32::from_bits((bits as u32) << 16)),
                Datatype::Fp32 => texts.add_f32(f32::from_bits(bits as u32)),
                Datatype::Fp64 => texts.add_f64(f64::from_bits(bits)),
                Datatype::Bytes => {}
            }
        }
        Ok(texts)
    }
}

/// IEEE 754 half precision.
fn half_to_f32(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (f32::from(1 - 2 * ((bits >> 15) as i16)), (bits >> 10) & 31, f32::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(i32::from(exponent) - 15),
    }
}

/// An input of a request.
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<i64>,
    pub(crate) datatype: String,
    pub(crate) values: Texts,
}

impl Tensor {
    fn problem(&self, problem: impl std::fmt::Display) -> ServeError {
        ServeError::invalid(format!("input `{}`: {problem}", rankmill_data::shown(self.name.as_bytes())))
    }

    /// Rows, and elements of each row.
    fn extent(&self) -> Result<(usize, usize), ServeError> {
        let sizes: Option<Vec<usize>> = self.shape.iter().map(|size| usize::try_from(*size).ok()).collect();
        let (rows, width) = match sizes.as_deref() {
            Some([rows]) => (*rows, 1),
            Some([rows, width]) => (*rows, *width),
            _ => return Err(self.problem(format!("shape {:?} is neither [rows] nor [rows, elements]", self.shape))),
        };
        if rows.checked_mul(width) != Some(self.values.len()) {
            return Err(self.problem(format!("shape {:?} does not fit {} elements", self.shape, self.values.len())));
        }
        Ok((rows, width))
    }

    /// Checks the type, the shape and the number of elements.
    fn check(&self) -> Result<(usize, usize), ServeError> {
        let Some(datatype) = Datatype::from_name(&self.datatype) else {
            return Err(self.problem(format!("there is no datatype `{}`", rankmill_data::shown(self.datatype.as_bytes()))));
        };
        if let Some(problem) = &self.values.problem {
            return Err(self.problem(format!("data has {problem}")));
        }
        if !datatype.takes(&self.values) {
            return Err(self.problem(format!("data has values that are not {}", self.datatype)));
        }
        self.extent()
    }
}

/// Rows of named tensors. A tensor of one row is that of all rows; every input that the model needs must be there.
pub(crate) fn rows(schema: &Schema, limits: &Limits, tensors: &[Tensor]) -> Result<FieldRows, ServeError> {
    let mut extents = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        schema.place(&tensor.name)?;
        extents.push(tensor.check()?);
    }
    let count = match extents.iter().map(|(rows, _)| *rows).max() {
        // Inputs of one row are broadcast, also to no rows.
        Some(1) if extents.iter().any(|(rows, _)| *rows == 0) => 0,
        count => count.unwrap_or(0),
    };
    limits.check_rows(count)?;
    let mut rows = FieldRows::new(std::sync::Arc::clone(&schema.names));
    rows.add_rows(count);
    let mut given = vec![false; schema.fields.len()];
    for (tensor, (own, width)) in tensors.iter().zip(extents) {
        let place = schema.place(&tensor.name)?;
        if std::mem::replace(&mut given[place], true) {
            return Err(tensor.problem("it is there twice"));
        }
        if own != count && own != 1 {
            return Err(tensor.problem(format!("it has {own} rows, other inputs have {count}; one row is for all of them")));
        }
        if schema.fields[place].is_read {
            fill(&mut rows, limits, &schema.fields[place], place, tensor, own, width)?;
        }
    }
    if let Some(missing) = schema.fields.iter().zip(&given).find(|(field, given)| field.is_read && !**given) {
        return Err(ServeError::invalid(format!("input `{}` is missing", missing.0.name)));
    }
    Ok(rows)
}

fn fill(
    rows: &mut FieldRows,
    limits: &Limits,
    field: &crate::schema::Field,
    place: usize,
    tensor: &Tensor,
    own: usize,
    width: usize,
) -> Result<(), ServeError> {
    let mut joined = Vec::new();
    for row in 0..own {
        let text = if width == 1 {
            tensor.values.get(row)
        } else {
            joined.clear();
            let elements = (row * width..(row + 1) * width).map(|at| tensor.values.get(at));
            join(&mut joined, field, elements).map_err(|problem| tensor.problem(problem))?;
            &joined
        };
        limits.check_text(&field.name, text.len())?;
        let span = rows.store(text).map_err(|rule| tensor.problem(rule))?;
        if own == rows.rows() { rows.set(row, place, span) } else { rows.broadcast(place, span) }
    }
    Ok(())
}

/// The elements of a list as a file would have them.
pub(crate) fn join<'a>(joined: &mut Vec<u8>, field: &crate::schema::Field, elements: impl Iterator<Item = &'a [u8]>) -> Result<(), String> {
    let Some(separator) = field.separator.as_deref().filter(|separator| !separator.is_empty()) else {
        return Err("it takes one value for each row".to_owned());
    };
    for (i, element) in elements.enumerate() {
        if i > 0 {
            joined.extend_from_slice(separator.as_bytes());
        }
        if element.windows(separator.len()).any(|window| window == separator.as_bytes()) {
            return Err(format!("element \"{}\" of a list has the separator \"{separator}\" in it", rankmill_data::shown(element)));
        }
        joined.extend_from_slice(element);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(name: &str, raw: &[u8]) -> Result<Vec<String>, String> {
        let texts = Datatype::from_name(name).expect("a datatype").decode(raw)?;
        Ok((0..texts.len()).map(|i| String::from_utf8_lossy(texts.get(i)).into_owned()).collect())
    }

    #[test]
    fn elements_become_texts() {
        assert_eq!(decoded("INT8", &[255, 127]).expect("whole"), ["-1", "127"]);
        assert_eq!(decoded("UINT64", &[255; 8]).expect("whole"), ["18446744073709551615"]);
        assert_eq!(decoded("INT64", &i64::MIN.to_le_bytes()).expect("whole"), ["-9223372036854775808"]);
        assert_eq!(decoded("FP32", &0.1f32.to_le_bytes()).expect("whole"), ["0.1"]);
        assert_eq!(decoded("FP64", &1e-300f64.to_le_bytes()).expect("whole"), ["1e-300"]);
        assert_eq!(decoded("FP16", &[0x00, 0x3c, 0x01, 0x00, 0x00, 0xfc]).expect("whole"), ["1.0", "5.9604645e-8", "-inf"]);
        assert_eq!(decoded("BF16", &[0x80, 0x3f]).expect("whole"), ["1.0"]);
        assert_eq!(decoded("BOOL", &[0, 1]).expect("whole"), ["false", "true"]);
        assert_eq!(decoded("BYTES", &[2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]).expect("whole"), ["ab", ""]);
    }

    #[test]
    fn elements_that_are_cut_off_are_an_error() {
        for (name, raw) in [("INT64", &[0; 7][..]), ("BYTES", &[1, 0, 0]), ("BYTES", &[255, 255, 255, 255, 1])] {
            assert!(decoded(name, raw).is_err(), "{name}");
        }
    }
}

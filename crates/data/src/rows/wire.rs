//! The wire format of protocol buffers, read field by field without copying
//! (<https://protobuf.dev/programming-guides/encoding>).
//!
//! `prost` would build a map of vectors of vectors for each row; the messages of TensorFlow's records need nothing but slices.

use crate::error::Rule;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// The rest of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a>(pub(crate) &'a [u8]);

impl<'a> Message<'a> {
    /// The next field: its number and value; `None` at the end.
    ///
    /// # Errors
    /// [`Rule::NotExample`] if this is no message.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Rule> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| cut_off())?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(cut_off)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(self.fixed()?),
            _ => return Err(Rule::NotExample { problem: "a field has a type that does not exist".into() }),
        };
        Ok(Some((key >> 3, value)))
    }

    /// A number in base 128.
    pub(crate) fn varint(&mut self) -> Result<u64, Rule> {
        let mut value = 0;
        for (at, &byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(cut_off())
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Rule> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(*bytes)
    }
}

fn cut_off() -> Rule {
    Rule::NotExample { problem: "a field is cut off".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut message = Message(&bytes);
        let mut next = || message.next().expect("a message");
        assert_eq!(next(), Some((1, Value::Varint(150))));
        assert_eq!(next(), Some((2, Value::Bytes(b"hi"))));
        assert_eq!(next(), Some((3, Value::Fixed32([1, 2, 3, 4]))));
        assert_eq!(next(), Some((4, Value::Fixed64([1, 2, 3, 4, 5, 6, 7, 8]))));
        assert_eq!(next(), None);
    }

    #[test]
    fn broken_messages() {
        for bytes in [&[0x08][..], &[0x08, 0x80], &[0x12, 5, 1], &[0x1d, 1], &[0x0b], &[0xff; 12]] {
            assert!(Message(bytes).next().is_err(), "{bytes:?}");
        }
    }
}

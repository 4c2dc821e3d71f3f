//! Cutting the text of a field into parts, as TensorFlow does: `tf.string_split` for tags, `tf.strings.split` for sequences
//! (EasyRec behaviours 11 and 17).

/// Cuts a text into its parts.
#[derive(Clone, Debug)]
pub(crate) enum Separator {
    /// At one byte.
    One(u8),
    /// At any of several bytes.
    Several(Box<[bool; 256]>),
    /// Behind every byte.
    None,
}

impl Separator {
    pub(crate) fn new(characters: &str) -> Separator {
        match characters.as_bytes() {
            [] => Separator::None,
            [one] => Separator::One(*one),
            several => {
                let mut table = Box::new([false; 256]);
                for &byte in several {
                    table[usize::from(byte)] = true;
                }
                Separator::Several(table)
            }
        }
    }

    /// The parts of `text` that are not empty, in order, as `tf.string_split` gives them.
    #[inline]
    pub(crate) fn parts<'a>(&self, text: &'a [u8], mut take: impl FnMut(&'a [u8])) {
        match self {
            Separator::None => text.chunks(1).for_each(take),
            Separator::One(separator) => {
                let mut start = 0;
                for end in memchr::memchr_iter(*separator, text) {
                    if end > start {
                        take(&text[start..end]);
                    }
                    start = end + 1;
                }
                if start < text.len() {
                    take(&text[start..]);
                }
            }
            Separator::Several(table) => {
                text.split(|byte| table[usize::from(*byte)]).filter(|part| !part.is_empty()).for_each(take);
            }
        }
    }

    /// The two parts of a text with exactly one separator; either may be empty.
    pub(crate) fn pair<'a>(&self, text: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let is_separator = |byte: &u8| match self {
            Separator::One(separator) => byte == separator,
            Separator::Several(table) => table[usize::from(*byte)],
            Separator::None => false,
        };
        let mut parts = text.split(is_separator);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(key), Some(weight), None) => Some((key, weight)),
            _ => None,
        }
    }
}

/// Cuts the text of a sequence into its positions.
#[derive(Clone, Debug)]
pub(crate) enum PositionSeparator {
    /// At each occurrence of the whole text; parts may be empty, and an empty text has one part.
    Text(Box<memchr::memmem::Finder<'static>>),
    /// At runs of blanks, with no empty parts: an empty `separator`.
    Blanks,
}

impl PositionSeparator {
    pub(crate) fn new(text: &str) -> PositionSeparator {
        if text.is_empty() {
            return PositionSeparator::Blanks;
        }
        PositionSeparator::Text(Box::new(memchr::memmem::Finder::new(text).into_owned()))
    }

    /// The parts of `text` in order.
    pub(crate) fn parts<'a>(&self, text: &'a [u8], mut take: impl FnMut(&'a [u8])) {
        match self {
            PositionSeparator::Blanks => text.split(|byte| is_blank(*byte)).filter(|part| !part.is_empty()).for_each(take),
            PositionSeparator::Text(finder) => {
                let mut start = 0;
                for end in finder.find_iter(text) {
                    take(&text[start..end]);
                    start = end + finder.needle().len();
                }
                take(&text[start..]);
            }
        }
    }
}

/// What C's `isspace` takes for a blank.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0b' | b'\x0c' | b'\r')
}

//! Texts in one form: case, width of characters, symbols, blanks (the `norm_parameter` of EasyRec's `TextNormalize`, whose bits are those of
//! PAI's text normaliser).

/// What is done to a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextNormalization {
    parameter: u32,
    remove_space: bool,
}

/// A bit of `norm_parameter` that stands for nothing that can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "bit {bit} of `norm_parameter` is not supported; known: 2 (to upper case), 4 (to lower case), 8 (full-width characters to half-width ones), 32 (symbols left out), 512 (blanks between Chinese characters)"
)]
pub struct NormalizationError {
    /// The bit's value.
    pub bit: u32,
}

const UPPER: u32 = 2;
const LOWER: u32 = 4;
const HALF_WIDTH: u32 = 8;
const FILTER: u32 = 32;
const SPLIT: u32 = 512;

impl TextNormalization {
    /// The normalisation with these bits; 0 leaves a text as it is.
    ///
    /// # Errors
    /// For other bits than 2, 4, 8, 32 and 512. (16 is from traditional to simplified characters.)
    pub fn new(parameter: u32, remove_space: bool) -> Result<TextNormalization, NormalizationError> {
        let unknown = parameter & !(UPPER | LOWER | HALF_WIDTH | FILTER | SPLIT);
        if unknown != 0 {
            return Err(NormalizationError { bit: 1 << unknown.trailing_zeros() });
        }
        Ok(TextNormalization { parameter, remove_space })
    }

    /// Changes a text; what is no UTF-8 becomes U+FFFD, unless there is nothing to do.
    pub(super) fn apply(self, text: &mut Vec<u8>) {
        if self.parameter == 0 && !self.remove_space {
            return;
        }
        let has = |bit: u32| self.parameter & bit != 0;
        let mut changed = String::with_capacity(text.len());
        for mut character in String::from_utf8_lossy(text).chars() {
            if has(HALF_WIDTH) {
                character = half_width(character);
            }
            if self.remove_space && character.is_whitespace() {
                continue;
            }
            if has(FILTER) && !character.is_alphanumeric() && !character.is_whitespace() {
                continue;
            }
            if has(SPLIT) && is_ideograph(character) {
                changed.extend([' ', character, ' ']);
            } else if has(UPPER) {
                changed.extend(character.to_uppercase());
            } else if has(LOWER) {
                changed.extend(character.to_lowercase());
            } else {
                changed.push(character);
            }
        }
        text.clear();
        if has(SPLIT) {
            let words: Vec<&str> = changed.split_whitespace().collect();
            text.extend_from_slice(words.join(" ").as_bytes());
        } else {
            text.extend_from_slice(changed.as_bytes());
        }
    }
}

/// U+FF01 to U+FF5E are the printable characters of ASCII in full width, U+3000 is the blank.
fn half_width(character: char) -> char {
    match character {
        '\u{3000}' => ' ',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(character) - 0xfee0).unwrap_or(character),
        other => other,
    }
}

/// The unified ideographs of Unicode and their first extension.
fn is_ideograph(character: char) -> bool {
    matches!(character, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

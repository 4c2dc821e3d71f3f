//! Tables of embeddings in fewer bits, for scoring: their rows are numbers of 16 or 8 bits, packed into words of 32, and become `f32` again
//! where they are looked up. A table stays a matrix of words, which is what everything between a file and a lookup carries.
//!
//! A row of `D` numbers in `bf16`: `W = ⌈D / 2⌉` words; word `i` has number `i` in its low half and number `W + i` in its high half, rounded
//! to the nearest, ties to even. In `int8`: first the scale `s = max|x| / 127` as an `f32`, then `W = ⌈D / 4⌉` words; byte `j` of word `i` is
//! `round(x / s)` of number `j·W + i`. Parts of a row lie one after the other, so that unpacking runs along words and not across them.

/// The form of a packed table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// The upper half of an `f32`: eight bits of mantissa.
    Bf16,
    /// Whole numbers from -127 to 127, and a scale for each row.
    Int8,
}

impl TableFormat {
    /// Words of a row of `width` numbers.
    pub fn words(self, width: usize) -> usize {
        match self {
            TableFormat::Bf16 => width.div_ceil(2),
            TableFormat::Int8 => 1 + width.div_ceil(4),
        }
    }

    /// Packs a row of finite numbers.
    ///
    /// # Panics
    /// If `words` has another length than [`TableFormat::words`] says.
    pub fn pack(self, row: &[f32], words: &mut [f32]) {
        assert_eq!(words.len(), self.words(row.len()), "the words of a row");
        match self {
            TableFormat::Bf16 => {
                let half = words.len();
                for (i, word) in words.iter_mut().enumerate() {
                    let low = bf16(row[i]);
                    let high = row.get(half + i).map_or(0, |number| bf16(*number));
                    *word = f32::from_bits(low | high << 16);
                }
            }
            TableFormat::Int8 => {
                let largest = row.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
                let scale = largest / 127.0;
                let (first, words) = words.split_first_mut().expect("a word for the scale");
                *first = scale;
                let quarter = words.len();
                let byte = |number: f32| u32::from(if scale > 0.0 { (number / scale).round() as i8 as u8 } else { 0 });
                for (i, word) in words.iter_mut().enumerate() {
                    let numbers = (0..4).filter_map(|j| row.get(j * quarter + i).map(|number| byte(*number) << (8 * j)));
                    *word = f32::from_bits(numbers.fold(0, |word, byte| word | byte));
                }
            }
        }
    }

    /// Adds `factor` times a packed row to `y`.
    pub fn add(self, words: &[f32], factor: f32, y: &mut [f32]) {
        match self {
            TableFormat::Bf16 => {
                let (low, high) = y.split_at_mut(words.len());
                low.iter_mut().zip(words).for_each(|(y, word)| *y += factor * f32::from_bits(word.to_bits() << 16));
                high.iter_mut().zip(words).for_each(|(y, word)| *y += factor * f32::from_bits(word.to_bits() & 0xffff_0000));
            }
            TableFormat::Int8 => {
                let factor = factor * words[0];
                let words = &words[1..];
                for (j, y) in y.chunks_mut(words.len().max(1)).enumerate() {
                    let byte = |word: &f32| (word.to_bits() >> (8 * j)) as u8 as i8;
                    y.iter_mut().zip(words).for_each(|(y, word)| *y += factor * f32::from(byte(word)));
                }
            }
        }
    }

    /// Packs the rows of a matrix with `width` columns.
    pub fn pack_rows(self, values: &[f32], width: usize) -> Vec<f32> {
        let words = self.words(width);
        let mut packed = crate::pages::zeros(values.len() / width * words);
        for (row, words) in values.chunks_exact(width).zip(packed.chunks_exact_mut(words)) {
            self.pack(row, words);
        }
        packed
    }
}

/// The bits of the nearest bfloat16.
fn bf16(number: f32) -> u32 {
    let bits = number.to_bits();
    (bits + 0x7fff + (bits >> 16 & 1)) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(format: TableFormat, row: &[f32]) -> Vec<f32> {
        let packed = format.pack_rows(row, row.len());
        let mut y = vec![0.0; row.len()];
        format.add(&packed, 1.0, &mut y);
        y
    }

    fn row(range: std::ops::Range<usize>) -> Vec<f32> {
        range.map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn rows_come_back_within_the_rounding_of_their_form_at_every_width() {
        for width in 1..70 {
            let row = row(3..3 + width);
            let largest = row.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
            for (x, y) in row.iter().zip(unpacked(TableFormat::Bf16, &row)) {
                assert!((x - y).abs() <= x.abs() / 256.0, "{width}: {x} {y}");
            }
            for (x, y) in row.iter().zip(unpacked(TableFormat::Int8, &row)) {
                assert!((x - y).abs() <= largest / 253.0, "{width}: {x} {y}");
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_ties_go_to_even() {
        let bits = |bits: u32| f32::from_bits(bits);
        let row = [bits(0x3f80_8000), bits(0x3f81_8000), bits(0x3f80_8001), -bits(0x3f80_7fff), 0.0, -0.0];
        let expected = [bits(0x3f80_0000), bits(0x3f82_0000), bits(0x3f81_0000), -bits(0x3f80_0000), 0.0, 0.0];
        assert_eq!(unpacked(TableFormat::Bf16, &row), expected);
        assert_eq!(unpacked(TableFormat::Int8, &[127.0, -127.0, 63.4, -0.6, 0.0]), [127.0, -127.0, 63.0, -1.0, 0.0]);
        assert_eq!(unpacked(TableFormat::Int8, &[0.0; 5]), [0.0; 5]);
    }

    #[test]
    fn a_row_is_added_with_a_factor() {
        let packed = TableFormat::Bf16.pack_rows(&[1.0, 2.0, -4.0], 3);
        let mut y = [10.0, 10.0, 10.0];
        TableFormat::Bf16.add(&packed, 0.5, &mut y);
        assert_eq!(y, [10.5, 11.0, 8.0]);
    }

    #[test]
    fn tables_shrink() {
        assert_eq!([16, 1, 15].map(|width| TableFormat::Bf16.words(width)), [8, 1, 8]);
        assert_eq!([16, 1, 15].map(|width| TableFormat::Int8.words(width)), [5, 2, 5]);
    }
}

//! Numbers from text and text from numbers, by TensorFlow's rules (EasyRec behaviours 1 and 6).
//!
//! - Whole numbers: blanks around them are ignored, `-` is allowed, `+`, `.` and exponents are not.
//! - Floating-point numbers: blanks around them, `+` or `-`, decimals, an exponent, `0x` with hexadecimal digits, `inf` and `nan`
//!   in any case; at most 31 characters; the nearest float (too large: infinite). A text of blanks alone is 0.

use std::io::Write;

/// Text of this length or longer is no floating-point number for TensorFlow, whatever it says.
const FLOAT_TEXT_LIMIT: usize = 32;

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn without_blanks(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// An INT32, or `None` if the text is none.
#[must_use]
pub fn parse_int32(text: &[u8]) -> Option<i32> {
    i32::try_from(parse_int64(text)?).ok()
}

/// An INT64, or `None` if the text is none.
#[inline]
#[must_use]
pub fn parse_int64(text: &[u8]) -> Option<i64> {
    // Up to 18 digits cannot overflow, and nearly all fields are plain digits.
    if (1..=18).contains(&text.len()) {
        let mut value = 0i64;
        let mut plain = true;
        for &byte in text {
            let digit = byte.wrapping_sub(b'0');
            plain &= digit < 10;
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
        }
        if plain {
            return Some(value);
        }
    }
    parse_any_int64(text)
}

/// The number that `bytes[start..end]` is, if it is 1 to 8 plain digits; `None` for other text, and with fewer than 8 bytes before `end`.
///
/// Nearly all integers are that short, and their lengths follow no pattern that a processor could foresee in a loop over the digits.
/// So all take the same steps: the 8 bytes up to `end` are read as one word, and those before the field become zeros in front.
#[inline]
#[must_use]
pub(crate) fn parse_short_digits(bytes: &[u8], start: usize, end: usize) -> Option<u32> {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let (_, word) = bytes.get(..end)?.split_last_chunk::<8>()?;
    let length = end - start;
    if !(1..=8).contains(&length) {
        return None;
    }
    let before = 64 - 8 * length;
    let digits = (u64::from_le_bytes(*word) ^ 0x3030_3030_3030_3030) >> before << before;
    // Adding 0x76 sets the highest bit of a byte from 10 on; a byte that would carry into the next has that bit itself.
    if (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    // The first digit is in the lowest byte. Every second byte becomes two digits, then both halves of the sum become four.
    let twos = digits * 10 + (digits >> 8);
    let high = (twos & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let low = (twos >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    Some((high.wrapping_add(low) >> 32) as u32)
}

fn parse_any_int64(text: &[u8]) -> Option<i64> {
    let text = without_blanks(text);
    let (digits, negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        digits => (digits, false),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(byte - b'0');
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
    }
    Some(value)
}

/// A FLOAT, or `None` if the text is none.
#[inline]
#[must_use]
pub fn parse_float32(text: &[u8]) -> Option<f32> {
    if let Some((mantissa, decimals, negative)) = short_decimal(text) {
        // Both the mantissa and the power of ten are exact floats, so one division rounds once.
        if mantissa <= 1 << 24 && decimals <= 10 {
            let value = mantissa as f32 / POWERS_OF_TEN[decimals] as f32;
            return Some(if negative { -value } else { value });
        }
    }
    parse_float(text, |number| number.parse().ok(), |hexadecimal| hexadecimal as f32, f32::INFINITY, f32::NAN)
}

/// A DOUBLE, or `None` if the text is none.
#[inline]
#[must_use]
pub fn parse_float64(text: &[u8]) -> Option<f64> {
    if let Some((mantissa, decimals, negative)) = short_decimal(text)
        && mantissa <= 1 << 53
    {
        let value = mantissa as f64 / POWERS_OF_TEN[decimals];
        return Some(if negative { -value } else { value });
    }
    parse_float(text, |number| number.parse().ok(), |hexadecimal| hexadecimal as f64, f64::INFINITY, f64::NAN)
}

const POWERS_OF_TEN: [f64; 19] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];

/// The digits of `-123.45` as one whole number, how many of them are decimals, and the sign; `None` for any other form.
#[inline]
fn short_decimal(text: &[u8]) -> Option<(u64, usize, bool)> {
    let (digits, negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        digits => (digits, false),
    };
    if !(1..=18).contains(&digits.len()) {
        return None;
    }
    let mut mantissa = 0u64;
    let mut point = None;
    for (index, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa * 10 + u64::from(digit);
        } else if byte == b'.' && point.is_none() && digits.len() > 1 {
            point = Some(index);
        } else {
            return None;
        }
    }
    Some((mantissa, point.map_or(0, |index| digits.len() - 1 - index), negative))
}

fn parse_float<T: Copy + std::ops::Neg<Output = T>>(
    text: &[u8],
    decimal: impl Fn(&str) -> Option<T>,
    hexadecimal: impl Fn(u128) -> T,
    infinity: T,
    nan: T,
) -> Option<T> {
    if text.is_empty() || text.len() >= FLOAT_TEXT_LIMIT {
        return None;
    }
    let text = without_blanks(text);
    if text.is_empty() {
        return Some(hexadecimal(0));
    }
    let (number, negative) = match text {
        [b'-', number @ ..] => (number, true),
        [b'+', number @ ..] => (number, false),
        number => (number, false),
    };
    let value = if number.eq_ignore_ascii_case(b"inf") {
        infinity
    } else if number.eq_ignore_ascii_case(b"nan") {
        nan
    } else if let [b'0', b'x' | b'X', digits @ ..] = number {
        hexadecimal(parse_hexadecimal(digits)?)
    } else {
        // What is left of Rust's grammar is TensorFlow's: digits, a point, an exponent. Letters other than `e` are its names.
        if !number.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
            || matches!(number[..], [] | [b'+' | b'-', ..])
        {
            return None;
        }
        decimal(std::str::from_utf8(number).ok()?)?
    };
    Some(if negative { -value } else { value })
}

/// Hexadecimal digits alone; 31 characters of text hold at most 116 bits of them.
fn parse_hexadecimal(digits: &[u8]) -> Option<u128> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u128;
    for &byte in digits {
        value = value << 4 | u128::from(char::from(byte).to_digit(16)?);
    }
    Some(value)
}

/// A BOOL: `true` or `false` in any case, 1 or 0.
#[must_use]
pub fn parse_bool(text: &[u8]) -> Option<bool> {
    match without_blanks(text) {
        b"1" => Some(true),
        b"0" => Some(false),
        word if word.eq_ignore_ascii_case(b"true") => Some(true),
        word if word.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}

/// Writes `value` with `precision` decimals, as `tf.strings.as_string` does: the exact binary value rounded half to even.
pub fn write_float(value: f64, precision: usize, text: &mut Vec<u8>) {
    text.clear();
    if value.is_nan() {
        text.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
        return;
    }
    write!(text, "{value:.precision$}").expect("writing into memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        for (text, value) in [
            ("0", Some(0)),
            ("007", Some(7)),
            (" -12\t", Some(-12)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("000000000000000000000000000001", Some(1)),
            ("", None),
            (" ", None),
            ("-", None),
            ("--1", None),
            ("- 1", None),
            ("1 1", None),
            ("1e3", None),
        ] {
            assert_eq!(parse_int64(text.as_bytes()), value, "{text:?}");
        }
        assert_eq!(parse_int32(b"-2147483648"), Some(i32::MIN));
        assert_eq!(parse_int32(b"2147483648"), None);
    }

    #[test]
    fn floating_point_numbers() {
        for (text, value) in [
            ("0x1F", Some(31.0)),
            ("-0x10", Some(-16.0)),
            ("0x", None),
            ("0x1p3", None),
            ("0x1g", None),
            (" +.5e1 ", Some(5.0)),
            ("5.", Some(5.0)),
            (".", None),
            ("-.", None),
            ("-", None),
            ("1e", None),
            ("1e+", None),
            ("1.5.2", None),
            ("+-1", None),
            ("--1", None),
            ("infinity", None),
            ("INF", Some(f32::INFINITY)),
            ("-iNf", Some(f32::NEG_INFINITY)),
            ("1_000", None),
            ("  ", Some(0.0)),
            ("", None),
            ("0000000000000000000000000000001", Some(1.0)),
            ("00000000000000000000000000000001", None),
            ("16777217.0", Some(16777216.0)),
            ("3.4028236e38", Some(f32::INFINITY)),
            ("0.3", Some(0.3)),
            ("123456789.123", Some(123456789.123)),
        ] {
            assert_eq!(parse_float32(text.as_bytes()), value, "{text:?}");
        }
        assert!(parse_float32(b"NaN").is_some_and(f32::is_nan));
        assert!(parse_float64(b"-0").is_some_and(|zero| zero == 0.0 && zero.is_sign_negative()));
        assert_eq!(parse_float64(b"0.1"), Some(0.1));
        assert_eq!(parse_float64(b"9007199254740993"), Some(9007199254740992.0));
    }

    proptest::proptest! {
        #[test]
        fn short_decimals_agree_with_the_standard_library(text in "-?[0-9]{1,12}(\\.[0-9]{0,12})?") {
            proptest::prop_assert_eq!(parse_float32(text.as_bytes()), text.parse().ok());
            proptest::prop_assert_eq!(parse_float64(text.as_bytes()), text.parse().ok());
        }

        #[test]
        fn short_digits_agree_with_the_loop_over_digits(text in "[0-9]{1,10}|[0-9]{0,3}[ -~]{0,2}[0-9]{0,3}", before in "[0-9 -~]{8}", behind in "[0-9]{0,9}") {
            let bytes = format!("{before}{text}{behind}");
            let found = parse_short_digits(bytes.as_bytes(), 8, 8 + text.len());
            if text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
                proptest::prop_assert_eq!(found.map(i64::from), parse_any_int64(text.as_bytes()));
            } else {
                proptest::prop_assert_eq!(found, None);
            }
            proptest::prop_assert_eq!(parse_short_digits(text.as_bytes(), 0, text.len()).is_some(), found.is_some() && text.len() == 8);
        }

        #[test]
        fn short_digits_are_nothing_but_digits(bytes in proptest::collection::vec(proptest::num::u8::ANY, 8..20), length in 0_usize..9) {
            let (start, end) = (bytes.len() - length, bytes.len());
            let digits = length > 0 && bytes[start..].iter().all(u8::is_ascii_digit);
            proptest::prop_assert_eq!(parse_short_digits(&bytes, start, end).is_some(), digits);
        }

        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            let _ = (parse_int32(&text), parse_float32(&text), parse_float64(&text), parse_bool(&text));
        }
    }
}

//! Reads single values: numbers, booleans, enums and the escapes of strings, as Python's `text_format` does.

use prost_reflect::{EnumDescriptor, Kind, Value};

use crate::diagnostic::did_you_mean;

/// Why a value could not be read; both parts are shown to the user.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Refused {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Refused {
        Refused { message: message.into(), help: help.into() }
    }
}

/// Reads an unquoted word as a value of the kind.
pub(crate) fn word(kind: &Kind, word: &str) -> Result<Value, Refused> {
    match kind {
        Kind::Bool => boolean(word),
        Kind::Float => float(word).map(|number| Value::F32(number as f32)),
        Kind::Double => float(word).map(Value::F64),
        Kind::Enum(descriptor) => enumerator(descriptor, word),
        Kind::String | Kind::Bytes => Err(Refused::new(format!("`{word}` is not quoted"), format!("expected a string such as \"{word}\""))),
        Kind::Message(_) => Err(Refused::new(format!("`{word}` is not a message"), "expected `{`")),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            integer(word, i32::MIN.into(), i32::MAX.into()).map(|number| Value::I32(i32::try_from(number).unwrap_or_default()))
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            integer(word, i64::MIN.into(), i64::MAX.into()).map(|number| Value::I64(i64::try_from(number).unwrap_or_default()))
        }
        Kind::Uint32 | Kind::Fixed32 => {
            integer(word, 0, u32::MAX.into()).map(|number| Value::U32(u32::try_from(number).unwrap_or_default()))
        }
        Kind::Uint64 | Kind::Fixed64 => {
            integer(word, 0, u64::MAX.into()).map(|number| Value::U64(u64::try_from(number).unwrap_or_default()))
        }
    }
}

/// What a value of the kind looks like, for messages.
pub(crate) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "expected true or false".to_owned(),
        Kind::Float | Kind::Double => "expected a number".to_owned(),
        Kind::Enum(descriptor) => enumerators(descriptor),
        Kind::String | Kind::Bytes => "expected a quoted string".to_owned(),
        Kind::Message(message) => format!("expected `{{` and the fields of {}", message.name()),
        Kind::Uint32 | Kind::Fixed32 => whole(0, u32::MAX.into()),
        Kind::Uint64 | Kind::Fixed64 => whole(0, u64::MAX.into()),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => whole(i32::MIN.into(), i32::MAX.into()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => whole(i64::MIN.into(), i64::MAX.into()),
    }
}

fn whole(least: i128, most: i128) -> String {
    format!("expected a whole number from {least} to {most}")
}

fn boolean(word: &str) -> Result<Value, Refused> {
    match word {
        "true" | "True" | "t" | "1" => Ok(Value::Bool(true)),
        "false" | "False" | "f" | "0" => Ok(Value::Bool(false)),
        _ => {
            let help = did_you_mean(word, ["true", "false"]);
            let help = if help.is_empty() { help } else { format!("; {help}") };
            Err(Refused::new(format!("`{word}` is not true or false"), format!("expected true or false{help}")))
        }
    }
}

fn float(word: &str) -> Result<f64, Refused> {
    let lower = word.to_ascii_lowercase();
    let digits = match lower.strip_suffix('f') {
        Some(rest) if !lower.ends_with("inf") => rest,
        _ => &lower,
    };
    digits.parse().map_err(|_| Refused::new(format!("`{word}` is not a number"), "expected a number such as 0.001 or 1e-3"))
}

fn integer(word: &str, least: i128, most: i128) -> Result<i128, Refused> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    let refused = || Refused::new(format!("`{word}` is not a whole number"), whole(least, most));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(refused());
    }
    if digits.bytes().any(|b| !(b as char).is_digit(radix)) {
        return Err(refused());
    }
    let too_large = || Refused::new(format!("`{word}` is out of range"), whole(least, most));
    let number = i128::from_str_radix(digits, radix).map_err(|_| too_large())? * sign;
    if number < least || number > most {
        return Err(too_large());
    }
    Ok(number)
}

fn enumerator(descriptor: &EnumDescriptor, word: &str) -> Result<Value, Refused> {
    if let Some(value) = descriptor.get_value_by_name(word) {
        return Ok(Value::EnumNumber(value.number()));
    }
    let number = integer(word, i32::MIN.into(), i32::MAX.into()).ok().and_then(|number| i32::try_from(number).ok());
    if let Some(value) = number.and_then(|number| descriptor.get_value(number)) {
        return Ok(Value::EnumNumber(value.number()));
    }
    let names: Vec<String> = descriptor.values().map(|value| value.name().to_owned()).collect();
    let near = did_you_mean(word, names.iter().map(String::as_str));
    let help = match (near.is_empty(), names.len() > 12) {
        (true, _) => enumerators(descriptor),
        (false, true) => near,
        (false, false) => format!("{}; {near}", enumerators(descriptor)),
    };
    Err(Refused::new(format!("{} has no value `{word}`", descriptor.name()), help))
}

fn enumerators(descriptor: &EnumDescriptor) -> String {
    let names: Vec<String> = descriptor.values().map(|value| value.name().to_owned()).collect();
    format!("expected one of {}", names.join(", "))
}

/// Bytes of a quoted string. An unknown escape keeps its backslash, as in Python.
pub(crate) fn unescape(quoted: &str) -> Result<Vec<u8>, Refused> {
    let inner = &quoted[1..quoted.len() - 1];
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        rest = &rest[escape(rest, &mut bytes)?..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// Reads one escape after its backslash; the number of bytes of it.
fn escape(rest: &str, bytes: &mut Vec<u8>) -> Result<usize, Refused> {
    let digits =
        |from: usize, radix: u32, most: usize| rest.get(from..).unwrap_or("").chars().take(most).take_while(|c| c.is_digit(radix)).count();
    let Some(first) = rest.chars().next() else {
        bytes.push(b'\\');
        return Ok(0);
    };
    let plain = match first {
        'a' => 7,
        'b' => 8,
        't' => b'\t',
        'n' => b'\n',
        'v' => 11,
        'f' => 12,
        'r' => b'\r',
        '\\' | '\'' | '"' => first as u8,
        '0'..='7' => {
            let length = digits(0, 8, 3);
            let code = u32::from_str_radix(&rest[..length], 8).unwrap_or(u32::MAX);
            let byte = u8::try_from(code).map_err(|_| {
                Refused::new(format!("the escape `\\{}` is larger than a byte", &rest[..length]), "expected \\000 to \\377")
            })?;
            bytes.push(byte);
            return Ok(length);
        }
        'x' | 'X' if digits(1, 16, 2) > 0 => {
            let length = digits(1, 16, 2);
            bytes.push(u8::from_str_radix(&rest[1..=length], 16).unwrap_or_default());
            return Ok(1 + length);
        }
        'u' | 'U' => {
            let wanted = if first == 'u' { 4 } else { 8 };
            let length = digits(1, 16, wanted);
            let code = u32::from_str_radix(&rest[1..=length], 16).ok().filter(|_| length == wanted);
            let Some(character) = code.and_then(char::from_u32) else {
                let shown = &rest[..=length];
                return Err(Refused::new(
                    format!("the escape `\\{shown}` is not a character"),
                    format!("expected {wanted} hexadecimal digits"),
                ));
            };
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(1 + length);
        }
        other => {
            bytes.push(b'\\');
            bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(other.len_utf8());
        }
    };
    bytes.push(plain);
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, expected) in
            [("0", 0), ("7", 7), ("-7", -7), ("+7", 7), ("0x1F", 31), ("-0x10", -16), ("010", 8), ("2147483647", 2_147_483_647)]
        {
            assert_eq!(word(&Kind::Int32, text), Ok(Value::I32(expected)), "{text}");
        }
        for text in ["", "-", "1.0", "1e3", "0x", "08", "abc", "--1", "0x-1", "1_000"] {
            let refused = word(&Kind::Int32, text).expect_err(text);
            assert_eq!(refused.message, format!("`{text}` is not a whole number"));
        }
        for (kind, text) in [
            (Kind::Int32, "2147483648"),
            (Kind::Uint32, "-1"),
            (Kind::Uint32, "4294967296"),
            (Kind::Uint64, "18446744073709551616"),
            (Kind::Int64, "99999999999999999999999999999999999999999999"),
        ] {
            assert_eq!(word(&kind, text).expect_err(text).message, format!("`{text}` is out of range"));
        }
        assert_eq!(word(&Kind::Uint64, "18446744073709551615"), Ok(Value::U64(u64::MAX)));
    }

    #[test]
    fn floats() {
        for (text, expected) in [
            ("1", 1.0),
            ("1e-5", 1e-5),
            ("1f", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("-inf", f64::NEG_INFINITY),
            ("Infinity", f64::INFINITY),
            ("1.5F", 1.5),
        ] {
            assert_eq!(word(&Kind::Double, text), Ok(Value::F64(expected)), "{text}");
        }
        assert!(matches!(word(&Kind::Float, "nan"), Ok(Value::F32(number)) if number.is_nan()));
        assert_eq!(word(&Kind::Float, "1e300"), Ok(Value::F32(f32::INFINITY)));
        for text in ["", "f", "1.2.3", "0x10", "1ff", "one"] {
            assert!(word(&Kind::Float, text).is_err(), "{text}");
        }
    }

    #[test]
    fn escapes() {
        for (text, expected) in [
            (r"'\001'", b"\x01".as_slice()),
            (r"'\x01\xf'", b"\x01\x0f"),
            (r#""\t\n\\\"\'""#, b"\t\n\\\"'"),
            (r"'\u7528\U00006237'", "用户".as_bytes()),
            (r"'\d\用'", r"\d\用".as_bytes()),
            (r"'\377'", b"\xff"),
            (r"'\xzz'", br"\xzz"),
            ("'用\x03'", "用\x03".as_bytes()),
        ] {
            assert_eq!(unescape(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [r"'\400'", r"'\u12'", r"'\ud800'", r"'\U00110000'"] {
            assert!(unescape(text).is_err(), "{text}");
        }
    }
}

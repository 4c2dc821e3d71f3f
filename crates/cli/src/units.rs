//! Numbers as people read them.

use std::time::Duration;

/// A whole number in groups of three: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A large number in three or four digits: `512`, `24.5 k`, `5.87 G`.
pub(crate) fn large(number: f64) -> String {
    for (unit, name) in [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if number >= unit {
            let value = number / unit;
            let digits = if value < 10.0 { 2 } else { 1 };
            return format!("{value:.digits$} {name}");
        }
    }
    format!("{number:.0}")
}

/// A time span: `0.42 s`, `12 s`, `3 min 05 s`, `1 h 02 min`.
pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    if seconds < 9.995 {
        return format!("{seconds:.2} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{} h {minutes:02} min", count(hours)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let found = [0, 12, 999, 1000, 123_456, 1_234_567, u64::MAX].map(count);
        let expected = ["0", "12", "999", "1,000", "123,456", "1,234,567", "18,446,744,073,709,551,615"];
        assert_eq!(found, expected);
    }

    #[test]
    fn large_numbers() {
        let found = [0.0, 512.4, 1000.0, 24_512.0, 5.87e9, 3e20].map(large);
        assert_eq!(found, ["0", "512", "1.00 k", "24.5 k", "5.87 G", "300000.0 P"]);
    }

    #[test]
    fn durations() {
        let found = [0.0, 0.421, 9.99, 9.999, 59.4, 59.6, 185.0, 3599.9, 3725.0, 1e7].map(|s| duration(Duration::from_secs_f64(s)));
        let expected =
            ["0.00 s", "0.42 s", "9.99 s", "10 s", "59 s", "1 min 00 s", "3 min 05 s", "1 h 00 min", "1 h 02 min", "2,777 h 46 min"];
        assert_eq!(found, expected);
    }
}

//! Numbers in text, with Redis's rules about what counts as one.

/// A signed 64-bit integer in its one canonical form: no sign but `-`, no leading zeros, no blanks.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    match (negative, magnitude) {
        (false, 0..=0x7FFF_FFFF_FFFF_FFFF) => Some(magnitude as i64),
        (true, 0..=0x8000_0000_0000_0000) => Some(0_i64.wrapping_sub_unsigned(magnitude)),
        _ => None,
    }
}

/// A floating point number; `inf` and exponents count, `nan` and blanks do not.
pub fn parse_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() || text.len() > 255 {
        return None;
    }
    text.parse().ok().filter(|value: &f64| !value.is_nan())
}

/// The shortest decimal text that reads back as `value`, never with an exponent; at most 17 digits after the point,
/// as `INCRBYFLOAT` answers.
pub fn format_float(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let mut text = format!("{value}");
    if let Some(point) = text.find('.')
        && text.len() - point > 18
    {
        text = format!("{value:.17}");
        let kept = text.trim_end_matches('0').trim_end_matches('.').len();
        text.truncate(kept);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_integer() {
        for (text, value) in [
            ("0", 0),
            ("-1", -1),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "-0",
            "01",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn floats_read_and_write_as_in_redis() {
        assert_eq!(parse_float(b"3.0e3"), Some(3000.0));
        assert_eq!(parse_float(b"nan"), None);
        assert_eq!(parse_float(b" 1"), None);
        assert_eq!(format_float(10.5 + 0.1), "10.6");
        assert_eq!(format_float(5200.0), "5200");
        assert_eq!(format_float(-0.0), "0");
    }
}

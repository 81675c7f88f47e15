//! String formats and quantities.

use std::{cmp::Ordering, net::IpAddr, str::FromStr, sync::OnceLock};

use base64::Engine;
use regex::Regex;

/// Whether a string has the format; unknown formats hold for every string.
pub fn is_valid_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => jiff::Timestamp::from_str(text).is_ok(),
        "date" => jiff::civil::Date::from_str(text).is_ok(),
        "duration" => is_duration(text),
        "byte" => base64::engine::general_purpose::STANDARD
            .decode(text)
            .is_ok(),
        "ipv4" => matches!(text.parse(), Ok(IpAddr::V4(_))),
        "ipv6" => matches!(text.parse(), Ok(IpAddr::V6(_))),
        "cidr" => is_cidr(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid::Uuid::parse_str(text).is_ok(),
        "uri" => text
            .parse::<http::Uri>()
            .is_ok_and(|uri| uri.scheme().is_some() || text.starts_with('/')),
        "email" => text.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !host.contains('@')
        }),
        "hostname" => text.len() <= 255 && text.split('.').all(is_host_label),
        "mac" => matches_pattern(text, r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"),
        _ => true,
    }
}

fn is_host_label(label: &str) -> bool {
    let inner = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    inner
        && !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let widest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= widest)
}

/// Go's duration (`1h30m`), which is what Kubernetes accepts.
fn is_duration(text: &str) -> bool {
    static DURATION: OnceLock<Regex> = OnceLock::new();
    let pattern = DURATION.get_or_init(|| {
        Regex::new(r"^[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*)$")
            .expect("a fixed pattern")
    });
    pattern.is_match(text)
}

fn matches_pattern(text: &str, pattern: &str) -> bool {
    Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
}

/// A Kubernetes quantity (`100m`, `1.5Gi`, `2e3`) as a number of thousandths of a billionth, so that sums and comparisons are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// Value times 10^9.
    nano: i128,
}

impl Quantity {
    const NANO: i128 = 1_000_000_000;

    /// Reads a quantity; none if the text is no quantity.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let negative = number.starts_with('-');
        let digits = number.trim_start_matches(['+', '-']);
        if number.len() - digits.len() > 1 || !digits.chars().any(|c| c.is_ascii_digit()) {
            return None;
        }
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if fraction.contains('.') || whole.contains(['+', '-']) || fraction.contains(['+', '-']) {
            return None;
        }
        let (multiplier, divisor) = scale(suffix)?;
        let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let places = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let scaled = mantissa.checked_mul(Self::NANO)?.checked_mul(multiplier)?
            / (places.checked_mul(divisor)?);
        Some(Self {
            nano: if negative { -scaled } else { scaled },
        })
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    /// The value in whole units, rounded up.
    pub fn units(self) -> i128 {
        self.nano.div_euclid(Self::NANO) + i128::from(self.nano.rem_euclid(Self::NANO) != 0)
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1024_i128.pow(power), 1));
    let decimal = |power: u32| Some((10_i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10_i128.checked_pow(power.unsigned_abs())?;
            Some(if power < 0 { (1, size) } else { (size, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_compare_by_value() {
        let read = |text| Quantity::parse(text).expect("a quantity");
        assert_eq!(read("1000m"), read("1"));
        assert_eq!(read("1.5Gi"), read("1536Mi"));
        assert_eq!(read("2e3"), read("2k"));
        assert!(read("1Gi") > read("1G"));
        assert_eq!(read("100m").units(), 1);
        assert!(
            ["", "x", "1x", "1..2", "--1", "1 Gi"]
                .iter()
                .all(|text| Quantity::parse(text).is_none())
        );
    }

    #[test]
    fn formats_are_checked_and_unknown_ones_hold() {
        assert!(is_valid_format("date-time", "2026-01-02T03:04:05Z"));
        assert!(!is_valid_format("date-time", "yesterday"));
        assert!(is_valid_format("duration", "1h30m") && !is_valid_format("duration", "90"));
        assert!(is_valid_format("cidr", "10.0.0.0/8") && !is_valid_format("cidr", "10.0.0.0/33"));
        assert!(is_valid_format("colour", "any"));
    }
}

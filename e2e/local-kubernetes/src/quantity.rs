//! Kubernetes quantities (`500m`, `1Gi`) as numbers. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value in thousandths; `None` when it is not a quantity.
pub fn milli(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.trim();
    let split = text
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (number, scale): (&str, f64) = match suffix {
        "" => (number, 1e3),
        "n" => (number, 1e-6),
        "u" => (number, 1e-3),
        "m" => (number, 1.0),
        "k" => (number, 1e6),
        "M" => (number, 1e9),
        "G" => (number, 1e12),
        "T" => (number, 1e15),
        "P" => (number, 1e18),
        "Ki" => (number, 1e3 * 1024.0),
        "Mi" => (number, 1e3 * 1_048_576.0),
        "Gi" => (number, 1e3 * 1_073_741_824.0),
        "Ti" => (number, 1e3 * 1_099_511_627_776.0),
        _ if suffix.starts_with(['e', 'E']) => (text, 1e3),
        _ => return None,
    };
    let value: f64 = number.parse().ok()?;
    // Quantities of real clusters stay far below 2^53 thousandths or are powers of two: exact in a double.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounded up on purpose, as Kubernetes does"
    )]
    Some((value * scale).ceil() as i128)
}

/// The value rounded up to a whole number, as `resourceFieldRef` and `maxmemory` want it.
pub fn whole(quantity: &Quantity, divisor: Option<&Quantity>) -> Option<i128> {
    let divisor = divisor
        .and_then(milli)
        .filter(|divisor| *divisor > 0)
        .unwrap_or(1000);
    let value = milli(quantity)?;
    Some((value + divisor - 1).div_euclid(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_scale_and_fractions_round_up() {
        let quantity = |text: &str| Quantity(text.into());
        for (text, expected) in [
            ("1", 1000),
            ("250m", 250),
            ("0.5", 500),
            ("1Ki", 1_024_000),
            ("2k", 2_000_000),
            ("1e3", 1_000_000),
            ("1Gi", 1_073_741_824_000),
        ] {
            assert_eq!(milli(&quantity(text)), Some(expected), "{text}");
        }
        assert_eq!(milli(&quantity("1x")), None);
        assert_eq!(milli(&quantity("")), None);
        assert_eq!(whole(&quantity("250m"), None), Some(1));
        assert_eq!(whole(&quantity("64Mi"), None), Some(67_108_864));
        assert_eq!(whole(&quantity("64Mi"), Some(&quantity("1Mi"))), Some(64));
    }
}

//! Reading and showing the values of options.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::settings::{ClientsMemory, OutputLimits, SavePoint};

/// What is allowed instead.
pub(super) type Refusal = String;

pub(super) fn yes_no(text: &str) -> Result<bool, Refusal> {
    match text.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("must be 'yes' or 'no'".to_owned()),
    }
}

pub(super) fn show_yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// Least bytes of a secret. Whoever connects is shown something that a guess can be tried on, as often as he likes.
pub const SECRET_BYTES: usize = 16;

/// A secret, or none.
pub(super) fn secret(text: &str) -> Result<String, Refusal> {
    let length = text.len();
    if text.is_empty() || length >= SECRET_BYTES {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "must have at least {SECRET_BYTES} bytes, and has {length}; empty: none"
        ))
    }
}

pub(super) fn number<T: TryFrom<i64>>(
    text: &str,
    allowed: RangeInclusive<i64>,
) -> Result<T, Refusal> {
    text.parse()
        .ok()
        .filter(|number| allowed.contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            format!(
                "must be a number from {} to {}",
                allowed.start(),
                allowed.end()
            )
        })
}

/// A size in bytes: `100`, `1k` (1000), `1kb` (1024), and so on up to `g` and `gb`.
pub(super) fn size(text: &str) -> Result<usize, Refusal> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => 0,
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|_| unit > 0)
        .ok_or_else(|| "must be a size in bytes, such as 1048576, 100mb or 1gb".to_owned())
}

/// A host and a port, separated by blanks; nobody when there is nothing, or `no one`.
pub(super) fn replicaof(text: &str) -> Result<Option<(String, u16)>, Refusal> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words.as_slice() {
        [] => Ok(None),
        [no, one] if no.eq_ignore_ascii_case("no") && one.eq_ignore_ascii_case("one") => Ok(None),
        [host, port] => match port.parse() {
            Ok(port) if port > 0 => Ok(Some(((*host).to_owned(), port))),
            _ => Err("must end with a port from 1 to 65535".to_owned()),
        },
        _ => Err("must be a host and a port, such as '10.0.0.1 6379', or empty".to_owned()),
    }
}

/// Pairs of seconds and changes, separated by blanks.
pub(super) fn save_points(text: &str) -> Result<Vec<SavePoint>, Refusal> {
    let wrong =
        || "must be pairs of seconds and changes, such as '3600 1 300 100', or empty".to_owned();
    let numbers: Vec<u64> = text
        .split_ascii_whitespace()
        .map(|word| {
            word.parse()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(wrong)
        })
        .collect::<Result<_, _>>()?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong());
    }
    let points = pairs.iter();
    Ok(points
        .map(|[seconds, changes]| SavePoint {
            seconds: *seconds,
            changes: *changes,
        })
        .collect())
}

pub(super) fn show_save_points(points: &[SavePoint]) -> String {
    points
        .iter()
        .map(|point| format!("{} {}", point.seconds, point.changes))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The name of a file without a folder.
pub(super) fn file_name(text: &str) -> Result<String, Refusal> {
    let path = std::path::Path::new(text);
    if path.file_name().is_some_and(|name| name == text) {
        Ok(text.to_owned())
    } else {
        Err("must be the name of a file, without a folder".to_owned())
    }
}

/// Addresses, separated by blanks. A leading `-` (redis-server: optional address) is dropped; `*` is every IPv4 address.
pub(super) fn addresses(text: &str) -> Result<Vec<IpAddr>, Refusal> {
    text.split_ascii_whitespace()
        .map(|word| match word.trim_start_matches('-') {
            "*" => Ok(IpAddr::from([0, 0, 0, 0])),
            "::*" => Ok(IpAddr::from([0_u16; 8])),
            address => address
                .parse()
                .map_err(|_| "must be IP addresses, separated by blanks".to_owned()),
        })
        .collect()
}

pub(super) fn show_addresses(addresses: &[IpAddr]) -> String {
    addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `CLASS HARD SOFT SECONDS`, several times. There are connections of class `normal` only; what other classes may have is not kept.
pub(super) fn output_limits(text: &str, limits: &mut OutputLimits) -> Result<(), Refusal> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("must be CLASS HARD SOFT SECONDS, several times".to_owned());
    }
    for words in words.chunks_exact(4) {
        let given = OutputLimits {
            hard: size(words[1])?,
            soft: size(words[2])?,
            seconds: number(words[3], 0..=i64::from(i32::MAX))?,
        };
        match words[0].to_ascii_lowercase().as_str() {
            "normal" => *limits = given,
            "replica" | "slave" | "pubsub" => {}
            _ => return Err("must name the class normal, replica or pubsub".to_owned()),
        }
    }
    Ok(())
}

pub(super) fn show_output_limits(limits: OutputLimits) -> String {
    format!("normal {} {} {}", limits.hard, limits.soft, limits.seconds)
}

/// Fewer bytes would close clients that do nothing unusual.
const LEAST_CLIENTS_MEMORY: usize = 128 << 10;

pub(super) fn clients_memory(text: &str) -> Result<ClientsMemory, Refusal> {
    if let Some(percent) = text.strip_suffix('%') {
        return number(percent, 1..=100).map(ClientsMemory::Percent);
    }
    match size(text)? {
        bytes @ 1..LEAST_CLIENTS_MEMORY => Err(format!(
            "must be 0, a part of maxmemory such as 50%, or at least {LEAST_CLIENTS_MEMORY} bytes; not {bytes}"
        )),
        bytes => Ok(ClientsMemory::Bytes(bytes)),
    }
}

pub(super) fn show_clients_memory(memory: ClientsMemory) -> String {
    match memory {
        ClientsMemory::Bytes(bytes) => bytes.to_string(),
        ClientsMemory::Percent(percent) => format!("{percent}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(size("100"), Ok(100));
        assert_eq!(size("1k"), Ok(1000));
        assert_eq!(size("1KB"), Ok(1024));
        assert_eq!(size("2gb"), Ok(2 << 30));
        for text in ["", "gb", "1tb", "-1", "1.5gb", "99999999999gb"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn output_limits_are_those_of_ordinary_connections() {
        let mut limits = OutputLimits {
            hard: 5,
            soft: 6,
            seconds: 7,
        };
        let before = limits;
        assert_eq!(output_limits("replica 256mb 64mb 60", &mut limits), Ok(()));
        assert_eq!(limits, before);
        let given = "pubsub 32mb 8mb 60 Normal 1kb 100 9";
        assert_eq!(output_limits(given, &mut limits), Ok(()));
        assert_eq!(show_output_limits(limits), "normal 1024 100 9");
        for text in [
            "",
            "normal",
            "normal 1 2",
            "other 1 2 3",
            "normal 1 2 -3",
            "normal x 2 3",
        ] {
            assert!(output_limits(text, &mut limits).is_err(), "{text}");
        }
    }

    #[test]
    fn the_memory_of_clients_may_be_a_part_of_all() {
        let read = |text| clients_memory(text).map(|memory| memory.bytes(1 << 30));
        assert_eq!(read("0"), Ok(usize::MAX));
        assert_eq!(read("1mb"), Ok(1 << 20));
        assert_eq!(read("50%"), Ok((1 << 30) / 100 * 50));
        assert_eq!(ClientsMemory::Percent(50).bytes(0), usize::MAX);
        assert_eq!(ClientsMemory::Percent(50).bytes(1000), 1 << 20);
        for text in ["", "0%", "101%", "%", "1kb", "-1"] {
            assert!(clients_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_may_be_many() {
        assert_eq!(addresses("127.0.0.1 -::1").map(|list| list.len()), Ok(2));
        assert_eq!(addresses("*"), Ok(vec![IpAddr::from([0, 0, 0, 0])]));
        assert!(addresses("localhost").is_err());
    }

    #[test]
    fn a_number_outside_its_range_is_told_the_range() {
        let refused = number::<u16>("70000", 0..=65_535);
        assert_eq!(refused, Err("must be a number from 0 to 65535".to_owned()));
    }
}

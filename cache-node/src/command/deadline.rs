//! The times in `EX`, `PX`, `EXAT`, `PXAT` and the commands of the `EXPIRE` family.

use crate::clock::Millis;
use crate::resp::parse_integer;

use super::error::{NOT_INTEGER, Result, invalid_expire};

/// What a time is measured in, and from when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// Seconds since the epoch.
    UnixSeconds,
    /// Milliseconds since the epoch.
    UnixMillis,
}

impl Unit {
    /// The unit of an option of `SET` and `GETEX`.
    pub(super) fn of_option(option: &[u8]) -> Option<Self> {
        [
            ("ex", Self::Seconds),
            ("px", Self::Millis),
            ("exat", Self::UnixSeconds),
            ("pxat", Self::UnixMillis),
        ]
        .into_iter()
        .find(|(name, _)| option.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, unit)| unit)
    }

    /// The moment that `text` means, in milliseconds since the epoch; it may lie in the past. `command` is named in the error.
    pub(super) fn moment(self, text: &[u8], now: Millis, command: &str) -> Result<i64> {
        let time = parse_integer(text).ok_or(NOT_INTEGER)?;
        let millis = match self {
            Self::Seconds | Self::UnixSeconds => time.checked_mul(1000),
            Self::Millis | Self::UnixMillis => Some(time),
        };
        let base = match self {
            Self::Seconds | Self::Millis => now as i64,
            Self::UnixSeconds | Self::UnixMillis => 0,
        };
        millis
            .and_then(|millis| millis.checked_add(base))
            .ok_or_else(|| invalid_expire(command))
    }

    /// The deadline that `text` means; the time given must be positive. `command` is named in the error.
    pub(super) fn deadline(self, text: &[u8], now: Millis, command: &str) -> Result<Millis> {
        let time = parse_integer(text).ok_or(NOT_INTEGER)?;
        if time <= 0 {
            return Err(invalid_expire(command));
        }
        let moment = self.moment(text, now, command)?;
        Millis::try_from(moment).map_err(|_| invalid_expire(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_in_the_end() {
        assert_eq!(Unit::Seconds.deadline(b"2", 1000, "set"), Ok(3000));
        assert_eq!(Unit::Millis.deadline(b"2", 1000, "set"), Ok(1002));
        assert_eq!(Unit::UnixSeconds.deadline(b"2", 1000, "set"), Ok(2000));
        assert_eq!(Unit::UnixMillis.deadline(b"2", 1000, "set"), Ok(2));
        assert_eq!(Unit::Seconds.moment(b"-2", 1000, "expire"), Ok(-1000));
    }

    #[test]
    fn times_that_cannot_be_are_refused_by_the_commands_name() {
        for text in ["0", "-1", "9223372036854775807", "9223372036854776"] {
            let refused = Unit::Seconds.deadline(text.as_bytes(), 1000, "setex");
            assert_eq!(refused, Err(invalid_expire("setex")), "{text}");
        }
        assert_eq!(Unit::Millis.deadline(b"x", 1, "set"), Err(NOT_INTEGER));
    }
}

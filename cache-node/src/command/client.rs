//! `CLIENT`: connections about themselves and each other.

use super::error::{Result, error};

/// A name that a connection gives itself, if it is one.
pub(super) fn checked_name(name: &[u8]) -> Result<String> {
    let fine = name.iter().all(|byte| (b'!'..=b'~').contains(byte));
    match std::str::from_utf8(name) {
        Ok(name) if fine => Ok(name.to_owned()),
        _ => Err(error(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        )),
    }
}

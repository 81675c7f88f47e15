//! Moments as API fields hold them. Pure.

use jiff::Timestamp;

/// A moment without its fraction: what a `Time` field keeps, so that a written status equals the one read back.
#[must_use]
pub fn whole_second(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

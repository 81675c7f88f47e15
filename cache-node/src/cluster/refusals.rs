//! Connections of the bus that were refused: counted by reason, and told in the log, not more often than is of use.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::hello::Refusal;

/// An address is told of at most once in this time.
const QUIET: Duration = Duration::from_secs(10);
/// Most addresses that are told of in that time.
const MOST_ADDRESSES: usize = 64;

/// What was refused since the start.
#[derive(Default)]
pub(super) struct Refusals {
    counts: [AtomicU64; Refusal::LABELS.len()],
    told: Mutex<Told>,
}

impl Refusals {
    /// A connection with `peer` is refused.
    pub(super) fn note(&self, peer: IpAddr, refusal: &Refusal) {
        let label = refusal.label();
        for (count, _) in self
            .counts
            .iter()
            .zip(Refusal::LABELS)
            .filter(|(_, of)| *of == label)
        {
            count.fetch_add(1, Relaxed);
        }
        if self.told.lock().is_due(peer, Instant::now()) {
            tracing::warn!(%peer, reason = %refusal, "a connection of the cluster bus is refused");
        }
    }

    /// Connections refused, by reason.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Refusal::LABELS.into_iter().zip(&self.counts);
        counts.map(|(label, count)| (label, count.load(Relaxed)))
    }
}

/// The addresses that were told of lately, and when.
#[derive(Default)]
struct Told(BTreeMap<IpAddr, Instant>);

impl Told {
    /// Whether to tell of this address now.
    fn is_due(&mut self, peer: IpAddr, now: Instant) -> bool {
        self.0
            .retain(|_, at| now.saturating_duration_since(*at) < QUIET);
        if self.0.len() >= MOST_ADDRESSES || self.0.contains_key(&peer) {
            return false;
        }
        self.0.insert(peer, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: usize) -> IpAddr {
        IpAddr::from([10, 0, 0, last as u8])
    }

    #[test]
    fn an_address_is_told_of_once_in_a_while() {
        let (mut told, start) = (Told::default(), Instant::now());
        assert!(told.is_due(address(1), start));
        assert!(told.is_due(address(2), start));
        assert!(!told.is_due(address(1), start + QUIET / 2));
        assert!(told.is_due(address(1), start + QUIET));
    }

    #[test]
    fn many_addresses_do_not_fill_memory_or_log() {
        let (mut told, start) = (Told::default(), Instant::now());
        let due = (0..200).filter(|last| told.is_due(address(*last), start));
        assert_eq!(due.count(), MOST_ADDRESSES);
        assert_eq!(told.0.len(), MOST_ADDRESSES);
        assert!(told.is_due(address(200), start + QUIET));
        assert_eq!(told.0.len(), 1);
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let refusals = Refusals::default();
        refusals.note(address(1), &Refusal::Silent);
        refusals.note(address(1), &Refusal::OtherSecret);
        refusals.note(address(1), &Refusal::NoSecretHere);
        let counted: Vec<_> = refusals.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("secret", 2), ("silent", 1)]);
    }
}

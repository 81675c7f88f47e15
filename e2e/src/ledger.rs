//! The ledger of acknowledged writes: which values a cluster said it had, and whether it still has them.
//!
//! A key has one writer, and its values are the sequence numbers 1, 2, 3, ... in the order of writing. So for a value
//! read back it is certain how many acknowledged writes it is behind. Pure: no I/O and no clock.
//!
//! A write without an answer may or may not have happened, and may even happen later. Its key is therefore not written
//! again ([`Ledger::issue`] answers `None`) until [`Ledger::settle`] says what was found.

/// What one key's writer knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// The newest number that was ever sent.
    issued: u64,
    /// The newest number that the cluster acknowledged or that was found by [`Ledger::settle`].
    acknowledged: u64,
}

/// All keys, by their index.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    acknowledgements: u64,
}

/// What a value read back says about the writes of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The newest acknowledged write, or one that was sent later, is there.
    Kept,
    /// An older value is there, or none: this many acknowledged writes are gone.
    Lost(u64),
    /// A number that was never sent.
    Alien,
}

impl Ledger {
    /// A ledger of `keys` keys without a write.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self {
            entries: vec![Entry::default(); keys],
            acknowledgements: 0,
        }
    }

    /// How many keys it has.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.entries.len()
    }

    /// The next number to write to `key`, or `None` while the outcome of an earlier write is unknown.
    pub fn issue(&mut self, key: usize) -> Option<u64> {
        let entry = &mut self.entries[key];
        if entry.issued != entry.acknowledged {
            return None;
        }
        entry.issued += 1;
        Some(entry.issued)
    }

    /// The cluster acknowledged the newest write to `key`.
    pub fn acknowledge(&mut self, key: usize) {
        let entry = &mut self.entries[key];
        if entry.acknowledged != entry.issued {
            entry.acknowledged = entry.issued;
            self.acknowledgements += 1;
        }
    }

    /// The number that a read of `key` which starts now must at least find.
    #[must_use]
    pub fn acknowledged(&self, key: usize) -> u64 {
        self.entries[key].acknowledged
    }

    /// How many writes were acknowledged in all.
    #[must_use]
    pub fn acknowledgements(&self) -> u64 {
        self.acknowledgements
    }

    /// Judges what a read of `key` found when no write to it was under way.
    #[must_use]
    pub fn judge(&self, key: usize, found: Option<u64>) -> Verdict {
        let Entry {
            issued,
            acknowledged,
        } = self.entries[key];
        let found = found.unwrap_or(0);
        if found > issued {
            Verdict::Alien
        } else if found >= acknowledged {
            Verdict::Kept
        } else {
            // Every number up to the newest acknowledged one was acknowledged, or settled when it was not.
            Verdict::Lost(acknowledged - found)
        }
    }

    /// Takes what was found as the truth from now on, so that a loss is counted once and the key is written again.
    pub fn settle(&mut self, key: usize, found: Option<u64>) {
        let entry = &mut self.entries[key];
        entry.acknowledged = found.unwrap_or(0);
        entry.issued = entry.acknowledged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newest_acknowledged_or_a_later_sent_value_is_kept_and_anything_else_is_lost() {
        let mut ledger = Ledger::new(1);
        assert_eq!(ledger.judge(0, None), Verdict::Kept);
        for expected in 1..=3 {
            assert_eq!(ledger.issue(0), Some(expected));
            ledger.acknowledge(0);
        }
        assert_eq!(ledger.issue(0), Some(4));
        assert_eq!(ledger.judge(0, Some(4)), Verdict::Kept);
        assert_eq!(ledger.judge(0, Some(3)), Verdict::Kept);
        assert_eq!(ledger.judge(0, Some(1)), Verdict::Lost(2));
        assert_eq!(ledger.judge(0, None), Verdict::Lost(3));
        assert_eq!(ledger.judge(0, Some(5)), Verdict::Alien);
    }

    #[test]
    fn a_key_whose_write_had_no_answer_is_not_written_until_it_is_settled() {
        let mut ledger = Ledger::new(1);
        assert_eq!(ledger.issue(0), Some(1));
        assert_eq!(ledger.issue(0), None);
        ledger.settle(0, Some(1));
        assert_eq!(ledger.issue(0), Some(2));
    }

    /// A server that keeps what it is told, and one step of its life with its client.
    #[derive(Clone, Debug)]
    enum Step {
        Written,
        UnansweredButWritten,
        UnansweredAndNot,
        ReadBack,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Written),
            1 => Just(Step::UnansweredButWritten),
            1 => Just(Step::UnansweredAndNot),
            1 => Just(Step::ReadBack),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn an_honest_server_never_loses_and_one_that_forgets_always_does(steps in steps()) {
            let mut ledger = Ledger::new(1);
            let mut stored = None;
            let mut history = vec![];
            for step in steps {
                if matches!(step, Step::ReadBack) {
                    prop_assert_eq!(ledger.judge(0, stored), Verdict::Kept);
                    ledger.settle(0, stored);
                    history.retain(|acknowledged| Some(*acknowledged) <= stored);
                } else if let Some(number) = ledger.issue(0) {
                    if !matches!(step, Step::UnansweredAndNot) {
                        stored = Some(number);
                    }
                    if matches!(step, Step::Written) {
                        ledger.acknowledge(0);
                        history.push(number);
                    }
                }
            }
            prop_assert_eq!(ledger.judge(0, stored), Verdict::Kept);
            // Going back before the newest acknowledged write is always noticed.
            if let Some(newest) = history.last() {
                prop_assert!(matches!(ledger.judge(0, None), Verdict::Lost(lost) if lost > 0));
                prop_assert_eq!(ledger.judge(0, Some(newest - 1)), Verdict::Lost(ledger.acknowledged(0) - newest + 1));
            }
        }
    }
}

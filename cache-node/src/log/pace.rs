//! How far writers may be ahead of the slowest reader when what it has not read no longer fits on the disk.
//!
//! A reader that needs more than the disk may hold would have to start over, and would not come further the next time. So writers wait for
//! it, but not at any price: one that takes less than a quarter of what was written before they waited is let go.
//!
//! Pure: it has no clock of its own.

use std::time::{Duration, Instant};

/// Writers go on at a quarter of their speed, or they go on without the reader.
const LEAST_PART: u64 = 4;

/// It is looked how fast the reader is over stretches of this.
const STRETCH: Duration = Duration::from_secs(1);

/// So many such stretches together must be too slow: a pause of one is no reason to lose a full sync.
const STRETCHES: u32 = 5;

/// What is on the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    /// Bytes of segments.
    pub(super) bytes: u64,
    /// How many there may be.
    pub(super) limit: u64,
}

/// Offsets of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    /// Its end.
    pub(super) end: u64,
    /// The disk has everything up to here.
    pub(super) written: u64,
    /// The slowest reader has read everything up to here.
    pub(super) slowest: u64,
}

/// What is decided about writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They need not wait for a reader.
    Free,
    /// They should wait once the log's end is beyond this offset.
    Until(u64),
    /// From now on they do not wait for the reader any more: it is too slow.
    LetGo,
}

/// The time from when readers became slow until they no longer are.
#[derive(Debug)]
pub(super) struct Pace {
    /// When it began, and where the log's end was.
    began: (Instant, u64),
    waiting: Option<Waiting>,
    let_go: bool,
}

/// Writers wait.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// How far ahead they may be, in bytes.
    lead: u64,
    /// Bytes a second that were written before.
    speed: u64,
    /// When the stretch began, and where the slowest reader was.
    since: (Instant, u64),
    /// Stretches that were too slow, one behind the other.
    slow: u32,
}

impl Pace {
    /// Readers have become slow, at this end of the log.
    pub(super) fn new(now: Instant, end: u64) -> Self {
        Self {
            began: (now, end),
            waiting: None,
            let_go: false,
        }
    }

    /// What writers should do.
    pub(super) fn verdict(&mut self, now: Instant, disk: Disk, at: Offsets) -> Verdict {
        if self.let_go || disk.bytes < disk.limit / 2 {
            self.waiting = None;
            return Verdict::Free;
        }
        if disk.bytes > disk.limit / 4 * 3 {
            self.wait(now, at);
        }
        let Some(waiting) = &mut self.waiting else {
            return Verdict::Free;
        };
        let (since, place) = waiting.since;
        let stretch = now.saturating_duration_since(since);
        if stretch >= STRETCH {
            let read = speed(at.slowest.saturating_sub(place), stretch);
            let is_slow = read == 0 || read.saturating_mul(LEAST_PART) < waiting.speed;
            waiting.slow = if is_slow { waiting.slow + 1 } else { 0 };
            if waiting.slow == STRETCHES {
                self.let_go = true;
                return Verdict::LetGo;
            }
            waiting.since = (now, at.slowest);
        }
        Verdict::Until(at.slowest + waiting.lead)
    }

    fn wait(&mut self, now: Instant, at: Offsets) {
        let lead = at.written.saturating_sub(at.slowest);
        let (began, end) = self.began;
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            lead,
            speed: speed(
                at.end.saturating_sub(end),
                now.saturating_duration_since(began),
            ),
            since: (now, at.slowest),
            slow: 0,
        });
        // Shorter records take more of the disk.
        waiting.lead = waiting.lead.min(lead);
    }
}

/// Bytes a second.
fn speed(bytes: u64, within: Duration) -> u64 {
    let millis = within.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 1000;

    /// The disk has everything.
    fn at(written: u64, slowest: u64) -> Offsets {
        Offsets {
            end: written,
            written,
            slowest,
        }
    }

    /// Runs writers and a reader of these speeds, in bytes a millisecond, for ten seconds: what they have written at the end, what was read,
    /// the most that was ever on the disk, and whether the reader was let go.
    fn run(writers: u64, reader: u64) -> (u64, u64, u64, bool) {
        let limit = LIMIT * 1000;
        let start = Instant::now();
        let mut pace = Pace::new(start, 0);
        let (mut written, mut read, mut most, mut let_go) = (0, 0, 0, false);
        for millis in 0..10_000 {
            let disk = Disk {
                bytes: written - read,
                limit,
            };
            most = most.max(disk.bytes);
            let now = start + Duration::from_millis(millis);
            let room = match pace.verdict(now, disk, at(written, read)) {
                Verdict::Free => u64::MAX,
                Verdict::Until(offset) => offset,
                Verdict::LetGo => {
                    let_go = true;
                    break;
                }
            };
            if written <= room {
                written += writers;
            }
            read = (read + reader).min(written);
        }
        (written, read, most, let_go)
    }

    #[test]
    fn writers_that_are_no_faster_never_wait() {
        assert_eq!(run(500, 500), (5_000_000, 5_000_000, 0, false));
    }

    proptest! {
        #[test]
        fn a_reader_that_is_fast_enough_is_never_lost(writers in 1000_u64..5000, part in 26_u64..=100) {
            let reader = writers * part / 100;
            let (written, read, most, let_go) = run(writers, reader);
            prop_assert!(!let_go);
            prop_assert!(most <= LIMIT * 750 + 2 * writers);
            prop_assert!(written - read <= LIMIT * 750 + 2 * writers);
            prop_assert!(read >= reader * 9_999);
        }

        #[test]
        fn a_reader_that_is_too_slow_holds_nobody_up_for_long(writers in 1000_u64..5000, part in 0_u64..=24) {
            let (.., let_go) = run(writers, writers * part / 100);
            prop_assert!(let_go);
        }
    }

    #[test]
    fn writers_do_not_wait_for_one_that_was_let_go() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 0);
        let full = Disk {
            bytes: 900,
            limit: LIMIT,
        };
        let later = |millis| start + Duration::from_millis(millis);
        assert_eq!(
            pace.verdict(later(100), full, at(900, 0)),
            Verdict::Until(900)
        );
        for second in 1..5 {
            let slowest = second * 10;
            let verdict = pace.verdict(later(100 + second * 1000), full, at(900, slowest));
            assert_eq!(verdict, Verdict::Until(900));
        }
        assert_eq!(
            pace.verdict(later(5099), full, at(900, 40)),
            Verdict::Until(900)
        );
        assert_eq!(pace.verdict(later(5100), full, at(900, 50)), Verdict::LetGo);
        assert_eq!(pace.verdict(later(5101), full, at(900, 50)), Verdict::Free);
    }

    #[test]
    fn a_pause_is_forgiven() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 0);
        let full = Disk {
            bytes: 900,
            limit: LIMIT,
        };
        pace.verdict(start + STRETCH, full, at(900, 0));
        for second in 2..100 {
            // Four seconds without anything, then one in which it takes much.
            let slowest = u64::from(second / 5) * 900;
            let verdict = pace.verdict(start + second * STRETCH, full, at(900 + slowest, slowest));
            assert!(matches!(verdict, Verdict::Until(_)), "{second}");
        }
    }

    #[test]
    fn a_stopped_reader_is_let_go_though_nothing_is_known_of_the_writers() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now, 2000);
        let full = Disk {
            bytes: 900,
            limit: LIMIT,
        };
        let at = Offsets {
            end: 2000,
            ..at(900, 0)
        };
        assert_eq!(pace.verdict(now, full, at), Verdict::Until(900));
        for _ in 1..STRETCHES {
            now += STRETCH;
            assert_eq!(pace.verdict(now, full, at), Verdict::Until(900));
        }
        assert_eq!(pace.verdict(now + STRETCH, full, at), Verdict::LetGo);
    }

    #[test]
    fn shorter_records_make_the_lead_shorter() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 0);
        let mut verdict = |bytes, written, slowest| {
            let disk = Disk {
                bytes,
                limit: LIMIT,
            };
            pace.verdict(start, disk, at(written, slowest))
        };
        assert_eq!(verdict(751, 740, 0), Verdict::Until(740));
        assert_eq!(verdict(740, 900, 300), Verdict::Until(1040));
        assert_eq!(verdict(760, 1000, 400), Verdict::Until(1000));
        assert_eq!(verdict(740, 1100, 600), Verdict::Until(1200));
        assert_eq!(verdict(499, 1200, 900), Verdict::Free);
    }
}

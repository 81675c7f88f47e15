//! What counts as memory: the data set, what is kept for clients and for the log, and, if that is more, what the process really takes.
//!
//! `maxmemory` is a limit on the memory of the process. Where fragmentation or buffers make it take more than it accounts for, the data
//! set has to be smaller, or the container is killed. So the resident size is looked at regularly, and what it is above the accounted
//! size, beyond a tolerance, is taken off the limit.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::process;

/// The resident size may be so much above the accounted size before it counts, as a part of the limit: 1/8.
const TOLERATED: usize = 8;

/// But it may always be so many bytes above: a process has stacks and buffers that do not depend on its data.
const ALWAYS_TOLERATED: usize = 32 << 20;

/// Above this the container's own limit counts, in hundredths of it.
const CONTAINER_PERCENT: usize = 95;

/// How much of the limit is not the data set's.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    /// Bytes for clients and the log.
    overhead: AtomicUsize,
    /// Bytes that the process takes beyond what is accounted for and tolerated.
    excess: AtomicUsize,
    /// What the last measurements found beyond what is tolerated.
    recent: Mutex<[usize; LASTING]>,
}

/// What the process takes too much counts when so many measurements, a second apart, have found it: freed memory goes back to the system
/// within about a second, and making the data set smaller would free even more.
const LASTING: usize = 3;

/// Sizes to judge by, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) limit: usize,
    pub(super) data: usize,
    pub(super) overhead: usize,
    /// What the process has in memory, less what it had when it was empty.
    pub(super) resident: usize,
    /// The container's use and limit, if it has one.
    pub(super) container: Option<(usize, usize)>,
}

/// Bytes of the process beyond what is accounted for and tolerated.
pub(super) fn beyond(sizes: Sizes) -> usize {
    let accounted = sizes.data + sizes.overhead;
    let tolerated = accounted + (sizes.limit / TOLERATED).max(ALWAYS_TOLERATED);
    sizes.resident.saturating_sub(tolerated)
}

/// Bytes to take off the limit beside the overhead, if the process takes at least `lasting` bytes too many.
pub(super) fn excess(sizes: Sizes, lasting: usize) -> usize {
    // A container's limit is no matter of averages.
    let container = sizes.container.map_or(0, |(used, limit)| {
        used.saturating_sub(limit / 100 * CONTAINER_PERCENT)
    });
    // Never more than half of the limit: what is freed comes back to the system with a delay.
    lasting.max(container).min(sizes.limit / 2)
}

impl Pressure {
    /// Bytes of the limit that are neither the data set's nor eviction's own, as last measured.
    pub(crate) fn reserved(&self) -> usize {
        self.overhead.load(Relaxed) + self.excess.load(Relaxed)
    }

    /// Looks at the process and its container again. `data` is the data set with what eviction keeps for it.
    pub(crate) fn measure(&self, limit: usize, data: usize, overhead: usize, baseline: usize) {
        self.overhead.store(overhead, Relaxed);
        let sizes = Sizes {
            limit,
            data,
            overhead,
            resident: process::resident_bytes().saturating_sub(baseline),
            container: process::container_memory(),
        };
        self.judge(sizes);
    }

    /// Takes a measurement into account.
    fn judge(&self, sizes: Sizes) {
        let lasting = {
            let mut recent = self.recent.lock();
            recent.rotate_right(1);
            recent[0] = beyond(sizes);
            recent.iter().copied().min().unwrap_or(0)
        };
        let excess = if sizes.limit == 0 {
            0
        } else {
            excess(sizes, lasting)
        };
        self.excess.store(excess, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn sizes() -> Sizes {
        Sizes {
            limit: 800 * MIB,
            data: 640 * MIB,
            overhead: 40 * MIB,
            resident: 720 * MIB,
            container: None,
        }
    }

    /// What is taken off if it lasts.
    fn now(sizes: Sizes) -> usize {
        excess(sizes, beyond(sizes))
    }

    #[test]
    fn a_process_about_as_big_as_accounted_has_its_whole_limit() {
        assert_eq!(now(sizes()), 0);
        let container = Some((900 * MIB, 1024 * MIB));
        assert_eq!(
            now(Sizes {
                container,
                ..sizes()
            }),
            0
        );
    }

    #[test]
    fn fragmentation_beyond_the_tolerance_is_taken_off() {
        let resident = 960 * MIB;
        let expected = 960 * MIB - 680 * MIB - 800 * MIB / 8;
        assert_eq!(
            now(Sizes {
                resident,
                ..sizes()
            }),
            expected
        );
        let resident = 8000 * MIB;
        assert_eq!(
            now(Sizes {
                resident,
                ..sizes()
            }),
            400 * MIB
        );
    }

    #[test]
    fn a_peak_that_does_not_last_takes_nothing_off() {
        let pressure = Pressure::default();
        let peak = Sizes {
            resident: 960 * MIB,
            ..sizes()
        };
        for sizes in [sizes(), peak, peak, sizes(), peak, peak] {
            pressure.judge(sizes);
            assert_eq!(pressure.reserved(), 0);
        }
        pressure.judge(peak);
        assert_eq!(pressure.reserved(), beyond(peak));
        pressure.judge(sizes());
        assert_eq!(pressure.reserved(), 0);
        // But a container that is nearly full does not wait.
        pressure.judge(Sizes {
            container: Some((1024 * MIB, 1024 * MIB)),
            ..sizes()
        });
        assert!(pressure.reserved() > 50 * MIB);
    }

    #[test]
    fn a_small_limit_tolerates_what_every_process_takes() {
        let small = Sizes {
            limit: 4 * MIB,
            data: 3 * MIB,
            overhead: 0,
            resident: 31 * MIB,
            container: None,
        };
        assert_eq!(now(small), 0);
    }

    #[test]
    fn a_container_that_is_nearly_full_shrinks_the_data() {
        let container = Some((1024 * MIB, 1024 * MIB));
        let expected = 1024 * MIB - 1024 * MIB / 100 * 95;
        assert_eq!(
            now(Sizes {
                container,
                ..sizes()
            }),
            expected
        );
    }
}

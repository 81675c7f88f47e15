//! Slots that move from one node to another with their data.

mod by_keys;
mod by_slots;
mod cluster;
mod hash_slot;
mod writers;

use anyhow::Result;

use super::data::Data;
use super::readings::{Quantity, Readings};
use super::watch;
use crate::inspect;
use crate::servers::discovery::Installed;
use crate::session::Session;
use cluster::Cluster;
use writers::Writers;

/// The last of the slots that move; half of them.
const LAST: u16 = 8191;

/// How slots are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the servers themselves: `CLUSTER MIGRATESLOTS`.
    Slots,
    /// By an administrator, slot by slot: `CLUSTER SETSLOT`, `CLUSTER GETKEYSINSLOT` and `MIGRATE` with many keys.
    Keys,
}

/// Moves half of the slots; `writes`: while clients write to these slots all the time.
pub(super) fn measure(
    session: &Session,
    installed: &Installed,
    data: Data,
    way: Way,
    writes: bool,
) -> Result<Readings> {
    let cluster = Cluster::start(session, installed)?;
    data.fill(session, &cluster.source)?;
    let action = || match way {
        Way::Slots => by_slots::move_slots(&cluster),
        Way::Keys => by_keys::move_slots(&cluster),
    };
    let mut pauses = Vec::new();
    let (took, seen) = if writes {
        let cores = &session.place.generator_cores;
        let writers = Writers::start(&cluster, data, cores)?;
        let mut before = None;
        let observed = watch::observe(
            session,
            &cluster.source,
            || writers.count(),
            || {
                before = Some(writers.take_longest());
                action()
            },
        );
        let longest = writers.take_longest();
        writers.end()?;
        let milliseconds = |pause: std::time::Duration| pause.as_secs_f64() * 1e3;
        pauses.push((Quantity::Pause, milliseconds(longest)));
        pauses.extend(before.map(|before| (Quantity::PauseBefore, milliseconds(before))));
        observed?
    } else {
        (watch::timed(action)?, Vec::new())
    };
    let moved = inspect::keys(&cluster.target)?;
    let mut readings = watch::speed(data.megabytes(moved), took);
    readings.extend(pauses);
    readings.extend(seen);
    Ok(readings)
}

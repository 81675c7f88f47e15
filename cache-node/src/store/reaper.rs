//! Frees big values and whole tables on a thread of its own, so that no command pays for it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};

use cache_engine::collections::Detached;
use cache_engine::table::Table;

use super::Value;

/// A table with more keys, or a part of a collection in more pieces, is freed in the background.
const BIG: usize = 64;

/// A value that takes more bytes is freed in the background.
const BIG_BYTES: usize = 16 * 1024;

/// While more bytes of values than this wait to be freed, whoever discards one frees it itself, unless it is bigger than that alone.
/// Otherwise a storm of writes could take memory faster than it is given back.
const MOST_WAITING: usize = 4 << 20;

/// What waits to be freed; dropping it is the work.
enum Garbage {
    Table { _table: Table },
    Value { _value: Value, bytes: usize },
    Part { _part: Detached },
}

impl Garbage {
    /// Bytes of a value; other garbage is not measured.
    fn bytes(&self) -> usize {
        match self {
            Self::Value { bytes, .. } => *bytes,
            Self::Table { .. } | Self::Part { .. } => 0,
        }
    }
}

static PENDING: AtomicUsize = AtomicUsize::new(0);

static PENDING_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Number of values and tables that wait to be freed.
pub fn pending_garbage() -> usize {
    PENDING.load(Relaxed)
}

static REAPER: LazyLock<Option<Sender<Garbage>>> = LazyLock::new(|| {
    let (sender, receiver) = channel::<Garbage>();
    std::thread::Builder::new()
        .name("reaper".to_owned())
        .spawn(move || {
            for garbage in receiver {
                let bytes = garbage.bytes();
                drop(garbage);
                PENDING.fetch_sub(1, Relaxed);
                PENDING_BYTES.fetch_sub(bytes, Relaxed);
            }
        })
        .ok()
        .map(|_| sender)
});

/// Frees a value, in the background if it is big.
pub fn discard_value(value: Value) {
    let bytes = value.outer_bytes();
    let waiting = PENDING_BYTES.load(Relaxed);
    if bytes > BIG_BYTES && (waiting <= MOST_WAITING || bytes > MOST_WAITING) {
        discard(Garbage::Value {
            _value: value,
            bytes,
        });
    }
}

/// Frees what was taken out of a collection, in the background if it is much.
pub fn discard_part(part: Detached) {
    if part.weight() > BIG {
        discard(Garbage::Part { _part: part });
    }
}

/// Frees a table, in the background if it is big.
pub(super) fn discard_table(table: Table) {
    if table.len() > BIG {
        discard(Garbage::Table { _table: table });
    }
}

fn discard(garbage: Garbage) {
    if let Some(reaper) = REAPER.as_ref() {
        let bytes = garbage.bytes();
        PENDING.fetch_add(1, Relaxed);
        PENDING_BYTES.fetch_add(bytes, Relaxed);
        // A send that fails gives the garbage back, and it is freed here.
        if reaper.send(garbage).is_err() {
            PENDING.fetch_sub(1, Relaxed);
            PENDING_BYTES.fetch_sub(bytes, Relaxed);
        }
    }
}

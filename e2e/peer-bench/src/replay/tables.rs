//! What came of replays, as Markdown.

use std::fmt::Write;

use super::Entry;
use crate::report::table::{Table, plain};

/// Both tables.
pub fn markdown(entries: &[Entry]) -> String {
    let mut out = String::new();
    for (title, text, table) in [
        (
            "Hit ratio with the same number of keys",
            "Memory is set so that each server holds about this part of the objects, which all have values of one length. \
             Difference: of the server from the simulator with as many keys as the server held on the average, in points.",
            same_keys(entries),
        ),
        (
            "Hit ratio with the same memory",
            "maxmemory is what the empty server takes and this many bytes, for all the same. Values have the trace's sizes if \
             it has any, or else the length above.",
            same_memory(entries),
        ),
        ("What is missing", "", notes(entries)),
    ] {
        if !table.is_empty() {
            let _ = write!(out, "\n### {title}\n\n{text}\n\n{}", table.render());
        }
    }
    out
}

fn cell_name(entry: &Entry) -> [String; 5] {
    [
        entry.trace.clone(),
        format!("{} / {}", entry.requests, entry.objects),
        format!("{} %", entry.percent),
        entry.contender.server.name().to_owned(),
        entry.contender.policy.to_owned(),
    ]
}

const NAME: [&str; 5] = ["trace", "requests / objects", "size", "server", "policy"];

fn percent(ratio: f64) -> String {
    format!("{:.2} %", ratio * 100.0)
}

fn same_keys(entries: &[Entry]) -> Table {
    let figures = ["value", "keys held", "hit ratio", "simulator", "difference"];
    let mut table = Table::new(NAME.into_iter().chain(figures), NAME.len());
    for entry in entries {
        if let Some(found) = &entry.same_keys {
            let ratio = found.replayed.hit_ratio();
            let figures = [
                format!("{} B", entry.value),
                plain(found.replayed.keys.round()),
                percent(ratio),
                percent(found.simulated),
                format!("{:+.2}", (ratio - found.simulated) * 100.0),
            ];
            table.push(cell_name(entry).into_iter().chain(figures));
        }
    }
    table
}

fn same_memory(entries: &[Entry]) -> Table {
    let figures = ["memory", "keys held", "hit ratio"];
    let mut table = Table::new(NAME.into_iter().chain(figures), NAME.len());
    for entry in entries {
        if let Some(found) = &entry.same_memory {
            let figures = [
                format!("{:.1} MiB", found.memory as f64 / f64::from(1 << 20)),
                plain(found.replayed.keys.round()),
                percent(found.replayed.hit_ratio()),
            ];
            table.push(cell_name(entry).into_iter().chain(figures));
        }
    }
    table
}

fn notes(entries: &[Entry]) -> Table {
    let mut table = Table::new(NAME.into_iter().chain(["why"]), NAME.len() + 1);
    for entry in entries {
        if let Some(note) = &entry.note {
            table.push(cell_name(entry).into_iter().chain([note.clone()]));
        }
    }
    table
}

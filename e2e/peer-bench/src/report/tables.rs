//! A report as Markdown.

use std::fmt::Write;

use super::Report;
use super::speed_tables::{self, percent};
use super::table::{Table, plain, thousands, times};
use crate::figures::{self, Entry, Footprint, ratio};
use crate::servers::Kind;
use crate::servers::discovery::Installed;

/// The whole report.
pub fn markdown(report: &Report) -> String {
    let mut out = head(report);
    let sections = [
        (
            "Operations per CPU second of the server",
            "In thousands, and as a multiple of the reference.",
            speed_tables::overview(report),
        ),
        (
            "Half load",
            "Every server is sent the same number of requests a second, half of what the reference makes at full load, at \
             times that do not depend on its answers. Latencies in microseconds, from the time that a request was due.",
            speed_tables::half_load(report),
        ),
        (
            "Growth and expiry",
            "SET of new keys at half load, 16 requests at a time, each key with a time to live: the table grows to its full \
             size, then as many keys expire as are written. Latencies in microseconds.",
            speed_tables::growth(report),
        ),
        (
            "Bytes a key beyond key and value",
            "Resident memory, less keys of 16 bytes and values; in brackets by the server's own accounting. Keys with a TTL \
             live for some days.",
            memory(report),
        ),
        (
            "Bytes of a collection of 1,000 elements",
            "Names of elements are 12 (fields) or 14 bytes long, values of fields 16. The payload counts a score as 8 bytes.",
            collections(report),
        ),
        (
            "Idle connections",
            "Each has asked one thing and is then left alone. Resident memory of the process, without what the kernel takes. The \
             last column is in proportion where the limit on open files allowed another number of them.",
            connections(report),
        ),
        (
            "Two workers against one",
            "Both on the same two cores. The multiple of operations per CPU second shows what sharing costs; twice that is what \
             two cores would make that do nothing else.",
            workers(report),
        ),
        (
            "Cross-check with another load generator",
            "The same workloads under valkey-benchmark: thousands of operations per CPU second of the server, and as a multiple \
             of the reference under the same generator.",
            cross_check(report),
        ),
        (
            "Speed in full",
            "Every connection has one batch of requests under way. Latencies in microseconds, from sending a batch to each \
             reply. Busy: CPU seconds for each second of wall time. Where others were busy, they disturbed the figures.",
            speed_tables::details(report),
        ),
    ];
    for (title, text, table) in sections {
        if !table.is_empty() {
            let _ = write!(out, "\n### {title}\n\n{text}\n\n{}", table.render());
        }
    }
    out
}

fn head(report: &Report) -> String {
    let machine = &report.machine;
    let settings = &report.settings;
    let servers: Vec<String> = report.servers.iter().map(Installed::label).collect();
    let mut out = format!(
        "{}, Linux {}; servers on core {}, load generator on core {}; {} connections, {} keys; medians of {} rounds of \
         {} s.\n\nServers: {}.\n",
        machine.processor,
        machine.kernel,
        machine.server_cores,
        machine.generator_cores,
        settings.connections,
        plain(settings.keys as f64),
        settings.rounds,
        settings.seconds,
        servers.join(", "),
    );
    for kind in &report.missing {
        let _ = writeln!(out, "Not found, so not measured: {}.", kind.name());
    }
    if let Some(reference) = report.reference {
        let _ = writeln!(out, "Multiples are of {}.", reference.name());
    }
    out
}

/// The columns of a table with one for each server.
fn columns(report: &Report, first: &str, kinds: &[Kind]) -> Table {
    let name = |kind: &Kind| {
        let reference = if report.reference == Some(*kind) {
            " (reference)"
        } else {
            ""
        };
        format!("{}{reference}", kind.name())
    };
    Table::new(
        std::iter::once(first.to_owned()).chain(kinds.iter().map(name)),
        1,
    )
}

/// A table with a row for each name and a column for each of the servers that have an entry.
pub fn pivot<F>(
    report: &Report,
    first: &str,
    entries: &[Entry<F>],
    figure: impl Fn(&F, Option<&F>) -> String,
) -> Table {
    let kinds: Vec<Kind> = report
        .servers
        .iter()
        .map(|server| server.kind)
        .filter(|kind| entries.iter().any(|entry| entry.server == *kind))
        .collect();
    let mut table = columns(report, first, &kinds);
    for name in figures::names(entries) {
        let reference = report
            .reference
            .and_then(|kind| figures::find(entries, name, kind));
        let cell = |kind: &Kind| match figures::find(entries, name, *kind) {
            // The reference is not compared with itself.
            Some(found) => figure(found, reference.filter(|_| report.reference != Some(*kind))),
            None => note(entries, name, *kind),
        };
        let short = name.split_once('/').map_or(name, |(_, rest)| rest);
        table.push(std::iter::once(short.to_owned()).chain(kinds.iter().map(cell)));
    }
    table
}

fn note<F>(entries: &[Entry<F>], name: &str, kind: Kind) -> String {
    let entry = entries
        .iter()
        .find(|entry| entry.name == name && entry.server == kind);
    let note = entry.and_then(|entry| entry.note.as_deref()).unwrap_or("-");
    if note == crate::session::NO_COMMAND {
        "no such command".to_owned()
    } else {
        note.to_owned()
    }
}

fn with_ratio(text: String, ratio: Option<f64>) -> String {
    if ratio.is_some() {
        format!("{text} ({})", times(ratio))
    } else {
        text
    }
}

fn memory(report: &Report) -> Table {
    pivot(
        report,
        "keys/value bytes/TTL",
        &report.memory,
        |footprint, _| {
            let own = footprint
                .accounted
                .map(|accounted| format!(" ({})", plain(accounted - footprint.payload)));
            format!("{}{}", plain(footprint.overhead()), own.unwrap_or_default())
        },
    )
}

fn collections(report: &Report) -> Table {
    let header = [
        "type",
        "server",
        "resident B",
        "multiple",
        "own accounting B",
        "MEMORY USAGE B",
        "payload B",
    ];
    let mut table = Table::new(header, 2);
    for entry in &report.collections {
        let mut row = vec![
            entry.name.trim_start_matches("collections/").to_owned(),
            entry.server.name().to_owned(),
        ];
        let reference = report
            .reference
            .and_then(|kind| figures::find(&report.collections, &entry.name, kind));
        match &entry.figures {
            Some(footprint) => row.extend([
                plain(footprint.resident),
                times(ratio(
                    footprint.resident,
                    reference.map(|reference| reference.resident),
                )),
                optional(footprint.accounted),
                optional(footprint.memory_usage),
                plain(footprint.payload),
            ]),
            None => row.push(entry.note.clone().unwrap_or_default()),
        }
        table.push(row);
    }
    table
}

fn connections(report: &Report) -> Table {
    let mut table = Table::new(
        [
            "server",
            "connections",
            "MiB in all",
            "B each",
            "own accounting B each",
            "MiB for 50,000",
        ],
        1,
    );
    for entry in &report.connections {
        let row = match &entry.figures {
            Some(footprint) => connection_row(footprint),
            None => vec![entry.note.clone().unwrap_or_default()],
        };
        table.push(std::iter::once(entry.server.name().to_owned()).chain(row));
    }
    table
}

fn connection_row(footprint: &Footprint) -> Vec<String> {
    let mebibytes = |count: f64| plain(footprint.resident * count / f64::from(1 << 20));
    vec![
        plain(footprint.count as f64),
        mebibytes(footprint.count as f64),
        plain(footprint.resident),
        optional(footprint.accounted),
        mebibytes(50_000.0),
    ]
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), plain)
}

fn workers(report: &Report) -> Table {
    let header = [
        "workload",
        "server",
        "k op/CPU-s, one",
        "k op/CPU-s, two",
        "multiple",
        "twice that",
        "k op/s, one",
        "k op/s, two",
        "multiple",
        "two busy",
    ];
    let mut table = Table::new(header, 2);
    for entry in &report.workers {
        let mut row = vec![
            entry.name.trim_start_matches("workers/").to_owned(),
            entry.server.name().to_owned(),
        ];
        match &entry.figures {
            Some(workers) => row.extend([
                thousands(workers.one.operations_per_cpu_second),
                thousands(workers.two.operations_per_cpu_second),
                times(Some(workers.efficiency)),
                times(Some(2.0 * workers.efficiency)),
                thousands(workers.one.operations_per_second),
                thousands(workers.two.operations_per_second),
                times(Some(workers.throughput_ratio)),
                percent(workers.two.server_cores_busy),
            ]),
            None => row.push(entry.note.clone().unwrap_or_default()),
        }
        table.push(row);
    }
    table
}

fn cross_check(report: &Report) -> Table {
    let header = [
        "workload",
        "server",
        "ours",
        "multiple",
        "valkey-benchmark",
        "multiple",
    ];
    let mut table = Table::new(header, 2);
    for entry in &report.cross_check {
        let mut row = vec![
            entry.name.trim_start_matches("cross-check/").to_owned(),
            entry.server.name().to_owned(),
        ];
        let reference = report
            .reference
            .and_then(|kind| figures::find(&report.cross_check, &entry.name, kind));
        match &entry.figures {
            Some(check) => row.extend([
                thousands(check.own_per_cpu_second),
                times(ratio(
                    check.own_per_cpu_second,
                    reference.map(|reference| reference.own_per_cpu_second),
                )),
                thousands(check.other_per_cpu_second),
                times(ratio(
                    check.other_per_cpu_second,
                    reference.map(|reference| reference.other_per_cpu_second),
                )),
            ]),
            None => row.push(entry.note.clone().unwrap_or_default()),
        }
        table.push(row);
    }
    table
}

/// A figure in thousands with its multiple of the reference.
pub fn compared(value: f64, reference: Option<f64>) -> String {
    with_ratio(thousands(value), ratio(value, reference))
}

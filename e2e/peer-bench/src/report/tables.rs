//! A report as Markdown.

use std::fmt::Write;

use super::Report;
use super::table::{Table, plain, thousands, times};
use crate::figures::{self, Entry, Speed, ratio};
use crate::servers::Kind;

/// The whole report.
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    head(report, &mut out);
    section(
        &mut out,
        "Operations per server-CPU-second",
        "Thousands, and times the reference.",
        &speed_overview(report),
    );
    section(
        &mut out,
        "Speed in full",
        "Every connection has one batch of requests under way. Latencies in microseconds, from sending a batch to each reply.",
        &speed_details(report),
    );
    out
}

fn section(out: &mut String, title: &str, text: &str, table: &Table) {
    if !table.is_empty() {
        let _ = write!(out, "\n### {title}\n\n{text}\n\n{}", table.render());
    }
}

fn head(report: &Report, out: &mut String) {
    let machine = &report.machine;
    let settings = &report.settings;
    let servers: Vec<String> = report
        .servers
        .iter()
        .map(|server| format!("{} {}", server.kind.name(), server.version))
        .collect();
    let _ = writeln!(
        out,
        "{}, Linux {}; servers on core {}, generator on core {}; {} connections, {} keys; medians of {} rounds of {} s.",
        machine.processor,
        machine.kernel,
        machine.server_cores,
        machine.generator_cores,
        settings.connections,
        plain(settings.keys as f64),
        settings.rounds,
        settings.seconds,
    );
    let _ = writeln!(out, "\nServers: {}.", servers.join(", "));
    for kind in &report.missing {
        let _ = writeln!(out, "Not found, so not measured: {}.", kind.name());
    }
    if let Some(reference) = report.reference {
        let _ = writeln!(out, "Ratios are to {}.", reference.name());
    }
}

/// One row a measurement, one column a server.
fn speed_overview(report: &Report) -> Table {
    let header =
        std::iter::once("workload").chain(report.servers.iter().map(|server| server.kind.name()));
    let mut table = Table::new(header, 1);
    for name in figures::names(&report.speed) {
        let reference = report
            .reference
            .and_then(|kind| figures::find(&report.speed, name, kind));
        let figure = |kind: Kind| {
            let Some(speed) = figures::find(&report.speed, name, kind) else {
                return "-".to_owned();
            };
            let absolute = thousands(speed.operations_per_cpu_second);
            if report.reference == Some(kind) {
                return absolute;
            }
            let reference = reference.map(|speed| speed.operations_per_cpu_second);
            format!(
                "{absolute} ({})",
                times(ratio(speed.operations_per_cpu_second, reference))
            )
        };
        let row = report.servers.iter().map(|server| figure(server.kind));
        table.push(std::iter::once(name.trim_start_matches("speed/").to_owned()).chain(row));
    }
    table
}

/// One row a measurement and server.
fn speed_details(report: &Report) -> Table {
    let header = [
        "workload",
        "server",
        "k op/s",
        "k op/CPU-s",
        "lowest to highest",
        "ratio",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "server busy",
        "generator busy",
        "others busy",
    ];
    let mut table = Table::new(header, 2);
    for entry in &report.speed {
        let mut row = vec![
            entry.name.trim_start_matches("speed/").to_owned(),
            entry.server.name().to_owned(),
        ];
        match &entry.figures {
            Some(speed) => row.extend(speed_row(report, entry, speed)),
            None => row.push(entry.note.clone().unwrap_or_default()),
        }
        table.push(row);
    }
    table
}

fn speed_row(report: &Report, entry: &Entry<Speed>, speed: &Speed) -> Vec<String> {
    let reference = report
        .reference
        .and_then(|kind| figures::find(&report.speed, &entry.name, kind));
    let reference = reference.map(|speed| speed.operations_per_cpu_second);
    let [lowest, highest] = speed.operations_per_cpu_second_range;
    vec![
        thousands(speed.operations_per_second),
        thousands(speed.operations_per_cpu_second),
        format!("{} to {}", thousands(lowest), thousands(highest)),
        times(ratio(speed.operations_per_cpu_second, reference)),
        plain(speed.p50_us),
        plain(speed.p99_us),
        plain(speed.p999_us),
        percent(speed.server_cores_busy),
        percent(speed.generator_cores_busy),
        percent(speed.cores_disturbed),
    ]
}

/// `97 %`.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

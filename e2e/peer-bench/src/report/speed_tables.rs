//! The tables of speed and latency.

use super::Report;
use super::table::{Table, plain, thousands, times};
use super::tables::{compared, pivot};
use crate::figures::{self, Entry, Speed, ratio};

/// One row a measurement, one column a server.
pub fn overview(report: &Report) -> Table {
    pivot(report, "workload", &report.speed, |speed, reference| {
        compared(
            speed.operations_per_cpu_second,
            reference.map(|reference| reference.operations_per_cpu_second),
        )
    })
}

/// One row a measurement and server.
pub fn details(report: &Report) -> Table {
    let header = [
        "workload",
        "server",
        "k op/s",
        "k op/CPU-s",
        "lowest to highest",
        "multiple",
        "p50",
        "p99",
        "p99.9",
        "server busy",
        "generator busy",
        "others busy",
    ];
    let mut table = Table::new(header, 2);
    for entry in &report.speed {
        let mut row = start(entry);
        match &entry.figures {
            Some(speed) => row.extend(detail_row(report, entry, speed)),
            None => row.push(entry.note.clone().unwrap_or_default()),
        }
        table.push(row);
    }
    table
}

/// Workload and server.
fn start<F>(entry: &Entry<F>) -> Vec<String> {
    let name = entry
        .name
        .split_once('/')
        .map_or(entry.name.as_str(), |(_, rest)| rest);
    vec![name.to_owned(), entry.server.name().to_owned()]
}

fn detail_row(report: &Report, entry: &Entry<Speed>, speed: &Speed) -> Vec<String> {
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

/// Latency at half load.
pub fn half_load(report: &Report) -> Table {
    let header = [
        "workload",
        "server",
        "k op/s",
        "p50",
        "p99",
        "p99.9",
        "longest",
        "p99.9 multiple",
        "server busy",
        "others busy",
    ];
    let mut table = Table::new(header, 2);
    for entry in &report.half_load {
        let mut row = start(entry);
        let reference = report
            .reference
            .and_then(|kind| figures::find(&report.half_load, &entry.name, kind));
        match &entry.figures {
            Some(half) => row.extend(latency_row(
                half.rate,
                &half.speed,
                reference.map(|half| &half.speed),
            )),
            None => row.push(entry.note.clone().unwrap_or_default()),
        }
        table.push(row);
    }
    table
}

/// Latency while keys grow the table and expire.
pub fn growth(report: &Report) -> Table {
    let header = [
        "keys",
        "server",
        "k op/s",
        "p50",
        "p99",
        "p99.9",
        "longest",
        "p99.9 multiple",
        "server busy",
        "others busy",
        "TTL s",
        "keys at the end",
        "unanswered",
    ];
    let mut table = Table::new(header, 2);
    for entry in &report.growth {
        let mut row = start(entry);
        let reference = report
            .reference
            .and_then(|kind| figures::find(&report.growth, &entry.name, kind));
        match &entry.figures {
            Some(growth) => {
                row.extend(latency_row(
                    growth.rate,
                    &growth.speed,
                    reference.map(|growth| &growth.speed),
                ));
                let left = growth
                    .keys_at_end
                    .map_or_else(|| "-".to_owned(), |keys| plain(keys as f64));
                row.extend([
                    growth.seconds_to_live.to_string(),
                    left,
                    growth.speed.unanswered.to_string(),
                ]);
            }
            None => row.push(entry.note.clone().unwrap_or_default()),
        }
        table.push(row);
    }
    table
}

fn latency_row(rate: f64, speed: &Speed, reference: Option<&Speed>) -> Vec<String> {
    vec![
        thousands(rate),
        plain(speed.p50_us),
        plain(speed.p99_us),
        plain(speed.p999_us),
        plain(speed.longest_us),
        times(ratio(
            speed.p999_us,
            reference.map(|reference| reference.p999_us),
        )),
        percent(speed.server_cores_busy),
        percent(speed.cores_disturbed),
    ]
}

/// `97 %`.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

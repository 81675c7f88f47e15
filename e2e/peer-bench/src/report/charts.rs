//! The charts of a report: which figures become which bars.

use super::Report;
use super::chart::{Chart, Group, Panel};
use crate::figures::{self, ratio};
use crate::generator::keys::Distribution;
use crate::plan::{Cell, PIPELINES};
use crate::servers::Kind;
use crate::servers::discovery::Installed;
use crate::workload::Workload;

/// Bytes of a value in the chart of speed.
const VALUE: usize = 64;

/// Operations per CPU second, relative to the reference.
pub fn speed(report: &Report) -> Chart {
    let reference = report.reference.unwrap_or(Kind::Valkey);
    // The roofline would dwarf all others.
    let shown = |kind: &Kind| *kind != reference && *kind != Kind::Roofline;
    let kinds: Vec<Kind> = report
        .servers
        .iter()
        .map(|server| server.kind)
        .filter(shown)
        .collect();
    let panel = |pipeline| Panel {
        title: match pipeline {
            1 => "One request at a time".to_owned(),
            _ => format!("{pipeline} requests at a time"),
        },
        groups: Workload::ALL
            .iter()
            .filter_map(|workload| group(report, reference, &kinds, *workload, pipeline))
            .collect(),
    };
    Chart {
        title: format!(
            "Operations per CPU second of the server, as a multiple of {}",
            named(report, reference)
        ),
        subtitle: format!(
            "{VALUE}-byte values, {} keys chosen uniformly, one worker thread; more is better",
            super::table::plain(report.settings.keys as f64)
        ),
        series: kinds.iter().map(|kind| series(report, *kind)).collect(),
        reference: Some((1.0, named(report, reference))),
        panels: PIPELINES
            .into_iter()
            .map(panel)
            .filter(|panel| !panel.groups.is_empty())
            .collect(),
    }
}

/// The bars of one workload; `None` if nothing was measured.
fn group(
    report: &Report,
    reference: Kind,
    kinds: &[Kind],
    workload: Workload,
    pipeline: usize,
) -> Option<Group> {
    let cell = Cell {
        workload,
        value: if workload.has_values() { VALUE } else { 0 },
        pipeline,
        distribution: Distribution::Uniform,
    };
    let name = format!("speed/{}", cell.name());
    let figure = |kind| {
        figures::find(&report.speed, &name, kind).map(|speed| speed.operations_per_cpu_second)
    };
    let yardstick = figure(reference);
    let bars: Vec<Option<f64>> = kinds
        .iter()
        .map(|kind| ratio(figure(*kind)?, yardstick))
        .collect();
    let label = match workload {
        Workload::Mixed => "10 GET : 1 SET".to_owned(),
        _ => workload.name().to_uppercase(),
    };
    bars.iter()
        .any(Option::is_some)
        .then_some(Group { label, bars })
}

/// Resident bytes of a key beyond key and value.
pub fn memory(report: &Report) -> Chart {
    let kinds: Vec<Kind> = report
        .servers
        .iter()
        .map(|server| server.kind)
        .filter(|kind| kind.stores())
        .collect();
    let mut panels: Vec<Panel> = Vec::new();
    for name in figures::names(&report.memory) {
        let parts: Vec<&str> = name.split('/').collect();
        let [_, keys, value, life] = parts[..] else {
            continue;
        };
        let figure = |kind: &Kind| {
            figures::find(&report.memory, name, *kind).map(figures::Footprint::overhead)
        };
        let bars: Vec<Option<f64>> = kinds.iter().map(figure).collect();
        if bars.iter().all(Option::is_none) {
            continue;
        }
        let title = format!(
            "{} keys",
            keys.parse()
                .map_or_else(|_| keys.to_owned(), super::table::plain)
        );
        let life = if life == "ttl" { "with TTL" } else { "no TTL" };
        let group = Group {
            label: format!("{value} B, {life}"),
            bars,
        };
        match panels.iter_mut().find(|panel| panel.title == title) {
            Some(panel) => panel.groups.push(group),
            None => panels.push(Panel {
                title,
                groups: vec![group],
            }),
        }
    }
    Chart {
        title: "Bytes of a key beyond key and value".to_owned(),
        subtitle: "Resident memory of the process, 16-byte keys; less is better".to_owned(),
        series: kinds.iter().map(|kind| series(report, *kind)).collect(),
        reference: None,
        panels,
    }
}

/// A server has the same colour in every chart.
fn series(report: &Report, kind: Kind) -> (String, usize) {
    let colour = Kind::ALL
        .iter()
        .position(|other| *other == kind)
        .unwrap_or(0);
    (named(report, kind), colour)
}

fn named(report: &Report, kind: Kind) -> String {
    let installed = report.servers.iter().find(|server| server.kind == kind);
    installed.map_or_else(|| kind.name().to_owned(), Installed::label)
}

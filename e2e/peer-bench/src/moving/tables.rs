//! What came of moves, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::NOT_AVAILABLE;
use super::readings::{Quantity, Reading};
use crate::figures::{self, Entry};
use crate::report::table::{Table, plain};
use crate::servers::Kind;
use crate::session::NO_COMMAND;

/// Limits that were asked for, by the names of rows.
pub type Limits = BTreeMap<String, String>;

/// One table: a row for each figure, a column for each server.
pub fn markdown(command: &str, entries: &[Entry<Vec<Reading>>], limits: &Limits) -> String {
    let mut kinds: Vec<Kind> = entries.iter().map(|entry| entry.server).collect();
    kinds.sort();
    kinds.dedup();
    let header = ["what", "asked limit"]
        .into_iter()
        .chain(kinds.iter().map(|kind| kind.name()));
    let mut table = Table::new(header, 2);
    for name in figures::names(entries) {
        for quantity in quantities(entries, name) {
            let short = name.split_once('/').map_or(name, |(_, rest)| rest);
            let row = match quantity {
                Some(quantity) => format!("{short}: {}", quantity.name()),
                None => short.to_owned(),
            };
            let limit = limits.get(&row).cloned().unwrap_or_default();
            let cells = kinds
                .iter()
                .map(|kind| cell(entries, name, *kind, quantity));
            table.push([row, limit].into_iter().chain(cells));
        }
    }
    let mut out = format!(
        "Made by `{command}`. Medians of the rounds; in brackets the lowest and the highest.\n\n"
    );
    let _ = write!(out, "{}", table.render());
    out
}

/// The quantities of a measurement that any server has, or none of them.
fn quantities(entries: &[Entry<Vec<Reading>>], name: &str) -> Vec<Option<Quantity>> {
    let named = entries.iter().filter(|entry| entry.name == name);
    let mut found = Vec::new();
    for reading in named.filter_map(|entry| entry.figures.as_ref()).flatten() {
        if !found.contains(&Some(reading.quantity)) {
            found.push(Some(reading.quantity));
        }
    }
    if found.is_empty() {
        found.push(None);
    }
    found
}

fn cell(
    entries: &[Entry<Vec<Reading>>],
    name: &str,
    kind: Kind,
    quantity: Option<Quantity>,
) -> String {
    let entry = entries
        .iter()
        .find(|entry| entry.name == name && entry.server == kind);
    let Some(entry) = entry else {
        return "-".to_owned();
    };
    if let Some(note) = &entry.note {
        // Why it is not there was shown when it was found out.
        let known = [NOT_AVAILABLE, NO_COMMAND];
        let short = known.into_iter().find(|known| note.starts_with(known));
        return short.unwrap_or(note).to_owned();
    }
    let mut readings = entry.figures.iter().flatten();
    match readings.find(|reading| Some(reading.quantity) == quantity) {
        Some(reading) if reading.lowest == reading.highest => number(reading.median),
        Some(reading) => format!(
            "{} ({} to {})",
            number(reading.median),
            number(reading.lowest),
            number(reading.highest)
        ),
        None => "-".to_owned(),
    }
}

/// A number with two decimals where it is small.
fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        format!("{value:.2}")
    } else {
        plain(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_limit_and_a_figure_or_a_note_for_each_server() {
        let reading = |median| Reading {
            quantity: Quantity::Speed,
            median,
            lowest: 1.0,
            highest: 520.0,
        };
        let entries = [
            Entry::new(
                "moving/save/idle",
                Kind::CacheNode,
                Ok(vec![reading(500.0)]),
            ),
            Entry::new("moving/save/idle", Kind::Valkey, Err("no".to_owned())),
        ];
        let limits = Limits::from([("save/idle: MB/s".to_owned(), "400".to_owned())]);
        let text = markdown("peer-bench moving", &entries, &limits);
        let row = text.lines().last().unwrap_or_default();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let expected = ["save/idle: MB/s", "400", "500 (1.00 to 520)", "no"];
        assert_eq!(&cells[1..5], expected);
    }
}

//! Comparing recorded answers with those of this run. The order of fields does not matter, the order of lists does.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;
use serde_json::{Map, Value};

use crate::bindings::{Bindings, without_uids};

/// Longest text of a difference.
const SHOWN: usize = 600;

static AGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^[0-9]+[smh]([0-9]+[sm])?$").expect("a fixed pattern"));

/// How strictly a part is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything must be the same.
    Exact,
    /// Lists may lack entries that the real server has: it serves more kinds.
    Subset,
}

/// Fields whose values are particular to a build or a machine.
const FREE_FIELDS: [&str; 9] = [
    "gitCommit",
    "gitTreeState",
    "buildDate",
    "goVersion",
    "compiler",
    "platform",
    "serverAddress",
    "storageVersionHash",
    "serverRelativeURL",
];

/// All differences between a recorded value and one of this run.
pub(crate) fn differences(
    expected: &Value,
    actual: &Value,
    mode: Mode,
    bindings: &mut Bindings,
) -> Vec<String> {
    let mut found = vec![];
    compare(expected, actual, "", mode, bindings, &mut found);
    found
}

fn compare(
    expected: &Value,
    actual: &Value,
    path: &str,
    mode: Mode,
    bindings: &mut Bindings,
    found: &mut Vec<String>,
) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            objects(expected, actual, path, mode, bindings, found);
        }
        (Value::Array(expected), Value::Array(actual)) => {
            lists(expected, actual, path, mode, bindings, found);
        }
        (Value::String(expected), Value::String(actual)) => {
            let is_age = path.contains(".cells[") && AGE.is_match(expected) && AGE.is_match(actual);
            if !is_age && !bindings.matches(expected, actual) {
                report(
                    &Value::from(expected.as_str()),
                    &Value::from(actual.as_str()),
                    path,
                    found,
                );
            }
        }
        (expected, actual) if expected == actual => {}
        (expected, actual) => report(expected, actual, path, found),
    }
}

fn objects(
    expected: &Map<String, Value>,
    actual: &Map<String, Value>,
    path: &str,
    mode: Mode,
    bindings: &mut Bindings,
    found: &mut Vec<String>,
) {
    let by_key = |map: &Map<String, Value>| -> BTreeMap<String, Value> {
        map.iter()
            .map(|(key, value)| (without_uids(key), value.clone()))
            .collect()
    };
    let (expected, actual) = (by_key(expected), by_key(actual));
    for (key, value) in &expected {
        let path = format!("{path}.{key}");
        match actual.get(key) {
            Some(_) if FREE_FIELDS.contains(&key.as_str()) => {}
            Some(actual) => compare(value, actual, &path, mode, bindings, found),
            None if mode == Mode::Subset && path.starts_with(".paths.") => {}
            None => found.push(format!("{path}: missing, expected {}", shown(value))),
        }
    }
    for (key, value) in actual
        .iter()
        .filter(|(key, _)| !expected.contains_key(*key))
    {
        found.push(format!(
            "{path}.{key}: not expected, found {}",
            shown(value)
        ));
    }
}

fn lists(
    expected: &[Value],
    actual: &[Value],
    path: &str,
    mode: Mode,
    bindings: &mut Bindings,
    found: &mut Vec<String>,
) {
    if mode == Mode::Subset
        && expected
            .iter()
            .chain(actual)
            .all(|item| item["name"].is_string())
    {
        return named_items(expected, actual, path, bindings, found);
    }
    if expected.len() != actual.len() {
        found.push(format!(
            "{path}: {} items, expected {}",
            actual.len(),
            expected.len()
        ));
    }
    for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
        compare(
            expected,
            actual,
            &format!("{path}[{index}]"),
            mode,
            bindings,
            found,
        );
    }
}

/// Every entry must be one of the recorded, in their order.
fn named_items(
    expected: &[Value],
    actual: &[Value],
    path: &str,
    bindings: &mut Bindings,
    found: &mut Vec<String>,
) {
    let mut rest = expected.iter();
    for item in actual {
        match rest.find(|candidate| candidate["name"] == item["name"]) {
            Some(expected) => {
                let path = format!("{path}[{}]", item["name"]);
                compare(expected, item, &path, Mode::Subset, bindings, found);
            }
            None => found.push(format!(
                "{path}: {} is not there or not in this place",
                item["name"]
            )),
        }
    }
}

fn report(expected: &Value, actual: &Value, path: &str, found: &mut Vec<String>) {
    found.push(format!(
        "{path}: {}\n      expected {}",
        shown(actual),
        shown(expected)
    ));
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

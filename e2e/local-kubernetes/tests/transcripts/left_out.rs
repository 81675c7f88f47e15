//! The exchanges that are not expected to match: lines of `file | name | reason`.

use std::collections::BTreeMap;

/// File and name of each exchange, and why it is left out.
pub(crate) fn read() -> BTreeMap<(String, String), String> {
    let text = include_str!("left-out.txt");
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut parts = line.splitn(3, " | ").map(|part| part.trim().to_owned());
            let (Some(file), Some(name), Some(reason)) = (parts.next(), parts.next(), parts.next())
            else {
                panic!("left-out.txt: no file, name and reason in: {line}");
            };
            ((file, name), reason)
        })
        .collect()
}

//! What the placeholders of the recordings stand for in this run.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;

/// Names, hashes of revisions and addresses that differ from run to run.
const GENERATED: &str = r"(?:gen|e|h|kube-api-access)-[bcdfghjklmnpqrstvwxz2456789]{5}\b|747b7966f4|55b59488c5|10\.96\.[0-9]+\.[0-9]+";
const UUID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
const TIME: &str = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?Z";

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns of this module are well-formed")
}

static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(
        r"<rv:[0-9]+>|<tok:[0-9]+>|<uid:<n>>|<time>|<n>|{GENERATED}|{UUID}"
    ))
});
static UUID_ALONE: LazyLock<Regex> = LazyLock::new(|| regex(UUID));

/// Values seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings {
    /// `<rv:3>`, `<tok:1>` and generated names to the values of this run.
    values: BTreeMap<String, String>,
}

impl Bindings {
    /// Compares a recorded text with one of this run, and binds what is met for the first time.
    pub(crate) fn matches(&mut self, expected: &str, actual: &str) -> bool {
        if expected == actual {
            return true;
        }
        if !PLACEHOLDER.is_match(expected) && !expected.contains('(') {
            return false;
        }
        let mut pattern = String::from("^(?s:");
        let mut names = vec![];
        let mut end = 0;
        for found in PLACEHOLDER.find_iter(expected) {
            pattern.push_str(&literal(&expected[end..found.start()]));
            pattern.push_str(&format!("({})", shape(found.as_str())));
            names.push(found.as_str());
            end = found.end();
        }
        pattern.push_str(&literal(&expected[end..]));
        pattern.push_str(")$");
        let Some(captures) = regex(&pattern).captures(actual) else {
            return false;
        };
        names
            .iter()
            .zip(captures.iter().skip(1))
            .all(|(name, value)| self.bind(name, value.map_or("", |value| value.as_str())))
    }

    fn bind(&mut self, name: &str, value: &str) -> bool {
        let is_free = matches!(name, "<uid:<n>>" | "<time>" | "<n>") || UUID_ALONE.is_match(name);
        is_free
            || self
                .values
                .entry(name.to_owned())
                .or_insert_with(|| value.to_owned())
                == value
    }

    /// A recorded text with the values of this run.
    pub(crate) fn substitute(&self, text: &str) -> String {
        let replaced = PLACEHOLDER.replace_all(text, |captures: &regex::Captures<'_>| {
            let placeholder = &captures[0];
            match (self.values.get(placeholder), placeholder) {
                (Some(value), _) => value.clone(),
                (None, "<time>") => "2026-01-01T00:00:00.000000Z".to_owned(),
                (None, "<uid:<n>>") => "00000000-0000-4000-8000-000000000000".to_owned(),
                (None, other) if other.starts_with("<rv:") => "1".to_owned(),
                (None, other) => other.to_owned(),
            }
        });
        replaced.into_owned()
    }

    /// The value of a placeholder, if it is known.
    pub(crate) fn get(&self, placeholder: &str) -> Option<&str> {
        self.values.get(placeholder).map(String::as_str)
    }
}

/// A text with its uids made equal, for keys of field sets.
pub(crate) fn without_uids(text: &str) -> String {
    UUID_ALONE.replace_all(text, "<uid>").into_owned()
}

/// Numbers of revisions in parentheses differ from run to run.
fn literal(text: &str) -> String {
    regex(r"\\\([0-9]+\\\)")
        .replace_all(&regex::escape(text), r"\([0-9]+\)")
        .into_owned()
}

/// What a placeholder may stand for.
fn shape(placeholder: &str) -> &str {
    match placeholder {
        "<time>" => TIME,
        "<n>" => "[0-9]+",
        rv if rv.starts_with("<rv:") => "[0-9]+",
        token if token.starts_with("<tok:") => "[-_A-Za-z0-9]+",
        uid if uid == "<uid:<n>>" || UUID_ALONE.is_match(uid) => UUID,
        _ => "[-.a-z0-9]+",
    }
}

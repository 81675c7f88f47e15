//! The part of kubectl's JSONPath that printer columns and label paths use:
//! `.a.b`, `.a\.b`, `['a.b']`, `[0]`, `[-1]`, `[*]`, `[?(@.type=="Ready")]`.

use serde_json::Value;
use thiserror::Error;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Items whose field under the path compares so with the literal.
    Filter {
        path: Vec<String>,
        equal: bool,
        literal: Value,
    },
}

/// The text is no path of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unsupported JSONPath {0:?}")]
pub struct JsonPathError(String);

impl JsonPath {
    /// Parses a path that begins with a dot.
    ///
    /// # Errors
    /// If the path uses something else.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        let error = || JsonPathError(text.to_owned());
        let mut steps = vec![];
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (step, after) = bracket(inner).ok_or_else(error)?;
                steps.push(step);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let (name, after) = field(after);
                if !name.is_empty() {
                    steps.push(if name == "*" {
                        Step::All
                    } else {
                        Step::Field(name)
                    });
                }
                rest = after;
            } else {
                return Err(error());
            }
        }
        Ok(Self(steps))
    }

    /// All values under the path.
    #[must_use]
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.0.iter().fold(vec![value], |values, step| {
            values
                .into_iter()
                .flat_map(|value| step.take(value))
                .collect()
        })
    }
}

impl Step {
    fn take<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let position = if *index < 0 {
                    items.len() as i64 + index
                } else {
                    *index
                };
                usize::try_from(position)
                    .ok()
                    .and_then(|position| items.get(position))
                    .into_iter()
                    .collect()
            }
            Self::All => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(fields) => fields.values().collect(),
                _ => vec![],
            },
            Self::Filter {
                path,
                equal,
                literal,
            } => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let field =
                    |item: &'a Value| path.iter().try_fold(item, |value, name| value.get(name));
                items
                    .iter()
                    .filter(|item| field(item).is_some_and(|found| (found == literal) == *equal))
                    .collect()
            }
        }
    }
}

/// A field name up to the next dot or bracket; a backslash takes the next character as it is.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[position..]),
            other => name.push(other),
        }
    }
    (name, "")
}

/// What stands in brackets, and what comes after them.
fn bracket(inner: &str) -> Option<(Step, &str)> {
    if let Some(condition) = inner.strip_prefix("?(") {
        let end = condition.find(")]")?;
        return Some((filter(&condition[..end])?, &condition[end + 2..]));
    }
    let end = inner.find(']')?;
    let (content, after) = (inner[..end].trim(), &inner[end + 1..]);
    let step = match content {
        "*" => Step::All,
        quoted if quoted.starts_with(['\'', '"']) => {
            Step::Field(quoted.trim_matches(['\'', '"']).to_owned())
        }
        number => Step::Index(number.parse().ok()?),
    };
    Some((step, after))
}

fn filter(condition: &str) -> Option<Step> {
    let (path, equal, literal) = match (condition.split_once("=="), condition.split_once("!=")) {
        (Some((path, literal)), _) => (path, true, literal),
        (None, Some((path, literal))) => (path, false, literal),
        (None, None) => return None,
    };
    let path = path
        .trim()
        .strip_prefix("@.")?
        .split('.')
        .map(String::from)
        .collect();
    let literal = literal.trim();
    let literal = match literal.strip_prefix(['\'', '"']) {
        Some(text) => Value::from(text.trim_end_matches(['\'', '"'])),
        None => serde_json::from_str(literal).ok()?,
    };
    Some(Step::Filter {
        path,
        equal,
        literal,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn find(path: &str) -> Vec<Value> {
        let object = json!({
            "spec": {"shards": 3, "a.b": 1, "zones": ["x", "y"]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        });
        JsonPath::parse(path)
            .unwrap()
            .find(&object)
            .into_iter()
            .cloned()
            .collect()
    }

    #[test]
    fn every_step_finds_its_values() {
        assert_eq!(find(".spec.shards"), [json!(3)]);
        assert_eq!(find(".spec['a.b']"), [json!(1)]);
        assert_eq!(find(r".spec.a\.b"), [json!(1)]);
        assert_eq!(find(".spec.zones[*]"), [json!("x"), json!("y")]);
        assert_eq!(find(".spec.zones[-1]"), [json!("y")]);
        assert_eq!(
            find(r#".status.conditions[?(@.type=="Ready")].status"#),
            [json!("True")]
        );
        assert_eq!(find(".spec.none.at.all"), [] as [Value; 0]);
    }

    #[test]
    fn anything_else_is_refused() {
        for path in ["spec", ".a[?(@.b)]", ".a[x]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}

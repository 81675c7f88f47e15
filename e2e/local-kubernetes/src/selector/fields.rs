//! Field selectors in their text form.

use serde_json::Value;

/// A conjunction of comparisons of fields with values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldRequirement>);

/// One comparison of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// Dotted path, for example `metadata.name`.
    pub field: String,
    /// The value.
    pub value: String,
    /// Whether the field shall equal it or shall not.
    pub equal: bool,
}

impl FieldSelector {
    /// Parses `a=b,c!=d,e==f`; backslash escapes `,`, `=` and itself.
    ///
    /// # Errors
    /// Kubernetes's text of what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = vec![];
        for part in split_unescaped(text)
            .into_iter()
            .filter(|part| !part.is_empty())
        {
            let operators = ["!=", "==", "="];
            let found = operators
                .iter()
                .filter_map(|operator| Some((part.find(operator)?, *operator)));
            let Some((position, operator)) =
                found.min_by_key(|(position, operator)| (*position, 2 - operator.len().min(2)))
            else {
                return Err(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                ));
            };
            requirements.push(FieldRequirement {
                field: part[..position].to_owned(),
                value: unescape(&part[position + operator.len()..]),
                equal: operator != "!=",
            });
        }
        Ok(Self(requirements))
    }

    /// The same comparisons of fields with other names.
    #[must_use]
    pub fn renamed(self, name: impl Fn(&str) -> String) -> Self {
        let renamed = self.0.into_iter().map(|requirement| FieldRequirement {
            field: name(&requirement.field),
            ..requirement
        });
        Self(renamed.collect())
    }

    /// The comparisons.
    #[must_use]
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.0
    }

    /// Whether an object is selected. Absent fields read as empty.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|requirement| {
            (field_text(object, &requirement.field) == requirement.value) == requirement.equal
        })
    }
}

/// The text of a field as selectors compare it.
fn field_text(object: &Value, field: &str) -> String {
    let path = match field {
        "source" => "source.component",
        "status.podIPs" => "status.podIP",
        other => other,
    };
    match crate::object::at_path(object, path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(_) | Value::Number(_)) => crate::object::at_path(object, path)
            .map(Value::to_string)
            .unwrap_or_default(),
        _ if matches!(field, "spec.unschedulable" | "spec.hostNetwork") => "false".into(),
        _ => String::new(),
    }
}

fn split_unescaped(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for character in text.chars() {
        match character {
            ',' if !escaped => parts.push(String::new()),
            _ => {
                if let Some(part) = parts.last_mut() {
                    part.push(character);
                }
            }
        }
        escaped = character == '\\' && !escaped;
    }
    parts
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn field_selectors_compare_texts() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"n": 3}});
        assert!(
            FieldSelector::parse("metadata.name=a,spec.n!=4,spec.none=")
                .unwrap()
                .matches(&object)
        );
        assert!(
            !FieldSelector::parse("metadata.name!=a")
                .unwrap()
                .matches(&object)
        );
        assert!(FieldSelector::parse("metadata.name").is_err());
    }
}

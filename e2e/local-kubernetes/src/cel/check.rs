//! What is wrong with a rule before it is ever evaluated: syntax, and fields that do not exist.
//!
//! There is no type checker: fields are followed from `self` and `oldSelf` through the schema as far as the text names them.

use kube_cel::cel::Program;

use crate::schema::{Rule, Schema};

/// The fields of `metadata` that rules may use.
const METADATA_FIELDS: [&str; 2] = ["name", "generateName"];

/// Why a rule at this node of a schema cannot be used, as the compiler of Kubernetes says it. `is_root` is the object itself.
pub fn rule_problem(rule: &Rule, schema: &Schema, is_root: bool) -> Option<String> {
    let text = rule.rule.as_str();
    let compiled = match Program::compile(text) {
        Ok(compiled) => compiled,
        Err(error) => {
            return Some(format!(
                "compilation failed: {}",
                error.to_string().replace("\n| ", "\n | ")
            ));
        }
    };
    let references = compiled.references();
    let tokens = tokens(text);
    if let Some((at, name)) = undefined_field(&tokens, schema, is_root) {
        return Some(problem(text, at, &format!("undefined field '{name}'")));
    }
    let mut unknown: Vec<&str> = references
        .variables()
        .into_iter()
        .filter(|name| !is_known(name, &tokens, is_root))
        .collect();
    unknown.sort_unstable();
    unknown.first().map(|name| {
        let at = tokens
            .iter()
            .find(|token| token.text == *name)
            .map_or(0, |token| token.at);
        problem(
            text,
            at,
            &format!("undeclared reference to '{name}' (in container '')"),
        )
    })
}

/// The compiler's report about a place in a rule.
fn problem(text: &str, at: usize, what: &str) -> String {
    let before = &text[..at];
    let line_number = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count();
    let line = text.lines().nth(line_number - 1).unwrap_or_default();
    format!(
        "compilation failed: ERROR: <input>:{line_number}:{}: {what}\n | {line}\n | {}^",
        column + 1,
        ".".repeat(column)
    )
}

/// Variables of the environment, names of types, and variables that a macro of the rule binds.
fn is_known(name: &str, tokens: &[Token<'_>], is_root: bool) -> bool {
    const TYPES: [&str; 12] = [
        "int",
        "uint",
        "double",
        "bool",
        "string",
        "bytes",
        "list",
        "map",
        "type",
        "null_type",
        "duration",
        "timestamp",
    ];
    const LIBRARIES: [&str; 8] = [
        "self", "oldSelf", "sets", "math", "base64", "optional", "cel", "google",
    ];
    let root = is_root && matches!(name, "apiVersion" | "apiGroup" | "kind");
    root || TYPES.contains(&name)
        || LIBRARIES.contains(&name)
        || is_bound(name, tokens)
        || name.contains('@')
}

/// Whether a macro call like `all(name, ...)` binds the name.
fn is_bound(name: &str, tokens: &[Token<'_>]) -> bool {
    tokens.windows(3).any(|window| {
        matches!(window[0].text, "(" | ",") && window[1].text == name && window[2].text == ","
    })
}

/// The first field selected from `self` or `oldSelf` that the schema does not have, with the place of its dot.
fn undefined_field<'a>(
    tokens: &[Token<'a>],
    schema: &Schema,
    is_root: bool,
) -> Option<(usize, &'a str)> {
    for (start, token) in tokens.iter().enumerate() {
        let is_selected = start > 0 && tokens[start - 1].text == ".";
        if is_selected || !matches!(token.text, "self" | "oldSelf") {
            continue;
        }
        if let Some(found) = follow(&tokens[start + 1..], schema, is_root) {
            return Some(found);
        }
    }
    None
}

fn follow<'a>(mut rest: &[Token<'a>], schema: &Schema, is_root: bool) -> Option<(usize, &'a str)> {
    let mut node = schema;
    let mut in_root = is_root;
    while let [dot, field, after @ ..] = rest {
        let is_call = after.first().is_some_and(|token| token.text == "(");
        if dot.text != "." || is_call || !field.is_name() {
            return None;
        }
        if in_root && field.text == "metadata" {
            let [dot, field, ..] = after else {
                return None;
            };
            let is_unknown =
                dot.text == "." && field.is_name() && !METADATA_FIELDS.contains(&field.text);
            return is_unknown.then_some((dot.at, field.text));
        }
        if in_root && matches!(field.text, "apiVersion" | "kind") {
            return None;
        }
        if node.int_or_string || node.kind != Some(crate::schema::Type::Object) || node.is_map() {
            return None;
        }
        match node.field(&unescaped(field.text)) {
            Some(known) => node = known,
            None => return Some((dot.at, field.text)),
        }
        in_root = node.embedded_resource;
        rest = after;
    }
    None
}

/// The name of a property from its form in CEL.
fn unescaped(name: &str) -> String {
    let reserved = name
        .strip_prefix("__")
        .and_then(|name| name.strip_suffix("__"));
    if let Some(reserved) = reserved.filter(|inner| !inner.contains("__")) {
        return reserved.to_owned();
    }
    name.replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace("__underscores__", "__")
}

/// A name or one character of a rule, outside of strings.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    at: usize,
    text: &'a str,
}

impl Token<'_> {
    fn is_name(&self) -> bool {
        self.text
            .starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let end = if first.is_alphanumeric() || first == '_' {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            text[at..]
                .find(|c| !is_part(c))
                .map_or(text.len(), |length| at + length)
        } else if matches!(first, '"' | '\'') {
            at += string_length(&text[at..], first);
            continue;
        } else {
            at + first.len_utf8()
        };
        if !first.is_whitespace() {
            found.push(Token {
                at,
                text: &text[at..end],
            });
        }
        at = end;
    }
    found
}

/// Length of the string literal that the text begins with.
fn string_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem_of(rule: &str) -> Option<String> {
        let openapi = json!({"type": "object", "properties": {
            "shards": {"type": "integer"},
            "config": {"type": "object", "additionalProperties": {"type": "string"}},
            "ports": {"type": "array", "items": {"type": "object"}},
            "a-b": {"type": "object", "properties": {"namespace": {"type": "string"}}},
        }});
        let schema = Schema::parse(&openapi).expect("a valid schema");
        rule_problem(
            &Rule {
                rule: rule.to_owned(),
                ..Rule::default()
            },
            &schema,
            false,
        )
    }

    #[test]
    fn a_field_that_does_not_exist_is_pointed_at() {
        let expected = "compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^";
        assert_eq!(problem_of("self.nope > 1").as_deref(), Some(expected));
        assert!(
            problem_of("self.shards > oldSelf.shard")
                .is_some_and(|problem| problem.contains("undefined field 'shard'"))
        );
    }

    #[test]
    fn good_rules_have_no_problem() {
        let rules = [
            "self.shards > 1 && self.config.any == 'self.nope'",
            "self.ports.all(port, has(port.name) && port.name.size() > 0)",
            "self.a__dash__b.__namespace__ != ''",
            "!has(self.config) || self.config.size() < 3",
            "[1, 2].exists(n, n == self.shards)",
        ];
        for rule in rules {
            assert_eq!(problem_of(rule), None, "{rule}");
        }
    }

    #[test]
    fn bad_syntax_and_unknown_names_are_reported() {
        assert!(problem_of("self.shards >").is_some_and(|problem| problem.starts_with("compilation failed: ERROR: <input>:1:")));
        let expected = "compilation failed: ERROR: <input>:1:15: undeclared reference to 'limit' (in container '')";
        assert!(
            problem_of("self.shards < limit").is_some_and(|problem| problem.starts_with(expected))
        );
    }

    #[test]
    fn of_metadata_only_the_name_can_be_used() {
        let schema = Schema::parse(
            &json!({"type": "object", "properties": {"metadata": {"type": "object"}}}),
        )
        .expect("a valid schema");
        let check = |rule: &str| {
            rule_problem(
                &Rule {
                    rule: rule.to_owned(),
                    ..Rule::default()
                },
                &schema,
                true,
            )
        };
        assert_eq!(check("self.metadata.name.size() <= 20"), None);
        assert!(check("has(self.metadata.labels)").is_some());
    }
}

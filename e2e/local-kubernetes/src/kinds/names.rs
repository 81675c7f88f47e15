//! The syntax of names, labels and keys, with the sentences that Kubernetes refuses bad ones with.

use std::sync::OnceLock;

use regex::Regex;

const LABEL_1123: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_1123: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED_NAME: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";
const ENV_NAME: &str = "[ -<>-~]+";

/// What a name of an object may look like; it differs by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// `[a-z0-9-]` with dots: most kinds.
    Subdomain,
    /// `[a-z0-9-]`, at most 63 bytes: namespaces.
    Label,
    /// The same, beginning with a letter: services.
    Label1035,
    /// Anything that can be a path segment: RBAC.
    PathSegment,
}

impl NameRule {
    /// Everything that is wrong with a name. For prefixes of generated names, a trailing dash is fine.
    pub fn problems(self, name: &str, is_prefix: bool) -> Vec<String> {
        let shortened = if is_prefix {
            name.strip_suffix('-').map(|stem| format!("{stem}a"))
        } else {
            None
        };
        let name = shortened.as_deref().unwrap_or(name);
        match self {
            Self::Subdomain => subdomain(name),
            Self::Label => dns_label(name),
            Self::Label1035 => dns_label_1035(name),
            Self::PathSegment => path_segment(name),
        }
    }
}

/// A DNS subdomain of RFC 1123.
pub fn subdomain(name: &str) -> Vec<String> {
    let sentence = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
                    with an alphanumeric character";
    problems(
        name,
        253,
        SUBDOMAIN_1123,
        &explained(sentence, SUBDOMAIN_1123, &["example.com"]),
    )
}

/// A DNS label of RFC 1123.
pub fn dns_label(name: &str) -> Vec<String> {
    let sentence = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
                    alphanumeric character";
    problems(
        name,
        63,
        LABEL_1123,
        &explained(sentence, LABEL_1123, &["my-name", "123-abc"]),
    )
}

/// A DNS label of RFC 1035.
pub fn dns_label_1035(name: &str) -> Vec<String> {
    let sentence = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end \
                    with an alphanumeric character";
    problems(
        name,
        63,
        LABEL_1035,
        &explained(sentence, LABEL_1035, &["my-name", "abc-123"]),
    )
}

/// A label key or a similar name with an optional prefix: `example.com/name`.
pub fn qualified_name(key: &str) -> Vec<String> {
    let sentence = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let explanation = explained(sentence, QUALIFIED_NAME, &["MyName", "my.name", "123-abc"]);
    let mut found = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                found.push("prefix part must be non-empty".to_owned());
            } else {
                found.extend(
                    subdomain(prefix)
                        .into_iter()
                        .map(|problem| format!("prefix part {problem}")),
                );
            }
            *name
        }
        _ => {
            let whole = explained(
                &format!("a qualified {sentence}"),
                QUALIFIED_NAME,
                &["MyName", "my.name", "123-abc"],
            );
            let whole = whole.replace("a qualified name part must", "a qualified name must");
            return vec![format!(
                "{whole} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        found.push("name part must be no more than 63 bytes".to_owned());
    }
    if !matches(name, QUALIFIED_NAME) {
        found.push(explanation);
    }
    found
}

/// The value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let sentence = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                    an alphanumeric character";
    problems(
        value,
        63,
        LABEL_VALUE,
        &explained(sentence, LABEL_VALUE, &["MyValue", "my_value", "12345"]),
    )
}

/// A key of a ConfigMap or a Secret.
pub fn config_key(key: &str) -> Vec<String> {
    let explanation = explained(
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
        CONFIG_KEY,
        &["key.name", "KEY_NAME", "key-name"],
    );
    let mut found = problems(key, 253, CONFIG_KEY, &explanation);
    match key {
        "." => found.push("must not be '.'".to_owned()),
        ".." => found.push("must not be '..'".to_owned()),
        _ if key.starts_with("..") => found.push("must not start with '..'".to_owned()),
        _ => {}
    }
    found
}

/// The name of an environment variable.
pub fn env_name(name: &str) -> Vec<String> {
    if matches(name, ENV_NAME) {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// The name of a port.
pub fn port_name(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    if name.len() > 15 {
        found.push("must be no more than 15 bytes".to_owned());
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        found.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !name.chars().any(|c| c.is_ascii_lowercase()) {
        found.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        found.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        found.push("must not begin or end with a hyphen".to_owned());
    }
    found
}

fn path_segment(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| name.contains(*part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

fn problems(text: &str, longest: usize, pattern: &'static str, explanation: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > longest {
        found.push(format!("must be no more than {longest} bytes"));
    }
    if !matches(text, pattern) {
        found.push(explanation.to_owned());
    }
    found
}

fn explained(sentence: &str, pattern: &str, examples: &[&str]) -> String {
    let mut text = format!("{sentence} (e.g. ");
    for (at, example) in examples.iter().enumerate() {
        if at > 0 {
            text.push_str(" or ");
        }
        text.push_str(&format!("'{example}', "));
    }
    text.push_str(&format!("regex used for validation is '{pattern}')"));
    text
}

fn matches(text: &str, pattern: &'static str) -> bool {
    static COMPILED: OnceLock<Vec<(&'static str, Regex)>> = OnceLock::new();
    let compiled = COMPILED.get_or_init(|| {
        [
            LABEL_1123,
            SUBDOMAIN_1123,
            LABEL_1035,
            QUALIFIED_NAME,
            LABEL_VALUE,
            CONFIG_KEY,
            ENV_NAME,
        ]
        .map(|pattern| {
            (
                pattern,
                Regex::new(&format!("^(?:{pattern})$")).expect("a fixed pattern"),
            )
        })
        .into()
    });
    compiled
        .iter()
        .any(|(known, regex)| *known == pattern && regex.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_name_is_explained_as_kubernetes_does() {
        let expected = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
                        with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                        '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        assert_eq!(subdomain("Bad_Name"), [expected]);
        assert!(subdomain("a.b-c.d").is_empty());
        assert_eq!(
            subdomain(&"a".repeat(254)),
            ["must be no more than 253 bytes"]
        );
    }

    #[test]
    fn a_prefix_of_a_generated_name_may_end_in_a_dash() {
        assert!(NameRule::Subdomain.problems("gen-", true).is_empty());
        assert!(!NameRule::Subdomain.problems("gen-", false).is_empty());
        assert_eq!(
            NameRule::PathSegment.problems("a/b", false),
            ["may not contain '/'"]
        );
    }

    #[test]
    fn label_keys_have_an_optional_prefix() {
        assert!(qualified_name("app.kubernetes.io/name").is_empty());
        assert!(qualified_name("app").is_empty());
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert!(qualified_name("a/b/c")[0].starts_with("a qualified name must consist of"));
        assert!(
            label_value("-x")[0]
                .contains("(e.g. 'MyValue',  or 'my_value',  or '12345', regex used")
        );
    }
}

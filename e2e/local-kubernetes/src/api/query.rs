//! Query parameters, and the options of reads and writes that they carry.

use std::time::Duration;

use super::error::ApiError;
use crate::validation::FieldError;

/// Decoded query parameters in the order of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query string without its question mark.
    #[must_use]
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (percent_decode(key, true), percent_decode(value, true)))
                .collect(),
        )
    }

    /// The first value of a parameter, or empty.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .unwrap_or_default()
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a boolean parameter is on; present without a value counts as on.
    #[must_use]
    pub(super) fn flag(&self, name: &str) -> bool {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .is_some_and(|(_, value)| !matches!(value.as_str(), "false" | "0"))
    }

    /// A duration such as `1s`, `5m` or a bare number of seconds.
    #[must_use]
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        let text = self.get(name);
        let (number, factor) = match text
            .char_indices()
            .find(|(_, character)| character.is_ascii_alphabetic())
        {
            None => (text, 1.0),
            Some((end, _)) => {
                let factor = match &text[end..] {
                    "ms" => 0.001,
                    "s" => 1.0,
                    "m" => 60.0,
                    "h" => 3600.0,
                    _ => return None,
                };
                (&text[..end], factor)
            }
        };
        let seconds: f64 = number.parse().ok()?;
        (seconds > 0.0).then(|| Duration::from_secs_f64(seconds * factor))
    }
}

/// Decodes `%xx` and, in query strings, `+`.
#[must_use]
pub(super) fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = bytes
            .get(index + 1..index + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match (
            bytes[index],
            hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                index += 2;
            }
            (b'+', _) if plus_is_space => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// What to do with fields that the schema does not know and with keys that appear twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in `Warning` headers.
    Warn,
    /// Refuse the request.
    Strict,
}

/// Options of a write.
#[derive(Clone, Debug)]
pub(super) struct WriteOptions {
    /// Answer as if, but store nothing.
    pub(super) dry_run: bool,
    /// Who owns the written fields.
    pub(super) manager: String,
    /// What to do with unknown fields.
    pub(super) field_validation: FieldValidation,
    /// Take over fields in an apply.
    pub(super) force: bool,
}

impl WriteOptions {
    /// Reads the options of a request; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    ///
    /// # Errors
    /// 422 for values that are not allowed.
    pub(super) fn parse(query: &Query, user_agent: &str, kind: &str) -> Result<Self, ApiError> {
        let manager = match query.get("fieldManager") {
            "" => default_manager(user_agent),
            manager => manager.to_owned(),
        };
        let field_validation = match query.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                return Err(unsupported(
                    kind,
                    "fieldValidation",
                    other,
                    &["Ignore", "Strict", "Warn"],
                ));
            }
        };
        Ok(Self {
            dry_run: dry_run(query, kind)?,
            manager,
            field_validation,
            force: query.flag("force"),
        })
    }
}

/// Whether the request is a dry run.
///
/// # Errors
/// 422 if the parameter is anything but `All`.
pub(super) fn dry_run(query: &Query, kind: &str) -> Result<bool, ApiError> {
    match query
        .all("dryRun")
        .find(|value| *value != "All" && !value.is_empty())
    {
        Some(other) => Err(unsupported(kind, "dryRun", other, &["All"])),
        None => Ok(query.all("dryRun").any(|value| value == "All")),
    }
}

fn unsupported(kind: &str, field: &str, value: &str, allowed: &[&str]) -> ApiError {
    let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
    let error = FieldError::not_supported(field, &value.into(), &allowed);
    ApiError::invalid_kind(kind, "meta.k8s.io", "", &[error])
}

/// The field manager of clients that do not name one: the product of their user agent.
fn default_manager(user_agent: &str) -> String {
    let product = user_agent.split('/').next().unwrap_or_default().trim();
    let printable: String = product
        .chars()
        .filter(|character| !character.is_control())
        .take(128)
        .collect();
    if printable.is_empty() {
        "unknown".into()
    } else {
        printable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_decoded() {
        let query = Query::parse("labelSelector=n+in+(1,2),app!%3Da&watch");
        assert_eq!(query.get("labelSelector"), "n in (1,2),app!=a");
        assert!(query.flag("watch"));
    }

    #[test]
    fn a_broken_escape_stays_as_it_is() {
        assert_eq!(percent_decode("a%zz%4", false), "a%zz%4");
    }

    #[test]
    fn the_manager_is_taken_from_the_user_agent() {
        let options = WriteOptions::parse(
            &Query::parse(""),
            "kubectl/v1.33.1 (linux/amd64)",
            "PatchOptions",
        )
        .unwrap();
        assert_eq!(options.manager, "kubectl");
    }
}

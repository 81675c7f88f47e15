//! Which representation a client takes, and in which one it sends.

use super::error::ApiError;

/// What the answer shall look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The object or list itself.
    Plain,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `PartialObjectMetadata`, alone or as items of a `PartialObjectMetadataList`.
    Partial,
    /// `APIGroupDiscoveryList`, for `/api` and `/apis` only.
    Discovery,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The chosen representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Representation {
    /// Which object.
    pub(super) shape: Shape,
    /// Which text.
    pub(super) format: Format,
}

/// Chooses the first clause of an `Accept` header that is served.
///
/// # Errors
/// 406 if there is none.
pub(super) fn accept(header: &str) -> Result<Representation, ApiError> {
    if header.trim().is_empty() {
        return Ok(Representation {
            shape: Shape::Plain,
            format: Format::Json,
        });
    }
    header
        .split(',')
        .find_map(clause)
        .ok_or_else(ApiError::not_acceptable)
}

fn clause(text: &str) -> Option<Representation> {
    let mut parts = text.split(';').map(str::trim);
    let format = match parts.next()? {
        "application/json" | "application/*" | "*/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let parameter = |name: &str| {
        parameters
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    };
    let shape = match (parameter("as"), parameter("g"), parameter("v")) {
        (None, _, _) => Shape::Plain,
        (Some("Table"), Some("meta.k8s.io"), Some("v1" | "v1beta1")) => Shape::Table,
        (
            Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
            Some("meta.k8s.io"),
            Some("v1" | "v1beta1"),
        ) => Shape::Partial,
        (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => {
            Shape::Discovery
        }
        _ => return None,
    };
    Some(Representation { shape, format })
}

/// The media type of a `Content-Type` header without its parameters; JSON if there is none.
#[must_use]
pub(super) fn media_type(header: &str) -> &str {
    match header.split(';').next().unwrap_or_default().trim() {
        "" => "application/json",
        media => media,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_served_clause_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(accept(kubectl).unwrap().shape, Shape::Table);
        assert_eq!(
            accept("application/vnd.kubernetes.protobuf, */*")
                .unwrap()
                .shape,
            Shape::Plain
        );
        assert_eq!(accept("application/yaml").unwrap().format, Format::Yaml);
        assert_eq!(accept("text/html").unwrap_err().code, 406);
    }
}

//! Renders `charts/evenkeel` as `helm template` would, so that the playground and the tests install what users install.
//!
//! The chart is compiled in. Go's template language comes from a crate; [`functions`] has the part of Helm's function
//! library that the chart uses. This module must never decide what is installed: that is the chart's business.

mod functions;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use gotmpl::{MissingKey, Template, to_value};
use serde_json::{Map, Value, json};

const CHART: &str = include_str!("../../charts/evenkeel/Chart.yaml");
const VALUES: &str = include_str!("../../charts/evenkeel/values.yaml");
const HELPERS: &str = include_str!("../../charts/evenkeel/templates/_helpers.tpl");
const NOTES: &str = include_str!("../../charts/evenkeel/templates/NOTES.txt");

macro_rules! template {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../charts/evenkeel/templates/", $name)),
        )
    };
}

/// File name and text of every template that makes objects.
const TEMPLATES: [(&str, &str); 7] = [
    template!("aggregate-roles.yaml"),
    template!("deployment.yaml"),
    template!("leader-role.yaml"),
    template!("poddisruptionbudget.yaml"),
    template!("role.yaml"),
    template!("service.yaml"),
    template!("serviceaccount.yaml"),
];

/// What Helm would have complained about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A template does not parse or fails while it is executed.
    #[error("template {name}: {source}")]
    Template {
        /// File name of the template.
        name: String,
        /// Why.
        source: gotmpl::TemplateError,
    },
    /// A file of the chart, or what a template made, is not YAML.
    #[error("{name} is not YAML: {source}")]
    Yaml {
        /// File name.
        name: String,
        /// Why.
        source: serde_yaml::Error,
    },
}

/// Whom a chart is rendered for.
#[derive(Clone, Debug)]
pub struct Release {
    /// Name of the release.
    pub name: String,
    /// Namespace that it is installed in.
    pub namespace: String,
}

/// The objects that the chart makes for `release` with `overrides` over its values, in the order in which Helm applies them.
///
/// # Errors
/// If a template fails, as `required` does, or makes something else than YAML.
pub fn render(release: &Release, overrides: &Value) -> Result<Vec<Value>, Error> {
    let context = context(release, overrides)?;
    let mut objects = Vec::new();
    for (name, text) in TEMPLATES {
        let rendered = execute(name, text, &context)?;
        for document in serde_yaml::Deserializer::from_str(&rendered) {
            let object: Value =
                serde::Deserialize::deserialize(document).map_err(|source| Error::Yaml {
                    name: name.to_owned(),
                    source,
                })?;
            if !object.is_null() {
                objects.push(object);
            }
        }
    }
    objects.sort_by_key(install_rank);
    Ok(objects)
}

/// What `helm install` prints at the end.
///
/// # Errors
/// If the template fails.
pub fn notes(release: &Release, overrides: &Value) -> Result<String, Error> {
    execute("NOTES.txt", NOTES, &context(release, overrides)?)
}

/// The chart's values with `overrides` laid over them: maps merge, anything else replaces, null removes.
///
/// # Errors
/// If `values.yaml` is not YAML.
pub fn values(overrides: &Value) -> Result<Value, Error> {
    let mut values = yaml("values.yaml", VALUES)?;
    overlay(&mut values, overrides);
    Ok(values)
}

fn yaml(name: &str, text: &str) -> Result<Value, Error> {
    serde_yaml::from_str(text).map_err(|source| Error::Yaml {
        name: name.to_owned(),
        source,
    })
}

fn overlay(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(key);
                } else {
                    overlay(
                        base.entry(key.clone())
                            .or_insert_with(|| Value::Object(Map::new())),
                        value,
                    );
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The root of a template's data: `.Values`, `.Chart`, `.Release`.
fn context(release: &Release, overrides: &Value) -> Result<Value, Error> {
    let chart = yaml("Chart.yaml", CHART)?;
    // Templates see the chart's fields with upper-case first letters, for they are Go's.
    let chart: BTreeMap<String, &Value> = chart
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (capitalised(key), value))
        .collect();
    Ok(json!({
        "Values": values(overrides)?,
        "Chart": chart,
        "Release": { "Name": release.name, "Namespace": release.namespace, "Service": "Helm", "IsInstall": true },
    }))
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

fn execute(name: &str, text: &str, context: &Value) -> Result<String, Error> {
    let error = |source| Error::Template {
        name: name.to_owned(),
        source,
    };
    let helpers: Arc<OnceLock<Template>> = Arc::default();
    let library = || {
        Template::new(name)
            .missing_key(MissingKey::ZeroValue)
            .funcs(functions::library(&helpers))
    };
    // `include` runs templates of a second, equal set, because a set cannot hold itself.
    let included = library().parse(HELPERS).map_err(error)?;
    let _ = helpers.set(included);
    let data = to_value(context).map_err(error)?;
    library()
        .parse(HELPERS)
        .and_then(|set| set.parse(text))
        .and_then(|set| set.execute_to_string(&data))
        .map_err(error)
}

/// Helm applies what others refer to first.
fn install_rank(object: &Value) -> usize {
    const ORDER: [&str; 7] = [
        "PodDisruptionBudget",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Service",
    ];
    ORDER
        .iter()
        .position(|kind| object["kind"] == **kind)
        .unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests;

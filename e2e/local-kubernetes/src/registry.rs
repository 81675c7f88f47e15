//! Which resources are served: the built-in ones and those of established custom resource definitions.
//!
//! A [`Registry`] is an immutable snapshot; a definition that comes or goes makes a new one.

mod builtin;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use crate::custom::Custom;

/// One served resource in one version.
#[derive(Debug)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: String,
    /// Version, for example `v1`.
    pub version: String,
    /// Kind, for example `ConfigMap`.
    pub kind: String,
    /// Kind of lists, for example `ConfigMapList`.
    pub list_kind: String,
    /// Plural name as in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Names that kubectl takes for the plural.
    pub short_names: Vec<String>,
    /// Groups of resources such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Storage name; `events` and `events.events.k8s.io` share one.
    pub storage: Arc<str>,
    /// Whether there is a status subresource, so that the main resource cannot write `status`.
    pub status: bool,
    /// Where the scale subresource finds its numbers, if there is one.
    pub scale: Option<ScalePaths>,
    /// Other subresources with the kind that they take and their verbs, for discovery.
    pub others: Vec<Subresource>,
    /// Whether `metadata.generation` counts changes of the specification.
    pub generation: bool,
    /// Whether a PUT may omit the resource version.
    pub unconditional_update: bool,
    /// Whether objects are stored; false for reviews, which are only answered.
    pub stored: bool,
    /// Fields that field selectors may name, beside `metadata.name` and `metadata.namespace`.
    pub selectable: Vec<String>,
    /// The definition behind a custom resource.
    pub custom: Option<Arc<Custom>>,
}

/// Paths of a scale subresource within the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// Desired replicas, for example `.spec.replicas`.
    pub spec: String,
    /// Observed replicas.
    pub status: String,
    /// Label selector of the pods: a string, or a selector object for built-in kinds.
    pub selector: Option<String>,
}

/// A subresource beside `status` and `scale`.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Last path segment, for example `eviction`.
    pub name: &'static str,
    /// Group and version of its kind if they differ from the parent's.
    pub group_version: Option<(&'static str, &'static str)>,
    /// Kind that it takes.
    pub kind: &'static str,
    /// Verbs that it allows.
    pub verbs: &'static [&'static str],
}

impl Resource {
    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `configmaps` or `statefulsets.apps`, as error messages name a resource.
    #[must_use]
    pub fn qualified(&self) -> String {
        qualify(&self.plural, &self.group)
    }

    /// `ConfigMap` or `StatefulSet.apps`, as validation messages name a kind.
    #[must_use]
    pub fn qualified_kind(&self) -> String {
        qualify(&self.kind, &self.group)
    }

    /// Whether the subresource exists.
    #[must_use]
    pub fn has_subresource(&self, name: &str) -> bool {
        match name {
            "status" => self.status,
            "scale" => self.scale.is_some(),
            other => self
                .others
                .iter()
                .any(|subresource| subresource.name == other),
        }
    }

    /// Whether this is the given built-in kind.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.custom.is_none() && self.group == group && self.kind == kind
    }
}

/// `name` or `name.group`.
#[must_use]
pub fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.into()
    } else {
        format!("{name}.{group}")
    }
}

/// OpenAPI documents by path.
type Documents = BTreeMap<String, Value>;

/// All served resources.
#[derive(Debug)]
pub struct Registry {
    /// Groups in the order of discovery; within a group its versions, within a version its resources.
    groups: Vec<Group>,
    /// Made when they are first asked for.
    documents: OnceLock<Documents>,
}

/// One API group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Name, empty for the core group.
    pub name: String,
    /// Versions, the preferred one first.
    pub versions: Vec<(String, BTreeMap<String, Arc<Resource>>)>,
}

impl Registry {
    /// The built-in resources alone.
    #[must_use]
    pub fn builtin() -> Self {
        let mut registry = Self {
            groups: vec![],
            documents: OnceLock::new(),
        };
        for resource in builtin::resources() {
            registry.add(Arc::new(resource));
        }
        registry
    }

    /// Adds a resource, or replaces the one of the same group, version and plural.
    pub fn add(&mut self, resource: Arc<Resource>) {
        let group = match self
            .groups
            .iter_mut()
            .position(|group| group.name == resource.group)
        {
            Some(index) => &mut self.groups[index],
            None => self.groups.push_mut(Group {
                name: resource.group.clone(),
                versions: vec![],
            }),
        };
        let version = match group
            .versions
            .iter()
            .position(|(name, _)| *name == resource.version)
        {
            Some(index) => &mut group.versions[index],
            None => group
                .versions
                .push_mut((resource.version.clone(), BTreeMap::new())),
        };
        version.1.insert(resource.plural.clone(), resource);
    }

    /// Groups with their versions, the core group first.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// One group.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Resources of a group version, by plural.
    #[must_use]
    pub fn version(&self, group: &str, version: &str) -> Option<&BTreeMap<String, Arc<Resource>>> {
        self.group(group)?
            .versions
            .iter()
            .find(|(name, _)| name == version)
            .map(|(_, resources)| resources)
    }

    /// One resource.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.version(group, version)?.get(plural)
    }

    /// The OpenAPI documents, made by `make` when they are first asked for.
    pub(crate) fn documents(&self, make: impl FnOnce(&Self) -> Documents) -> &Documents {
        self.documents.get_or_init(|| make(self))
    }

    /// All resources.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.groups
            .iter()
            .flat_map(|group| &group.versions)
            .flat_map(|(_, resources)| resources.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_event_groups_share_one_storage() {
        let registry = Registry::builtin();
        let core = registry.find("", "v1", "events").unwrap();
        let events = registry.find("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(core.storage, events.storage);
    }

    #[test]
    fn the_core_group_comes_first() {
        assert_eq!(Registry::builtin().groups()[0].name, "");
    }
}

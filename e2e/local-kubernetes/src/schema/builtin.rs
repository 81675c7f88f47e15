//! Schemas of the built-in kinds: the JSON schemas of the typed API plus what `extensions` knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use k8s_openapi::{
    Resource,
    api::{
        admissionregistration::v1 as admission, apps::v1 as apps,
        authentication::v1 as authentication, authorization::v1 as authorization,
        autoscaling::v1 as autoscaling, batch::v1 as batch, coordination::v1 as coordination,
        core::v1 as core, discovery::v1 as discovery, events::v1 as events,
        networking::v1 as networking, policy::v1 as policy, rbac::v1 as rbac,
        scheduling::v1 as scheduling, storage::v1 as storage,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
    apimachinery::pkg::apis::meta::v1 as meta,
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Reader, Schema, extensions};

type Key = (String, String, String);

struct Builtins {
    /// Every definition as OpenAPI, extensions included; names as in Kubernetes's own document.
    definitions: Map<String, Value>,
    /// Group, version and kind to the name of the definition.
    names: BTreeMap<Key, String>,
    schemas: BTreeMap<String, Arc<Schema>>,
}

/// The schema of a built-in kind.
pub fn builtin(group: &str, version: &str, kind: &str) -> Option<&'static Schema> {
    let all = builtins();
    all.schemas
        .get(definition_name(group, version, kind)?)
        .map(Arc::as_ref)
}

/// The name of a built-in kind's definition, as in `io.k8s.api.core.v1.Pod`.
pub fn definition_name(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    builtins()
        .names
        .get(&(group.to_owned(), version.to_owned(), kind.to_owned()))
        .map(String::as_str)
}

/// The group, version and kind of a definition, if it is a kind.
pub fn definition_kind(name: &str) -> Option<(&'static str, &'static str, &'static str)> {
    let (key, _) = builtins().names.iter().find(|(_, known)| *known == name)?;
    Some((&key.0, &key.1, &key.2))
}

/// All definitions of built-in types as OpenAPI v3 schemas that refer to each other by `#/components/schemas/NAME`.
pub fn definitions() -> &'static Map<String, Value> {
    &builtins().definitions
}

fn builtins() -> &'static Builtins {
    static BUILTINS: OnceLock<Builtins> = OnceLock::new();
    BUILTINS.get_or_init(Builtins::build)
}

struct Collector {
    generator: SchemaGenerator,
    names: BTreeMap<Key, String>,
}

impl Collector {
    fn kind<K: Resource + JsonSchema>(&mut self) -> &mut Self {
        self.definition::<K>();
        self.names.insert(
            (
                K::GROUP.to_owned(),
                K::VERSION.to_owned(),
                K::KIND.to_owned(),
            ),
            K::schema_name().into_owned(),
        );
        self
    }

    fn definition<T: JsonSchema>(&mut self) -> &mut Self {
        // Only the definitions are wanted; the reference to this one is not.
        let _ = self.generator.subschema_for::<T>();
        self
    }
}

impl Builtins {
    fn build() -> Self {
        let settings = SchemaSettings::draft07().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let mut collector = Collector {
            generator: settings.into_generator(),
            names: BTreeMap::new(),
        };
        collect_core(&mut collector);
        collect_groups(&mut collector);
        let Collector {
            mut generator,
            names,
        } = collector;
        let mut definitions = generator.take_definitions(true);
        for definition in definitions.values_mut() {
            normalise(definition);
        }
        extend(&mut definitions);
        let mut reader = Reader {
            definitions: &definitions,
            known: BTreeMap::new(),
            open: BTreeSet::new(),
            null_is_absent: true,
        };
        let schemas = names
            .values()
            .map(|name| {
                (
                    name.clone(),
                    reader
                        .definition(name)
                        .expect("built-in definitions refer to each other only"),
                )
            })
            .collect();
        Self {
            definitions,
            names,
            schemas,
        }
    }
}

fn collect_core(collector: &mut Collector) {
    collector
        .kind::<core::Binding>()
        .kind::<core::ConfigMap>()
        .kind::<core::Endpoints>()
        .kind::<core::Event>()
        .kind::<core::LimitRange>()
        .kind::<core::Namespace>()
        .kind::<core::Node>()
        .kind::<core::PersistentVolume>()
        .kind::<core::PersistentVolumeClaim>()
        .kind::<core::Pod>()
        .kind::<core::PodTemplate>()
        .kind::<core::ReplicationController>()
        .kind::<core::ResourceQuota>()
        .kind::<core::Secret>()
        .kind::<core::Service>()
        .kind::<core::ServiceAccount>();
}

fn collect_groups(collector: &mut Collector) {
    collector
        .kind::<admission::MutatingWebhookConfiguration>()
        .kind::<admission::ValidatingWebhookConfiguration>()
        .kind::<apiextensions::CustomResourceDefinition>()
        .kind::<apps::ControllerRevision>()
        .kind::<apps::DaemonSet>()
        .kind::<apps::Deployment>()
        .kind::<apps::ReplicaSet>()
        .kind::<apps::StatefulSet>()
        .kind::<authentication::SelfSubjectReview>()
        .kind::<authorization::SelfSubjectAccessReview>()
        .kind::<authorization::SelfSubjectRulesReview>()
        .kind::<authorization::SubjectAccessReview>()
        .kind::<autoscaling::Scale>()
        .kind::<batch::CronJob>()
        .kind::<batch::Job>()
        .kind::<coordination::Lease>()
        .kind::<discovery::EndpointSlice>()
        .kind::<events::Event>()
        .kind::<networking::Ingress>()
        .kind::<networking::NetworkPolicy>()
        .kind::<policy::Eviction>()
        .kind::<policy::PodDisruptionBudget>()
        .kind::<rbac::ClusterRole>()
        .kind::<rbac::ClusterRoleBinding>()
        .kind::<rbac::Role>()
        .kind::<rbac::RoleBinding>()
        .kind::<scheduling::PriorityClass>()
        .kind::<storage::StorageClass>()
        .definition::<meta::DeleteOptions>()
        .definition::<meta::ListMeta>()
        .definition::<meta::Status>();
}

/// Brings a JSON schema of the typed API to OpenAPI v3: a reference with text beside it becomes `allOf`, and an object without fields keeps everything.
fn normalise(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if object.len() > 1
        && let Some(reference) = object.remove("$ref")
    {
        object.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
    }
    if object.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        object.insert(
            "oneOf".to_owned(),
            json!([{"type": "integer"}, {"type": "string"}]),
        );
    }
    // An object of which nothing is said is kept as it is: another object, or a set of fields.
    let says_nothing = ["properties", "additionalProperties", "allOf"]
        .iter()
        .all(|key| !object.contains_key(*key));
    if object.get("type") == Some(&Value::from("object")) && says_nothing {
        object.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            true.into(),
        );
        object.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = object.get_mut(key) {
            normalise(child);
        }
    }
    for property in object
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        normalise(property.1);
    }
}

fn extend(definitions: &mut Map<String, Value>) {
    // Whatever a revision records is kept as it is.
    if let Some(raw) = definitions
        .get_mut("io.k8s.apimachinery.pkg.runtime.RawExtension")
        .and_then(Value::as_object_mut)
    {
        raw.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            true.into(),
        );
        raw.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    for (kind, field, keys) in extensions::KEYED_LISTS {
        set(
            definitions,
            kind,
            field,
            "x-kubernetes-list-type",
            "map".into(),
        );
        set(
            definitions,
            kind,
            field,
            "x-kubernetes-list-map-keys",
            json!(keys),
        );
    }
    for (kind, field) in extensions::SETS {
        set(
            definitions,
            kind,
            field,
            "x-kubernetes-list-type",
            "set".into(),
        );
    }
    for kind in extensions::ATOMIC_TYPES {
        if let Some(definition) = definitions
            .get_mut(&qualified(kind))
            .and_then(Value::as_object_mut)
        {
            definition.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
        }
    }
    for (kind, field, map_type) in extensions::MAP_TYPES {
        set(
            definitions,
            kind,
            field,
            "x-kubernetes-map-type",
            (*map_type).into(),
        );
    }
    for (kind, field, strategy, merge_key) in extensions::PATCH_STRATEGIES {
        set(
            definitions,
            kind,
            field,
            "x-kubernetes-patch-strategy",
            (*strategy).into(),
        );
        if !merge_key.is_empty() {
            set(
                definitions,
                kind,
                field,
                "x-kubernetes-patch-merge-key",
                (*merge_key).into(),
            );
        }
    }
    for (kind, field, value) in extensions::ZERO_VALUES {
        let value = serde_json::from_str(value).expect("zero values are JSON");
        set(definitions, kind, field, "default", value);
    }
    for name in ["JSONSchemaProps", "CustomResourceValidation"] {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let full = format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.{name}");
        if let Some(definition) = definitions.get_mut(&full).and_then(Value::as_object_mut) {
            definition.extend(schema.as_object().cloned().unwrap_or_default());
        }
    }
}

/// Puts an extension on a field; a reference becomes `allOf`, since nothing may stand beside `$ref`.
fn set(definitions: &mut Map<String, Value>, kind: &str, field: &str, key: &str, value: Value) {
    let definition = definitions
        .get_mut(&qualified(kind))
        .and_then(|definition| definition.get_mut("properties"));
    let Some(property) = definition
        .and_then(|properties| properties.get_mut(field))
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    property.insert(key.to_owned(), value);
    if let Some(reference) = property.remove("$ref") {
        property.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
    }
}

/// `core.v1.Pod` to `io.k8s.api.core.v1.Pod`.
fn qualified(short: &str) -> String {
    match short.split_once('.') {
        Some(("meta", _)) => format!("io.k8s.apimachinery.pkg.apis.{short}"),
        Some(("apiextensions", _)) => format!("io.k8s.apiextensions-apiserver.pkg.apis.{short}"),
        _ => format!("io.k8s.api.{short}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ListType;

    #[test]
    fn every_extension_names_a_field_that_exists() {
        let keyed = extensions::KEYED_LISTS
            .iter()
            .map(|(kind, field, _)| (kind, field));
        let sets = extensions::SETS.iter().map(|(kind, field)| (kind, field));
        let maps = extensions::MAP_TYPES
            .iter()
            .map(|(kind, field, _)| (kind, field));
        let patches = extensions::PATCH_STRATEGIES
            .iter()
            .map(|(kind, field, _, _)| (kind, field));
        let zeros = extensions::ZERO_VALUES
            .iter()
            .map(|(kind, field, _)| (kind, field));
        for (kind, field) in keyed.chain(sets).chain(maps).chain(patches).chain(zeros) {
            if let Some(definition) = definitions().get(&qualified(kind)) {
                assert!(
                    definition["properties"].get(*field).is_some(),
                    "{kind}.{field}"
                );
            }
        }
    }

    #[test]
    fn ports_of_a_service_are_found_by_port_and_protocol() {
        let service = builtin("", "v1", "Service").expect("Service is built in");
        let ports = &service.properties["spec"].properties["ports"];
        assert_eq!(
            ports.list_type,
            ListType::Map(vec!["port".to_owned(), "protocol".to_owned()])
        );
        let item = ports.items.as_ref().expect("ports have items");
        assert_eq!(item.properties["protocol"].default, Some(json!("TCP")));
        assert!(service.properties["spec"].properties["selector"].atomic_map);
    }

    #[test]
    fn objects_within_objects_are_kept_whole() {
        let revision = builtin("apps", "v1", "ControllerRevision").expect("it is built in");
        let mut object = json!({"data": {"spec": {"template": {}, "none": null}}, "revision": 1});
        let before = object.clone();
        crate::schema::canonical(revision, &mut object);
        assert_eq!(object, before);
        assert!(revision.properties["data"].atomic_map);
    }

    #[test]
    fn text_beside_a_reference_keeps_both() {
        let pod = &definitions()["io.k8s.api.core.v1.Pod"]["properties"]["spec"];
        assert!(pod["description"].is_string());
        assert_eq!(
            pod["allOf"][0]["$ref"],
            "#/components/schemas/io.k8s.api.core.v1.PodSpec"
        );
        assert_eq!(pod["default"], json!({}));
    }
}

//! Paths and operations of a resource.

use serde_json::{Map, Value, json};

use super::{Served, schemas};

/// A query parameter: name, type, what it is for.
type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string", "If 'true', the output is indented.");
const DRY_RUN: Parameter = (
    "dryRun",
    "string",
    "`All` runs every stage of the request but stores nothing.",
);
const FIELD_MANAGER: Parameter = (
    "fieldManager",
    "string",
    "Name of the actor that makes the change; required for apply.",
);
const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "What to do with unknown and duplicate fields: `Ignore` drops them, `Warn` drops them with a warning (the default), `Strict` refuses \
     the request.",
);
const FORCE: Parameter = (
    "force",
    "boolean",
    "Take over fields that other managers own; for apply only.",
);
const RESOURCE_VERSION: Parameter = (
    "resourceVersion",
    "string",
    "The version that a list must not be older than, or after which a watch begins.",
);
const LIST: [Parameter; 10] = [
    (
        "allowWatchBookmarks",
        "boolean",
        "Send bookmarks with the newest resource version on a watch.",
    ),
    (
        "continue",
        "string",
        "Token of the previous page of a list.",
    ),
    (
        "fieldSelector",
        "string",
        "Restricts the objects by their fields.",
    ),
    (
        "labelSelector",
        "string",
        "Restricts the objects by their labels.",
    ),
    ("limit", "integer", "Largest number of objects of a page."),
    RESOURCE_VERSION,
    (
        "resourceVersionMatch",
        "string",
        "How `resourceVersion` is applied to a list: `Exact` or `NotOlderThan`.",
    ),
    (
        "sendInitialEvents",
        "boolean",
        "Begin a watch with the present objects and a bookmark.",
    ),
    (
        "timeoutSeconds",
        "integer",
        "How long a list or watch may take.",
    ),
    ("watch", "boolean", "Answer with a stream of changes."),
];
const DELETE: [Parameter; 5] = [
    DRY_RUN,
    (
        "gracePeriodSeconds",
        "integer",
        "Seconds until the object is deleted; 0 deletes at once.",
    ),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete an object that cannot be read from storage.",
    ),
    (
        "orphanDependents",
        "boolean",
        "Deprecated: use `propagationPolicy`.",
    ),
    (
        "propagationPolicy",
        "string",
        "What happens to dependents: `Orphan`, `Background` or `Foreground`.",
    ),
];

/// Adds the paths of a resource.
pub(super) fn add(resource: &Served<'_>, paths: &mut Map<String, Value>) {
    let root = format!(
        "/{}",
        super::document_path(resource.group, resource.version)
    );
    let collection = if resource.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{root}/{}", resource.plural)
    };
    let object = format!("{collection}/{{name}}");
    let writer = Writer { resource };
    if resource.namespaced {
        paths.insert(
            format!("{root}/{}", resource.plural),
            writer.all_namespaces(),
        );
    }
    if resource.status {
        paths.insert(
            format!("{object}/status"),
            writer.subresource("Status", "status of"),
        );
    }
    if resource.scale {
        paths.insert(
            format!("{object}/scale"),
            writer.subresource("Scale", "scale of"),
        );
    }
    paths.insert(collection, writer.collection());
    paths.insert(object, writer.object());
}

struct Writer<'a> {
    resource: &'a Served<'a>,
}

impl Writer<'_> {
    fn collection(&self) -> Value {
        let kind = self.resource.kind;
        let mut list = self.operation(
            "list",
            &self.id("list", ""),
            &format!("list objects of kind {kind}"),
            &LIST,
        );
        self.answers(&mut list, &[200], &self.list_schema());
        let mut create = self.operation(
            "post",
            &self.id("create", ""),
            &format!("create {} {kind}", article(kind)),
            &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION],
        );
        self.body(&mut create, &self.schema());
        self.answers(&mut create, &[200, 201, 202], &self.schema());
        let description = format!("delete collection of {kind}");
        let mut delete = self.operation(
            "deletecollection",
            &self.id("delete", "Collection"),
            &description,
            &LIST,
        );
        self.answers(&mut delete, &[200], &reference(schemas::STATUS));
        json!({"get": list, "post": create, "delete": delete, "parameters": self.common(false)})
    }

    fn object(&self) -> Value {
        let kind = self.resource.kind;
        let mut read = self.operation(
            "get",
            &self.id("read", ""),
            &format!("read the specified {kind}"),
            self.read_parameters(),
        );
        self.answers(&mut read, &[200], &self.schema());
        let mut delete = self.operation(
            "delete",
            &self.id("delete", ""),
            &format!("delete {} {kind}", article(kind)),
            &DELETE,
        );
        self.body(&mut delete, &reference(schemas::DELETE_OPTIONS));
        if let Some(body) = delete["requestBody"].as_object_mut() {
            body.remove("required");
        }
        self.answers(&mut delete, &[200, 202], &reference(schemas::STATUS));
        let (put, patch) = self.writes("", &format!("the specified {kind}"), &self.schema());
        json!({"get": read, "put": put, "patch": patch, "delete": delete, "parameters": self.common(true)})
    }

    fn subresource(&self, suffix: &str, words: &str) -> Value {
        let schema = if suffix == "Scale" {
            reference(schemas::SCALE)
        } else {
            self.schema()
        };
        let what = format!("{words} the specified {}", self.resource.kind);
        let id = format!("{}{suffix}", self.id("read", ""));
        let mut read = self.operation("get", &id, &format!("read {what}"), self.read_parameters());
        self.answers(&mut read, &[200], &schema);
        let (put, patch) = self.writes(suffix, &what, &schema);
        json!({"get": read, "put": put, "patch": patch, "parameters": self.common(true)})
    }

    fn all_namespaces(&self) -> Value {
        let kind = self.resource.kind;
        let id = format!("list{}{}ForAllNamespaces", self.group_name(), kind);
        let mut list = self.operation("list", &id, &format!("list objects of kind {kind}"), &[]);
        self.answers(&mut list, &[200], &self.list_schema());
        let mut parameters: Vec<Value> = LIST.into_iter().chain([PRETTY]).map(query).collect();
        parameters.sort_by_key(|parameter| parameter["name"].to_string());
        json!({"get": list, "parameters": parameters})
    }

    /// Reads of custom resources take a version; those of built-in ones do not say so.
    fn read_parameters(&self) -> &'static [Parameter] {
        if self.resource.is_custom() {
            &[RESOURCE_VERSION]
        } else {
            &[]
        }
    }

    /// PUT and PATCH.
    fn writes(&self, suffix: &str, what: &str, schema: &Value) -> (Value, Value) {
        let id = |verb: &str| format!("{}{suffix}", self.id(verb, ""));
        let mut put = self.operation(
            "put",
            &id("replace"),
            &format!("replace {what}"),
            &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION],
        );
        self.body(&mut put, schema);
        self.answers(&mut put, &[200, 201], schema);
        let parameters = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
        let mut patch = self.operation(
            "patch",
            &id("patch"),
            &format!("partially update {what}"),
            &parameters,
        );
        let mut content = Map::new();
        let strategic =
            (!self.resource.is_custom()).then_some("application/strategic-merge-patch+json");
        let kinds = [
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
        ];
        for media_type in kinds.into_iter().chain(strategic) {
            content.insert(
                media_type.to_owned(),
                json!({"schema": reference(schemas::PATCH)}),
            );
        }
        patch["requestBody"] = json!({"content": content, "required": true});
        let codes: &[u16] = if self.resource.is_custom() {
            &[200]
        } else {
            &[200, 201]
        };
        self.answers(&mut patch, codes, schema);
        (put, patch)
    }

    fn operation(
        &self,
        action: &str,
        id: &str,
        description: &str,
        parameters: &[Parameter],
    ) -> Value {
        let mut operation = json!({
            "tags": [self.tag()],
            "description": description,
            "operationId": id,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self.resource.group_version_kind(self.resource.kind),
        });
        if !parameters.is_empty() {
            operation["parameters"] = parameters.iter().copied().map(query).collect();
        }
        operation
    }

    fn body(&self, operation: &mut Value, schema: &Value) {
        let mut body = json!({"content": {}, "required": true});
        let media_types: &[&str] = if self.resource.is_custom() {
            &["application/json", "application/yaml"]
        } else {
            &["*/*"]
        };
        for media_type in media_types {
            body["content"][*media_type] = json!({"schema": schema});
        }
        operation["requestBody"] = body;
    }

    fn answers(&self, operation: &mut Value, codes: &[u16], schema: &Value) {
        let content =
            json!({"application/json": {"schema": schema}, "application/yaml": {"schema": schema}});
        let mut responses = Map::new();
        for code in codes {
            let description = match code {
                201 => "Created",
                202 => "Accepted",
                _ => "OK",
            };
            responses.insert(
                code.to_string(),
                json!({"description": description, "content": content}),
            );
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        operation["responses"] = responses.into();
    }

    /// The parameters of a path: name, namespace, pretty.
    fn common(&self, of_object: bool) -> Vec<Value> {
        let in_path = |name: &str, description: &str| json!({"name": name, "in": "path", "description": description, "required": true, "schema": {"type": "string", "uniqueItems": true}});
        let mut parameters = Vec::new();
        if of_object {
            parameters.push(in_path(
                "name",
                &format!("name of the {}", self.resource.kind),
            ));
        }
        if self.resource.namespaced {
            parameters.push(in_path(
                "namespace",
                "object name and auth scope, such as for teams and projects",
            ));
        }
        parameters.push(query(PRETTY));
        parameters
    }

    fn schema(&self) -> Value {
        reference(&schemas::name(self.resource, self.resource.kind))
    }

    fn list_schema(&self) -> Value {
        reference(&schemas::name(self.resource, self.resource.list_kind))
    }

    /// `demoExampleCom_v1alpha1`, `core_v1`.
    fn tag(&self) -> String {
        let group = match self.resource.group {
            "" => "core".to_owned(),
            group => joined(
                group
                    .trim_end_matches(".k8s.io")
                    .trim_end_matches(".authorization"),
            ),
        };
        let group = if self.resource.is_custom() {
            joined(self.resource.group)
        } else {
            group
        };
        format!("{group}_{}", self.resource.version)
    }

    /// `DemoExampleComV1alpha1`.
    fn group_name(&self) -> String {
        let tag = self.tag();
        let (group, version) = tag.split_once('_').unwrap_or((&tag, ""));
        format!("{}{}", capitalised(group), capitalised(version))
    }

    fn id(&self, verb: &str, collection: &str) -> String {
        let namespaced = if self.resource.namespaced {
            "Namespaced"
        } else {
            ""
        };
        format!(
            "{verb}{}{collection}{namespaced}{}",
            self.group_name(),
            self.resource.kind
        )
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn query((name, kind, description): Parameter) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
}

/// `demo.example.com` to `demoExampleCom`.
fn joined(group: &str) -> String {
    let mut parts = group.split('.');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + &capitalised(part))
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) {
        "an"
    } else {
        "a"
    }
}

//! The messages that kubectl sends: field numbers, JSON names and shapes, from Kubernetes's `generated.proto` files.

/// A field of a message.
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

/// What a field holds.
pub(super) enum Shape {
    Text,
    Number,
    Bool,
    /// Base64 in JSON.
    Bytes,
    Time,
    IntOrString,
    Message(&'static [Field]),
    Texts,
    Messages(&'static [Field]),
    TextMap,
    BytesMap,
}

use Shape::{
    Bool, Bytes, BytesMap, IntOrString, Message, Messages, Number, Text, TextMap, Texts, Time,
};

const fn f(number: u32, name: &'static str, shape: Shape) -> Field {
    Field {
        number,
        name,
        shape,
    }
}

pub(super) const ENVELOPE: &[Field] = &[f(1, "typeMeta", Message(TYPE_META)), f(2, "raw", Bytes)];
const TYPE_META: &[Field] = &[f(1, "apiVersion", Text), f(2, "kind", Text)];
pub(super) const TEXT_ENTRY: &[Field] = &[f(1, "key", Text), f(2, "value", Text)];
pub(super) const BYTES_ENTRY: &[Field] = &[f(1, "key", Text), f(2, "value", Bytes)];
pub(super) const TIME: &[Field] = &[f(1, "seconds", Number)];
pub(super) const INT_OR_STRING: &[Field] = &[
    f(1, "type", Number),
    f(2, "intVal", Number),
    f(3, "strVal", Text),
];

const METADATA: Field = f(1, "metadata", Message(OBJECT_META));
const OBJECT_META: &[Field] = &[
    f(1, "name", Text),
    f(2, "generateName", Text),
    f(3, "namespace", Text),
    f(5, "uid", Text),
    f(6, "resourceVersion", Text),
    f(8, "creationTimestamp", Time),
    f(9, "deletionTimestamp", Time),
    f(11, "labels", TextMap),
    f(12, "annotations", TextMap),
    f(13, "ownerReferences", Messages(OWNER)),
    f(14, "finalizers", Texts),
];
const OWNER: &[Field] = &[
    f(1, "kind", Text),
    f(3, "name", Text),
    f(4, "uid", Text),
    f(5, "apiVersion", Text),
    f(6, "controller", Bool),
    f(7, "blockOwnerDeletion", Bool),
];
const LABEL_SELECTOR: &[Field] = &[
    f(1, "matchLabels", TextMap),
    f(2, "matchExpressions", Messages(EXPRESSION)),
];
const EXPRESSION: &[Field] = &[
    f(1, "key", Text),
    f(2, "operator", Text),
    f(3, "values", Texts),
];

const NAMESPACE: &[Field] = &[
    METADATA,
    f(2, "spec", Message(&[f(1, "finalizers", Texts)])),
];
const CONFIG_MAP: &[Field] = &[
    METADATA,
    f(2, "data", TextMap),
    f(3, "binaryData", BytesMap),
    f(4, "immutable", Bool),
];
const SECRET: &[Field] = &[
    METADATA,
    f(2, "data", BytesMap),
    f(3, "type", Text),
    f(4, "stringData", TextMap),
    f(5, "immutable", Bool),
];
const SERVICE_ACCOUNT: &[Field] = &[METADATA, f(4, "automountServiceAccountToken", Bool)];

const TOKEN_REQUEST: &[Field] = &[METADATA, f(2, "spec", Message(TOKEN_REQUEST_SPEC))];
const TOKEN_REQUEST_SPEC: &[Field] = &[
    f(1, "audiences", Texts),
    f(3, "boundObjectRef", Message(BOUND_OBJECT)),
    f(4, "expirationSeconds", Number),
];
const BOUND_OBJECT: &[Field] = &[
    f(1, "kind", Text),
    f(2, "apiVersion", Text),
    f(3, "name", Text),
    f(4, "uid", Text),
];

const SELF_SUBJECT_REVIEW: &[Field] = &[METADATA];
const SELF_SUBJECT_RULES_REVIEW: &[Field] =
    &[METADATA, f(2, "spec", Message(&[f(1, "namespace", Text)]))];
/// The access reviews differ in the user, which the one for oneself does not have.
const ACCESS_REVIEW: &[Field] = &[METADATA, f(2, "spec", Message(ACCESS_REVIEW_SPEC))];
const ACCESS_REVIEW_SPEC: &[Field] = &[
    f(1, "resourceAttributes", Message(RESOURCE_ATTRIBUTES)),
    f(
        2,
        "nonResourceAttributes",
        Message(&[f(1, "path", Text), f(2, "verb", Text)]),
    ),
    f(3, "user", Text),
    f(4, "groups", Texts),
];
const RESOURCE_ATTRIBUTES: &[Field] = &[
    f(1, "namespace", Text),
    f(2, "verb", Text),
    f(3, "group", Text),
    f(4, "version", Text),
    f(5, "resource", Text),
    f(6, "subresource", Text),
    f(7, "name", Text),
];

const EVICTION: &[Field] = &[METADATA, f(2, "deleteOptions", Message(DELETE_OPTIONS))];
const DELETE_OPTIONS: &[Field] = &[
    f(1, "gracePeriodSeconds", Number),
    f(
        2,
        "preconditions",
        Message(&[f(1, "uid", Text), f(2, "resourceVersion", Text)]),
    ),
    f(3, "orphanDependents", Bool),
    f(4, "propagationPolicy", Text),
    f(5, "dryRun", Texts),
];
const DISRUPTION_BUDGET: &[Field] = &[
    METADATA,
    f(
        2,
        "spec",
        Message(&[
            f(1, "minAvailable", IntOrString),
            f(2, "selector", Message(LABEL_SELECTOR)),
            f(3, "maxUnavailable", IntOrString),
            f(4, "unhealthyPodEvictionPolicy", Text),
        ]),
    ),
];

const ROLE: &[Field] = &[METADATA, f(2, "rules", Messages(RULE))];
const RULE: &[Field] = &[
    f(1, "verbs", Texts),
    f(2, "apiGroups", Texts),
    f(3, "resources", Texts),
    f(4, "resourceNames", Texts),
    f(5, "nonResourceURLs", Texts),
];
const BINDING: &[Field] = &[
    METADATA,
    f(2, "subjects", Messages(SUBJECT)),
    f(3, "roleRef", Message(ROLE_REFERENCE)),
];
const SUBJECT: &[Field] = &[
    f(1, "kind", Text),
    f(2, "apiGroup", Text),
    f(3, "name", Text),
    f(4, "namespace", Text),
];
const ROLE_REFERENCE: &[Field] = &[
    f(1, "apiGroup", Text),
    f(2, "kind", Text),
    f(3, "name", Text),
];

/// The message of a kind.
pub(super) fn of_kind(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "Namespace" => NAMESPACE,
        "ConfigMap" => CONFIG_MAP,
        "Secret" => SECRET,
        "ServiceAccount" => SERVICE_ACCOUNT,
        "TokenRequest" => TOKEN_REQUEST,
        "SelfSubjectReview" => SELF_SUBJECT_REVIEW,
        "SelfSubjectRulesReview" => SELF_SUBJECT_RULES_REVIEW,
        "SelfSubjectAccessReview" | "SubjectAccessReview" => ACCESS_REVIEW,
        "Eviction" => EVICTION,
        "DeleteOptions" => DELETE_OPTIONS,
        "PodDisruptionBudget" => DISRUPTION_BUDGET,
        "Role" | "ClusterRole" => ROLE,
        "RoleBinding" | "ClusterRoleBinding" => BINDING,
        _ => return None,
    })
}

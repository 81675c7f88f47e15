//! The table of built-in resources. What is not listed here is not served (404).

use super::{Resource, ScalePaths, Subresource, qualify};

/// One line of the table; the setters name what is not the usual case.
struct Row(Resource);

fn row(group: &str, version: &str, kind: &str, plural: &str) -> Row {
    Row(Resource {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        list_kind: format!("{kind}List"),
        plural: plural.into(),
        singular: kind.to_lowercase(),
        short_names: vec![],
        categories: vec![],
        namespaced: true,
        storage: qualify(plural, group).into(),
        status: false,
        scale: None,
        others: vec![],
        generation: false,
        unconditional_update: true,
        stored: true,
        selectable: vec![],
        custom: None,
    })
}

impl Row {
    fn short(mut self, names: &[&str]) -> Self {
        self.0.short_names = names.iter().map(|name| (*name).into()).collect();
        self
    }

    fn category(mut self, category: &str) -> Self {
        self.0.categories.push(category.into());
        self
    }

    fn cluster(mut self) -> Self {
        self.0.namespaced = false;
        self
    }

    fn status(mut self) -> Self {
        self.0.status = true;
        self
    }

    fn scale(mut self) -> Self {
        self.0.scale = Some(ScalePaths {
            spec: ".spec.replicas".into(),
            status: ".status.replicas".into(),
            selector: Some(".spec.selector".into()),
        });
        self
    }

    fn generation(mut self) -> Self {
        self.0.generation = true;
        self
    }

    fn conditional(mut self) -> Self {
        self.0.unconditional_update = false;
        self
    }

    fn review(mut self) -> Self {
        self.0.stored = false;
        self.0.namespaced = false;
        self
    }

    fn stored_as(mut self, storage: &str) -> Self {
        self.0.storage = storage.into();
        self
    }

    fn selectable(mut self, fields: &[&str]) -> Self {
        self.0.selectable = fields.iter().map(|field| (*field).into()).collect();
        self
    }

    fn sub(
        mut self,
        name: &'static str,
        group_version: Option<(&'static str, &'static str)>,
        kind: &'static str,
        verbs: &'static [&'static str],
    ) -> Self {
        self.0.others.push(Subresource {
            name,
            group_version,
            kind,
            verbs,
        });
        self
    }
}

const CORE_EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

const EVENT_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

/// The built-in resources, groups in the order of discovery.
pub(super) fn resources() -> Vec<Resource> {
    let groups = [
        core(),
        apps(),
        events(),
        reviews(),
        policy(),
        rbac(),
        others(),
    ];
    groups.into_iter().flatten().map(|row| row.0).collect()
}

fn core() -> Vec<Row> {
    let v1 = |kind, plural| row("", "v1", kind, plural);
    vec![
        v1("ConfigMap", "configmaps").short(&["cm"]),
        v1("Endpoints", "endpoints").short(&["ep"]),
        v1("Event", "events")
            .short(&["ev"])
            .selectable(CORE_EVENT_FIELDS),
        v1("Namespace", "namespaces")
            .short(&["ns"])
            .cluster()
            .status()
            .selectable(&["status.phase"])
            .sub("finalize", None, "Namespace", &["update"]),
        v1("Node", "nodes")
            .short(&["no"])
            .cluster()
            .status()
            .selectable(&["spec.unschedulable"]),
        v1("PersistentVolumeClaim", "persistentvolumeclaims")
            .short(&["pvc"])
            .status(),
        v1("Pod", "pods")
            .short(&["po"])
            .category("all")
            .status()
            .generation()
            .selectable(POD_FIELDS)
            .sub("binding", None, "Binding", &["create"])
            .sub("eviction", Some(("policy", "v1")), "Eviction", &["create"])
            .sub("log", None, "Pod", &["get"]),
        v1("Secret", "secrets").selectable(&["type"]),
        v1("Service", "services")
            .short(&["svc"])
            .category("all")
            .status()
            .selectable(&["spec.clusterIP", "spec.type"]),
        v1("ServiceAccount", "serviceaccounts").short(&["sa"]).sub(
            "token",
            Some(("authentication.k8s.io", "v1")),
            "TokenRequest",
            &["create"],
        ),
    ]
}

fn apps() -> Vec<Row> {
    let v1 = |kind, plural| row("apps", "v1", kind, plural);
    let workload = |kind, plural, short: &str| {
        v1(kind, plural)
            .short(&[short])
            .category("all")
            .status()
            .scale()
            .generation()
    };
    vec![
        v1("ControllerRevision", "controllerrevisions"),
        workload("Deployment", "deployments", "deploy"),
        workload("ReplicaSet", "replicasets", "rs").selectable(&["status.replicas"]),
        workload("StatefulSet", "statefulsets", "sts"),
    ]
}

fn events() -> Vec<Row> {
    vec![
        row("events.k8s.io", "v1", "Event", "events")
            .short(&["ev"])
            .stored_as("events")
            .selectable(EVENT_FIELDS),
    ]
}

fn reviews() -> Vec<Row> {
    vec![
        row(
            "authentication.k8s.io",
            "v1",
            "SelfSubjectReview",
            "selfsubjectreviews",
        )
        .review(),
        row(
            "authorization.k8s.io",
            "v1",
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
        )
        .review(),
        row(
            "authorization.k8s.io",
            "v1",
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
        )
        .review(),
        row(
            "authorization.k8s.io",
            "v1",
            "SubjectAccessReview",
            "subjectaccessreviews",
        )
        .review(),
    ]
}

fn policy() -> Vec<Row> {
    vec![
        row(
            "policy",
            "v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
        )
        .short(&["pdb"])
        .status()
        .generation()
        .conditional(),
    ]
}

fn rbac() -> Vec<Row> {
    let v1 = |kind, plural| row("rbac.authorization.k8s.io", "v1", kind, plural);
    vec![
        v1("ClusterRoleBinding", "clusterrolebindings").cluster(),
        v1("ClusterRole", "clusterroles").cluster(),
        v1("RoleBinding", "rolebindings"),
        v1("Role", "roles"),
    ]
}

fn others() -> Vec<Row> {
    vec![
        row(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
        )
        .short(&["crd", "crds"])
        .category("api-extensions")
        .cluster()
        .status()
        .generation()
        .conditional(),
        row("coordination.k8s.io", "v1", "Lease", "leases").conditional(),
        row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices").generation(),
    ]
}

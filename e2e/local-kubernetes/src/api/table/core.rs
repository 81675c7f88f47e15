//! Columns of configuration, namespaces, nodes, claims, leases and events.

use serde_json::Value;

use super::{
    Column, Columns, column, count, items, joined, name_column, named, number, since, string, text,
    text_or,
};

pub(super) fn config_maps() -> Columns {
    let description = "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the BinaryData field, this is enforced during validation process.";
    named(vec![column("Data", description)], |map| {
        vec![(count(&map["data"]) + count(&map["binaryData"])).into()]
    })
}

pub(super) fn secrets() -> Columns {
    let headings = vec![
        column(
            "Type",
            "Used to facilitate programmatic handling of secret data.",
        ),
        column("Data", "Data contains the secret data."),
    ];
    named(headings, |secret| {
        vec![text(secret, ".type"), count(&secret["data"]).into()]
    })
}

pub(super) fn service_accounts() -> Columns {
    named(
        vec![column(
            "Secrets",
            "Secrets that pods running as this account may use.",
        )],
        |account| vec![count(&account["secrets"]).into()],
    )
}

pub(super) fn namespaces() -> Columns {
    named(
        vec![column("Status", "The status of the namespace")],
        |namespace| vec![text(namespace, ".status.phase")],
    )
}

pub(super) fn leases() -> Columns {
    let description = "holderIdentity contains the identity of the holder of a current lease.";
    named(vec![column("Holder", description)], |lease| {
        vec![text(lease, ".spec.holderIdentity")]
    })
}

pub(super) fn claims() -> Columns {
    let headings = vec![
        column(
            "Status",
            "phase represents the current phase of PersistentVolumeClaim.",
        ),
        column(
            "Volume",
            "volumeName is the binding reference to the PersistentVolume backing this claim.",
        ),
        column(
            "Capacity",
            "capacity represents the actual resources of the underlying volume.",
        ),
        column(
            "Access Modes",
            "accessModes contains the actual access modes the volume backing the PVC has.",
        ),
        column(
            "StorageClass",
            "storageClassName is the name of the StorageClass required by the claim.",
        ),
        column(
            "VolumeAttributesClass",
            "volumeAttributesClassName may be used to set the VolumeAttributesClass used by this claim.",
        ),
        column(
            "VolumeMode",
            "volumeMode defines what type of volume is required by the claim.",
        )
        .wide(),
    ];
    named(headings, |claim| {
        let bound = !string(claim, ".spec.volumeName").is_empty();
        let when_bound = |value: Value| if bound { value } else { "".into() };
        let modes: Vec<&str> = items(claim, ".status.accessModes")
            .iter()
            .filter_map(Value::as_str)
            .map(access_mode)
            .collect();
        vec![
            match claim["metadata"]["deletionTimestamp"].is_string() {
                true => "Terminating".into(),
                false => text(claim, ".status.phase"),
            },
            text(claim, ".spec.volumeName"),
            when_bound(text(claim, ".status.capacity.storage")),
            when_bound(modes.join(",").into()),
            text(claim, ".spec.storageClassName"),
            text_or(claim, ".spec.volumeAttributesClassName", "<unset>"),
            text_or(claim, ".spec.volumeMode", "<unset>"),
        ]
    })
}

fn access_mode(mode: &str) -> &str {
    match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    }
}

pub(super) fn nodes() -> Columns {
    let headings = vec![
        column("Status", "The status of the node"),
        column("Roles", "The roles of the node"),
        column("Version", "Kubelet Version reported by the node."),
        column("Internal-IP", "List of addresses reachable to the node.").wide(),
        column("External-IP", "List of addresses reachable to the node.").wide(),
        column(
            "OS-Image",
            "OS Image reported by the node from /etc/os-release.",
        )
        .wide(),
        column(
            "Kernel-Version",
            "Kernel Version reported by the node from 'uname -r'.",
        )
        .wide(),
        column(
            "Container-Runtime",
            "ContainerRuntime Version reported by the node.",
        )
        .wide(),
    ];
    let mut columns = named(headings, |node| {
        let address = |kind: &str| {
            let addresses = items(node, ".status.addresses").iter();
            addresses
                .filter(|address| address["type"] == kind)
                .find_map(|address| address["address"].as_str())
                .unwrap_or("<none>")
        };
        vec![
            node_status(node).into(),
            node_roles(node).into(),
            text(node, ".status.nodeInfo.kubeletVersion"),
            address("InternalIP").into(),
            address("ExternalIP").into(),
            text_or(node, ".status.nodeInfo.osImage", "<unknown>"),
            text_or(node, ".status.nodeInfo.kernelVersion", "<unknown>"),
            text_or(
                node,
                ".status.nodeInfo.containerRuntimeVersion",
                "<unknown>",
            ),
        ]
    });
    // The age stands before the version.
    columns.headings.swap(3, 4);
    let cells = columns.cells;
    columns.cells = Box::new(move |node, now| {
        let mut row = cells(node, now);
        row.swap(3, 4);
        row
    });
    columns
}

fn node_status(node: &Value) -> String {
    let ready = items(node, ".status.conditions")
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let status = match ready.and_then(|condition| condition["status"].as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node["spec"]["unschedulable"] == true;
    if cordoned {
        format!("{status},SchedulingDisabled")
    } else {
        status.into()
    }
}

fn node_roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object();
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    if roles.is_empty() {
        "<none>".into()
    } else {
        roles.join(",")
    }
}

pub(super) fn events() -> Columns {
    let headings: Vec<Column> = vec![
        column("Last Seen", "The time at which the most recent occurrence of this event was recorded."),
        column("Type", "Type of this event (Normal, Warning), new types could be added in the future"),
        column("Reason", "This should be a short, machine understandable string that gives the reason for the transition into the object's current status."),
        column("Object", "The object that this event is about."),
        column("Subobject", "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement.").wide(),
        column("Source", "The component reporting this event.").wide(),
        column("Message", "A human-readable description of the status of this operation."),
        column("First Seen", "The time at which the event was first recorded.").wide(),
        column("Count", "The number of times this event has occurred.").wide(),
        name_column().wide(),
    ];
    Columns {
        headings,
        cells: Box::new(|event, now| {
            let event = &in_core_form(event);
            let first_of = |fields: &[&str]| {
                let times = fields.iter().map(|field| event[*field].clone());
                times
                    .into_iter()
                    .find(Value::is_string)
                    .unwrap_or(Value::Null)
            };
            let first_seen = since(&first_of(&["firstTimestamp", "eventTime"]), now);
            let series = &event["series"]["lastObservedTime"];
            let last = if series.is_string() {
                series.clone()
            } else {
                first_of(&["lastTimestamp", "eventTime"])
            };
            let kind = string(event, ".involvedObject.kind").to_lowercase();
            let source = match string(event, ".source.component") {
                component if component.is_empty() => string(event, ".reportingComponent"),
                component => component,
            };
            let counted = number(event, ".series.count")
                .max(number(event, ".count"))
                .max(1);
            vec![
                since(&last, now).into(),
                text(event, ".type"),
                text(event, ".reason"),
                format!("{kind}/{}", string(event, ".involvedObject.name")).into(),
                text(event, ".involvedObject.fieldPath"),
                source.into(),
                string(event, ".message").trim().into(),
                first_seen.into(),
                counted.into(),
                text(event, ".metadata.name"),
            ]
        }),
    }
}

fn in_core_form(event: &Value) -> Value {
    if event.get("regarding").is_some() {
        super::super::events::to_core(event)
    } else {
        event.clone()
    }
}

/// Names of a list of subjects of one kind, for bindings.
pub(super) fn subject_names(subjects: &[Value], kind: &str) -> String {
    let selected: Vec<Value> = subjects
        .iter()
        .filter(|subject| subject["kind"] == kind)
        .cloned()
        .collect();
    joined(&selected, "name")
}

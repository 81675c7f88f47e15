//! Columns of stateful sets, deployments, replica sets, revisions and disruption budgets.

use serde_json::Value;

use super::{Columns, column, items, joined, named, number, text_or};
use crate::selector::LabelSelector;

const CONTAINERS: &str = "Names of each container in the template.";
const IMAGES: &str = "Images referenced by each container in the template.";

pub(super) fn stateful_sets() -> Columns {
    let headings = vec![
        column("Ready", "Number of the pod with ready state"),
        column("Containers", CONTAINERS).wide(),
        column("Images", IMAGES).wide(),
    ];
    named(headings, |set| {
        vec![
            ready_of_wanted(set).into(),
            containers(set, "name"),
            containers(set, "image"),
        ]
    })
}

pub(super) fn deployments() -> Columns {
    let headings = vec![
        column("Ready", "Number of the pod with ready state"),
        column(
            "Up-to-date",
            "Total number of non-terminating pods targeted by this deployment that have the desired template spec.",
        ),
        column(
            "Available",
            "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.",
        ),
        column("Containers", CONTAINERS).wide(),
        column("Images", IMAGES).wide(),
        column("Selector", "Label selector for pods.").wide(),
    ];
    named(headings, |deployment| {
        vec![
            ready_of_wanted(deployment).into(),
            number(deployment, ".status.updatedReplicas").into(),
            number(deployment, ".status.availableReplicas").into(),
            containers(deployment, "name"),
            containers(deployment, "image"),
            selector(deployment),
        ]
    })
}

pub(super) fn replica_sets() -> Columns {
    let headings = vec![
        column("Desired", "Replicas is the number of desired pods.").integer(),
        column("Current", "Replicas is the most recently observed number of non-terminating pods.").integer(),
        column("Ready", "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition.").integer(),
        column("Containers", CONTAINERS).wide(),
        column("Images", IMAGES).wide(),
        column("Selector", "Selector is a label query over pods that should match the replica count.").wide(),
    ];
    named(headings, |set| {
        vec![
            number(set, ".spec.replicas").into(),
            number(set, ".status.replicas").into(),
            number(set, ".status.readyReplicas").into(),
            containers(set, "name"),
            containers(set, "image"),
            selector(set),
        ]
    })
}

pub(super) fn revisions() -> Columns {
    let headings = vec![
        column("Controller", "Controller of the object"),
        column(
            "Revision",
            "Revision indicates the revision of the state represented by Data.",
        )
        .integer(),
    ];
    named(headings, |revision| {
        let owner = items(revision, ".metadata.ownerReferences")
            .iter()
            .find(|owner| owner["controller"] == true);
        let controller = owner.map_or_else(
            || "<none>".to_owned(),
            |owner| {
                let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
                let kind = text("kind").to_lowercase();
                match text("apiVersion").split_once('/') {
                    Some((group, _)) => format!("{kind}.{group}/{}", text("name")),
                    None => format!("{kind}/{}", text("name")),
                }
            },
        );
        vec![controller.into(), number(revision, ".revision").into()]
    })
}

pub(super) fn disruption_budgets() -> Columns {
    let headings = vec![
        column(
            "Min Available",
            "The minimum number of pods that must be available.",
        ),
        column(
            "Max Unavailable",
            "The maximum number of pods that may be unavailable.",
        ),
        column(
            "Allowed Disruptions",
            "Calculated number of pods that may be disrupted at this time.",
        )
        .integer(),
    ];
    named(headings, |budget| {
        vec![
            text_or(budget, ".spec.minAvailable", "N/A"),
            text_or(budget, ".spec.maxUnavailable", "N/A"),
            number(budget, ".status.disruptionsAllowed").into(),
        ]
    })
}

fn ready_of_wanted(object: &Value) -> String {
    format!(
        "{}/{}",
        number(object, ".status.readyReplicas"),
        number(object, ".spec.replicas")
    )
}

fn containers(object: &Value, field: &str) -> Value {
    joined(items(object, ".spec.template.spec.containers"), field).into()
}

fn selector(object: &Value) -> Value {
    LabelSelector::from_object(&object["spec"]["selector"])
        .unwrap_or_default()
        .to_string()
        .into()
}

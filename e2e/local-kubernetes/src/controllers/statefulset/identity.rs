//! What makes a StatefulSet's pod that pod: name, ordinal, labels, host name, claims. Pure.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use kube::ResourceExt;

use crate::controllers::pods;

/// Label of a pod that names its revision (a ControllerRevision).
pub const REVISION_LABEL: &str = "controller-revision-hash";
const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// Name of the pod with that ordinal.
pub fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.name_any())
}

/// The ordinal in a pod's name, if the name belongs to the set.
pub fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.metadata.name.as_deref()?;
    let digits = name
        .strip_prefix(set.metadata.name.as_deref()?)?
        .strip_prefix('-')?;
    digits
        .parse()
        .ok()
        .filter(|ordinal: &i32| *ordinal >= 0 && ordinal.to_string() == digits)
}

/// Name of the claim that a claim template makes for the pod with that ordinal.
pub fn claim_name(template: &PersistentVolumeClaim, set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.name_any(), set.name_any())
}

/// The claims that the pod with that ordinal needs.
pub fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    claim_templates(set)
        .iter()
        .map(|template| {
            let mut claim = template.clone();
            claim.status = None;
            claim.metadata.name = Some(claim_name(template, set, ordinal));
            claim.metadata.namespace = set.namespace();
            let selector = set
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.match_labels.clone());
            claim
                .metadata
                .labels
                .get_or_insert_default()
                .extend(selector.unwrap_or_default());
            claim
        })
        .collect()
}

/// The pod with that ordinal, of a template and the revision that the template belongs to.
pub fn build_pod(
    set: &StatefulSet,
    template: &PodTemplateSpec,
    revision: &str,
    ordinal: i32,
) -> Pod {
    let name = pod_name(set, ordinal);
    let mut pod = pods::from_template(template);
    pod.metadata.generate_name = Some(format!("{}-", set.name_any()));
    pod.metadata.namespace = set.namespace();
    pod.metadata.owner_references = pods::controller_reference(set);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME_LABEL.into(), name.clone());
    labels.insert(POD_INDEX_LABEL.into(), ordinal.to_string());
    labels.insert(REVISION_LABEL.into(), revision.into());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set
        .spec
        .as_ref()
        .and_then(|spec| spec.service_name.clone())
        .filter(|name| !name.is_empty());
    let templates = claim_templates(set);
    if !templates.is_empty() {
        let volumes = spec.volumes.get_or_insert_default();
        volumes.retain(|volume| {
            templates
                .iter()
                .all(|template| template.name_any() != volume.name)
        });
        volumes.extend(templates.iter().map(|template| Volume {
            name: template.name_any(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(template, set, ordinal),
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ..Volume::default()
        }));
    }
    pod.metadata.name = Some(name);
    pod
}

fn claim_templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec
        .as_ref()
        .and_then(|spec| spec.volume_claim_templates.as_deref())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set() -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "t", "uid": "u"},
            "spec": {
                "serviceName": "h", "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c"}],
                    "volumes": [{"name": "data", "emptyDir": {}}, {"name": "other", "emptyDir": {}}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
            },
        }))
        .expect("a StatefulSet")
    }

    #[test]
    fn a_pod_has_the_identity_of_its_ordinal() {
        let set = set();
        let template = set.spec.clone().expect("a spec").template;
        let pod = build_pod(&set, &template, "db-abc", 2);
        assert_eq!(pod.name_any(), "db-2");
        assert_eq!(ordinal_of(&set, &pod), Some(2));
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("db-"));
        let labels = pod.labels();
        assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "db-2");
        assert_eq!(labels["apps.kubernetes.io/pod-index"], "2");
        assert_eq!(labels["controller-revision-hash"], "db-abc");
        let spec = pod.spec.expect("a spec");
        assert_eq!(
            (spec.hostname.as_deref(), spec.subdomain.as_deref()),
            (Some("db-2"), Some("h"))
        );
        let volumes = spec.volumes.expect("volumes");
        assert_eq!(volumes.len(), 2);
        assert_eq!(
            volumes[1]
                .persistent_volume_claim
                .as_ref()
                .expect("a claim")
                .claim_name,
            "data-db-2"
        );
        assert_eq!(claims(&set, 2)[0].labels()["app"], "db");
    }

    #[test]
    fn names_that_only_look_alike_have_no_ordinal() {
        let set = set();
        for name in ["db", "db-", "db-x", "db-01", "other-1", "db--1"] {
            let pod = pods::fixtures::pod(name, "Running", true);
            assert_eq!(ordinal_of(&set, &pod), None, "{name}");
        }
    }
}

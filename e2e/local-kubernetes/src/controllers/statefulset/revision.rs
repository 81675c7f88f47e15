//! Revisions of a StatefulSet's template: which exist, which one the template is now, which are too old. Pure.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::controllers::names::hash_of;
use crate::controllers::pods;

const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// How the present template relates to the stored revisions.
#[derive(Debug, PartialEq)]
pub enum Update {
    /// The newest revision is the template already.
    Known(ControllerRevision),
    /// An older revision has the same template (a rollback): it becomes the newest by this new number.
    Renumber(ControllerRevision),
    /// No revision has this template: this one is to be created.
    Create(ControllerRevision),
}

/// What a revision records: the whole template, to be put in place of the old one.
fn record(set: &StatefulSet) -> Value {
    let mut template =
        serde_json::to_value(set.spec.as_ref().map(|spec| &spec.template)).unwrap_or_default();
    if let Some(template) = template.as_object_mut() {
        template.insert("$patch".into(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision recorded.
pub fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let data = &revision.data.as_ref()?.0;
    serde_json::from_value(data.pointer("/spec/template")?.clone()).ok()
}

/// Decides which revision the set's present template is.
pub fn update(set: &StatefulSet, revisions: &[ControllerRevision], collisions: i32) -> Update {
    let record = record(set);
    let newest = revisions
        .iter()
        .map(|revision| revision.revision)
        .max()
        .unwrap_or(0);
    let same = revisions
        .iter()
        .filter(|revision| revision.data.as_ref().is_some_and(|data| data.0 == record))
        .max_by_key(|revision| revision.revision);
    if let Some(same) = same {
        if same.revision == newest {
            return Update::Known(same.clone());
        }
        let mut renumbered = same.clone();
        renumbered.revision = newest + 1;
        return Update::Renumber(renumbered);
    }
    let hash = hash_of(&record, collisions);
    let template_labels = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.metadata.as_ref())
        .and_then(|metadata| metadata.labels.clone());
    let mut labels = template_labels.unwrap_or_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    Update::Create(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", set.name_any())),
            namespace: set.namespace(),
            labels: Some(labels),
            owner_references: pods::controller_reference(set),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(record)),
        revision: newest + 1,
    })
}

/// Revisions to delete: not in use, and older than the newest `limit` unused ones. Oldest first.
pub fn expired<'a>(
    revisions: &'a [ControllerRevision],
    in_use: &[&str],
    limit: usize,
) -> Vec<&'a ControllerRevision> {
    let mut unused: Vec<_> = revisions
        .iter()
        .filter(|revision| !in_use.contains(&revision.name_any().as_str()))
        .collect();
    unused.sort_by_key(|revision| revision.revision);
    let surplus = unused.len().saturating_sub(limit);
    unused.truncate(surplus);
    unused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(image: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "t", "uid": "u"},
            "spec": {"selector": {}, "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
        }))
        .expect("a StatefulSet")
    }

    fn created(update: Update) -> ControllerRevision {
        match update {
            Update::Create(revision) => revision,
            other => panic!("expected a new revision, got {other:?}"),
        }
    }

    #[test]
    fn a_template_has_one_revision_and_a_rollback_gets_a_new_number() {
        let first = created(update(&set("a"), &[], 0));
        assert_eq!(first.revision, 1);
        assert!(first.name_any().starts_with("db-"));
        assert_eq!(first.labels()["app"], "db");
        assert_eq!(
            format!("db-{}", first.labels()[HASH_LABEL]),
            first.name_any()
        );
        assert_eq!(
            update(&set("a"), std::slice::from_ref(&first), 0),
            Update::Known(first.clone())
        );
        let second = created(update(&set("b"), std::slice::from_ref(&first), 0));
        assert_eq!(second.revision, 2);
        match update(&set("a"), &[first.clone(), second], 0) {
            Update::Renumber(revision) => assert_eq!(
                (revision.name_any(), revision.revision),
                (first.name_any(), 3)
            ),
            other => panic!("expected a renumbering, got {other:?}"),
        }
        let image = template(&first)
            .and_then(|template| template.spec)
            .and_then(|spec| spec.containers[0].image.clone());
        assert_eq!(image.as_deref(), Some("a"));
    }

    #[test]
    fn only_unused_revisions_beyond_the_limit_expire() {
        let revisions: Vec<_> = (1..=4)
            .map(|number| {
                let mut revision = created(update(&set(&number.to_string()), &[], 0));
                revision.revision = number;
                revision
            })
            .collect();
        let in_use = revisions[0].name_any();
        let gone: Vec<_> = expired(&revisions, &[&in_use], 2)
            .into_iter()
            .map(|revision| revision.revision)
            .collect();
        assert_eq!(gone, [2]);
    }
}

//! Writes core `v1` Events and counts repeats on the event that is there already, as Kubernetes's recorders do.
//! A failed event never fails the work it reports.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde_json::json;

use crate::clock::Clock;

/// Longest message that Kubernetes takes.
const MAX_MESSAGE: usize = 1024;
/// Remembered events; beyond it the memory starts afresh.
const MAX_REMEMBERED: usize = 4096;
/// A repeat within this time is counted on the old event; a later one is a new event.
const AGGREGATION: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// Identifies repeats: object uid, type, reason, message.
type Key = (String, &'static str, String, String);

struct Remembered {
    name: String,
    count: i32,
    last: Timestamp,
}

/// An event source. Clones share what they remember.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    clock: Clock,
    component: &'static str,
    host: Option<String>,
    remembered: Arc<Mutex<HashMap<Key, Remembered>>>,
}

impl Recorder {
    /// A recorder for a component, such as `kubelet`, on a host (none for controllers).
    pub fn new(
        client: Client,
        clock: Clock,
        component: &'static str,
        host: Option<String>,
    ) -> Self {
        Self {
            client,
            clock,
            component,
            host,
            remembered: Arc::default(),
        }
    }

    /// Reports something expected.
    pub async fn normal<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        message: &str,
    ) {
        self.record(object.object_ref(&()), "Normal", reason, message)
            .await;
    }

    /// Reports something that needs attention.
    pub async fn warning<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        message: &str,
    ) {
        self.record(object.object_ref(&()), "Warning", reason, message)
            .await;
    }

    /// Reports about any object, or a part of one (`fieldPath`).
    pub async fn record(
        &self,
        regarding: ObjectReference,
        type_: &'static str,
        reason: &str,
        message: &str,
    ) {
        let message = truncated(message);
        let namespace = regarding
            .namespace
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".into());
        let key: Key = (
            regarding.uid.clone().unwrap_or_default(),
            type_,
            reason.into(),
            message.into(),
        );
        let events = Api::<Event>::namespaced(self.client.clone(), &namespace);
        let now = self.clock.now();
        let repeat = self
            .remembered
            .lock()
            .get_mut(&key)
            .filter(|known| now.duration_since(known.last) < AGGREGATION)
            .map(|known| {
                known.count += 1;
                known.last = now;
                (known.name.clone(), known.count)
            });
        if let Some((name, count)) = repeat {
            let patch = json!({"count": count, "lastTimestamp": Time(now)});
            match events
                .patch(&name, &self.patch_params(), &Patch::Merge(&patch))
                .await
            {
                Ok(_) => return,
                Err(error) => tracing::debug!(%error, name, "could not count an event"),
            }
        }
        let event = self.event(regarding, type_, reason, message, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        match events
            .create(
                &PostParams {
                    field_manager: Some(self.component.into()),
                    ..PostParams::default()
                },
                &event,
            )
            .await
        {
            Ok(_) => self.remember(
                key,
                Remembered {
                    name,
                    count: 1,
                    last: now,
                },
            ),
            Err(error) => tracing::debug!(%error, reason, "could not write an event"),
        }
    }

    fn patch_params(&self) -> PatchParams {
        PatchParams {
            field_manager: Some(self.component.into()),
            ..PatchParams::default()
        }
    }

    fn remember(&self, key: Key, event: Remembered) {
        let mut remembered = self.remembered.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, event);
    }

    fn event(
        &self,
        regarding: ObjectReference,
        type_: &str,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) -> Event {
        let subject = regarding.name.as_deref().unwrap_or("cluster");
        let namespace = regarding
            .namespace
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".into());
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{subject}.{:x}", rand::random::<u64>() >> 1)),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: regarding,
            type_: Some(type_.into()),
            reason: Some(reason.into()),
            message: Some(message.into()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some(EventSource {
                component: Some(self.component.into()),
                host: self.host.clone(),
            }),
            reporting_component: Some(self.component.into()),
            reporting_instance: self.host.clone(),
            ..Event::default()
        }
    }
}

fn truncated(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::truncated;

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let long = "é".repeat(600);
        let cut = truncated(&long);
        assert_eq!(cut.len(), 1024);
        assert!(long.starts_with(cut));
        assert_eq!(truncated("short"), "short");
    }
}

//! Carrying out a plan: commands to nodes and changes in Kubernetes, each bounded in time and safe to repeat.
//!
//! Steps of different shards are carried out side by side, so that a shard that does not answer holds up no other; within a shard,
//! what follows a failed step waits for the next pass. Nothing is retried here: the next pass sees what became of it.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::names::{self, CLIENT_PORT, MANAGER, PodPlace};
use crate::observe::{NodeError, Nodes, Observed};
use crate::plan::{Promotion, Step};
use crate::resources::Object;

/// A step that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The node refused or did not answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Kubernetes refused or did not answer.
    #[error(transparent)]
    Kubernetes(#[from] kube::Error),
    /// The pod has no address (any more).
    #[error("pod {0} has no address")]
    NoAddress(PodPlace),
}

/// What became of a step.
#[derive(Debug)]
pub struct Outcome {
    /// The step.
    pub step: Step,
    /// Whether it was carried out.
    pub result: Result<(), ActError>,
}

/// Where steps are carried out.
pub struct Actor<'a> {
    /// Kubernetes.
    pub client: &'a Client,
    /// The nodes.
    pub nodes: &'a dyn Nodes,
    /// The cluster's name.
    pub cluster: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Where its pods are.
    pub observed: &'a Observed,
}

/// Steps of one lane depend on each other; lanes do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// Joins and leaves, which are committed one after the other.
    Membership,
    /// A shard.
    Shard(u32),
}

fn lane(step: &Step) -> Lane {
    match step {
        Step::Meet { .. }
        | Step::Forget { .. }
        | Step::SetWitness { .. }
        | Step::RemoveWitness { .. } => Lane::Membership,
        Step::Replicate { at, .. }
        | Step::AddSlots { at, .. }
        | Step::Promote { at, .. }
        | Step::Migrate { at, .. }
        | Step::CancelMigrations { at }
        | Step::Reset { at }
        | Step::DeletePod { place: at } => Lane::Shard(at.shard),
        Step::DeleteShard { index } => Lane::Shard(*index),
    }
}

impl Actor<'_> {
    /// Carries out the steps.
    pub async fn run(&self, steps: &[Step]) -> Vec<Outcome> {
        let mut lanes: BTreeMap<Lane, Vec<&Step>> = BTreeMap::new();
        for step in steps {
            lanes.entry(lane(step)).or_default().push(step);
        }
        let lanes = lanes
            .into_iter()
            .map(|(lane, steps)| self.run_lane(lane, steps));
        join_all(lanes).await.into_iter().flatten().collect()
    }

    async fn run_lane(&self, lane: Lane, steps: Vec<&Step>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for step in steps {
            let result = self.carry_out(step).await;
            match &result {
                Ok(()) => tracing::info!(cluster = self.cluster, "{step}"),
                Err(error) => {
                    tracing::warn!(cluster = self.cluster, %error, "could not be done: {step}");
                }
            }
            // One node that cannot join does not keep the others out.
            let ends_lane = result.is_err() && lane != Lane::Membership;
            outcomes.push(Outcome {
                step: step.clone(),
                result,
            });
            if ends_lane {
                break;
            }
        }
        outcomes
    }

    async fn carry_out(&self, step: &Step) -> Result<(), ActError> {
        match step {
            Step::DeletePod { place } => self.delete_pod(*place).await,
            Step::DeleteShard { index } => self.delete_shard(*index).await,
            Step::Meet { at, .. }
            | Step::Forget { at, .. }
            | Step::Replicate { at, .. }
            | Step::AddSlots { at, .. }
            | Step::Promote { at, .. }
            | Step::Migrate { at, .. }
            | Step::CancelMigrations { at }
            | Step::SetWitness { at, .. }
            | Step::RemoveWitness { at }
            | Step::Reset { at } => {
                let words = self.words(step)?;
                Ok(self.nodes.command(self.address(*at)?, &words).await?)
            }
        }
    }

    fn address(&self, place: PodPlace) -> Result<&str, ActError> {
        let pod = self.observed.pods.get(&place);
        pod.and_then(|pod| pod.ip.as_deref())
            .ok_or(ActError::NoAddress(place))
    }

    /// The command of a step; empty for a change in Kubernetes.
    fn words(&self, step: &Step) -> Result<Vec<String>, ActError> {
        let text = match step {
            Step::Meet { node, .. } => format!("MEET {} {CLIENT_PORT}", self.address(*node)?),
            Step::Forget { node, .. } => format!("FORGET {node}"),
            Step::Replicate { primary, .. } => format!("REPLICATE {primary}"),
            Step::AddSlots { slots, .. } => format!("ADDSLOTSRANGE {}", bounds(slots)),
            Step::Promote { how, .. } => match how {
                Promotion::Planned => "FAILOVER".to_owned(),
                Promotion::Force => "FAILOVER FORCE".to_owned(),
                Promotion::Takeover => "FAILOVER TAKEOVER".to_owned(),
            },
            Step::Migrate { target, slots, .. } => {
                format!("MIGRATESLOTS SLOTSRANGE {} NODE {target}", bounds(slots))
            }
            Step::CancelMigrations { .. } => "CANCELSLOTMIGRATIONS".to_owned(),
            Step::SetWitness { witness, .. } => {
                format!("WITNESS {} {} {}", witness.id, witness.ip, witness.port)
            }
            Step::RemoveWitness { .. } => "WITNESS NONE".to_owned(),
            Step::Reset { .. } => "RESET HARD".to_owned(),
            Step::DeletePod { .. } | Step::DeleteShard { .. } => return Ok(Vec::new()),
        };
        let words = text.split(' ').map(ToOwned::to_owned);
        Ok(std::iter::once("CLUSTER".to_owned()).chain(words).collect())
    }

    async fn delete_pod(&self, place: PodPlace) -> Result<(), ActError> {
        let name = names::pod(self.cluster, place);
        self.delete::<Pod>(&name).await
    }

    async fn delete_shard(&self, index: u32) -> Result<(), ActError> {
        let name = names::shard(self.cluster, index);
        self.delete::<StatefulSet>(&name).await?;
        self.delete::<PodDisruptionBudget>(&name).await
    }

    /// Deletes an object. That it is gone already is no error.
    pub async fn delete<K>(&self, name: &str) -> Result<(), ActError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        match api.delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a Secret unless it is there; then it is left as it is. True when it was created.
    ///
    /// # Errors
    /// When Kubernetes refused or did not answer.
    pub async fn create_secret(&self, secret: &Secret) -> Result<bool, ActError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace);
        match api.create(&PostParams::default(), secret).await {
            Ok(_) => {
                let name = secret.name_any();
                tracing::info!(cluster = self.cluster, "created Secret {name}");
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Applies an object, creating it where it is missing.
    pub async fn apply(&self, object: &Object) -> Result<(), ActError> {
        match object {
            Object::ConfigMap(object) => self.apply_one::<ConfigMap>(object).await,
            Object::Service(object) => self.apply_one::<Service>(object).await,
            Object::StatefulSet(object) => self.apply_one::<StatefulSet>(object).await,
            Object::PodDisruptionBudget(object) => {
                self.apply_one::<PodDisruptionBudget>(object).await
            }
        }
    }

    async fn apply_one<K>(&self, object: &K) -> Result<(), ActError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Serialize
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let name = object.name_any();
        let parameters = PatchParams::apply(MANAGER).force();
        api.patch(&name, &parameters, &Patch::Apply(object)).await?;
        tracing::info!(cluster = self.cluster, "applied {} {name}", K::kind(&()));
        Ok(())
    }
}

/// The first and last slot of each range, between blanks.
fn bounds(slots: &crate::slots::SlotSet) -> String {
    let ranges: Vec<String> = slots
        .ranges()
        .into_iter()
        .map(|(first, last)| format!("{first} {last}"))
        .collect();
    ranges.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_given_as_the_bounds_of_their_ranges() {
        let slots = "0-5 7 9-10".parse().unwrap();
        assert_eq!(bounds(&slots), "0 5 7 7 9 10");
    }
}

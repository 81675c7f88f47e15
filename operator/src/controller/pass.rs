//! One pass over a cluster: observe, plan, act, tell. Short, without sleeping, and without a write when nothing changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use kube::{CustomResourceExt, Resource, ResourceExt};
use serde_json::json;

use super::patience::grace;
use super::{Context, Error};
use crate::act::{Actor, Outcome};
use crate::api::{CacheCluster, CacheClusterStatus};
use crate::names::MANAGER;
use crate::observe::{Observed, Vote, observe};
use crate::plan::{Plan, Promotion, Step, plan};
use crate::resources::{self, Object};
use crate::status::{self, Notice, desired, is_settled, notices};
use crate::stores::of_cluster;

/// Time to the next pass when steps were carried out or slots are on the move.
const WORKING: Duration = Duration::from_millis(250);
/// Time to the next pass while something is waited for.
const WAITING: Duration = Duration::from_secs(1);
/// Time to the next pass when nothing is left to do, and what is added at most so that clusters are not all looked at at once.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_JITTER_MS: u64 = 5_000;

pub(super) async fn pass(
    cluster: &Arc<CacheCluster>,
    namespace: &str,
    context: &Context,
) -> Result<Action, Error> {
    let name = cluster.name_any();
    let pods = of_cluster(&context.stores.pods, &name, namespace);
    let sets = of_cluster(&context.stores.sets, &name, namespace);
    let mut observed = observe(&name, &pods, &sets, context.nodes.as_ref()).await;
    observed.vote = context.witnesses.vote(cluster);
    let mut plan = plan(&desired(cluster), &observed);
    context.patience.lock().hold_back(
        ObjectRef::from_obj(cluster.as_ref()),
        &mut plan,
        grace(resources::node_timeout(cluster)),
        Instant::now(),
    );
    // Also while passes change nothing: it is the nodes that need the vote.
    match plan.votes {
        true => context.witnesses.begin(cluster),
        false => context.witnesses.end(cluster),
    }
    let mut applied = Ok(0);
    let mut outcomes = Vec::new();
    if cluster.spec.paused {
        plan.pods.clone_from(&observed.shards);
    } else {
        let actor = Actor {
            client: &context.client,
            nodes: context.nodes.as_ref(),
            cluster: &name,
            namespace,
            observed: &observed,
        };
        let secret = resources::wants_secret(cluster, &sets, &observed);
        applied = apply_objects(cluster, &plan, secret, &actor, context).await;
        outcomes = actor.run(&plan.steps).await;
        count(context, &outcomes);
    }
    let written = tell(cluster, namespace, &plan, &outcomes, context).await?;
    let changed = applied? > 0 || written || !outcomes.is_empty();
    let outcome = if changed { "changed" } else { "unchanged" };
    context.metrics.passes.with_label_values(&[outcome]).inc();
    Ok(Action::requeue(pause(cluster, &plan, &observed, &outcomes)))
}

/// Applies the objects that are missing or different, after the Secret if that may be missing. One that fails does not keep the others from
/// being applied, except that shards without the Secret would have pods that wait for it.
async fn apply_objects(
    cluster: &CacheCluster,
    plan: &Plan,
    wants_secret: bool,
    actor: &Actor<'_>,
    context: &Context,
) -> Result<usize, Error> {
    let objects = resources::objects(cluster, &plan.pods);
    let mut outdated = context.stores.outdated(actor.namespace, objects);
    let mut failed = None;
    let mut created = false;
    if wants_secret {
        let secret = resources::secret(cluster, resources::random_text());
        match actor.create_secret(&secret).await {
            Ok(new) => created = new,
            Err(source) => {
                let object = secret.name_any();
                failed = Some(Error::Object { object, source });
                outdated.retain(|object| !matches!(object, Object::StatefulSet(_)));
            }
        }
        context.metrics.writes.with_label_values(&["object"]).inc();
    }
    for object in &outdated {
        if let Err(source) = actor.apply(object).await {
            let object = object.name();
            failed = Some(Error::Object { object, source });
        }
        context.metrics.writes.with_label_values(&["object"]).inc();
    }
    failed.map_or(Ok(outdated.len() + usize::from(created)), Err)
}

fn count(context: &Context, outcomes: &[Outcome]) {
    let metrics = &context.metrics;
    for Outcome { step, result } in outcomes {
        let outcome = if result.is_ok() { "done" } else { "failed" };
        metrics
            .steps
            .with_label_values(&[kind(step), outcome])
            .inc();
        match (step, result) {
            (_, Err(_)) => metrics.errors.with_label_values(&["step"]).inc(),
            (Step::Promote { how, .. }, Ok(())) => {
                let how = match how {
                    Promotion::Planned => "planned",
                    Promotion::Force => "force",
                    Promotion::Takeover => "takeover",
                };
                metrics.promotions.with_label_values(&[how]).inc();
            }
            _ => {}
        }
    }
}

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Meet { .. } => "meet",
        Step::Forget { .. } => "forget",
        Step::Replicate { .. } => "replicate",
        Step::AddSlots { .. } => "add-slots",
        Step::Promote { .. } => "promote",
        Step::Migrate { .. } => "migrate",
        Step::CancelMigrations { .. } => "cancel-migrations",
        Step::SetWitness { .. } => "set-witness",
        Step::RemoveWitness { .. } => "remove-witness",
        Step::Reset { .. } => "reset",
        Step::DeletePod { .. } => "delete-pod",
        Step::DeleteShard { .. } => "delete-shard",
    }
}

/// Writes the status if it changed, and the events that are worth it. True when something was written.
async fn tell(
    cluster: &CacheCluster,
    namespace: &str,
    plan: &Plan,
    outcomes: &[Outcome],
    context: &Context,
) -> Result<bool, Error> {
    let before = cluster.status.clone().unwrap_or_default();
    let after = status::status(cluster, plan, Timestamp::now());
    let moved = |status: &CacheClusterStatus| {
        status
            .rebalance
            .as_ref()
            .map_or(0, |rebalance| rebalance.moved_slots)
    };
    let arrived = u64::try_from(moved(&after) - moved(&before)).unwrap_or(0);
    context.metrics.slots_moved.inc_by(arrived);
    let changed = cluster.status.as_ref() != Some(&after);
    if changed {
        let api: Api<CacheCluster> = Api::namespaced(context.client.clone(), namespace);
        let resource = CacheCluster::api_resource();
        let patch =
            json!({"apiVersion": resource.api_version, "kind": resource.kind, "status": after});
        let parameters = PatchParams::apply(MANAGER).force();
        let written = api
            .patch_status(&cluster.name_any(), &parameters, &Patch::Apply(&patch))
            .await;
        context.metrics.writes.with_label_values(&["status"]).inc();
        match written {
            // The cluster was deleted meanwhile.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => drop(other.map_err(Error::Status)?),
        }
    }
    let mut news = notices(&before, &after);
    news.extend(outcomes.iter().filter_map(promotion));
    for notice in &news {
        publish(cluster, notice, context).await;
    }
    Ok(changed || !news.is_empty())
}

fn promotion(outcome: &Outcome) -> Option<Notice> {
    let (Step::Promote { at, how }, Ok(())) = (&outcome.step, &outcome.result) else {
        return None;
    };
    Some(Notice {
        warning: *how == Promotion::Takeover,
        reason: "Promoted",
        note: match how {
            Promotion::Planned => format!("{at} took over from its primary"),
            Promotion::Force => format!("{at} was promoted: its primary is lost"),
            Promotion::Takeover => {
                format!("the quorum was lost for good; the group is formed anew round {at}")
            }
        },
    })
}

/// Publishes an event. That it could not be published is no reason to fail.
async fn publish(cluster: &CacheCluster, notice: &Notice, context: &Context) {
    let event = Event {
        type_: if notice.warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: notice.reason.to_owned(),
        note: Some(notice.note.clone()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    context.metrics.writes.with_label_values(&["event"]).inc();
    if let Err(error) = context
        .recorder
        .publish(&event, &cluster.object_ref(&()))
        .await
    {
        tracing::warn!(%error, reason = notice.reason, "an event was not published");
    }
}

/// Time to the next pass. Changes in Kubernetes bring one about earlier.
fn pause(
    cluster: &CacheCluster,
    plan: &Plan,
    observed: &Observed,
    outcomes: &[Outcome],
) -> Duration {
    let idle = IDLE + Duration::from_millis(jitter(cluster));
    let awaited = plan.votes && observed.vote == Vote::Starting;
    let settled = is_settled(cluster, plan) && observed.shards == plan.pods;
    if cluster.spec.paused || settled && outcomes.is_empty() && !awaited {
        return idle;
    }
    let failed_moves = plan.findings.failed_moves;
    let failed = outcomes.iter().any(|outcome| outcome.result.is_err());
    if failed_moves > 0 && plan.findings.active_moves.is_empty() {
        // Moves that fail again and again are tried less and less often.
        return (WAITING * (1 << failed_moves.min(5))).min(IDLE);
    }
    let busy = !outcomes.is_empty() || !plan.findings.active_moves.is_empty();
    if busy && !failed { WORKING } else { WAITING }
}

/// Differs from cluster to cluster and from pass to pass; need not be random.
fn jitter(cluster: &CacheCluster) -> u64 {
    let seed: u64 = cluster
        .uid()
        .unwrap_or_default()
        .bytes()
        .map(u64::from)
        .sum();
    (seed * 131 + u64::from(Timestamp::now().subsec_microsecond().unsigned_abs())) % IDLE_JITTER_MS
}

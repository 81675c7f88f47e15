//! Promotions by force wait until the nodes have had time to decide by themselves: they know what each replica has copied. Pure; time is handed in.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use kube::runtime::reflector::ObjectRef;

use crate::api::CacheCluster;
use crate::plan::{Plan, Promotion, Step};

/// Node timeouts that the nodes may need by the rules when some hear each other and others do not, and one more.
const NODE_TIMEOUTS: u32 = 5;

/// How long the nodes may take, if they suspect each other after `node_timeout` ms.
pub(super) fn grace(node_timeout: u64) -> Duration {
    Duration::from_millis(node_timeout) * NODE_TIMEOUTS
}

/// Since when promotions by force are planned, by cluster and shard.
#[derive(Debug, Default)]
pub(super) struct Patience(HashMap<ObjectRef<CacheCluster>, BTreeMap<u32, Instant>>);

impl Patience {
    /// Takes out of the plan what was not planned in all passes for `grace`, and says that it is waited for.
    pub(super) fn hold_back(
        &mut self,
        cluster: ObjectRef<CacheCluster>,
        plan: &mut Plan,
        grace: Duration,
        now: Instant,
    ) {
        let before = self.0.remove(&cluster).unwrap_or_default();
        let mut since = BTreeMap::new();
        let waiting = &mut plan.findings.waiting;
        plan.steps.retain(|step| {
            let Step::Promote { at, how: Promotion::Force } = step else {
                return true;
            };
            let began = before.get(&at.shard).copied().unwrap_or(now);
            since.insert(at.shard, began);
            let due = now.saturating_duration_since(began) >= grace;
            if !due {
                waiting.push(format!(
                    "shard {} has lost its primary; {at} takes its place if the nodes find nobody in {grace:?}",
                    at.shard
                ));
            }
            due
        });
        if !since.is_empty() {
            self.0.insert(cluster, since);
        }
    }

    /// Nothing of the cluster is planned any more.
    pub(super) fn forget(&mut self, cluster: &ObjectRef<CacheCluster>) {
        self.0.remove(cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::PodPlace;

    const GRACE: Duration = Duration::from_secs(10);

    fn promote(shard: u32, how: Promotion) -> Step {
        let at = PodPlace { shard, ordinal: 1 };
        Step::Promote { at, how }
    }

    fn plan(steps: &[Step]) -> Plan {
        Plan {
            steps: steps.to_vec(),
            ..Plan::default()
        }
    }

    /// What is carried out of these steps, planned so many seconds after the start.
    fn carried_out(
        patience: &mut Patience,
        start: Instant,
        second: u64,
        steps: &[Step],
    ) -> Vec<Step> {
        let mut plan = plan(steps);
        let cluster = ObjectRef::new("a").within("default");
        patience.hold_back(
            cluster,
            &mut plan,
            GRACE,
            start + Duration::from_secs(second),
        );
        assert_eq!(plan.findings.waiting.len(), steps.len() - plan.steps.len());
        plan.steps
    }

    #[test]
    fn a_promotion_by_force_is_carried_out_when_it_was_planned_for_long() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        let force = [promote(3, Promotion::Force)];
        assert_eq!(carried_out(&mut patience, start, 0, &force), []);
        assert_eq!(carried_out(&mut patience, start, 9, &force), []);
        assert_eq!(carried_out(&mut patience, start, 10, &force), force);
    }

    #[test]
    fn it_begins_again_when_the_nodes_had_a_primary_in_between() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        let force = [promote(3, Promotion::Force)];
        assert_eq!(carried_out(&mut patience, start, 0, &force), []);
        assert_eq!(carried_out(&mut patience, start, 5, &[]), []);
        assert_eq!(carried_out(&mut patience, start, 10, &force), []);
        let other = [promote(4, Promotion::Force)];
        assert_eq!(carried_out(&mut patience, start, 20, &other), []);
        assert_eq!(carried_out(&mut patience, start, 20, &force), []);
    }

    #[test]
    fn other_steps_wait_for_nothing() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        let steps = [
            promote(0, Promotion::Planned),
            promote(1, Promotion::Takeover),
        ];
        assert_eq!(carried_out(&mut patience, start, 0, &steps), steps);
        assert!(patience.0.is_empty());
    }
}

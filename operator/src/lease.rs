//! Leader election by a Lease: one operator acts at a time.
//!
//! A holder that does not renew for the lease's duration, as seen on our own clock since we saw the last renewal, is taken to be gone;
//! clocks of different machines are never compared. Who loses the lease must stop at once: [`hold`] returns, and the process exits.
//! A process whose identity already holds the lease is that holder's restart (pod names are unique), and goes on immediately.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// How the election is held.
#[derive(Clone, Debug)]
pub struct Election {
    /// Name of the Lease.
    pub name: String,
    /// Who we are.
    pub identity: String,
    /// How long a lease lives without renewal.
    pub duration: Duration,
    /// How often it is renewed.
    pub renew: Duration,
}

/// Until when this process may act, by its own clock: before that, nobody else can have taken the lease. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tenure(Arc<Mutex<Instant>>);

impl Tenure {
    /// It is over at this moment, unless it is extended.
    pub fn until(end: Instant) -> Self {
        Self(Arc::new(Mutex::new(end)))
    }

    /// Whether another process may act by now. A process that was stopped must ask before it does anything.
    pub fn is_over(&self) -> bool {
        *self.0.lock() <= Instant::now()
    }

    fn extend(&self, end: Instant) {
        *self.0.lock() = end;
    }
}

/// A renewal of somebody else's lease, and when we saw it first.
#[derive(Clone, Debug, PartialEq)]
struct Sighting {
    holder: String,
    renewed: Option<Timestamp>,
    since: Instant,
}

#[derive(Debug, PartialEq)]
enum Decision {
    /// The lease is ours to take or renew.
    Write,
    /// Somebody else holds it for this long at least.
    Wait(Duration),
}

impl Election {
    /// What to do about the lease as it is. `seen` is updated with what is there.
    fn decide(&self, lease: Option<&Lease>, seen: &mut Option<Sighting>, now: Instant) -> Decision {
        let Some(spec) = lease.and_then(|lease| lease.spec.as_ref()) else {
            return Decision::Write;
        };
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return Decision::Write;
        }
        let renewed = spec.renew_time.as_ref().map(|time| time.0);
        let known = seen
            .as_ref()
            .filter(|seen| seen.holder == holder && seen.renewed == renewed)
            .map(|seen| seen.since);
        let since = known.unwrap_or(now);
        *seen = Some(Sighting {
            holder,
            renewed,
            since,
        });
        let seconds = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(self.duration, Duration::from_secs);
        match (since + duration).checked_duration_since(now) {
            Some(left) if !left.is_zero() => Decision::Wait(left.min(self.renew)),
            _ => Decision::Write,
        }
    }

    /// The lease with our claim written into it.
    fn claim(&self, lease: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        });
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            let transitions = spec.lease_transitions.unwrap_or(0);
            *spec = LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                acquire_time: Some(now.clone()),
                lease_transitions: Some(transitions + 1),
                ..LeaseSpec::default()
            };
        }
        // Whole seconds only exist in the Lease; rounded up, so that others never wait too short.
        let seconds = self.duration.as_millis().div_ceil(1000);
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
        lease
    }

    /// Takes or renews the lease if that is possible now.
    async fn attempt(
        &self,
        leases: &Api<Lease>,
        seen: &mut Option<Sighting>,
    ) -> Result<Decision, kube::Error> {
        let lease = leases.get_opt(&self.name).await?;
        let decision = self.decide(lease.as_ref(), seen, Instant::now());
        if decision == Decision::Write {
            let exists = lease.is_some();
            let claim = self.claim(lease);
            // The resource version in the claim makes the write fail if somebody was faster.
            if exists {
                leases
                    .replace(&self.name, &PostParams::default(), &claim)
                    .await?;
            } else {
                leases.create(&PostParams::default(), &claim).await?;
            }
        }
        Ok(decision)
    }

    /// How long after the beginning of a renewal this process still acts.
    fn acts(&self) -> Duration {
        self.duration.mul_f64(0.8)
    }

    /// Returns when this process leads, and for how long.
    pub async fn acquire(&self, leases: &Api<Lease>) -> Tenure {
        let mut seen = None;
        loop {
            let started = Instant::now();
            let pause = match self.attempt(leases, &mut seen).await {
                Ok(Decision::Write) => return Tenure::until(started + self.acts()),
                Ok(Decision::Wait(left)) => left,
                Err(kube::Error::Api(status))
                    if status.is_conflict() || status.is_already_exists() =>
                {
                    self.renew
                }
                Err(error) => {
                    tracing::warn!(%error, lease = self.name, "the lease could not be taken");
                    self.renew
                }
            };
            sleep(pause).await;
        }
    }

    /// Renews the lease and returns when it is lost: taken by somebody else, or not renewed for so long that somebody might take it.
    pub async fn hold(&self, leases: &Api<Lease>, tenure: &Tenure) {
        let mut renewed = Instant::now();
        let deadline = self.acts();
        loop {
            sleep(self.renew.min(deadline.saturating_sub(renewed.elapsed()))).await;
            let started = Instant::now();
            let mut seen = None;
            let left = deadline.saturating_sub(renewed.elapsed());
            match timeout(left, self.attempt(leases, &mut seen)).await {
                Ok(Ok(Decision::Write)) => {
                    renewed = started;
                    tenure.extend(started + deadline);
                }
                Ok(Ok(Decision::Wait(_))) => {
                    tracing::error!(lease = self.name, "the lease was taken by somebody else");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = self.name, "the lease was not renewed");
                }
                Err(_) => {}
            }
            if renewed.elapsed() >= deadline {
                tracing::error!(lease = self.name, "the lease could not be renewed in time");
                return;
            }
        }
    }

    /// Gives the lease up, so that the next one need not wait. This process acts no more.
    pub async fn release(&self, leases: &Api<Lease>, tenure: &Tenure) {
        tenure.extend(Instant::now());
        let result = async {
            let Some(mut lease) = leases.get_opt(&self.name).await? else {
                return Ok(());
            };
            let Some(spec) = lease.spec.as_mut() else {
                return Ok(());
            };
            if spec.holder_identity.as_ref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = None;
            leases
                .replace(&self.name, &PostParams::default(), &lease)
                .await?;
            Ok::<(), kube::Error>(())
        };
        if let Err(error) = result.await {
            tracing::warn!(%error, lease = self.name, "the lease was not released");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenure_ends_unless_it_is_extended() {
        let now = Instant::now();
        let tenure = Tenure::until(now);
        assert!(tenure.is_over());
        tenure.clone().extend(now + Duration::from_secs(600));
        assert!(!tenure.is_over());
    }

    fn election(identity: &str) -> Election {
        Election {
            name: "cache-operator".to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(5),
            renew: Duration::from_secs(2),
        }
    }

    #[test]
    fn a_free_lease_is_taken_and_ones_own_is_renewed() {
        let (one, now) = (election("one"), Instant::now());
        assert_eq!(one.decide(None, &mut None, now), Decision::Write);
        let lease = one.claim(None);
        assert_eq!(one.decide(Some(&lease), &mut None, now), Decision::Write);
        let mut released = lease;
        released.spec.as_mut().unwrap().holder_identity = None;
        assert_eq!(
            election("two").decide(Some(&released), &mut None, now),
            Decision::Write
        );
    }

    #[test]
    fn another_ones_lease_is_taken_only_when_it_was_not_renewed_while_we_watched() {
        let (two, mut seen, start) = (election("two"), None, Instant::now());
        let lease = election("one").claim(None);
        assert_eq!(
            two.decide(Some(&lease), &mut seen, start),
            Decision::Wait(Duration::from_secs(2))
        );
        let later = start + Duration::from_millis(4500);
        assert_eq!(
            two.decide(Some(&lease), &mut seen, later),
            Decision::Wait(Duration::from_millis(500))
        );
        let renewed = election("one").claim(Some(lease.clone()));
        let end = start + Duration::from_secs(5);
        assert_eq!(
            two.decide(Some(&renewed), &mut seen.clone(), end),
            Decision::Wait(Duration::from_secs(2))
        );
        assert_eq!(two.decide(Some(&lease), &mut seen, end), Decision::Write);
    }

    #[test]
    fn taking_over_counts_as_a_transition_and_renewing_does_not() {
        let lease = election("one").claim(None);
        let transitions = |lease: &Lease| lease.spec.as_ref().unwrap().lease_transitions;
        assert_eq!(transitions(&lease), Some(1));
        let renewed = election("one").claim(Some(lease));
        assert_eq!(transitions(&renewed), Some(1));
        assert_eq!(transitions(&election("two").claim(Some(renewed))), Some(2));
    }
}
